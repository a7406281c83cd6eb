//! The status of a pod, exactly as the kubelet reports it (`generateAPIPodStatus` in `pkg/kubelet/kubelet_pods.go`,
//! `pkg/kubelet/status`).

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use super::condition;
use super::container;
use super::context::StatusContext;
use super::disruption;
use super::format::time;
use super::image_volume;
use super::phase::{self, Life};
use super::resize;
use super::restart_all;
use super::termination;
use crate::model::api::has_final_phase;
use crate::model::end::End;
use crate::model::foreign_status::ForeignStatus;
use crate::model::memory::{FailedWork, PodMemory};
use crate::model::node::NodePolicy;
use crate::model::pod::{Pod, Source};
use crate::model::runtime::{ObservedName, ObservedPod, RuntimeHandler};

/// The status of a desired pod. `previous` is the last report: transition times, addresses of a sandbox that is gone,
/// and a final phase are taken from it. Parts that others have written into the pod's own status are unchanged.
pub fn pod_status(
    pod: &Pod,
    observed: &ObservedName,
    memory: Option<&PodMemory>,
    previous: Option<&api::PodStatus>,
    policy: &NodePolicy,
    handlers: &[RuntimeHandler],
    now: Timestamp,
) -> api::PodStatus {
    let mut status = own_status(pod, observed, memory, previous, policy, handlers, now);
    ForeignStatus::of(pod.object.status.as_ref()).carry_into(&mut status);
    let memory = memory.filter(|memory| memory.uid == pod.uid);
    let ended = memory.and_then(|memory| memory.ended.as_ref());
    disruption::mark(&mut status, pod, ended, previous, now);
    status
}

/// The part of the status that the node owns.
fn own_status(
    pod: &Pod,
    observed: &ObservedName,
    memory: Option<&PodMemory>,
    previous: Option<&api::PodStatus>,
    policy: &NodePolicy,
    handlers: &[RuntimeHandler],
    now: Timestamp,
) -> api::PodStatus {
    let memory = memory.filter(|memory| memory.uid == pod.uid);
    let ended = memory.and_then(|memory| memory.ended.as_ref());
    let common = api::PodStatus {
        qos_class: Some(pod.qos.as_str().to_owned()),
        observed_generation: condition::observed_generation(pod),
        start_time: start_time(memory, previous, now),
        ..api::PodStatus::default()
    };
    if let Some(refusal) = ended.filter(|end| end.is_refusal()) {
        return refused(refusal, common);
    }
    // A rejection is withdrawn when there is room, and the end of a static pod when the machine does not go down, or is up
    // again: the status reported then is not an end of the pod. Such a pod lives again, whatever its restart policy.
    let lives_again = pod.source != Source::Api && ended.is_none() && is_alive(observed.uids.get(&pod.uid));
    let is_withdrawn = |previous: &api::PodStatus| {
        let end = End::of_status(previous);
        let is_passing = |end: &End| end.is_refusal() || ended.is_none() && !end.is_final(&pod.source);
        end.is_some_and(|end| lives_again || is_passing(&end))
    };
    let previous = previous.filter(|previous| !is_withdrawn(previous));
    let nothing = ObservedPod::default();
    let context = StatusContext {
        pod,
        seen: observed.uids.get(&pod.uid).unwrap_or(&nothing),
        memory,
        policy,
        handlers,
        restarts_all: false,
        now,
    };
    let is_gone = pod.deletion.is_some() && pod.source == Source::Api && !is_alive(Some(context.seen));
    if let Some(last) = previous.filter(|previous| is_gone && is_final(previous)) {
        // Its end has been reported, and its conditions are about what was.
        let observed_generation = common.observed_generation;
        return api::PodStatus {
            observed_generation,
            ..last.clone()
        };
    }
    let mut status = current_status(context, ended, previous, common);
    // A static pod is only recreated, together with its mirror pod.
    if is_gone {
        termination::terminate(&mut status, pod);
    }
    status
}

