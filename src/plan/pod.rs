//! The plan for one pod name.

use jiff::Timestamp;

use super::context::PlanContext;
use super::need::{Need, need};
use super::start::{self, Stages};
use super::teardown::{self, Ending};
use super::{PlanView, gc, restart, restart_all};
use crate::model::end::End;
use crate::model::memory::{FailedWork, PodMemory, Remains};
use crate::model::node::NodePolicy;
use crate::model::pod::{Container, Pod, PodUid, RestartPolicy};
use crate::model::runtime::{ObservedName, ObservedPod};
use crate::model::step::{Pace, Plan, Step};

/// The UID that [`plan`] handles: remains of another pod of the same name come before the desired one. A pod marked
/// unsupported is left alone. Executions and their outcomes carry this UID.
pub fn subject<'a>(
    desired: Option<&'a Pod>,
    observed: &'a ObservedName,
    memory: Option<&'a PodMemory>,
    view: &PlanView<'_>,
) -> Option<&'a PodUid> {
    let wanted = desired.map(|pod| &pod.uid);
    let is_other = |uid: &PodUid| Some(uid) != wanted && Some(uid) != view.unsupported;
    let other = observed.uids.keys().find(|uid| is_other(uid));
    // A pod that never got a sandbox is recognized by the things created before it.
    let mut remaining = memory.into_iter().flat_map(PodMemory::remaining);
    let remains = remaining
        .find(|uid| is_other(uid) && !observed.uids.contains_key(*uid) && view.leftovers.contains(*uid));
    other.or(remains).or(wanted)
}

/// Compares the desired and the observed state of a name and plans what to do now. Empty stages are omitted; an idle
/// plan with `wake_at` waits.
pub fn plan(
    desired: Option<&Pod>,
    observed: &ObservedName,
    memory: Option<&PodMemory>,
    policy: &NodePolicy,
    view: &PlanView<'_>,
    now: Timestamp,
) -> Plan {
    if !view.runtime_ready {
        return Plan::default();
    }
    let Some(uid) = subject(desired, observed, memory, view) else {
        return Plan::default();
    };
    let mut plan = match desired {
        Some(pod) if pod.uid == *uid => {
            let memory = restart::remembered(memory, pod, observed, now);
            let nothing = ObservedPod::default();
            let seen = observed.uids.get(uid).unwrap_or(&nothing);
            plan_pod(PlanContext {
                pod,
                seen,
                memory: &memory,
                policy,
                view,
                now,
            })
        }
        // A source that has not sent its set yet may still desire this pod.
        None if !view.desired_complete => Plan::default(),
        _ => plan_removal(uid, desired, observed, memory, policy, view, now),
    };
    plan.stages.retain(|stage| !stage.is_empty());
    // It may be the control plane, or the network that connects the others.
    if desired.is_some_and(|pod| pod.namespaces.host_network) {
        plan.pace = Pace::AtOnce;
    }
    plan
}

/// Removes every UID except the desired one and an unsupported one, and does nothing else: the successor starts only
/// after the removal has been observed.
fn plan_removal(
    uid: &PodUid,
    desired: Option<&Pod>,
    observed: &ObservedName,
    memory: Option<&PodMemory>,
    policy: &NodePolicy,
    view: &PlanView<'_>,
    now: Timestamp,
) -> Plan {
    if let Some(wait) = memory.and_then(|memory| failure_holds(memory, Direction::Down, now)) {
        return wait;
    }
    let wanted = desired.map(|pod| &pod.uid);
    let nothing = ObservedPod::default();
    let stays = |other: &PodUid| Some(other) == wanted || Some(other) == view.unsupported;
    let seen = observed.uids.iter().filter(|(other, _)| !stays(other));
    let unseen = (!observed.uids.contains_key(uid)).then_some((uid, &nothing));
    let mut stages: Vec<Vec<Step>> = Vec::new();
    let mut ends = None;
    for (uid, seen) in seen.chain(unseen) {
        let ending = Ending::of_unknown(seen, now);
        if seen.lives() {
            ends = ends.max(Some(ending.ends));
        }
        let removal = teardown::remove(view.name, uid, seen, &ending, policy);
        for (index, steps) in removal.into_iter().enumerate() {
            match stages.get_mut(index) {
                Some(stage) => stage.extend(steps),
                None => stages.push(steps),
            }
        }
    }
    Plan {
        stages,
        ends,
        ..Plan::default()
    }
}

fn plan_pod(context: PlanContext<'_>) -> Plan {
    let PlanContext {
        pod,
        seen,
        memory,
        now,
        ..
    } = context;
    // While the machine shuts down, no pod that has ended begins a new life.
    let is_shut_down = memory.ended == Some(End::Shutdown);
    if !is_shut_down && is_leaving(pod, seen, memory) {
        return plan_new_life(context);
    }
    let need = match memory.ended.is_some() || pod.deletion.is_some() {
        true => Need::End,
        false => need(pod, seen),
    };
    let direction = match need {
        Need::End => Direction::Down,
        Need::Sandbox { .. } | Need::Containers { .. } | Need::RestartAll(_) => Direction::Up,
    };
    if let Some(wait) = failure_holds(memory, direction, now) {
        return wait;
    }
    // Answers for missing objects arrive soon, or an error does; then the pod is planned again.
    let answered = !start::lacks_answers(context);
    let Stages { stages, waits_until } = match need {
        Need::End => return plan_end(context),
        Need::RestartAll(source) => restart_all::stages(context, source),
        Need::Sandbox { .. } if !answered => Stages::default(),
        Need::Sandbox { attempt, start } => start::in_new_sandbox(context, attempt, &start),
        Need::Containers { sandbox, stop, start } => {
            let start = if answered { start } else { Vec::new() };
            start::in_sandbox(context, sandbox, &stop, &start)
        }
    };
    let deadline = restart::deadline(pod, memory);
    Plan {
        stages,
        wake_at: [waits_until, deadline].into_iter().flatten().min(),
        ..Plan::default()
    }
}

/// Ends a pod; once that is done, only its dead instances are collected.
fn plan_end(context: PlanContext<'_>) -> Plan {
    let PlanContext {
        pod,
        seen,
        memory,
        policy,
        now,
        ..
    } = context;
    let why = memory.ended.as_ref().filter(|end| end.is_final(&pod.source));
    let ending = Ending::of(pod, seen, why, memory.ends_by, now);
    let is_passing = memory.ended == Some(End::Shutdown) && why.is_none();
    let leaving = is_passing && exists(seen) && needs_new_life(pod);
    let stages = match seen.lives() || memory.remains == Remains::Everything {
        true => teardown::end(pod, seen, &ending, leaving, policy),
        false => gc::stages(pod, seen, policy),
    };
    Plan {
        stages,
        ends: Some(ending.ends),
        ..Plan::default()
    }
}

