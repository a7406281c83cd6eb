//! A world for tests: a runtime, a disk and a clock, which execute plans as `act` does and panic on every step that the
//! real ones would reject or that must not happen. As scripted, steps fail, before or after their effect, and the agent
//! is killed between them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::node::{Node, Resized};
use crate::model::allocation::{self, Allocation};
use crate::model::checkpoint::Checkpoint;
use crate::model::labels::{self, ContainerAnnotations};
use crate::model::memory::{PodMemory, Remains};
use crate::model::node::{CgroupName, NodePolicy};
use crate::model::outcome::*;
use crate::model::pod::{Container, Pod, PodUid, RestartPolicy};
use crate::model::reason;
use crate::model::request::*;
use crate::model::runtime::{
    ContainerState, ObservedContainer, ObservedImage, ObservedName, ObservedPod, Sandbox,
};
use crate::model::sample;
use crate::model::step::*;
use crate::plan::{PlanView, gc, pod, restart};

/// The name prefix of containers that are added to a running pod.
pub(super) const ADDED: &str = "debug";

/// The exit code of a stopped container.
pub(super) const STOPPED: i32 = 143;

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It succeeds.
    Done,
    /// It fails without an effect.
    Fails,
    /// It fails after its effect.
    FailsLate,
    /// The runtime does not answer.
    Unreachable,
    /// The agent is killed before it.
    Killed,
    /// The agent is killed after it.
    KilledLate,
}

/// A program that exits this many seconds after its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exits {
    pub(super) after: u32,
    pub(super) code: i32,
}

/// Runtime, disk and clock, and the node that they are on.
pub(super) struct World {
    pub(super) node: Node,
    pub(super) now: Timestamp,
    pub(super) observed: ObservedName,
    pub(super) disk: BTreeSet<PathBuf>,
    pub(super) cgroups: BTreeSet<CgroupName>,
    /// By container name; a container without an entry runs for ever.
    pub(super) programs: BTreeMap<String, Exits>,
    pub(super) image_there: bool,
    pub(super) network_ready: bool,
    pub(super) policy: NodePolicy,
    pub(super) memory: Option<PodMemory>,
    /// The agent was killed at least once.
    pub(super) killed: bool,
    /// The fates of the next steps; when it is empty they succeed.
    pub(super) fates: Vec<Fate>,
    /// The checkpoint of each pod.
    checkpoints: BTreeMap<PodUid, Checkpoint>,
    /// The allocation of each pod.
    allocations: BTreeMap<PodUid, Allocation>,
    /// A checkpoint was not saved: an agent that starts may not know the order.
    pub(super) not_saved: bool,
    /// The runtime lost all that it had at least once.
    pub(super) wiped: bool,
    /// The machine was shutting down at least once.
    pub(super) was_shut_down: bool,
    /// Every UID with its last desired pod.
    definitions: BTreeMap<PodUid, Pod>,
    /// The end of the grace period of a pod that is ending, by UID.
    deadlines: BTreeMap<PodUid, Timestamp>,
    /// The instances whose hook was called.
    hooked: BTreeSet<String>,
    /// How often each container of each UID was started.
    starts: BTreeMap<(PodUid, String), u32>,
    ids: u32,
}

/// What is planned of the pod.
#[derive(Debug)]
struct Planned {
    plan: Plan,
    /// The UID that it handles.
    uid: Option<PodUid>,
    /// What is remembered now.
    memory: Option<PodMemory>,
    /// The pod gets other resources.
    is_allotted: bool,
}

/// What the current plan has created so far.
#[derive(Default)]
struct Made {
    sandbox: Option<String>,
    images: BTreeSet<String>,
    containers: BTreeMap<String, String>,
}

impl World {
    pub(super) fn new() -> World {
        World {
            node: Node::new(),
            now: sample::at(0),
            observed: ObservedName::default(),
            disk: BTreeSet::new(),
            cgroups: BTreeSet::new(),
            programs: BTreeMap::new(),
            image_there: true,
            network_ready: true,
            policy: sample::policy(),
            memory: None,
            killed: false,
            fates: Vec::new(),
            checkpoints: BTreeMap::new(),
            allocations: BTreeMap::new(),
            not_saved: false,
            wiped: false,
            was_shut_down: false,
            definitions: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            hooked: BTreeSet::new(),
            starts: BTreeMap::new(),
            ids: 0,
        }
    }