/// What a pod that was not rejected is now.
fn current_status(
    context: StatusContext<'_>,
    ended: Option<&End>,
    previous: Option<&api::PodStatus>,
    common: api::PodStatus,
) -> api::PodStatus {
    let context = StatusContext {
        restarts_all: restart_all::is_to_be_shown(context, previous.filter(|status| !is_final(status))),
        ..context
    };
    let StatusContext { pod, policy, now, .. } = context;
    let Statuses {
        init,
        regular,
        ephemeral,
    } = containers(context, previous);
    let reached = reached(context, &init, &regular, previous);
    let conditions = condition::conditions(&condition::ConditionContext {
        pod,
        init: &init,
        regular: &regular,
        phase: reached,
        has_sandbox: context.seen.usable_sandbox(pod.namespaces.host_network).is_some(),
        restarting_all: restart_all::is_under_way(context),
        resize: resize::conditions(context, reached, previous),
        previous,
        now,
    });
    let phase = reported(context, reached, previous);
    let (reason, message) = why(phase, ended, [previous, end_of_api(pod)]);
    let ips = pod_ips(pod, context.seen, previous, policy);
    let mut status = api::PodStatus {
        phase: Some(phase.to_owned()),
        reason,
        message,
        conditions: Some(conditions),
        container_statuses: Some(regular),
        init_container_statuses: (!init.is_empty()).then_some(init),
        ephemeral_container_statuses: (!ephemeral.is_empty()).then_some(ephemeral),
        host_ip: policy.host_ips.first().map(ToString::to_string),
        host_ips: host_ips(policy),
        pod_ip: ips.first().cloned(),
        pod_ips: list(ips.into_iter().map(|ip| api::PodIP { ip })),
        ..common
    };
    resize::of_pod(context, &mut status);
    status
}

/// The status of a pod that this node rejected.
fn refused(refusal: &End, common: api::PodStatus) -> api::PodStatus {
    api::PodStatus {
        phase: Some(phase::FAILED.to_owned()),
        reason: Some(refusal.reason().to_owned()),
        message: Some(refusal.message().into_owned()),
        ..common
    }
}

/// The first address of each family.
fn host_ips(policy: &NodePolicy) -> Option<Vec<api::HostIP>> {
    let ips = policy.host_ips.iter().take(2);
    list(ips.map(|ip| api::HostIP { ip: ip.to_string() }))
}

fn is_final(status: &api::PodStatus) -> bool {
    status.phase.as_deref().is_some_and(phase::is_final)
}

/// Whether a status says that the node rejected the pod.
fn is_refusal(status: &api::PodStatus) -> bool {
    End::of_status(status).is_some_and(|end| end.is_refusal())
}

/// The statuses of a pod's containers. Those of ephemeral containers do not affect the pod itself.
struct Statuses {
    init: Vec<api::ContainerStatus>,
    regular: Vec<api::ContainerStatus>,
    ephemeral: Vec<api::ContainerStatus>,
}

fn containers(context: StatusContext<'_>, previous: Option<&api::PodStatus>) -> Statuses {
    let before = |list: fn(&api::PodStatus) -> &Option<Vec<api::ContainerStatus>>| {
        previous
            .and_then(|previous| list(previous).as_deref())
            .unwrap_or_default()
    };
    let added = before(|status| &status.ephemeral_container_statuses);
    Statuses {
        init: container::init_statuses(context, before(|status| &status.init_container_statuses)),
        regular: container::statuses(context, before(|status| &status.container_statuses)),
        ephemeral: container::ephemeral_statuses(context, added),
    }
}

/// The phase that the pod has reached.
fn reached(
    context: StatusContext<'_>,
    init: &[api::ContainerStatus],
    regular: &[api::ContainerStatus],
    previous: Option<&api::PodStatus>,
) -> &'static str {
    // The end of an earlier incarnation does not count.
    let previous = previous.filter(|_| context.pod.incarnation == 0);
    let reported = final_phase(context, previous);
    if reported == Some(phase::SUCCEEDED) {
        return phase::SUCCEEDED;
    }
    if context.memory.is_some_and(|memory| memory.ended.is_some()) {
        return phase::FAILED;
    }
    keep_final(phase::phase(context.pod, init, regular, life(context)), reported)
}

/// The phase to report: an end only when the pod has released everything.
fn reported<'a>(
    context: StatusContext<'_>,
    reached: &'a str,
    previous: Option<&'a api::PodStatus>,
) -> &'a str {
    let waits =
        phase::is_final(reached) && is_alive(Some(context.seen)) && final_phase(context, previous).is_none();
    let reported = previous.and_then(|previous| previous.phase.as_deref());
    match waits {
        true => reported.unwrap_or(unfinished(life(context))),
        false => reached,
    }
}

