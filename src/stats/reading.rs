//! One reading of the whole machine: the kernel's files, in the order of the pods' names. It blocks for some microseconds
//! for each cgroup.

use std::cell::OnceCell;
use std::fs;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr, getsockopt};

use super::depth::Depth;
use super::devices::Devices;
use super::known::{Above, Asked, Found, KnownCgroups};
use super::known_pods::{KnownPod, KnownPods};
use super::mounts::Mounts;
use super::rates::Rates;
use super::{interfaces, processes, tree};
use crate::cgroup::{Cgroups, UsageReader};
use crate::model::pod::{PodName, PodUid};
use crate::model::runtime::{ContainerState, ObservedContainer, ObservedPod, Sandbox, Snapshot};
use crate::model::stats::{
    CgroupSample, ContainerSample, Interface, NodeFacts, NodeSample, PodSample, SystemPart,
};
use crate::model::usage::TaskUsage;

/// Where this machine's numbers are.
#[derive(Clone)]
pub struct Place {
    /// The cgroups.
    pub cgroups: Cgroups,
    /// `/proc`
    pub proc: PathBuf,
    /// What does not change.
    pub facts: Arc<NodeFacts>,
    /// The container runtime's socket, whose owner is measured.
    pub runtime: PathBuf,
}

/// What is needed of a container to find and describe it.
struct Named<'a> {
    id: &'a str,
    name: &'a str,
    image: &'a str,
    created: Timestamp,
}

/// What is remembered from one reading to the next.
#[derive(Debug, Default)]
pub(super) struct Memory {
    rates: Rates,
    cgroups: KnownCgroups,
    pods: KnownPods,
    mounts: Mounts,
}

/// A reading in progress.
struct Reading<'a> {
    place: &'a Place,
    reader: UsageReader<'a>,
    memory: &'a mut Memory,
    depth: Depth,
}

/// Reads everything. `None`: the kernel does not show the machine's own counters.
pub(super) fn read(
    place: &Place,
    snapshot: &Snapshot,
    depth: Depth,
    memory: &mut Memory,
) -> Option<NodeSample> {
    let mut reading = Reading {
        place,
        reader: place.cgroups.usage_reader(),
        memory,
        depth,
    };
    let sample = reading.node(snapshot);
    memory.rates.end();
    memory.cgroups.end();
    memory.pods.end();
    sample
}

impl<'a> Reading<'a> {
    fn node(&mut self, snapshot: &Snapshot) -> Option<NodeSample> {
        let machine = self.machine()?;
        let parents = self.place.cgroups.pod_parents();
        let levels: Vec<CgroupSample> = parents.iter().filter_map(|path| self.cgroup(path)).collect();
        let mut system: Vec<(SystemPart, CgroupSample)> = [
            (SystemPart::Kubelet, Some(std::process::id())),
            (SystemPart::Runtime, listener(&self.place.runtime)),
        ]
        .into_iter()
        .filter_map(|(part, pid)| Some((part, self.program(pid?)?)))
        .collect();
        let all_pods = levels.first().cloned();
        system.extend(all_pods.map(|pods| (SystemPart::Pods, pods)));
        let pods = self.pods(snapshot, &parents);
        let devices = match self.depth {
            Depth::Processes => Devices::read(&self.place.proc),
            Depth::Counters => Devices::default(),
        };
        Some(NodeSample {
            facts: Arc::clone(&self.place.facts),
            machine,
            interfaces: self.interfaces_of(std::process::id()).unwrap_or_default(),
            system,
            levels,
            pods,
            disks: devices.mounted(self.memory.mounts.points(&self.place.proc)),
            device_names: devices.names(),
        })
    }

    /// The pods that run. The directories above them are listed if one is looked for.
    fn pods(&mut self, snapshot: &Snapshot, parents: &[String]) -> Vec<PodSample> {
        let mut pods = Vec::with_capacity(snapshot.pods.len());
        let listed = OnceCell::new();
        for (name, observed) in &snapshot.pods {
            for (uid, pod) in &observed.uids {
                let Some(sandbox) = pod.ready_sandbox() else {
                    continue;
                };
                let running = running(pod, sandbox).map(|container| container.id.as_str());
                let ids = std::iter::once(sandbox.id.as_str()).chain(running);
                let known = self.memory.pods.take((uid, observed), ids, || {
                    let (cgroups, reader) = (&self.place.cgroups, &self.reader);
                    let paths = listed.get_or_init(|| tree::pods(cgroups, reader, parents));
                    let path = paths.get(uid).cloned();
                    let containers = path.as_ref().map(|path| tree::containers(reader, path));
                    (path, containers.unwrap_or_default())
                });
                pods.push(self.pod((name, uid), (pod, sandbox), &known));
                self.memory.pods.put(uid, known);
            }
        }
        pods
    }

    /// The root cgroup has no limits: the machine is one.
    fn machine(&mut self) -> Option<CgroupSample> {
        let mut machine = self.cgroup("/")?;
        if let Some(memory) = &mut machine.usage.memory {
            memory.limits.memory = u64::try_from(self.place.facts.machine.memory.0).ok();
            memory.limits.swap = u64::try_from(self.place.facts.machine.swap.0).ok();
            memory.swap = memory.swap.or_else(|| swap_in_use(&self.place.proc));
        }
        // The root cgroup counts none.
        let threads = machine.usage.tasks.or_else(|| threads(&self.place.proc));
        machine.usage.tasks = threads;
        // The machine's first process stands for it.
        if self.depth == Depth::Processes {
            machine.processes.descriptor_limit = processes::descriptor_limit(&self.place.proc, 1);
        }
        Some(machine)
    }