/// Whether a pod that runs again when the machine does has to begin a new life for that, as its restart policy would leave
/// it ended. A life that goes on keeps the record that an ephemeral container was started.
fn needs_new_life(pod: &Pod) -> bool {
    let restarts = |container: &Container| container.restart == RestartPolicy::Always;
    pod.ephemeral_containers.is_empty() || !pod.containers.iter().all(restarts)
}

/// Whether the running containers belong to a past incarnation: the manifest was removed, even if it came back at once
/// with the same content and so with the same UID (`restartRequested` in `pkg/kubelet/pod_workers.go`).
fn is_leaving(pod: &Pod, seen: &ObservedPod, memory: &PodMemory) -> bool {
    let was_removed = seen.checkpoint.as_ref().is_some_and(|saved| saved.leaving);
    exists(seen) && (was_removed || memory.incarnation != pod.incarnation)
}

/// Whether the runtime has something of the pod.
fn exists(seen: &ObservedPod) -> bool {
    !seen.sandboxes.is_empty() || !seen.containers.is_empty()
}

/// Ends the past incarnation, in order and with its grace period; then makes room for the new one.
fn plan_new_life(context: PlanContext<'_>) -> Plan {
    let PlanContext {
        pod,
        seen,
        memory,
        policy,
        now,
        ..
    } = context;
    if let Some(wait) = failure_holds(memory, Direction::Down, now) {
        return wait;
    }
    let ending = Ending::of_past(pod, seen, now);
    let is_saved = seen.checkpoint.as_ref().is_some_and(|saved| saved.leaving);
    let stages = match seen.lives() {
        true => teardown::end(pod, seen, &ending, true, policy),
        // From then on an agent without memory continues.
        false if !is_saved => vec![ending.save(&pod.uid, true, policy).into_iter().collect()],
        false => teardown::reset(pod, seen, policy),
    };
    Plan {
        stages,
        ends: Some(ending.ends),
        ..Plan::default()
    }
}

/// Whether earlier planned work must be abandoned because its pod has a new version or is no longer desired. A stop in
/// progress continues (its hooks were called and its grace period runs) unless a shorter grace period is requested; any
/// other work is then outdated.
pub fn outdated(ends: Option<Timestamp>, now_wanted: Option<&Pod>, now: Timestamp) -> bool {
    let Some(ends) = ends else { return true };
    let deletion = now_wanted.and_then(|pod| pod.deletion.as_ref());
    let grace = deletion.map(|deletion| deletion.grace);
    let grace = grace.or_else(|| now_wanted?.past_grace);
    // Any client chooses the grace period, also one whose end no timestamp can hold: that one is not shorter.
    grace.is_some_and(|grace| now.checked_add(grace).is_ok_and(|end| end < ends))
}

/// Whether a plan removes or adds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Down,
    Up,
}

