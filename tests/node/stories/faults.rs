//! Faults: agent and containerd killed at any moment, manifests broken in every way.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::broken_manifests;
use crate::manifest;
use crate::node::{Node, SOON, container, ip, is_ready, stays, wait_http};
use crate::runtime::{self, Container};
use crate::seeded_random::SeededRandom;
use crate::wait::wait_for;

/// How many pods a rollout has, and how often something is killed meanwhile.
const PODS: usize = 10;
const KILLS: usize = 20;

pub fn an_agent_that_ends_leaves_pods_and_adopts_them_again(node: &mut Node) {
    node.start_agent();
    node.manifest("web.yaml", &manifest::web("web", "all the while"));
    node.manifest("gone.yaml", &manifest::idle("gone"));
    let pod = node.wait_running("web");
    node.wait_running("gone");
    let address = format!("{}:8080", ip(&pod));
    wait_http(&address, "/", "all the while");
    let before = of("web", &runtime::containers().expect("containerd answers"));

    node.stop_agent();
    wait_http(&address, "/", "all the while");
    // What changed meanwhile is seen at the start.
    node.remove("gone.yaml");
    node.manifest("new.yaml", &manifest::idle("new"));
    node.start_agent();
    node.wait_running("new");
    node.wait_gone("gone");
    let pod = node.wait_running("web");
    assert_eq!(container(&pod, "main")["restartCount"], 0);
    assert_eq!(
        of("web", &runtime::containers().expect("containerd answers")),
        before
    );
    wait_http(&address, "/", "all the while");
}

fn of(pod: &str, containers: &[Container]) -> Vec<Container> {
    let full = format!("{pod}-node-1");
    containers
        .iter()
        .filter(|container| container.pod == full)
        .cloned()
        .collect()
}

pub fn the_agent_is_killed_twenty_times_during_a_rollout(node: &mut Node) {
    node.start_agent();
    roll_out_under(node, |node| {
        node.kill_agent();
        node.spawn_agent();
    });
}

pub fn containerd_is_killed_twenty_times_during_a_rollout(node: &mut Node) {
    node.start_agent();
    roll_out_under(node, |node| {
        node.kill_containerd();
        node.start_containerd();
    });
    node.assert_agent_lives();
}

/// Adds pods one after the other while something is killed at random moments; then the state is as if nothing had
/// happened, and no container that once ran was started again.
fn roll_out_under(node: &mut Node, fault: impl Fn(&mut Node)) {
    let mut random = SeededRandom::new();
    let mut seen_running = BTreeSet::new();
    for round in 0..KILLS {
        if round % 2 == 0 {
            node.manifest(
                &format!("pod{}.yaml", round / 2),
                &manifest::idle(&format!("pod{}", round / 2)),
            );
        }
        std::thread::sleep(random.next(Duration::from_millis(400))); // the random moment
        fault(node);
        let running = runtime::containers()
            .unwrap_or_default()
            .into_iter()
            .filter(|container| container.running);
        seen_running.extend(running.map(|container| (container.pod, container.id)));
    }
    wait_for("all pods to be ready", Duration::from_secs(60), || {
        let pods = node.pods()?;
        let waiting: Vec<_> = pods
            .iter()
            .filter(|pod| !is_ready(pod))
            .map(|pod| pod["metadata"]["name"].to_string())
            .collect();
        if pods.len() == PODS && waiting.is_empty() {
            Ok(())
        } else {
            Err(format!("{} pods, waiting {waiting:?}", pods.len()))
        }
    });
    let end = wait_for("one sandbox and one container a pod", SOON, || {
        let containers = runtime::containers()?;
        let sandboxes = runtime::sandboxes()?;
        let running: Vec<Container> = containers
            .iter()
            .filter(|container| container.running)
            .cloned()
            .collect();
        let ready = sandboxes.iter().filter(|sandbox| sandbox.ready).count();
        let names: BTreeSet<&str> = running.iter().map(|container| container.pod.as_str()).collect();
        if running.len() == PODS && names.len() == PODS && ready == PODS {
            Ok(running)
        } else {
            Err(format!("{ready} ready sandboxes, running: {running:?}"))
        }
    });
    let now: BTreeSet<(String, String)> = end
        .iter()
        .map(|container| (container.pod.clone(), container.id.clone()))
        .collect();
    let lost: Vec<_> = seen_running.difference(&now).collect();
    assert!(
        lost.is_empty(),
        "these ran and run no more, seed {}: {lost:?}",
        random.seed
    );
    // A containerd that is killed while it starts a container gives that one up, and it needs a successor.
    let given_up = ["StartError", "Unknown"];
    let all = runtime::containers().expect("containerd answers");
    for container in end.iter().filter(|container| container.restarts > 0) {
        let before = all
            .iter()
            .filter(|other| other.pod == container.pod && !other.running);
        let reasons: Vec<String> = before
            .map(|other| runtime::end_of(&other.id).expect("it is listed"))
            .collect();
        assert!(
            !reasons.is_empty() && reasons.iter().all(|reason| given_up.contains(&reason.as_str())),
            "{container:?} after {reasons:?}, seed {}",
            random.seed
        );
    }
    stays("the end state", Duration::from_secs(2), || {
        let containers = runtime::containers()?
            .into_iter()
            .filter(|container| container.running)
            .collect::<Vec<_>>();
        if containers == end {
            Ok(())
        } else {
            Err(format!("{containers:?}"))
        }
    });
}

