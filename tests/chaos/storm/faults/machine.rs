//! The machine as a whole: it loses its power, its /run is wiped, the agent has too little memory.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Fault, Harm, Inflicted, always};
use crate::process::run;
use crate::storm::{Storm, World, kernel};
use crate::wait::{STEP, wait_for};

/// What the kernel calls this life of the machine.
const LIFE: &str = "/proc/sys/kernel/random/boot_id";
/// What a machine has not any more after its power was cut.
const VOLATILE: [&str; 4] = ["/run/containerd", "/run/gantry", "/run/netns", "/run/flannel"];
/// How often the agent is started with too little memory.
const STARTS: usize = 4;
/// What has not been killed so long after its start has memory enough.
const STARTED: Duration = Duration::from_millis(1500);

pub(super) fn all<W: World>() -> Vec<Fault<W>> {
    vec![
        Fault {
            name: "power-cut",
            weight: 2,
            may: always,
            inflict: power_cut,
        },
        Fault {
            name: "socket-removed",
            weight: 2,
            may: always,
            inflict: socket_removed,
        },
        Fault {
            name: "agent-out-of-memory",
            weight: 3,
            may: has_memory_cgroup,
            inflict: out_of_memory,
        },
    ]
}

/// Everything ends at once, and what is not on a disk is gone: /run, mounts, links, rules, cgroups.
fn power_cut<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    let node = storm.world.node_mut();
    node.kill_agent();
    node.kill_containerd();
    kernel::kill(&kernel::shims().into_values().collect::<Vec<_>>());
    wait_for("everything to end", crate::node::SOON, || {
        let cgroups: Vec<PathBuf> = kernel::hierarchies()
            .iter()
            .flat_map(|path| kernel::with_below(&path.join("kubepods")))
            .collect();
        for cgroup in &cgroups {
            kernel::kill(&kernel::processes_in(cgroup));
        }
        let left = cgroups
            .iter()
            .filter(|path| path.exists() && std::fs::remove_dir(path).is_err())
            .count();
        if left == 0 {
            Ok(())
        } else {
            Err(format!("{left} cgroups"))
        }
    });
    for place in ["/run/containerd/", "/run/netns/cni-", "/var/lib/kubelet/"] {
        kernel::unmount_below(place);
    }
    for kind in ["veth", "bridge", "vxlan"] {
        for line in kernel::links(kind) {
            let name = kernel::link_name(&line).unwrap_or_default();
            if name != "eth0" {
                // One end of a pair takes the other with it.
                let _ = std::process::Command::new("ip")
                    .args(["link", "delete", name])
                    .output();
            }
        }
    }
    run(&["nft", "flush", "ruleset"]);
    wipe();
    another_life(storm.random.number(usize::MAX));
    Inflicted::until("", Harm::All, |storm: &mut Storm<W>| {
        storm.world.node_mut().start_containerd();
        storm.world.node_mut().spawn_agent();
    })
}

fn wipe() {
    for place in VOLATILE {
        for name in kernel::names(Path::new(place)).unwrap_or_default() {
            // The neighbor's namespace is another machine's.
            if name != "outside" {
                let path = Path::new(place).join(name);
                let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
            }
        }
    }
}

/// The kernel has another boot ID.
fn another_life(drawn: usize) {
    let file = crate::node::here("life");
    let text = format!("11111111-2222-3333-4444-{:012x}\n", drawn & 0xffff_ffff_ffff);
    let is_mounted = kernel::mount_points().iter().any(|point| point == LIFE);
    std::fs::write(&file, text).expect("a private directory");
    if !is_mounted {
        run(&["mount", "--bind", &file.display().to_string(), LIFE]);
    }
}

/// Somebody tidies up in /run, while the agent is alive: its socket is gone, and an administrator restarts it.
fn socket_removed<W: World>(_: &mut Storm<W>) -> Inflicted<W> {
    let _ = std::fs::remove_dir_all("/run/gantry");
    Inflicted::until("", Harm::Nothing, |storm: &mut Storm<W>| {
        let node = storm.world.node_mut();
        node.stop_agent();
        node.spawn_agent();
    })
}

fn memory_cgroup() -> Option<PathBuf> {
    let mut all = kernel::hierarchies().into_iter();
    all.find(|path| path.join("memory.limit_in_bytes").exists())
}

fn has_memory_cgroup<W>(_: &Storm<W>) -> bool {
    memory_cgroup().is_some()
}

/// The agent is started with less memory than it needs, and killed by the kernel in its first moments.
fn out_of_memory<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    let cgroup = memory_cgroup().expect("it is there").join("agent");
    std::fs::create_dir_all(&cgroup).expect("a cgroup of our own");
    storm.world.node_mut().kill_agent();
    let mut killed = 0;
    for _ in 0..STARTS {
        let limit = (2 << 20) + storm.random.number(8 << 20);
        std::fs::write(cgroup.join("memory.limit_in_bytes"), limit.to_string()).expect("nothing is in it");
        let node = storm.world.node_mut();
        node.spawn_agent_in(&cgroup);
        let begun = Instant::now();
        while node.agent_end().is_none() && begun.elapsed() < STARTED {
            std::thread::sleep(STEP);
        }
        killed += usize::from(node.agent_end().is_some());
        node.kill_agent();
    }
    let most = std::fs::read_to_string(cgroup.join("memory.max_usage_in_bytes")).unwrap_or_default();
    let what = format!(
        "{killed} of {STARTS} were killed, with at most {} bytes",
        most.trim()
    );
    Inflicted::until(what, Harm::Starts, |storm: &mut Storm<W>| {
        storm.world.node_mut().spawn_agent()
    })
}