    /// The next plan, computed only from what can be observed and what is remembered.
    fn plan(&self, wanted: Option<&Pod>) -> Planned {
        let wanted = wanted.cloned().map(Arc::new);
        let seen = wanted.as_ref().and_then(|pod| self.observed.uids.get(&pod.uid));
        let allotted = wanted
            .as_ref()
            .map(|pod| allocation::allotted(pod, seen.and_then(|seen| seen.allocation.as_deref())));
        let desired = allotted.as_deref();
        let image = ObservedImage {
            id: "sha256:1".to_owned(),
            tags: vec!["docker.io/library/busybox:1.35".to_owned()],
            digests: Vec::new(),
            size: 1,
            pinned: false,
        };
        let images = [image];
        let (memory, leftovers) = (self.memory.as_ref(), self.leftovers());
        let logs = desired.map(|pod| self.log_numbers(&pod.uid));
        let view = PlanView {
            name: &sample::name(),
            runtime_ready: true,
            network_ready: self.network_ready,
            runtime_handlers: &[],
            desired_complete: true,
            unsupported: None,
            images: if self.image_there { &images } else { &[] },
            leftovers: &leftovers,
            logs: logs.as_ref(),
            objects: &Default::default(),
            services: &Default::default(),
            allocatable: &Default::default(),
            node: None,
        };
        let plan = pod::plan(desired, &self.observed, memory, &self.policy, &view, self.now);
        let uid = pod::subject(desired, &self.observed, memory, &view).cloned();
        match &wanted {
            // The memory of another UID that is being removed stays until it is gone.
            Some(pod) if uid.as_ref() == Some(&pod.uid) => {
                let mut memory = restart::remembered(memory, pod, &self.observed, self.now);
                let Resized { plan, is_allotted } = self.resize(pod, &mut memory, plan);
                let memory = Some(memory);
                Planned {
                    plan,
                    uid,
                    memory,
                    is_allotted,
                }
            }
            _ => Planned {
                plan,
                memory: memory.filter(|_| uid.is_some()).cloned(),
                uid,
                is_allotted: false,
            },
        }
    }

    fn leftovers(&self) -> BTreeSet<PodUid> {
        let dirs = self.disk.iter().filter_map(|path| {
            let below = path.strip_prefix("/var/lib/kubelet/pods").ok()?;
            Some(below.iter().next()?.to_string_lossy().into_owned())
        });
        let cgroups = self.cgroups.iter();
        let cgroups = cgroups.filter_map(|name| Some(name.0.last()?.strip_prefix("pod")?.to_owned()));
        let all = dirs.chain(cgroups).map(PodUid);
        all.chain(self.log_dirs().into_keys()).collect()
    }

    /// The log directories, by the UIDs of their pods.
    fn log_dirs(&self) -> BTreeMap<PodUid, PathBuf> {
        let dirs = self.disk.iter().filter_map(|path| {
            let name = path.strip_prefix(&self.policy.pod_logs_dir).ok()?.iter().next()?;
            let (_, uid) = name.to_str()?.rsplit_once('_')?;
            Some((PodUid(uid.to_owned()), self.policy.pod_logs_dir.join(name)))
        });
        dirs.collect()
    }

