//! The recordings of the kubelet v1.36 (`tests/parity/reference`), and what this node makes of the same pods.

use std::process::Command;

use serde_json::json;

use crate::cluster::Cluster;
use crate::control_plane::ADMIN;
use crate::node::{LONG, NODE_IP, here};
use crate::objects::{IDLE, name, pod};
use crate::process::{run, text};
use crate::wait::wait_for;
use crate::world::{CGROUP, control_plane, repository};

/// How many scenarios there are, each of which is reported the same. A lower number is a failure.
const SAME: usize = 36;
/// How many go on at once. Some wait for a minute, and two cores carry so many.
const AT_ONCE: &str = "6";
/// The name under which the recordings use Debian's busybox.
const IMAGE: &str = "docker.io/library/busybox:1.35";

pub fn pods_are_carried_as_the_kubelet_carries_them(cluster: &mut Cluster) {
    // The pods of a control plane requested as much where it was recorded; a rejection says so.
    let mut others = pod("others", IDLE);
    others["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "600m"}});
    cluster.create("pods", &others);
    cluster.wait_running("others");
    run(&[
        "ctr",
        "-n",
        "k8s.io",
        "images",
        "tag",
        "gantry.local/busybox:1",
        IMAGE,
    ]);
    let directory = repository().join("tests/parity");
    let recordings = here("parity");
    let parity = |arguments: &[&std::ffi::OsStr]| {
        let mut command = Command::new("python3");
        command
            .arg(directory.join("parity.py"))
            .args(arguments)
            .env("KUBECONFIG", ADMIN)
            .env("NODE", "node-1")
            .env("NODE_IP", NODE_IP)
            .env("IMAGE", IMAGE)
            .env("CRICTL", control_plane("crictl"))
            .env(
                "CGROUP_ROOT",
                std::env::var(CGROUP).expect("the outside names the story's cgroup"),
            )
            .env("JOBS", AT_ONCE);
        command.output().expect("python3 is there")
    };
    // A rejection names what all others request, so it is created again when none of them is left.
    let everything: &[&std::ffi::OsStr] = &["record".as_ref(), recordings.as_os_str()];
    for chosen in [everything, &[everything, &["too-big".as_ref()]].concat()] {
        let recorded = parity(chosen);
        assert!(recorded.status.success(), "{}", text(&recorded));
        wait_for("the scenarios' pods to be gone", LONG, || {
            let left = cluster.api.list("/api/v1/pods")?;
            match left.as_slice() {
                [_others] => Ok(()),
                left => Err(left.iter().map(name).collect::<Vec<_>>().join(" ")),
            }
        });
    }
    let reference = directory.join("reference");
    let compared = parity(&["diff".as_ref(), reference.as_os_str(), recordings.as_os_str()]);
    let said = String::from_utf8_lossy(&compared.stdout);
    let result = said.lines().last().unwrap_or_default();
    println!("{result}");
    let same = result
        .split(' ')
        .next()
        .and_then(|count| count.parse::<usize>().ok());
    assert!(same.is_some_and(|same| same >= SAME), "{}", text(&compared));
}