    fn pod(
        &mut self,
        (name, uid): (&PodName, &PodUid),
        (pod, sandbox): (&ObservedPod, &Sandbox),
        known: &KnownPod,
    ) -> PodSample {
        let mut below = Above::Busy;
        let cgroup = known.path.as_ref().and_then(|path| {
            let (cgroup, quiet) = self.asked(self.about(path, Above::Busy, known.limits_since))?;
            below = quiet;
            Some(cgroup)
        });
        let own = Named {
            id: &sandbox.id,
            name: "",
            image: &self.place.facts.sandbox_image,
            created: sandbox.created,
        };
        let sandbox_sample = self.container(&own, (known, below));
        let of_sandbox = known.containers.get(&sandbox.id);
        let interfaces = of_sandbox.and_then(|path| self.interfaces(path));
        let containers = running(pod, sandbox).map(|container| {
            let named = Named {
                id: &container.id,
                name: &container.name,
                image: &container.image,
                created: container.created,
            };
            self.container(&named, (known, below))
        });
        let containers = containers.collect();
        PodSample {
            name: name.clone(),
            uid: uid.clone(),
            created: sandbox.created,
            cgroup,
            sandbox: sandbox_sample,
            interfaces,
            containers,
        }
    }

    fn container(&mut self, named: &Named<'_>, (pod, above): (&KnownPod, Above)) -> ContainerSample {
        let path = pod.containers.get(named.id);
        let cgroup = path.and_then(|path| self.asked(self.about(path, above, pod.limits_since)));
        ContainerSample {
            id: named.id.to_owned(),
            name: named.name.to_owned(),
            image: named.image.to_owned(),
            created: named.created,
            cgroup: cgroup.map(|(cgroup, _)| cgroup),
        }
    }

    /// The cgroup that a program of the node runs in; absent if it is the whole machine's.
    fn program(&mut self, pid: u32) -> Option<CgroupSample> {
        let text = fs::read_to_string(self.place.proc.join(format!("{pid}/cgroup"))).ok()?;
        let path = self.place.cgroups.path_in(&text).filter(|path| path != "/")?;
        self.cgroup(&path)
    }

    /// Those of the sandbox whose cgroup was read.
    fn interfaces(&mut self, path: &str) -> Option<Vec<Interface>> {
        self.interfaces_of(self.memory.cgroups.process(path)?)
    }

    fn interfaces_of(&mut self, pid: u32) -> Option<Vec<Interface>> {
        let path = self.place.proc.join(format!("{pid}/net/dev"));
        self.reader.text(&path).map(interfaces::parse)
    }

    /// A cgroup of the node's own, with its limits as they are.
    fn cgroup(&mut self, path: &str) -> Option<CgroupSample> {
        let (cgroup, _) = self.asked(self.about(path, Above::Busy, Instant::now()))?;
        Some(cgroup)
    }

    fn about<'p>(&self, path: &'p str, above: Above, limits_since: Instant) -> Asked<'p>
    where
        'a: 'p,
    {
        Asked {
            path,
            above,
            limits_since,
            depth: self.depth,
            proc: &self.place.proc,
        }
    }

    /// A cgroup, and what it says about those below it.
    fn asked(&mut self, asked: Asked<'_>) -> Option<(CgroupSample, Above)> {
        let Found { path, read, below } = self.memory.cgroups.read(&mut self.reader, asked)?;
        let mut sample = CgroupSample {
            path,
            at: Timestamp::now(),
            created: read.created,
            number: read.number,
            usage: read.usage,
            nano_cores: None,
            processes: read.processes,
        };
        self.memory.rates.apply(&mut sample);
        Some((sample, below))
    }
}

/// The containers of a sandbox that run.
fn running<'a>(pod: &'a ObservedPod, sandbox: &'a Sandbox) -> impl Iterator<Item = &'a ObservedContainer> {
    let runs = |container: &&ObservedContainer| {
        container.sandbox == sandbox.id && matches!(container.state, ContainerState::Running { .. })
    };
    pod.containers.iter().filter(runs)
}

/// The process that listens on a socket, as the kernel names it to the peer of a connection. 0 stands for one of another PID
/// namespace.
fn listener(socket: &Path) -> Option<u32> {
    // A listener that accepts nothing any more would keep a blocking call for ever.
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let stream = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
    socket::connect(stream.as_raw_fd(), &UnixAddr::new(socket).ok()?).ok()?;
    let peer = getsockopt(&stream, PeerCredentials).ok()?;
    u32::try_from(peer.pid()).ok().filter(|pid| *pid > 0)
}

/// All threads of the machine (proc_loadavg(5)).
fn threads(proc: &Path) -> Option<TaskUsage> {
    let text = fs::read_to_string(proc.join("loadavg")).ok()?;
    let (_, all) = text.split_ascii_whitespace().nth(3)?.split_once('/')?;
    Some(TaskUsage {
        threads: all.parse().ok()?,
        limit: None,
    })
}

/// The swap in use (proc_meminfo(5)): cgroup v2 does not count it for the root.
fn swap_in_use(proc: &Path) -> Option<u64> {
    let text = fs::read_to_string(proc.join("meminfo")).ok()?;
    let kibibytes = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    };
    let used = kibibytes("SwapTotal:")?.saturating_sub(kibibytes("SwapFree:")?);
    Some(used.saturating_mul(1024))
}

/// When the machine booted (`btime` of proc_stat(5)).
pub fn boot_time(proc: &Path) -> Option<Timestamp> {
    let stat = fs::read_to_string(proc.join("stat")).ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    Timestamp::from_second(seconds.trim().parse().ok()?).ok()
}