    /// The number of the next log of each container.
    fn log_numbers(&self, uid: &PodUid) -> BTreeMap<String, u32> {
        let dir = self.policy.pod_log_dir(&sample::name(), uid);
        let mut numbers = BTreeMap::new();
        for path in self.disk.iter().filter_map(|path| path.strip_prefix(&dir).ok()) {
            let number = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse::<u32>().ok());
            if let (Some(container), Some(number)) = (path.parent(), number) {
                let next = numbers
                    .entry(container.to_string_lossy().into_owned())
                    .or_insert(0);
                *next = (*next).max(number + 1);
            }
        }
        numbers
    }

    /// Plans the node and the pod, executes, remembers. Returns whether there was anything to do.
    pub(super) fn turn(&mut self, desired: Option<&Pod>) -> bool {
        if let Some(pod) = desired {
            self.definitions.insert(pod.uid.clone(), pod.clone());
        }
        self.plan_node(desired);
        if self.is_deferred() {
            return self.collect_leftover(desired);
        }
        let Planned {
            plan,
            uid,
            memory,
            is_allotted,
        } = self.plan(desired);
        self.memory = memory;
        if plan.is_idle() {
            return self.collect_leftover(desired);
        }
        if let Some(pod) = desired.filter(|_| is_allotted) {
            let allotted = Arc::new(pod.clone());
            self.node.decisions.allotting.insert(pod.name.clone(), allotted);
        }
        let uid = uid.expect("a plan is about somebody");
        let before = self.observed.clone();
        match self.execute(plan, desired) {
            Some(steps) => {
                // The snapshot shows the saved decision, or saving it failed.
                self.node.decisions.allotting.clear();
                let outcome = Outcome {
                    pod: sample::name(),
                    uid,
                    at: self.now,
                    steps,
                };
                let memory = self.memory.as_ref();
                let after = restart::after(memory, desired, &outcome, &before, &self.policy);
                self.memory = Some(after);
            }
            None => self.agent_restarts(),
        }
        true
    }

    /// Removes unknown leftovers one by one, whatever their pod's name was. What is remembered is handled by the plan
    /// of its name.
    fn collect_leftover(&mut self, desired: Option<&Pod>) -> bool {
        let known = |uid: &PodUid| {
            let remembered = self
                .memory
                .as_ref()
                .is_some_and(|memory| memory.uid == *uid && memory.remains != Remains::Nothing);
            self.observed.uids.contains_key(uid) || desired.is_some_and(|pod| pod.uid == *uid) || remembered
        };
        let Some(uid) = self.leftovers().into_iter().find(|uid| !known(uid)) else {
            return false;
        };
        let logs = self.log_dirs().remove(&uid);
        let plan = gc::leftover(&uid, logs.as_deref(), &self.policy);
        self.killed |= self.execute(plan, desired).is_none();
        true
    }

    /// Turns until there is nothing to do and nothing to wait for, except the pod's deadline.
    pub(super) fn settle(&mut self, desired: Option<&Pod>) {
        for _ in 0..400 {
            if self.turn(desired) {
                continue;
            }
            let of_pod = self.plan(desired).plan.wake_at.filter(|_| !self.is_deferred());
            let wake_at = of_pod.into_iter().chain(self.node_wakes_at(desired)).min();
            assert!(wake_at.is_none_or(|at| at > self.now), "woken for nothing");
            match [wake_at, self.next_exit()].into_iter().flatten().min() {
                Some(next) => self.advance_to(next.max(self.now)),
                None => return,
            }
        }
        panic!(
            "does not settle; next: {:?}\nworld: {:?}",
            self.plan(desired),
            self.observed
        );
    }

    pub(super) fn advance(&mut self, seconds: i64) {
        let to = self.now + jiff::SignedDuration::from_secs(seconds);
        self.advance_to(to);
    }

    fn advance_to(&mut self, to: Timestamp) {
        let programs = self.programs.clone();
        for instance in self.instances_mut() {
            let ContainerState::Running { started } = instance.state else {
                continue;
            };
            let Some(Exits { after, code }) = programs.get(&instance.name) else {
                continue;
            };
            let finished = started + Duration::from_secs(u64::from(*after));
            if finished <= to {
                end(instance, finished, *code);
            }
        }
        self.now = to;
    }

    fn next_exit(&self) -> Option<Timestamp> {
        let instances = self.observed.uids.values().flat_map(|seen| &seen.containers);
        let exits =
            instances.filter_map(
                |instance| match (&instance.state, self.programs.get(&instance.name)) {
                    (ContainerState::Running { started }, Some(Exits { after, .. })) => {
                        Some(*started + Duration::from_secs(u64::from(*after)))
                    }
                    _ => None,
                },
            );
        exits.min()
    }

    pub(super) fn instances_mut(&mut self) -> impl Iterator<Item = &mut ObservedContainer> {
        self.observed
            .uids
            .values_mut()
            .flat_map(|seen| seen.containers.iter_mut())
    }

    /// A container of that name exits by itself.
    pub(super) fn dies(&mut self, name: &str, code: i32) {
        let now = self.now;
        let running = self
            .instances_mut()
            .find(|c| c.name == name && matches!(c.state, ContainerState::Running { .. }));
        if let Some(instance) = running {
            end(instance, now, code);
        }
    }

    /// The runtime loses track of a container.
    pub(super) fn forgets(&mut self, name: &str) {
        let running = self
            .instances_mut()
            .find(|c| c.name == name && matches!(c.state, ContainerState::Running { .. }));
        if let Some(instance) = running {
            instance.state = ContainerState::Unknown;
        }
    }

    /// Removes a container from the runtime, as an administrator might.
    pub(super) fn loses(&mut self, name: &str) {
        for seen in self.observed.uids.values_mut() {
            let newest = seen.container(name).map(|c| c.id.clone());
            seen.containers.retain(|c| Some(&c.id) != newest.as_ref());
        }
    }

    /// The runtime loses all that it had, at a restart of the machine.
    pub(super) fn is_wiped(&mut self) {
        self.reboots();
        self.observed.uids.clear();
        self.wiped = true;
    }

    /// How many objects have been created so far.
    pub(super) fn made(&self) -> u32 {
        self.ids
    }

    /// The machine begins to shut down, or does not after all.
    pub(super) fn shuts_down(&mut self, begins: bool) {
        self.node.shutting_down = begins.then(|| self.node.shutting_down.unwrap_or(self.now));
        self.was_shut_down |= begins;
    }

    /// The machine restarts: nothing runs any more, no cgroup is left.
    pub(super) fn reboots(&mut self) {
        self.shuts_down(false);
        let now = self.now;
        self.instances_mut()
            .filter(|c| c.may_run())
            .for_each(|c| end(c, now, 255));
        self.sandboxes_mut().for_each(|sandbox| sandbox.ready = false);
        self.cgroups.clear();
        self.agent_restarts();
    }

    /// The sandbox's own process ends, and with it the containers that share its namespaces.
    pub(super) fn sandbox_dies(&mut self) {
        let now = self.now;
        self.instances_mut()
            .filter(|c| c.may_run())
            .for_each(|c| end(c, now, 137));
        self.sandboxes_mut().for_each(|sandbox| sandbox.ready = false);
    }

    fn sandboxes_mut(&mut self) -> impl Iterator<Item = &mut Sandbox> {
        self.observed
            .uids
            .values_mut()
            .flat_map(|seen| seen.sandboxes.iter_mut())
    }

    /// Executes a plan by the contract of [`Plan`]; `None`: the agent died on the way.
    fn execute(&mut self, plan: Plan, desired: Option<&Pod>) -> Option<Vec<StepReport>> {
        let mut made = Made::default();
        let mut failed = Failed::default();
        let mut reports: Vec<StepReport> = Vec::new();
        let ends = |step: &Step| matches!(step, Step::StopSandbox { id } if self.is_ready(id));
        let ends = plan.stages.iter().flatten().any(ends);
        for stage in plan.stages {
            if failed.ends_plan() {
                break;
            }
            let steps: Vec<_> = stage.into_iter().filter(|step| !failed.holds(step)).collect();
            self.call_hooks(&steps, ends);
            let mut tried = BTreeSet::new();
            let steps = in_turn(steps);
            for step in steps {
                let fate = self.fates.pop().unwrap_or(Fate::Done);
                let (subject, kind) = (step.subject(), step.kind());
                let reason = reason_of(&step);
                if fate == Fate::Killed {
                    return None;
                }
                let goes_on = matches!(&step, Step::WriteCheckpoint(record) if record.on_failure == OnWriteFailure::Continue);
                if goes_on && matches!(fate, Fate::Fails | Fate::FailsLate | Fate::Unreachable) {
                    self.not_saved = true;
                    continue;
                }
                if let Step::StopContainer { id, .. } = &step {
                    self.is_signalled(&step, ends, &tried);
                    tried.insert(id.clone());
                }
                let result = match fate {
                    Fate::Fails => Err(error(reason, Failure::Failed)),
                    Fate::Unreachable => Err(error(reason, Failure::Unreachable)),
                    Fate::FailsLate | Fate::KilledLate | Fate::Done | Fate::Killed => {
                        self.apply(step, desired, &mut made)
                    }
                };
                let result = match fate {
                    Fate::KilledLate => return None,
                    Fate::FailsLate => result.and(Err(error(reason, Failure::Failed))),
                    _ => result,
                };
                if result.is_err() {
                    failed.add(&subject);
                }
                reports.push(StepReport {
                    subject,
                    kind,
                    began: self.now,
                    took: Duration::ZERO,
                    result,
                });
            }
        }
        Some(reports)
    }

    fn apply(&mut self, step: Step, desired: Option<&Pod>, made: &mut Made) -> Result<Done, StepError> {
        match step {
            Step::StopContainer { id, .. } => {
                self.may_stop(&id, desired);
                let now = self.now;
                let instance = self
                    .instances_mut()
                    .find(|c| c.id == id)
                    .expect("what is stopped exists");
                assert!(instance.may_run(), "only what may run is stopped");
                end(instance, now, STOPPED);
                return Ok(Done::Stopped {
                    hook: HookResult::Done,
                });
            }
            Step::RemoveContainer { id, log, .. } => {
                self.disk.remove(&log);
                for seen in self.observed.uids.values_mut() {
                    let may_run = |c: &ObservedContainer| c.id == id && c.may_run();
                    assert!(
                        !seen.containers.iter().any(may_run),
                        "what may run is not removed"
                    );
                    seen.containers.retain(|c| c.id != id);
                }
            }
            Step::StopSandbox { id } => self.stop_sandbox(&id),
            Step::RemoveSandbox { id } => self.remove_sandbox(&id),
            Step::RemovePodDir { dir } => self.remove_dir(&dir),
            Step::RemoveLogDir { dir, .. } => {
                self.disk.retain(|path| !path.starts_with(&dir));
                let dir = dir.to_string_lossy();
                // State that is gone without a trace must not be relied on.
                self.starts.retain(|(uid, _), _| !dir.ends_with(&uid.0));
            }
            Step::RemoveCgroup { name } => {
                self.nothing_lives(name.0.last().unwrap());
                self.cgroups.remove(&name);
            }
            Step::EnsureCgroup(setting) => {
                self.cgroups.insert(setting.name);
            }
            Step::EnsurePodDir { dir, logs } => self.disk.extend([dir.join("etc"), logs]),
            Step::EnsureVolume(VolumeRequest { kind, .. }) => match kind {
                VolumeKind::Directory { path, .. } | VolumeKind::Tmpfs { path, .. } => {
                    self.disk.insert(path);
                }
                VolumeKind::Files { path, .. } | VolumeKind::HugePages { path, .. } => {
                    self.disk.insert(path);
                }
                VolumeKind::Local(volume) => {
                    self.disk.insert(volume.path);
                }
                VolumeKind::NetworkDisk(volume) => {
                    self.disk.insert(volume.path);
                }
                VolumeKind::Nfs(nfs) => {
                    self.disk.insert(nfs.path);
                }
                VolumeKind::HostPath { .. }
                | VolumeKind::Csi(_)
                | VolumeKind::LocalDevice(_)
                | VolumeKind::NetworkDiskDevice(_)
                | VolumeKind::Exhausted { .. }
                | VolumeKind::Missing { .. } => {}
            },
            Step::ExpandVolume(_) | Step::RepublishVolume(_) => {}
            Step::RunSandbox(request) => return Ok(self.run_sandbox(&request.config, made)),
            Step::EnsureImage(request) => {
                if !self.image_there {
                    return Err(error(reason::waiting::ERR_IMAGE_PULL, Failure::Failed));
                }
                made.images.insert(request.container);
                return Ok(Done::ImagePresent { image: request.image });
            }
            Step::EnsureVolumeImage(request) => {
                if !self.image_there {
                    return Err(error(reason::waiting::ERR_IMAGE_PULL, Failure::Failed));
                }
                return Ok(Done::ImagePresent { image: request.image });
            }
            Step::WriteHosts(_) => {}
            Step::CreateContainer(request) => return Ok(self.create(*request, made)),
            Step::StartContainer { container, which, .. } => return Ok(self.start(&container, which, made)),
            Step::PostStart(_) => {}
            Step::WriteCheckpoint(record) => {
                self.disk.insert(record.path.clone());
                let uid = record.path.iter().rev().nth(1).unwrap().to_string_lossy();
                self.checkpoints
                    .insert(PodUid(uid.into_owned()), record.checkpoint.clone());
                self.show_files();
            }
            Step::WriteAllocation(record) => {
                self.disk.insert(record.path.clone());
                let uid = record.path.iter().rev().nth(1).unwrap().to_string_lossy();
                let uid = PodUid(uid.into_owned());
                self.allocations.insert(uid, record.allocation.clone());
                self.show_files();
                return Ok(Done::AllocationWritten {
                    allocation: Box::new(record.allocation),
                    occasion: record.occasion,
                });
            }
            Step::Resize(_) => {}
        }
        Ok(Done::Nothing)
    }

    fn is_ready(&self, id: &str) -> bool {
        let mut all = self.observed.uids.values().flat_map(|seen| &seen.sandboxes);
        all.any(|sandbox| sandbox.id == id && sandbox.ready)
    }

    /// The observer reads the files of pods that the runtime has.
    fn show_files(&mut self) {
        for (uid, seen) in &mut self.observed.uids {
            seen.checkpoint = self.checkpoints.get(uid).cloned().map(Arc::new);
            seen.allocation = self.allocations.get(uid).cloned().map(Arc::new);
        }
    }

    /// A stage calls the hooks of all containers that it stops at its beginning: if the pod ends, of all that run.
    fn call_hooks(&mut self, stage: &[Step], ends: bool) {
        let stopped: Vec<&String> = stage
            .iter()
            .filter_map(|step| match step {
                Step::StopContainer { id, .. } => Some(id),
                _ => None,
            })
            .collect();
        if !ends || stopped.is_empty() {
            return;
        }
        for seen in self.observed.uids.values() {
            let running = seen.containers.iter().filter(|c| c.may_run());
            let (some, all) = (
                running.clone().any(|c| stopped.contains(&&c.id)),
                running.clone().all(|c| stopped.contains(&&c.id)),
            );
            assert!(
                !some || all,
                "the hooks of all are called at the beginning: {seen:?}"
            );
        }
        self.hooked.extend(stopped.into_iter().cloned());
    }

    /// Signals a container: a sidecar after those that it serves, and all within one grace period.
    fn is_signalled(&mut self, step: &Step, ends: bool, tried: &BTreeSet<String>) {
        let Step::StopContainer { id, grace, .. } = step else {
            return;
        };
        let of_id = |seen: &ObservedPod| seen.containers.iter().any(|c| c.id == *id);
        let Some((uid, seen)) = self.observed.uids.iter().find(|(_, seen)| of_id(seen)) else {
            return;
        };
        let Some(pod) = self.definitions.get(uid).filter(|_| ends) else {
            return;
        };
        let name = seen
            .containers
            .iter()
            .find(|c| c.id == *id)
            .map(|c| c.name.clone());
        let place = |name: &str| {
            pod.init_containers
                .iter()
                .position(|c| c.sidecar && c.name == name)
        };
        let own = name.as_deref().and_then(place);
        let served = |c: &&ObservedContainer| {
            pod.containers.iter().any(|other| other.name == c.name) || place(&c.name) > own
        };
        // A container that could not be stopped delays others until the end of the grace period, no longer.
        let waits = |c: &&ObservedContainer| c.may_run() && !tried.contains(&c.id) && served(c);
        // When the grace period is over there is no time left for an order, as in the kubelet (`waitForTurn` in
        // `kuberuntime_termination_order.go`).
        let chosen = self.memory.as_ref().and_then(|memory| memory.ends_by);
        // It may have been written down by an agent that was killed before it stopped anything.
        let saved = seen.checkpoint.as_ref().and_then(|saved| saved.ends);
        let begun = self.deadlines.get(uid).copied();
        let ends = begun.into_iter().chain(chosen).chain(saved).min();
        let is_over = ends.is_some_and(|ends| ends <= self.now);
        if own.is_some() && !self.not_saved && !is_over {
            let waited_for = seen.containers.iter().find(waits);
            assert_eq!(waited_for, None, "{name:?} is ended before");
        }
        let full = self.now + *grace;
        let begun = self.deadlines.entry(uid.clone()).or_insert(full);
        let least = self.now + crate::plan::teardown::LEAST_GRACE;
        if !self.not_saved {
            assert!(
                full <= (*begun).max(least),
                "the grace of {name:?} begins once more"
            );
        }
    }

    /// A container in its desired state is not stopped.
    fn may_stop(&self, id: &str, desired: Option<&Pod>) {
        let Some(pod) = desired else { return };
        let Some(seen) = self.observed.uids.get(&pod.uid) else {
            return;
        };
        let Some(instance) = seen.containers.iter().find(|c| c.id == id) else {
            return;
        };
        let memory = restart::remembered(self.memory.as_ref(), pod, &self.observed, self.now);
        let is_over = seen.checkpoint.as_ref().is_some_and(|saved| saved.leaving);
        let is_over = is_over || memory.incarnation != pod.incarnation;
        let shall_end = pod.deletion.is_some() || memory.ended.is_some() || is_over;
        let usable = seen
            .usable_sandbox(pod.namespaces.host_network)
            .is_some_and(|s| s.id == instance.sandbox);
        let definition = pod.all_containers().find(|c| c.name == instance.name);
        let unchanged = definition.is_some_and(|c| c.hash == instance.hash);
        let healthy = matches!(instance.state, ContainerState::Running { .. });
        let restarts_all = seen.restarts_all(pod).is_some() && !is_added(&instance.name);
        if shall_end || restarts_all || !usable || !unchanged || !healthy {
            return;
        }
        let newest = |c: &Container| seen.container(&c.name);
        let ended = |c: &Container| newest(c).is_some_and(|c| c.finished().is_some());
        let failed = |c: &Container| !c.sidecar && newest(c).is_some_and(|c| c.has_failed());
        let serves = |c: &Container| c.sidecar || c.name.starts_with(ADDED);
        let serves_nobody = definition.is_some_and(serves)
            && (pod.containers.iter().all(ended) || pod.init_containers.iter().any(failed));
        assert!(
            serves_nobody,
            "{} was stopped though it runs as it shall: {seen:#?}",
            instance.name
        );
    }

    /// No container of a UID that occurs in the text may be running.
    fn nothing_lives(&self, of: &str) {
        for (_, seen) in self.observed.uids.iter().filter(|(uid, _)| of.contains(&uid.0)) {
            let live = seen.containers.iter().any(|c| c.may_run()) || seen.ready_sandboxes().next().is_some();
            assert!(!live, "{of}: taken away from under something that lives");
        }
    }

    fn remove_dir(&mut self, dir: &Path) {
        assert!(dir.starts_with("/var/lib/kubelet/pods"), "{dir:?}");
        self.nothing_lives(&dir.to_string_lossy());
        self.checkpoints.retain(|uid, _| self.policy.pod_dir(uid) != *dir);
        self.allocations.retain(|uid, _| self.policy.pod_dir(uid) != *dir);
        self.show_files();
        self.disk.retain(|path| !path.starts_with(dir));
    }

    fn stop_sandbox(&mut self, id: &str) {
        let now = self.now;
        self.instances_mut()
            .filter(|c| c.sandbox == id && c.may_run())
            .for_each(|c| end(c, now, 137));
        for sandbox in self.sandboxes_mut().filter(|sandbox| sandbox.id == id) {
            sandbox.ready = false;
            sandbox.ips.clear();
        }
    }

    fn remove_sandbox(&mut self, id: &str) {
        for seen in self.observed.uids.values_mut() {
            let ready = |s: &Sandbox| s.id == id && s.ready;
            assert!(
                !seen.sandboxes.iter().any(ready),
                "a sandbox is stopped before it is removed"
            );
            seen.sandboxes.retain(|sandbox| sandbox.id != id);
            seen.containers.retain(|c| c.sandbox != id);
        }
        self.observed
            .uids
            .retain(|_, seen| !seen.sandboxes.is_empty() || !seen.containers.is_empty());
    }

    fn run_sandbox(&mut self, config: &k8s_cri::v1::PodSandboxConfig, made: &mut Made) -> Done {
        let metadata = config.metadata.clone().unwrap();
        let uid = sample::uid(&metadata.uid);
        self.nothing_lives(&uid.0);
        self.may_run(&self.definitions[&uid]);
        assert!(
            self.observed.uids.keys().all(|other| *other == uid),
            "the old UID is gone before the new one starts"
        );
        let linux = config.linux.as_ref().unwrap();
        assert!(!self.cgroups.is_empty() && linux.cgroup_parent.contains(&uid.0));
        self.deadlines.remove(&uid);
        let seen = self.observed.uids.entry(uid).or_default();
        assert!(
            seen.sandboxes.iter().all(|s| s.attempt < metadata.attempt),
            "attempts grow"
        );
        self.ids += 1;
        let id = format!("s{}", self.ids);
        let created = i64::from(self.ids);
        let sandbox = Sandbox {
            id: id.clone(),
            created: self.now,
            annotations: config.annotations.clone().into_iter().collect(),
            ..sample::sandbox(metadata.attempt, true, created)
        };
        seen.sandboxes.insert(0, sandbox);
        made.sandbox = Some(id.clone());
        self.show_files();
        Done::Sandbox { id }
    }

    fn create(&mut self, request: ContainerRequest, made: &mut Made) -> Done {
        let sandbox = match request.sandbox {
            SandboxRef::Id(id) => id,
            SandboxRef::Made => made.sandbox.clone().expect("the sandbox was made before"),
        };
        assert!(
            made.images.contains(&request.container),
            "its image is ensured in the same plan"
        );
        let attempt = request.config.metadata.as_ref().unwrap().attempt;
        let (_, uid) = labels::owner(&request.config.labels).expect("it is labelled as the pod's");
        let ran = self
            .starts
            .get(&(uid.clone(), request.container.clone()))
            .copied();
        assert_eq!(
            attempt,
            ran.unwrap_or(0),
            "restarts of {} are counted",
            request.container
        );
        let seen = self.observed.uids.get_mut(&uid).expect("the pod has a sandbox");
        assert!(seen.sandboxes.iter().any(|s| s.id == sandbox && s.ready));
        let taken = |c: &ObservedContainer| c.name == request.container && c.restart_count == attempt;
        assert!(
            !seen.containers.iter().any(taken),
            "the runtime takes a name once"
        );
        self.ids += 1;
        let id = format!("c{}", self.ids);
        let annotations = ContainerAnnotations::read(&request.config.annotations);
        let instance = ObservedContainer {
            id: id.clone(),
            log_path: format!(
                "{}/{}",
                request.sandbox_config.log_directory, request.config.log_path
            ),
            sandbox,
            hash: annotations.hash.unwrap(),
            created: self.now,
            ..sample::instance(&request.container, attempt, 0, ContainerState::Created)
        };
        seen.containers.insert(0, instance);
        made.containers.insert(request.container, id.clone());
        Done::Container { id }
    }

    fn start(&mut self, container: &str, which: ContainerRef, made: &Made) -> Done {
        let id = match which {
            ContainerRef::Id(id) => id,
            ContainerRef::Made => made.containers[container].clone(),
        };
        let now = self.now;
        let live = self.instances_mut().any(|c| c.name == container && c.may_run());
        assert!(!live, "{container} would run twice");
        let (uid, seen) = self
            .observed
            .uids
            .iter_mut()
            .find(|(_, seen)| seen.containers.iter().any(|c| c.id == id))
            .expect("what is started exists");
        let starts = self
            .starts
            .entry((uid.clone(), container.to_owned()))
            .or_default();
        *starts += 1;
        let is_added = container.starts_with(ADDED);
        // The new life of a pod that its restart policy would leave ended.
        let restarts = |pod: &Pod| pod.containers.iter().all(|c| c.restart == RestartPolicy::Always);
        let begins_anew = self.was_shut_down && !self.definitions.get(uid).is_some_and(restarts);
        assert!(
            !is_added || *starts == 1 || self.wiped || begins_anew,
            "{container} is started once"
        );
        let instance = seen.containers.iter_mut().find(|c| c.id == id).unwrap();
        assert_eq!(instance.state, ContainerState::Created);
        assert!(seen.sandboxes.iter().any(|s| s.id == instance.sandbox && s.ready));
        instance.state = ContainerState::Running { started: now };
        self.disk.insert(PathBuf::from(&instance.log_path));
        Done::Container { id }
    }
}