/// The plan that waits for the back-off of a pod-level failure. A failure to add does not delay a removal; that of a
/// volume delays starts ([`start`]), that of a resize only itself ([`super::resize`]).
fn failure_holds(memory: &PodMemory, direction: Direction, now: Timestamp) -> Option<Plan> {
    let until = memory.waits_until(now, |work| match work {
        FailedWork::Step(kind) => direction == Direction::Up || kind.removes(),
        FailedWork::Volume(_)
        | FailedWork::Expansion(_)
        | FailedWork::Republish(_)
        | FailedWork::ImageVolume(_)
        | FailedWork::Resize => false,
    })?;
    Some(Plan {
        stages: Vec::new(),
        wake_at: Some(until),
        ..Plan::default()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::model::checkpoint::Checkpoint;
    use crate::model::memory::{Backoff, ContainerMemory, PodFailure};
    use crate::model::object::kinds::Secret;
    use crate::model::object::{Known, Object, ObjectKind, Objects};
    use crate::model::outcome::{Failure, StepError};
    use crate::model::pod::{Deletion, Mount, Volume, VolumeSource};
    use crate::model::reason;
    use crate::model::request::{ContainerRef, SandboxRef};
    use crate::model::restart::{ExitCodes, RestartAction, RestartRule};
    use crate::model::runtime::{ContainerState, ObservedContainer, Sandbox};
    use crate::model::sample::{self, at, exited, instance, observed, running, sandbox};
    use crate::model::step::StepKind;

    use RestartPolicy::{Always, Never, OnFailure};

    /// The inputs of a plan; every test changes the ones it is about.
    struct Case {
        desired: Option<Pod>,
        observed: ObservedName,
        memory: Option<PodMemory>,
        network_ready: bool,
        desired_complete: bool,
        unsupported: Option<PodUid>,
        logs: BTreeMap<String, u32>,
        objects: Objects,
        now: i64,
    }

    fn case(desired: Pod, sandboxes: Vec<Sandbox>, containers: Vec<ObservedContainer>) -> Case {
        Case {
            desired: Some(desired),
            observed: observed(sandboxes, containers),
            memory: None,
            network_ready: true,
            desired_complete: true,
            unsupported: None,
            logs: BTreeMap::new(),
            objects: Objects::default(),
            now: 100,
        }
    }

    /// One line per stage; a container's name precedes its step.
    fn check(case: Case, expected: Expect) {
        let view = PlanView {
            name: &sample::name(),
            runtime_ready: true,
            network_ready: case.network_ready,
            runtime_handlers: &[],
            desired_complete: case.desired_complete,
            unsupported: case.unsupported.as_ref(),
            images: &[],
            leftovers: &Default::default(),
            logs: Some(&case.logs),
            objects: &case.objects,
            services: &Default::default(),
            allocatable: &Default::default(),
            node: None,
        };
        let plan = plan(
            case.desired.as_ref(),
            &case.observed,
            case.memory.as_ref(),
            &sample::policy(),
            &view,
            at(case.now),
        );
        let mut lines: Vec<_> = plan
            .stages
            .iter()
            .map(|stage| stage.iter().map(line).collect::<Vec<_>>().join(", "))
            .collect();
        let wake = plan.wake_at.map(|at| at.as_second() - sample::at(0).as_second());
        lines.extend(wake.map(|second| format!("wake at {second}")));
        expected.assert_eq(&lines.join("\n"));
    }

    fn line(step: &Step) -> String {
        let what = match step {
            Step::StopContainer {
                id,
                grace,
                message,
                after,
                ..
            } => {
                let after = match after.is_empty() {
                    true => String::new(),
                    false => format!(" after {}", after.join(" and ")),
                };
                format!("{id} {}s{after} ({message})", grace.as_secs())
            }
            Step::RemoveContainer { id, .. } | Step::StopSandbox { id } | Step::RemoveSandbox { id } => {
                id.clone()
            }
            Step::RemovePodDir { dir } | Step::RemoveLogDir { dir, .. } => dir.display().to_string(),
            Step::RemoveCgroup { name } => name.0.join("/"),
            Step::ExpandVolume(request) => request.volume.clone(),
            Step::RepublishVolume(request) => request.volume.clone(),
            Step::RunSandbox(request) => request.config.metadata.as_ref().unwrap().attempt.to_string(),
            Step::EnsureImage(request) => request.container.clone(),
            Step::EnsureVolumeImage(request) => format!("{} ({})", request.volume, request.image),
            Step::CreateContainer(request) => {
                let attempt = request.config.metadata.as_ref().unwrap().attempt;
                let sandbox = match &request.sandbox {
                    SandboxRef::Id(id) => id,
                    SandboxRef::Made => "new",
                };
                format!("{} #{attempt} in {sandbox}", request.container)
            }
            Step::StartContainer { container, which, .. } => match which {
                ContainerRef::Id(id) => id.clone(),
                ContainerRef::Made => format!("{container} (new)"),
            },
            Step::PostStart(step) => step.container.clone(),
            Step::WriteCheckpoint(record) => serde_json::to_string(&record.checkpoint).unwrap(),
            Step::WriteAllocation(record) => format!("{:?}", record.occasion).to_lowercase(),
            Step::Resize(_)
            | Step::EnsureCgroup(_)
            | Step::EnsurePodDir { .. }
            | Step::EnsureVolume(_)
            | Step::WriteHosts(_) => String::new(),
        };
        format!("{} {what}", step.kind()).trim_end().to_owned()
    }

    #[test]
    fn a_new_pod() {
        check(
            Case {
                observed: ObservedName::default(),
                ..case(sample::pod(Always, &[], &["a", "b"]), vec![], vec![])
            },
            expect![[r#"
                set cgroup, make pod directory, write checkpoint {}, write allocation begun
                run sandbox 0, ensure image a, ensure image b
                write hosts file
                create container a #0 in new, create container b #0 in new
                start container a (new)
                start container b (new)"#]],
        );
    }

    #[test]
    fn without_network_only_pods_of_the_hosts_network_start() {
        let mut pod = sample::pod(Always, &[], &["c"]);
        let without = |pod: &Pod| Case {
            network_ready: false,
            ..case(pod.clone(), vec![], vec![])
        };
        check(without(&pod), expect![""]);
        pod.namespaces.host_network = true;
        check(
            without(&pod),
            expect![[r#"
                set cgroup, make pod directory, write checkpoint {}, write allocation begun
                run sandbox 0, ensure image c
                write hosts file
                create container c #0 in new
                start container c (new)"#]],
        );
    }

    #[test]
    fn init_containers_come_one_after_the_other() {
        let pod = || sample::pod(Always, &["i1", "+s2", "i3"], &["c"]);
        let seen = |containers| case(pod(), vec![sandbox(0, true, 0)], containers);
        check(
            seen(vec![]),
            expect![[r#"
                write checkpoint {"containers":["c"],"sidecars":["s2"]}
                ensure image i1, write hosts file
                create container i1 #0 in s0
                start container i1 (new)"#]],
        );
        check(
            seen(vec![instance("i1", 0, 1, running(1))]),
            expect![[r#"write checkpoint {"containers":["c"],"sidecars":["s2"]}"#]],
        );
        let i1 = || instance("i1", 0, 1, exited(1, 2, 0));
        check(
            seen(vec![i1()]),
            expect![[r#"
                write checkpoint {"containers":["c"],"sidecars":["s2"]}
                ensure image s2, write hosts file
                create container s2 #0 in s0
                start container s2 (new)"#]],
        );
        let s2 = || instance("s2", 0, 3, running(3));
        check(
            seen(vec![s2(), i1()]),
            expect![[r#"
                write checkpoint {"containers":["c"],"sidecars":["s2"]}
                ensure image i3, write hosts file
                create container i3 #0 in s0
                start container i3 (new)"#]],
        );
        // The sidecar ended while the last init container runs.
        let s2_dead = || instance("s2", 0, 3, exited(3, 4, 1));
        check(
            seen(vec![instance("i3", 0, 4, running(4)), s2_dead(), i1()]),
            expect![[r#"
                write checkpoint {"containers":["c"],"sidecars":["s2"]}
                ensure image s2, write hosts file
                create container s2 #1 in s0
                start container s2 (new)"#]],
        );
        let i3 = || instance("i3", 0, 4, exited(4, 5, 0));
        check(
            seen(vec![i3(), s2_dead(), i1()]),
            expect![[r#"
                write checkpoint {"containers":["c"],"sidecars":["s2"]}
                ensure image s2, ensure image c, write hosts file
                create container s2 #1 in s0, create container c #0 in s0
                start container s2 (new)
                start container c (new)"#]],
        );
    }

    #[test]
    fn an_init_container_that_fails() {
        let failed = || vec![instance("i1", 0, 1, exited(1, 2, 1))];
        check(
            case(
                sample::pod(OnFailure, &["i1"], &["c"]),
                vec![sandbox(0, true, 0)],
                failed(),
            ),
            expect![[r#"
                ensure image i1, write hosts file
                create container i1 #1 in s0
                start container i1 (new)"#]],
        );
        check(
            case(
                sample::pod(Never, &["i1"], &["c"]),
                vec![sandbox(0, true, 0)],
                failed(),
            ),
            expect![[r#"
                stop sandbox s0
                remove cgroup kubepods/besteffort/podu1, remove pod directory /var/lib/kubelet/pods/u1/volumes"#]],
        );
    }

    #[test]
    fn a_container_that_states_its_own_policy_follows_it() {
        let own = |restart: RestartPolicy, own: RestartPolicy, code: i32, ready: bool| {
            let mut pod = sample::pod(restart, &[], &["c"]);
            pod.containers[0].restart = own;
            pod.containers[0].restart_rules = vec![RestartRule {
                codes: ExitCodes::In(vec![42]),
                action: RestartAction::Restart,
            }];
            let ended = vec![instance("c", 0, 1, exited(1, 2, code))];
            case(pod, vec![sandbox(0, ready, 0)], ended)
        };
        let starts = || {
            expect![[r#"
                ensure image c, write hosts file
                create container c #1 in s0
                start container c (new)"#]]
        };
        let ends = || {
            expect![[r#"
                stop sandbox s0
                remove cgroup kubepods/besteffort/podu1, remove pod directory /var/lib/kubelet/pods/u1/volumes"#]]
        };
        check(own(Never, OnFailure, 1, true), starts());
        check(own(Never, Never, 42, true), starts());
        check(own(Always, OnFailure, 0, true), ends());
        check(own(Always, Never, 1, true), ends());
        // With its sandbox gone it has still ended.
        check(own(Always, Never, 1, false), ends());
    }

    #[test]
    fn an_init_container_that_states_its_own_policy_follows_it() {
        let own = |restart: RestartPolicy, own: RestartPolicy, ready: bool| {
            let mut pod = sample::pod(restart, &["i1"], &["c"]);
            pod.init_containers[0].restart = own;
            let failed = vec![instance("i1", 0, 1, exited(1, 2, 1))];
            case(pod, vec![sandbox(0, ready, 0)], failed)
        };
        check(
            own(Never, OnFailure, true),
            expect![[r#"
                ensure image i1, write hosts file
                create container i1 #1 in s0
                start container i1 (new)"#]],
        );
        let ends = || {
            expect![[r#"
                stop sandbox s0
                remove cgroup kubepods/besteffort/podu1, remove pod directory /var/lib/kubelet/pods/u1/volumes"#]]
        };
        check(own(Always, Never, true), ends());
        check(own(Always, Never, false), ends());
    }

    #[test]
    fn a_container_that_is_added_starts_once_and_disturbs_nothing() {
        let added = |init: &[&str], containers| {
            let mut pod = sample::pod(Always, init, &["c"]);
            pod.ephemeral_containers = vec![Container {
                restart: Never,
                ..sample::container("dbg")
            }];
            case(pod, vec![sandbox(0, true, 0)], containers)
        };
        let c = || instance("c", 0, 1, running(1));
        let starts = || {
            expect![[r#"
                ensure image dbg, write hosts file
                create container dbg #0 in s0
                start container dbg (new)"#]]
        };
        check(added(&[], vec![c()]), starts());
        check(added(&["i1"], vec![instance("i1", 0, 1, running(1))]), starts());
        for state in [running(2), exited(2, 3, 1), ContainerState::Unknown] {
            check(added(&[], vec![instance("dbg", 0, 2, state), c()]), expect![""]);
        }
        // It starts only together with the pod's own containers.
        let mut done = added(
            &[],
            vec![
                instance("dbg", 0, 2, running(2)),
                instance("c", 0, 1, exited(1, 2, 0)),
            ],
        );
        if let Some(pod) = &mut done.desired {
            pod.containers[0].restart = Never;
        }
        check(
            done,
            expect![[r#"
                write checkpoint {"ends":"2027-01-15T08:01:45Z"}
                stop container dbg0 5s (Stopping container dbg)
                stop sandbox s0
                remove cgroup kubepods/besteffort/podu1, remove pod directory /var/lib/kubelet/pods/u1/volumes"#]],
        );
    }

    #[test]
    fn a_volume_that_only_an_added_container_mounts_is_made_for_it() {
        let mount = Mount {
            volume: "v".to_owned(),
            sub_path: None,
            path: "/v".to_owned(),
            read_only: false,
            recursive_read_only: Default::default(),
            propagation: Default::default(),
        };
        let mut pod = sample::pod(Always, &[], &["c"]);
        pod.volumes.push(Volume {
            name: "v".to_owned(),
            source: VolumeSource::EmptyDir {
                medium: Default::default(),
                size_limit: None,
            },
        });
        pod.ephemeral_containers = vec![Container {
            restart: Never,
            mounts: vec![mount.clone()],
            ..sample::container("dbg")
        }];
        let with = |pod: &Pod| {
            let c = instance("c", 0, 1, running(1));
            case(pod.clone(), vec![sandbox(0, true, 0)], vec![c])
        };
        check(
            with(&pod),
            expect![[r#"
                ensure image dbg, make volume, write hosts file
                create container dbg #0 in s0
                start container dbg (new)"#]],
        );
        // One that was made with the pod is there.
        pod.containers[0].mounts.push(mount);
        check(
            with(&pod),
            expect![[r#"
                ensure image dbg, write hosts file
                create container dbg #0 in s0
                start container dbg (new)"#]],
        );
    }

    #[test]
    fn a_volume_that_failed_delays_starts_and_nothing_else() {
        let files = |name: &str| Volume {
            name: name.to_owned(),
            source: VolumeSource::Projected {
                kind: crate::model::value::Projection::DownwardApi,
                mode: 0o644,
                sources: Vec::new(),
            },
        };
        let mount = |volume: &str| Mount {
            volume: volume.to_owned(),
            sub_path: None,
            path: format!("/{volume}"),
            read_only: false,
            recursive_read_only: Default::default(),
            propagation: Default::default(),
        };
        let mut pod = sample::pod(Always, &[], &["c", "d"]);
        pod.volumes = vec![files("v"), files("w")];
        pod.containers[0].mounts = vec![mount("v"), mount("w")];
        let changed = ObservedContainer {
            hash: 1,
            ..instance("d", 0, 1, running(1))
        };
        let with = |sandboxes: Vec<Sandbox>, containers: Vec<ObservedContainer>, failed: &[&str]| {
            let mut memory = PodMemory::new(sample::uid("u1"), at(0));
            for volume in failed {
                let failure = PodFailure {
                    error: StepError {
                        reason: reason::pod::FAILED_MOUNT,
                        message: String::new(),
                        failure: Failure::Failed,
                    },
                    backoff: Backoff {
                        delay: Duration::from_secs(4),
                        since: at(99),
                    },
                };
                memory
                    .failures
                    .insert(FailedWork::Volume((*volume).to_owned()), failure);
            }
            Case {
                memory: Some(memory),
                ..case(pod.clone(), sandboxes, containers)
            }
        };
        let instances = || vec![instance("c", 0, 1, exited(1, 5, 1)), changed.clone()];
        check(
            with(vec![sandbox(0, true, 0)], instances(), &[]),
            expect![[r#"
            stop container d0 5s (Container d definition changed, will be restarted)
            ensure image c, ensure image d, make volume, make volume, write hosts file
            create container c #1 in s0, create container d #1 in s0
            start container c (new)
            start container d (new)"#]],
        );
        check(
            with(vec![sandbox(0, true, 0)], instances(), &["v"]),
            expect![[r#"
            stop container d0 5s (Container d definition changed, will be restarted)
            make volume
            wake at 103"#]],
        );
        check(with(vec![], vec![], &["v"]), expect!["wake at 103"]);
        // What is left of an earlier sandbox is stopped in the meantime.
        check(
            with(
                vec![sandbox(0, false, 0)],
                vec![instance("d", 0, 1, running(1))],
                &["v"],
            ),
            expect![[r#"
                stop container d0 5s (Stopping container d)
                stop sandbox s0"#]],
        );
    }

    #[test]
    fn a_sidecar_that_ended_with_its_pod_does_not_start_again() {
        let pod = sample::pod(OnFailure, &["+s"], &["c"]);
        let instances = vec![
            instance("c", 0, 2, exited(2, 5, 0)),
            instance("s", 0, 1, exited(1, 6, 143)),
        ];
        check(
            case(pod, vec![sandbox(0, true, 0)], instances),
            expect![[r#"
            stop sandbox s0
            remove cgroup kubepods/besteffort/podu1, remove pod directory /var/lib/kubelet/pods/u1/volumes"#]],
        );
    }

    #[test]
    fn a_created_container_is_started_and_not_made_again() {
        let created = |hash| ObservedContainer {
            hash,
            ..instance("c", 2, 1, ContainerState::Created)
        };
        let pod = || sample::pod(Always, &[], &["c"]);
        check(
            case(pod(), vec![sandbox(0, true, 0)], vec![created(0x78725ff3)]),
            expect!["start container c2"],
        );
        check(
            case(pod(), vec![sandbox(0, true, 0)], vec![created(1)]),
            expect![[r#"
                remove container c2, ensure image c, write hosts file
                create container c #2 in s0
                start container c (new)"#]],
        );
    }

    #[test]
    fn a_container_that_is_not_what_it_shall_be_is_replaced() {
        let other = ObservedContainer {
            hash: 1,
            ..instance("c", 0, 1, running(1))
        };
        let pod = || sample::pod(Never, &[], &["c"]);
        check(
            case(pod(), vec![sandbox(0, true, 0)], vec![other.clone()]),
            expect![[r#"
                write checkpoint {"restarting":{"c":"c0"}}
                stop container c0 5s (Container c definition changed, will be restarted)
                ensure image c, write hosts file
                create container c #1 in s0
                start container c (new)"#]],
        );
        // A hash that could not be read stops nothing.
        check(
            case(
                pod(),
                vec![sandbox(0, true, 0)],
                vec![ObservedContainer { hash: 0, ..other }],
            ),
            expect![""],
        );
        check(
            case(
                pod(),
                vec![sandbox(0, true, 0)],
                vec![instance("c", 0, 1, ContainerState::Unknown)],
            ),
            expect![[r#"
                write checkpoint {"restarting":{"c":"c0"}}
                stop container c0 5s (Container is in "unknown" state, try killing it before restart)
                ensure image c, write hosts file
                create container c #1 in s0
                start container c (new)"#]],
        );
    }

    #[test]
    fn crash_back_off() {
        let crashed = |restart: Option<Backoff>| {
            let mut memory = PodMemory::new(sample::uid("u1"), at(0));
            let of_container = ContainerMemory {
                restart,
                ..ContainerMemory::of(&sample::container("c"))
            };
            memory.containers.insert("c".to_owned(), of_container);
            Case {
                memory: Some(memory),
                ..case(
                    sample::pod(Always, &[], &["c"]),
                    vec![sandbox(0, true, 0)],
                    vec![
                        instance("c", 2, 90, exited(90, 95, 1)),
                        instance("c", 1, 60, exited(60, 70, 1)),
                        instance("c", 0, 30, exited(30, 40, 1)),
                    ],
                )
            }
        };
        let backoff = |delay, since| {
            Some(Backoff {
                delay: Duration::from_secs(delay),
                since: at(since),
            })
        };
        // Dead instances are collected meanwhile.
        check(
            crashed(backoff(10, 90)),
            expect![[r#"
                remove container c1, remove container c0
                wake at 105"#]],
        );
        // It ran for more than ten minutes since: forgotten.
        check(
            crashed(backoff(160, -600)),
            expect![[r#"
                ensure image c, write hosts file
                create container c #3 in s0
                start container c (new)
                remove container c1, remove container c0"#]],
        );
    }

    #[test]
    fn a_sandbox_that_died() {
        let dead = |restart| {
            case(
                sample::pod(restart, &[], &["a", "b"]),
                vec![sandbox(3, false, 0)],
                vec![
                    instance("a", 0, 1, exited(1, 2, 0)),
                    instance("b", 0, 1, exited(1, 2, 1)),
                ],
            )
        };
        check(
            dead(OnFailure),
            expect![[r#"
                stop sandbox s3
                set cgroup, make pod directory, write checkpoint {}, write allocation begun
                run sandbox 4, ensure image b
                write hosts file
                create container b #1 in new
                start container b (new)"#]],
        );
        check(
            dead(Never),
            expect![[r#"
                stop sandbox s3
                remove cgroup kubepods/besteffort/podu1, remove pod directory /var/lib/kubelet/pods/u1/volumes"#]],
        );
        // Nothing new starts before the end of the running ones has been observed.
        let mut live = dead(Always);
        live.observed = observed(vec![sandbox(3, false, 0)], vec![instance("a", 0, 1, running(1))]);
        check(
            live,
            expect![[r#"
                stop container a0 5s (Stopping container a)
                stop sandbox s3"#]],
        );
    }

    #[test]
    fn an_end_stops_sidecars_last_and_keeps_containers() {
        let ended = |deadline: Option<u64>, deletion: Option<u64>| {
            let mut pod = sample::pod(Always, &["+s1", "i2", "+s3"], &["c"]);
            pod.active_deadline = deadline.map(Duration::from_secs);
            pod.deletion = deletion.map(|grace| Deletion {
                asked: at(90),
                grace: Duration::from_secs(grace),
            });
            let run = |name| instance(name, 0, 1, running(1));
            case(
                pod,
                vec![sandbox(0, true, 0)],
                vec![run("c"), run("s3"), run("s1")],
            )
        };
        check(
            ended(Some(100), None),
            expect![[r#"
                write checkpoint {"containers":["c"],"sidecars":["s1","s3"],"ends":"2027-01-15T08:01:45Z","ended":{"why":"deadline"}}
                stop container c0 5s (Stopping container c), stop container s30 5s after c0 (Stopping container s3), stop container s10 5s after c0 and s30 (Stopping container s1)
                stop sandbox s0
                remove cgroup kubepods/besteffort/podu1, remove pod directory /var/lib/kubelet/pods/u1/volumes"#]],
        );
        check(
            ended(None, Some(0)),
            expect![[r#"
                write checkpoint {"containers":["c"],"sidecars":["s1","s3"],"ends":"2027-01-15T08:01:40Z"}
                stop container c0 2s (Stopping container c), stop container s30 2s (Stopping container s3), stop container s10 2s (Stopping container s1)
                stop sandbox s0
                remove cgroup kubepods/besteffort/podu1, remove pod directory /var/lib/kubelet/pods/u1/volumes"#]],
        );
        check(
            ended(Some(101), None),
            expect![[r#"
            write checkpoint {"containers":["c"],"sidecars":["s1","s3"]}
            wake at 101"#]],
        );
    }

    #[test]
    fn a_pod_that_nobody_wants_goes_when_all_sources_have_told() {
        let gone = |desired_complete| Case {
            desired: None,
            desired_complete,
            ..case(
                sample::pod(Always, &[], &["c"]),
                vec![sandbox(0, true, 0)],
                vec![
                    instance("c", 1, 1, running(1)),
                    instance("c", 0, 0, exited(0, 1, 1)),
                ],
            )
        };
        check(gone(false), expect![""]);
        let removal = || {
            expect![[r#"
                write checkpoint {"ends":"2027-01-15T08:01:45Z","leaving":true}
                stop container c1 5s (Stopping container c)
                stop sandbox s0"#]]
        };
        check(gone(true), removal());
        // A pod with another UID is removed first, and nothing else happens until it is gone.
        let mut replaced = gone(false);
        replaced.desired = Some(Pod {
            uid: sample::uid("u2"),
            ..sample::pod(Always, &[], &["c"])
        });
        check(replaced, removal());
        // When none of its containers run any more, the rest is removed.
        let mut ended = gone(true);
        ended.observed = observed(
            vec![sandbox(0, false, 0)],
            vec![
                instance("c", 1, 1, exited(1, 99, 0)),
                instance("c", 0, 0, exited(0, 1, 1)),
            ],
        );
        for seen in ended.observed.uids.values_mut() {
            seen.checkpoint = Some(std::sync::Arc::new(Checkpoint {
                ends: Some(at(99)),
                leaving: true,
                ..Checkpoint::default()
            }));
        }
        check(
            ended,
            expect![[r#"
                remove container c1, remove container c0
                remove log directory /var/log/pods/ns_p_u1
                remove cgroup kubepods/podu1, remove cgroup kubepods/burstable/podu1, remove cgroup kubepods/besteffort/podu1
                remove pod directory /var/lib/kubelet/pods/u1
                remove sandbox s0"#]],
        );
    }

    /// A pod of two sidecars and two containers, all running, of which only the checkpoint is known.
    fn unknown(saved: Option<Checkpoint>) -> Case {
        let of_pod = sample::pod(Always, &["+s1", "+s2"], &["a", "b"]);
        let all = ["b", "a", "s2", "s1"].map(|name| instance(name, 0, 1, running(1)));
        let mut case = case(of_pod, vec![sandbox(0, true, 0)], all.to_vec());
        case.desired = None;
        for seen in case.observed.uids.values_mut() {
            seen.checkpoint = saved.clone().map(std::sync::Arc::new);
        }
        case
    }

    #[test]
    fn a_pod_whose_manifest_is_gone_ends_in_order_and_in_one_grace() {
        let saved = || Checkpoint::of(&sample::pod(Always, &["+s1", "+s2"], &["a", "b"]));
        check(
            unknown(Some(saved())),
            expect![[r#"
            write checkpoint {"containers":["a","b"],"sidecars":["s1","s2"],"ends":"2027-01-15T08:01:45Z","leaving":true}
            stop container b0 5s (Stopping container b), stop container a0 5s (Stopping container a), stop container s20 5s after b0 and a0 (Stopping container s2), stop container s10 5s after b0 and a0 and s20 (Stopping container s1)
            stop sandbox s0"#]],
        );
        // The same if another pod replaces it.
        let mut replaced = unknown(Some(saved()));
        replaced.desired = Some(Pod {
            uid: sample::uid("u2"),
            ..sample::pod(Always, &[], &["c"])
        });
        check(
            replaced,
            expect![[r#"
            write checkpoint {"containers":["a","b"],"sidecars":["s1","s2"],"ends":"2027-01-15T08:01:45Z","leaving":true}
            stop container b0 5s (Stopping container b), stop container a0 5s (Stopping container a), stop container s20 5s after b0 and a0 (Stopping container s2), stop container s10 5s after b0 and a0 and s20 (Stopping container s1)
            stop sandbox s0"#]],
        );
        // The agent that started the stop was killed: the rest of the grace period remains.
        let begun = Checkpoint {
            ends: Some(at(103)),
            leaving: true,
            ..saved()
        };
        check(
            unknown(Some(begun.clone())),
            expect![[r#"
            stop container b0 3s (Stopping container b), stop container a0 3s (Stopping container a), stop container s20 3s after b0 and a0 (Stopping container s2), stop container s10 3s after b0 and a0 and s20 (Stopping container s1)
            stop sandbox s0"#]],
        );
        let late = Checkpoint {
            ends: Some(at(99)),
            ..begun
        };
        check(
            unknown(Some(late)),
            expect![[r#"
            stop container b0 2s (Stopping container b), stop container a0 2s (Stopping container a), stop container s20 2s (Stopping container s2), stop container s10 2s (Stopping container s1)
            stop sandbox s0"#]],
        );
        // Without a checkpoint: all at once.
        check(
            unknown(None),
            expect![[r#"
            write checkpoint {"ends":"2027-01-15T08:01:45Z","leaving":true}
            stop container b0 5s (Stopping container b), stop container a0 5s (Stopping container a), stop container s20 5s (Stopping container s2), stop container s10 5s (Stopping container s1)
            stop sandbox s0"#]],
        );
    }

    #[test]
    fn a_shorter_grace_that_is_asked_for_later_counts_and_a_longer_one_does_not() {
        let ending = |grace: u64, ends: i64| {
            let mut case = unknown(Some(Checkpoint {
                ends: Some(at(ends)),
                ..Checkpoint::of(&sample::pod(Always, &["+s1", "+s2"], &["a", "b"]))
            }));
            case.desired = Some(Pod {
                deletion: Some(Deletion {
                    asked: at(90),
                    grace: Duration::from_secs(grace),
                }),
                ..sample::pod(Always, &["+s1", "+s2"], &["a", "b"])
            });
            case
        };
        check(
            ending(3, 120),
            expect![[r#"
            write checkpoint {"containers":["a","b"],"sidecars":["s1","s2"],"ends":"2027-01-15T08:01:43Z"}
            stop container b0 3s (Stopping container b), stop container a0 3s (Stopping container a), stop container s20 3s after b0 and a0 (Stopping container s2), stop container s10 3s after b0 and a0 and s20 (Stopping container s1)
            stop sandbox s0
            remove cgroup kubepods/besteffort/podu1, remove pod directory /var/lib/kubelet/pods/u1/volumes"#]],
        );
        check(
            ending(60, 120),
            expect![[r#"
            stop container b0 20s (Stopping container b), stop container a0 20s (Stopping container a), stop container s20 20s after b0 and a0 (Stopping container s2), stop container s10 20s after b0 and a0 and s20 (Stopping container s1)
            stop sandbox s0
            remove cgroup kubepods/besteffort/podu1, remove pod directory /var/lib/kubelet/pods/u1/volumes"#]],
        );
    }

    #[test]
    fn only_a_shorter_grace_outdates_an_end_that_has_begun() {
        let asks = |grace: Option<u64>| {
            let mut pod = sample::pod(Always, &[], &["c"]);
            pod.deletion = grace.map(|grace| Deletion {
                asked: at(90),
                grace: Duration::from_secs(grace),
            });
            pod
        };
        let check = |ends: Option<i64>, pod: Option<Pod>, expected: bool| {
            assert_eq!(
                outdated(ends.map(at), pod.as_ref(), at(100)),
                expected,
                "{ends:?}"
            );
        };
        check(None, None, true);
        check(None, Some(asks(None)), true);
        check(Some(110), None, false);
        check(Some(110), Some(asks(None)), false);
        check(Some(110), Some(asks(Some(30))), false);
        check(Some(110), Some(asks(Some(10))), false);
        check(Some(110), Some(asks(Some(5))), true);
        let endless = i64::MAX as u64;
        check(Some(110), Some(asks(Some(endless))), false);
        // The same for a pod that ends to start again.
        let restarts = |grace| {
            let mut pod = sample::pod(Always, &[], &["c"]);
            pod.past_grace = Some(Duration::from_secs(grace));
            Some(pod)
        };
        check(Some(110), restarts(30), false);
        check(Some(110), restarts(5), true);
        check(Some(110), restarts(endless), false);
    }

    #[test]
    fn a_pod_whose_manifest_was_made_again_ends_and_begins_anew() {
        let again = |restart, saved: Option<Checkpoint>, memory_of: u64, state| {
            let mut pod = sample::pod(restart, &[], &["c"]);
            pod.incarnation = 1;
            let ready = matches!(state, ContainerState::Running { .. });
            let mut case = case(pod, vec![sandbox(0, ready, 0)], vec![instance("c", 0, 1, state)]);
            for seen in case.observed.uids.values_mut() {
                seen.checkpoint = saved.clone().map(std::sync::Arc::new);
            }
            let mut memory = PodMemory::new(sample::uid("u1"), at(0));
            memory.incarnation = memory_of;
            case.memory = Some(memory);
            case
        };
        let leaving = || {
            Some(Checkpoint {
                ends: Some(at(103)),
                leaving: true,
                ..Checkpoint::default()
            })
        };
        check(
            again(Always, None, 0, running(1)),
            expect![[r#"
            write checkpoint {"ends":"2027-01-15T08:01:45Z","leaving":true}
            stop container c0 5s (Stopping container c)
            stop sandbox s0
            remove cgroup kubepods/besteffort/podu1, remove pod directory /var/lib/kubelet/pods/u1/volumes"#]],
        );
        // People asked for another grace period.
        let mut hastened = again(Always, None, 0, running(1));
        if let Some(pod) = &mut hastened.desired {
            pod.past_grace = Some(Duration::from_secs(2));
        }
        check(
            hastened,
            expect![[r#"
            write checkpoint {"ends":"2027-01-15T08:01:42Z","leaving":true}
            stop container c0 2s (Stopping container c)
            stop sandbox s0
            remove cgroup kubepods/besteffort/podu1, remove pod directory /var/lib/kubelet/pods/u1/volumes"#]],
        );
        // The agent was killed meanwhile.
        check(
            again(Always, leaving(), 1, running(1)),
            expect![[r#"
            stop container c0 3s (Stopping container c)
            stop sandbox s0
            remove cgroup kubepods/besteffort/podu1, remove pod directory /var/lib/kubelet/pods/u1/volumes"#]],
        );
        check(
            again(Always, None, 0, exited(1, 2, 0)),
            expect![[r#"write checkpoint {"ends":"2027-01-15T08:01:45Z","leaving":true}"#]],
        );
        // Only the logs stay.
        for restart in [Always, OnFailure, Never] {
            check(
                again(restart, leaving(), 1, exited(1, 2, 0)),
                expect![[r#"
                    remove container c0
                    remove cgroup kubepods/besteffort/podu1, remove pod directory /var/lib/kubelet/pods/u1/volumes
                    remove sandbox s0"#]],
            );
        }
        let mut again_later = again(Never, leaving(), 1, exited(1, 2, 0));
        again_later.observed = ObservedName::default();
        again_later.logs.insert("c".to_owned(), 1);
        check(
            again_later,
            expect![[r#"
                set cgroup, make pod directory, write checkpoint {}, write allocation begun
                run sandbox 0, ensure image c
                write hosts file
                create container c #1 in new
                start container c (new)"#]],
        );
    }

    #[test]
    fn a_container_that_the_runtime_has_lost_is_counted_on() {
        let lost = |logs: Option<u32>, containers| {
            let mut case = case(
                sample::pod(Always, &[], &["c", "d"]),
                vec![sandbox(0, true, 0)],
                containers,
            );
            let running = instance("d", 0, 1, running(1));
            for seen in case.observed.uids.values_mut() {
                seen.containers.push(running.clone());
            }
            case.logs.extend(logs.map(|next| ("c".to_owned(), next)));
            case
        };
        check(
            lost(None, vec![]),
            expect![[r#"
            ensure image c, write hosts file
            create container c #0 in s0
            start container c (new)"#]],
        );
        check(
            lost(Some(3), vec![]),
            expect![[r#"
            ensure image c, write hosts file
            create container c #3 in s0
            start container c (new)"#]],
        );
        // An older instance is there, and the log of a newer one.
        let old = || vec![instance("c", 1, 1, exited(1, 2, 1))];
        check(
            lost(Some(2), old()),
            expect![[r#"
            ensure image c, write hosts file
            create container c #2 in s0
            start container c (new)"#]],
        );
        check(
            lost(Some(6), old()),
            expect![[r#"
            ensure image c, write hosts file
            create container c #6 in s0
            start container c (new)"#]],
        );
        // The logs are gone, but the API server has the restart count.
        let mut lost_pod = lost(None, vec![]);
        let status = serde_json::json!({"status": {"containerStatuses": [
            {"name": "c", "containerID": "containerd://x", "restartCount": 4, "image": "i", "imageID": "", "ready": true}
        ]}});
        if let Some(pod) = &mut lost_pod.desired {
            pod.object = std::sync::Arc::new(serde_json::from_value(status).unwrap());
        }
        check(
            lost_pod,
            expect![[r#"
            ensure image c, write hosts file
            create container c #5 in s0
            start container c (new)"#]],
        );
    }

    #[test]
    fn what_is_ended_to_be_started_again_is_kept_where_the_policy_would_not_start_it() {
        let changed = |restart, health| {
            let of = ObservedContainer {
                hash: 1,
                health,
                ..instance("c", 0, 1, running(1))
            };
            case(
                sample::pod(restart, &[], &["c"]),
                vec![sandbox(0, true, 0)],
                vec![of],
            )
        };
        check(
            changed(Always, None),
            expect![[r#"
            stop container c0 5s (Container c definition changed, will be restarted)
            ensure image c, write hosts file
            create container c #1 in s0
            start container c (new)"#]],
        );
        check(
            changed(OnFailure, None),
            expect![[r#"
            write checkpoint {"restarting":{"c":"c0"}}
            stop container c0 5s (Container c definition changed, will be restarted)
            ensure image c, write hosts file
            create container c #1 in s0
            start container c (new)"#]],
        );
        // It is forgotten when another instance is there.
        let mut started = changed(OnFailure, None);
        let restarting = Checkpoint {
            restarting: [("c".to_owned(), "c0".to_owned())].into(),
            ..Checkpoint::default()
        };
        for seen in started.observed.uids.values_mut() {
            seen.checkpoint = Some(std::sync::Arc::new(restarting.clone()));
            seen.containers = vec![instance("c", 1, 1, running(1))];
        }
        check(started, expect!["write checkpoint {}"]);
    }

    #[test]
    fn nothing_starts_before_it_is_known_what_the_pod_refers_to() {
        let mut pod = sample::pod(Always, &[], &["c", "d"]);
        pod.containers[0].env_from = vec![crate::model::value::EnvFrom {
            prefix: String::new(),
            kind: ObjectKind::Secret,
            name: "s".to_owned(),
            optional: true,
        }];
        let key = crate::model::reference::key(&pod, ObjectKind::Secret, "s");
        let with = |known: Option<Known>, sandboxes, containers| Case {
            objects: known.map(|known| (key.clone(), known)).into_iter().collect(),
            ..case(pod.clone(), sandboxes, containers)
        };
        check(with(Some(Known::Asked), vec![], vec![]), expect![""]);
        // Running containers continue, and those that have to end are stopped.
        let changed = || ObservedContainer {
            hash: 1,
            ..instance("d", 0, 1, running(1))
        };
        check(
            with(Some(Known::Asked), vec![sandbox(0, true, 0)], vec![changed()]),
            expect!["stop container d0 5s (Container d definition changed, will be restarted)"],
        );
        let starts = || {
            expect![[r#"
                set cgroup, make pod directory, write checkpoint {}, write allocation begun
                run sandbox 0, ensure image c, ensure image d
                write hosts file
                create container c #0 in new, create container d #0 in new
                start container c (new)
                start container d (new)"#]]
        };
        check(with(None, vec![], vec![]), starts());
        let found = Known::Found(Object::Secret(Secret::default()).into());
        check(with(Some(found), vec![], vec![]), starts());
    }

    #[test]
    fn a_pod_that_is_wanted_and_refused_is_left_alone() {
        let unsupported = |uid: &str| Case {
            desired: None,
            unsupported: Some(sample::uid(uid)),
            ..case(
                sample::pod(Always, &[], &["c"]),
                vec![sandbox(0, true, 0)],
                vec![
                    instance("c", 1, 1, running(1)),
                    instance("c", 0, 0, exited(0, 1, 1)),
                ],
            )
        };
        check(unsupported("u1"), expect![""]);
        // The remains of an earlier pod of the name are removed anyway, and a removal in progress is not continued.
        check(
            unsupported("u2"),
            expect![[r#"
                write checkpoint {"ends":"2027-01-15T08:01:45Z","leaving":true}
                stop container c1 5s (Stopping container c)
                stop sandbox s0"#]],
        );
        let mut memory = PodMemory::new(sample::uid("u1"), at(0));
        memory.remains = crate::model::memory::Remains::Everything;
        check(
            Case {
                memory: Some(memory),
                observed: ObservedName::default(),
                ..unsupported("u1")
            },
            expect![""],
        );
    }

    #[test]
    fn what_failed_about_the_pod_is_waited_out_but_not_before_an_end() {
        let failed = |kind, reason, deletion: bool| {
            let mut pod = sample::pod(Always, &[], &["c"]);
            pod.deletion = deletion.then(|| Deletion {
                asked: at(90),
                grace: Duration::from_secs(9),
            });
            let mut memory = PodMemory::new(sample::uid("u1"), at(0));
            let error = StepError {
                reason,
                message: String::new(),
                failure: Failure::Failed,
            };
            let backoff = Backoff {
                delay: Duration::from_secs(4),
                since: at(99),
            };
            memory
                .failures
                .insert(FailedWork::Step(kind), PodFailure { error, backoff });
            Case {
                memory: Some(memory),
                ..case(pod, vec![sandbox(0, false, 0)], vec![])
            }
        };
        check(
            failed(StepKind::RunSandbox, reason::pod::FAILED_CREATE_SANDBOX, false),
            expect!["wake at 103"],
        );
        check(
            failed(StepKind::StopSandbox, reason::pod::FAILED_KILL_POD, true),
            expect!["wake at 103"],
        );
        check(
            failed(StepKind::RunSandbox, reason::pod::FAILED_CREATE_SANDBOX, true),
            expect![[r#"
                stop sandbox s0
                remove cgroup kubepods/besteffort/podu1, remove pod directory /var/lib/kubelet/pods/u1/volumes"#]],
        );
    }
}
