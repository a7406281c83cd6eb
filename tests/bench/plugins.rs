//! One ADD and one DEL of bridge with host-local: ours beside the Go plugins that Debian ships.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::run;
use crate::report::{Report, median};

/// How often each side is asked.
const CALLS: usize = 40;

/// Measures both sides in turns.
pub fn measure(report: &mut Report) {
    let go = PathBuf::from(std::env::var_os("GO_PLUGINS").expect("make bench sets it"));
    let sides = [
        ("/opt/cni/bin".as_ref(), "bench-ours"),
        (go.as_path(), "bench-go"),
    ];
    let mut times: [(Vec<Duration>, Vec<Duration>); 2] = Default::default();
    for number in 0..CALLS {
        for (side, (plugins, bridge)) in sides.into_iter().enumerate() {
            let namespace = format!("bench{number}");
            run(&["ip", "netns", "add", &namespace]);
            times[side].0.push(call(plugins, bridge, "ADD", &namespace));
            times[side].1.push(call(plugins, bridge, "DEL", &namespace));
            run(&["ip", "netns", "del", &namespace]);
        }
    }
    let [(our_adds, our_dels), (go_adds, go_dels)] = times;
    report.beside(
        "CNI ADD, beside the Go plugins",
        median(our_adds),
        median(go_adds),
    );
    report.beside(
        "CNI DEL, beside the Go plugins",
        median(our_dels),
        median(go_dels),
    );
}

fn call(plugins: &Path, bridge: &str, command: &str, namespace: &str) -> Duration {
    let subnet = if bridge == "bench-go" {
        "10.98.0.0/24"
    } else {
        "10.97.0.0/24"
    };
    let config = format!(
        r#"{{"cniVersion":"1.0.0","name":"{bridge}","type":"bridge","bridge":"{bridge}","isGateway":true,
        "ipam":{{"type":"host-local","ranges":[[{{"subnet":"{subnet}"}}]],"routes":[{{"dst":"0.0.0.0/0"}}]}}}}"#
    );
    let begun = Instant::now();
    let mut child = Command::new(plugins.join("bridge"))
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", namespace)
        .env("CNI_NETNS", format!("/run/netns/{namespace}"))
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", plugins)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the plugin is there");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(config.as_bytes())
        .expect("the plugin reads");
    let output = child.wait_with_output().expect("our own child");
    let took = begun.elapsed();
    let reported = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{} {command}: {reported}",
        plugins.display()
    );
    took
}
