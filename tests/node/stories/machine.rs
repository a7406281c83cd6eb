//! `make run` and `make clean-node`, `make install` and `make uninstall`: the machine before and after.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::machine::Machine;
use crate::node::{Node, here};
use crate::process::{run, text};
use crate::runtime;
use crate::wait::wait_for;
use crate::world::{CGROUP, repository};

pub fn run_and_clean_node_leave_the_machine_as_it_was(node: &mut Node) {
    // This story is about the machine as it is before anything of a node is there.
    node.kill_containerd();
    for directory in [
        "/etc/cni",
        "/etc/kubernetes",
        "/opt/cni",
        "/run/containerd",
        "/var/lib/gantry",
    ] {
        let _ = std::fs::remove_dir_all(directory);
    }
    let before = Machine::now();
    let cgroup = std::env::var(CGROUP).expect("the outside names the story's cgroup");
    let script = |name: &str| {
        let mut command = Command::new(repository().join("tests/setup").join(name));
        command
            .env(
                "GANTRY_PROGRAMS",
                crate::world::program("gantry").parent().expect("a directory"),
            )
            .env("GANTRY_RUN_STATE", here("run"))
            .env("GANTRY_RUN_FLAGS", format!("--cgroup-root={cgroup}"))
            .stdin(Stdio::null());
        command
    };
    let start = |log: &str| {
        let log = std::fs::File::create(here(log)).expect("a private directory");
        let begun = Instant::now();
        let child = script("run.sh")
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log)
            .spawn()
            .expect("bash is there");
        (child, begun)
    };
    let printed = |log: &str| std::fs::read_to_string(here(log)).unwrap_or_default();
    let stop = |mut child: std::process::Child| {
        let pid = i32::try_from(child.id()).expect("the kernel's process ids are small");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGINT)
            .expect("our own child");
        wait_for("make run to end", Duration::from_secs(20), || {
            match child.try_wait() {
                Ok(Some(_)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    };

    let (child, begun) = start("first.log");
    wait_for("make run to show the node", Duration::from_secs(30), || {
        let shown = printed("first.log");
        if shown.contains("Try:") {
            Ok(())
        } else {
            Err(shown)
        }
    });
    assert!(
        begun.elapsed() < Duration::from_secs(25),
        "it took {:?}",
        begun.elapsed()
    );
    let shown = printed("first.log");
    for expected in [
        "web-node-1",
        "Running",
        "MemoryPressure",
        "Capacity",
        "curl",
        "gantry logs",
    ] {
        assert!(shown.contains(expected), "no {expected:?} in:\n{shown}");
    }
    let page = shown
        .lines()
        .find_map(|line| line.trim().strip_prefix("curl "))
        .expect("a command to try");
    assert!(run(&["curl", "--silent", page.trim()]).contains("gantry"));
    let containers = runtime::containers().expect("containerd answers");

    // Ctrl-C leaves the pods; the second run adopts them.
    stop(child);
    assert_eq!(runtime::containers().expect("containerd answers"), containers);
    let (child, _) = start("second.log");
    wait_for(
        "the second make run to show the node",
        Duration::from_secs(30),
        || {
            let shown = printed("second.log");
            if shown.contains("Try:") {
                Ok(())
            } else {
                Err(shown)
            }
        },
    );
    assert_eq!(runtime::containers().expect("containerd answers"), containers);
    stop(child);

    let cleaned = script("clean-node.sh").output().expect("bash is there");
    assert!(cleaned.status.success(), "{}", text(&cleaned));
    let left = Machine::now().since(&before);
    assert!(
        left.is_empty(),
        "left behind:\n{}\nclean-node said:\n{}",
        left.join("\n"),
        text(&cleaned)
    );
    assert!(!here("run").exists(), "the state of make run is still there");
}

pub fn install_and_uninstall_leave_the_machine_as_it_was(_node: &mut Node) {
    let root = here("root");
    std::fs::create_dir_all(root.join("opt/cni/bin")).expect("a private directory");
    std::fs::write(root.join("opt/cni/bin/bridge"), "another vendor's").expect("a private directory");
    for everywhere in [
        "etc",
        "usr/lib",
        "usr/local/bin",
        "usr/local/lib",
        "usr/local/share/man",
    ] {
        std::fs::create_dir_all(root.join(everywhere)).expect("a private directory");
    }
    let before = run(&["find", &root.to_string_lossy(), "-printf", "%P %y %l\n"]);
    let script = |name: &str| {
        let output = Command::new(repository().join("tests/setup").join(name))
            .env(
                "GANTRY_PROGRAMS",
                crate::world::program("gantry").parent().expect("a directory"),
            )
            .env("DESTDIR", &root)
            .stdin(Stdio::null())
            .output()
            .expect("bash is there");
        assert!(output.status.success(), "{name}: {}", text(&output));
    };
    // Twice, as at an upgrade: the other vendor's plugin is kept all the same.
    script("install.sh");
    script("install.sh");
    let unit =
        std::fs::read_to_string(root.join("usr/local/lib/systemd/system/gantry.service")).expect("the unit");
    assert!(unit.contains("ExecStart=/usr/local/bin/gantry run"), "{unit}");
    for installed in [
        "usr/local/bin/gantry",
        "usr/local/share/man/man1/gantry.1",
        "usr/local/share/bash-completion/completions/gantry",
        "usr/local/share/doc/gantry/static-pods",
        "etc/kubernetes/manifests",
    ] {
        assert!(root.join(installed).exists(), "{installed} is not installed");
    }
    for plugin in ["loopback", "bridge", "host-local", "portmap"] {
        let link = std::fs::read_link(root.join("opt/cni/bin").join(plugin)).expect(plugin);
        assert!(
            root.join(link.strip_prefix("/").expect("absolute")).exists(),
            "{plugin} leads nowhere"
        );
    }
    script("uninstall.sh");
    let after = run(&["find", &root.to_string_lossy(), "-printf", "%P %y %l\n"]);
    assert_eq!(sorted(&before), sorted(&after));
    let bridge = std::fs::read_to_string(root.join("opt/cni/bin/bridge")).expect("it is back");
    assert_eq!(bridge, "another vendor's");
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}