/// The final phase that is known already, to this agent or to others: nothing follows it.
fn final_phase<'a>(context: StatusContext<'a>, previous: Option<&'a api::PodStatus>) -> Option<&'a str> {
    let known = [end_of_api(context.pod), previous].into_iter().flatten();
    let mut phases = known.filter_map(|status| status.phase.as_deref());
    phases.find(|phase| phase::is_final(phase))
}

/// The API server's status of a pod, if it is final: another party may have written it.
fn end_of_api(pod: &Pod) -> Option<&api::PodStatus> {
    let status = pod.object.status.as_ref();
    status.filter(|status| has_final_phase(Some(status)) && !is_refusal(status))
}

/// When the status changes next even if nothing happens; `None`: not by time alone.
pub fn changes_at(
    memory: &PodMemory,
    observed: &ObservedName,
    policy: &NodePolicy,
    now: Timestamp,
) -> Option<Timestamp> {
    let seen = observed.uids.get(&memory.uid);
    let containers = memory.containers.iter();
    let of_containers = containers.filter_map(|(name, memory)| {
        let newest = seen.and_then(|seen| seen.container(name));
        container::changes_at(memory, newest, policy, now)
    });
    let of_volumes = memory.failures.iter().filter_map(|(work, failure)| match work {
        FailedWork::ImageVolume(_) => image_volume::shows_back_off(failure).filter(|at| *at > now),
        _ => None,
    });
    of_containers.chain(of_volumes).min()
}