/// The steps of a stage in a possible order of completion if they run in parallel: the last first, except for those
/// that wait for others.
fn in_turn(stage: Vec<Step>) -> Vec<Step> {
    let is_stop = |step: &Step| matches!(step, Step::StopContainer { .. });
    let (mut stops, mut steps): (Vec<Step>, Vec<Step>) = stage.into_iter().partition(is_stop);
    while !stops.is_empty() {
        let ids: Vec<String> = stops.iter().map(id_of).collect();
        let free = |step: &Step| match step {
            Step::StopContainer { after, .. } => !after.iter().any(|id| ids.contains(id)),
            _ => true,
        };
        let next = stops.iter().rposition(free).expect("nobody waits for itself");
        steps.push(stops.remove(next));
    }
    steps
}

fn is_added(name: &str) -> bool {
    name.starts_with(ADDED)
}

fn id_of(step: &Step) -> String {
    match step {
        Step::StopContainer { id, .. } => id.clone(),
        _ => String::new(),
    }
}

fn end(instance: &mut ObservedContainer, finished: Timestamp, code: i32) {
    let started = match instance.state {
        ContainerState::Running { started } => Some(started),
        _ => None,
    };
    instance.state = ContainerState::Exited {
        started,
        finished,
        code,
        reason: if code == 0 { "Completed" } else { "Error" }.to_owned(),
        message: String::new(),
        termination_message: String::new(),
    };
}

fn error(reason: &'static str, failure: Failure) -> StepError {
    StepError {
        reason,
        message: "as the script says".to_owned(),
        failure,
    }
}

fn reason_of(step: &Step) -> &'static str {
    match step {
        Step::EnsureCgroup(_) => reason::pod::FAILED_CREATE_CGROUP,
        Step::EnsurePodDir { .. } | Step::EnsureVolume(_) => reason::pod::FAILED_MOUNT,
        Step::RunSandbox(_) => reason::pod::FAILED_CREATE_SANDBOX,
        Step::WriteHosts(_) | Step::WriteAllocation(_) | Step::WriteCheckpoint(_) => reason::pod::FAILED_SYNC,
        Step::Resize(_) => reason::pod::RESIZE_ERROR,
        Step::EnsureImage(_) | Step::EnsureVolumeImage(_) => reason::waiting::ERR_IMAGE_PULL,
        Step::CreateContainer(_) => reason::waiting::CREATE_CONTAINER_ERROR,
        Step::StartContainer { .. } => reason::waiting::RUN_CONTAINER_ERROR,
        _ => reason::pod::FAILED_KILL_POD,
    }
}