pub fn broken_manifests_disturb_no_other_pod(node: &mut Node) {
    node.start_agent();
    node.manifest("good.yaml", &manifest::web("good", "still here"));
    let pod = node.wait_running("good");
    let address = format!("{}:8080", ip(&pod));
    wait_http(&address, "/", "still here");

    let files = broken_manifests::all();
    for (file, content) in &files {
        std::fs::write(std::path::Path::new(crate::node::MANIFESTS).join(file), content)
            .expect("a private directory");
    }
    // The kinds of things that are no files.
    let directory = std::path::Path::new(crate::node::MANIFESTS);
    std::fs::create_dir(directory.join("directory.yaml")).expect("a private directory");
    std::os::unix::fs::symlink("loop-b.yaml", directory.join("loop-a.yaml")).expect("a new name");
    std::os::unix::fs::symlink("loop-a.yaml", directory.join("loop-b.yaml")).expect("a new name");
    nix::unistd::mkfifo(&directory.join("fifo.yaml"), nix::sys::stat::Mode::S_IRUSR).expect("a new name");

    wait_for("every broken file to be told of", SOON, || {
        let table = node.prints(&["get", "pods"]);
        let missing: Vec<&str> = files
            .iter()
            .map(|(file, _)| file.as_str())
            .chain(["directory.yaml", "loop-a.yaml", "fifo.yaml"])
            .filter(|file| !table.contains(file))
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "{} without a row, the first {:?}",
                missing.len(),
                missing[0]
            ))
        }
    });
    node.assert_agent_lives();
    wait_http(&address, "/", "still here");
    assert_eq!(
        container(&node.pod("good").expect("still reported"), "main")["restartCount"],
        0
    );
    node.manifest("late.yaml", &manifest::idle("late"));
    node.wait_running("late");
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", node.agent_pid())).expect("the agent lives");
    let kib = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        number
            .and_then(|number| number.parse().ok())
            .expect("a number of KiB")
    };
    // The pages of the program's own file, two thirds of it all in a debug build, say nothing of what it has read.
    let read = kib("VmHWM:").saturating_sub(kib("RssFile:"));
    assert!(
        read < 48 * 1024,
        "reading them took {read} KiB of memory at its height"
    );
}

/// What was made for it before is found by its UID alone, the directory of its logs included.
pub fn a_pod_that_ends_before_it_has_a_sandbox_leaves_nothing(node: &mut Node) {
    const PLUGIN: &str = "/opt/cni/bin/bridge";
    std::fs::rename(PLUGIN, "/opt/cni/bin/.bridge").expect("a private /opt");
    std::fs::write(PLUGIN, "#!/bin/sh\nexec sleep 1000000\n").expect("a private /opt");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(PLUGIN, mode).expect("our own file");
    node.start_agent();
    node.manifest("early.yaml", &manifest::idle("early"));
    let entries = |directory: &str| -> Vec<String> {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path().display().to_string()).collect()
    };
    let left = || [entries("/var/lib/kubelet/pods"), entries("/var/log/pods")].concat();
    wait_for("the pod to have its directories", SOON, || match left() {
        found if found.len() == 2 => Ok(()),
        found => Err(format!("{found:?}")),
    });
    node.kill_agent();
    node.remove("early.yaml");
    std::fs::rename("/opt/cni/bin/.bridge", PLUGIN).expect("a private /opt");
    node.start_agent();
    wait_for("nothing of the pod to be left", SOON, || match left() {
        found if found.is_empty() => Ok(()),
        found => Err(format!("{found:?}")),
    });
}