/// A pod whose end has been reported stays ended.
fn keep_final(phase: &'static str, reported: Option<&str>) -> &'static str {
    match reported {
        Some(phase::SUCCEEDED) if !phase::is_final(phase) => phase::SUCCEEDED,
        Some(phase::FAILED) if !phase::is_final(phase) => phase::FAILED,
        _ => phase,
    }
}

/// Whether any container of the pod may still run; `None` means that nothing of the pod is observed.
pub fn is_alive(seen: Option<&ObservedPod>) -> bool {
    let Some(seen) = seen else { return false };
    seen.containers.iter().any(|instance| instance.may_run()) || seen.ready_sandboxes().next().is_some()
}

/// The phase to report meanwhile for a pod without an earlier report.
fn unfinished(life: Life<'_>) -> &'static str {
    match life.has_initialized {
        true => phase::RUNNING,
        false => phase::PENDING,
    }
}

fn life(context: StatusContext<'_>) -> Life<'_> {
    let StatusContext {
        pod, seen, memory, ..
    } = context;
    let sandbox = seen.sandboxes.first().map(|sandbox| &sandbox.id);
    let regular = |name: &str| pod.containers.iter().any(|container| container.name == name);
    Life {
        seen,
        is_terminal: pod.deletion.is_some() || memory.is_some_and(|memory| memory.ended.is_some()),
        has_initialized: seen
            .containers
            .iter()
            .any(|instance| Some(&instance.sandbox) == sandbox && regular(&instance.name)),
    }
}

/// Reason and message belong to a phase: those of the node's own decision, else of the first of the `known` statuses
/// that has the phase and a reason.
fn why(
    phase: &str,
    ended: Option<&End>,
    known: [Option<&api::PodStatus>; 2],
) -> (Option<String>, Option<String>) {
    if phase == phase::FAILED
        && let Some(end) = ended.filter(|end| !end.reason().is_empty())
    {
        return (
            Some(end.reason().to_owned()),
            Some(end.message().into_owned()).filter(|message| !message.is_empty()),
        );
    }
    let known = known.into_iter().flatten();
    let mut known = known.filter(|status| status.phase.as_deref() == Some(phase));
    let known = known.find(|status| status.reason.is_some() || status.message.is_some());
    known.map_or((None, None), |status| {
        (status.reason.clone(), status.message.clone())
    })
}

fn start_time(
    memory: Option<&PodMemory>,
    previous: Option<&api::PodStatus>,
    now: Timestamp,
) -> Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time> {
    let reported = previous.and_then(|previous| previous.start_time.clone());
    reported.or_else(|| Some(time(memory.map_or(now, |memory| memory.started))))
}

/// The pod's addresses, those of the node's family first. They stay in the status when the sandbox is gone, for later
/// readers.
fn pod_ips(
    pod: &Pod,
    seen: &ObservedPod,
    previous: Option<&api::PodStatus>,
    policy: &NodePolicy,
) -> Vec<String> {
    if pod.namespaces.host_network {
        return policy.host_ips.iter().take(2).map(ToString::to_string).collect();
    }
    let mut ips: Vec<IpAddr> = seen
        .ready_sandbox()
        .map(|sandbox| sandbox.ips.clone())
        .unwrap_or_default();
    if ips.is_empty() {
        let reported = previous.and_then(|previous| previous.pod_ips.as_ref());
        return reported.into_iter().flatten().map(|ip| ip.ip.clone()).collect();
    }
    let family = policy.host_ips.first().map(IpAddr::is_ipv4);
    ips.sort_by_key(|ip| Some(ip.is_ipv4()) != family);
    ips.iter().map(ToString::to_string).collect()
}

fn list<T>(items: impl Iterator<Item = T>) -> Option<Vec<T>> {
    let items: Vec<_> = items.collect();
    (!items.is_empty()).then_some(items)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::memory::Backoff;
    use crate::model::outcome::{Failure, StepError};
    use crate::model::pod::{Container, RestartPolicy};
    use crate::model::runtime::ObservedContainer;
    use crate::model::sample::{self, at, exited, instance, observed, running, sandbox};

    /// The status of a running pod, to which `dbg` was added, at second 100.
    fn debugged(dbg: Option<ObservedContainer>, failure: Option<StepError>) -> api::PodStatus {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        pod.ephemeral_containers = vec![Container {
            restart: RestartPolicy::Never,
            ..sample::container("dbg")
        }];
        let mut memory = PodMemory::new(pod.uid.clone(), at(0));
        if failure.is_some() {
            let of_container = memory
                .containers
                .entry("dbg".to_owned())
                .or_insert_with(|| crate::model::memory::ContainerMemory::of(&sample::container("dbg")));
            of_container.failure = failure;
            of_container.restart = Some(Backoff {
                delay: Duration::from_secs(300),
                since: at(90),
            });
        }
        let c = instance("c", 0, 1, running(1));
        let observed = observed(vec![sandbox(0, true, 0)], dbg.into_iter().chain([c]).collect());
        pod_status(
            &pod,
            &observed,
            Some(&memory),
            None,
            &sample::policy(),
            &[],
            at(100),
        )
    }

    /// Checks the status of `dbg`: its state, the reason of its last state, and whether it is ready and has started. It
    /// does not affect the pod.
    fn check(dbg: Option<ObservedContainer>, failure: Option<StepError>, expected: &str) {
        let status = debugged(dbg, failure);
        assert_eq!(status.phase.as_deref(), Some("Running"));
        let conditions = status.conditions.unwrap();
        assert!(conditions.iter().all(|c| c.status == "True"), "{conditions:?}");
        assert_eq!(status.container_statuses.unwrap().len(), 1);
        let all = status.ephemeral_container_statuses.unwrap();
        let [dbg] = &all[..] else { panic!("{all:?}") };
        let reported = |state: &Option<api::ContainerState>| {
            let state = state.clone().unwrap_or_default();
            let reasons = [
                state.running.map(|_| Some("running".to_owned())),
                state.waiting.map(|waiting| waiting.reason),
                state.terminated.map(|ended| ended.reason),
            ];
            reasons.into_iter().flatten().flatten().collect::<String>()
        };
        let (state, last) = (reported(&dbg.state), reported(&dbg.last_state));
        assert_eq!(
            format!("{state} {last} {} {:?}", dbg.ready, dbg.started),
            expected
        );
    }

    #[test]
    fn what_was_added_to_a_pod_has_a_status_of_its_own() {
        check(None, None, "ContainerCreating  false None");
        check(
            Some(instance("dbg", 0, 2, running(2))),
            None,
            "running  false None",
        );
        let ended = || Some(instance("dbg", 0, 2, exited(2, 3, 3)));
        check(ended(), None, "Error  false None");
        // The reason of the failed start is reported, without a back-off: it is not retried.
        let failure = StepError {
            reason: "RunContainerError",
            message: "m".to_owned(),
            failure: Failure::Failed,
        };
        check(ended(), Some(failure), "RunContainerError Error false None");
    }
}
