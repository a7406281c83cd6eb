//! The status of a pod, exactly as the kubelet tells it (`generateAPIPodStatus` in
//! `pkg/kubelet/kubelet_pods.go`, `pkg/kubelet/status`).

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use super::condition;
use super::container::{self, Given};
use super::format::time;
use super::phase::{self, Life};
use super::termination;
use crate::model::memory::PodMemory;
use crate::model::node::NodePolicy;
use crate::model::pod::{Pod, Source};
use crate::model::runtime::{ObservedName, ObservedPod};

/// How the message of a pod begins that the node refused to run.
pub(super) const REJECTED: &str = "Pod was rejected: ";

/// The status of a pod that is desired. `previous` is what was told last: times of transition, addresses of a
/// sandbox that is gone, and a final phase are kept from it.
pub fn pod_status(
    pod: &Pod,
    observed: &ObservedName,
    memory: Option<&PodMemory>,
    previous: Option<&api::PodStatus>,
    policy: &NodePolicy,
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
    if let Some((reason, message)) = ended.filter(|(_, message)| message.starts_with(REJECTED)) {
        return api::PodStatus {
            phase: Some(phase::FAILED.to_owned()),
            reason: Some(reason.clone()),
            message: Some(message.clone()),
            ..common
        };
    }
    // A refusal is taken back when there is room: what was told then is no end that the pod has come to.
    let previous = previous.filter(|previous| !is_refusal(previous));
    let nothing = ObservedPod::default();
    let given = Given {
        pod,
        seen: observed.uids.get(&pod.uid).unwrap_or(&nothing),
        memory,
        policy,
        now,
    };
    let (init, regular) = containers(given, previous);
    let reached = reached(given, &init, &regular, previous);
    let conditions = condition::conditions(&condition::Given {
        pod,
        init: &init,
        regular: &regular,
        phase: reached,
        has_sandbox: given.seen.usable_sandbox(pod.namespaces.host_network).is_some(),
        previous,
        now,
    });
    let phase = told(given, reached, previous);
    let why = why(phase, ended, previous);
    let ips = pod_ips(pod, given.seen, previous, policy);
    let mut status = api::PodStatus {
        phase: Some(phase.to_owned()),
        reason: why.as_ref().map(|(reason, _)| reason.clone()),
        message: why
            .map(|(_, message)| message)
            .filter(|message| !message.is_empty()),
        conditions: Some(conditions),
        container_statuses: Some(regular),
        init_container_statuses: (!init.is_empty()).then_some(init),
        host_ip: policy.host_ips.first().map(ToString::to_string),
        host_ips: list(
            policy
                .host_ips
                .iter()
                .take(2)
                .map(|ip| api::HostIP { ip: ip.to_string() }),
        ),
        pod_ip: ips.first().cloned(),
        pod_ips: list(ips.into_iter().map(|ip| api::PodIP { ip })),
        ..common
    };
    // A static pod is only made anew, and its mirror with it.
    if pod.deletion.is_some() && pod.source == Source::Api && !is_alive(Some(given.seen)) {
        termination::terminate(&mut status, pod);
    }
    status
}

/// Whether a status tells that the node refused the pod.
fn is_refusal(status: &api::PodStatus) -> bool {
    let message = status.message.as_deref();
    message.is_some_and(|message| message.starts_with(REJECTED))
}

/// The statuses of init containers and of the others.
fn containers(
    given: Given<'_>,
    previous: Option<&api::PodStatus>,
) -> (Vec<api::ContainerStatus>, Vec<api::ContainerStatus>) {
    let before = |list: fn(&api::PodStatus) -> &Option<Vec<api::ContainerStatus>>| {
        previous
            .and_then(|previous| list(previous).as_deref())
            .unwrap_or_default()
    };
    (
        container::init_statuses(given, before(|status| &status.init_container_statuses)),
        container::statuses(given, before(|status| &status.container_statuses)),
    )
}

/// The phase that the pod has come to.
fn reached(
    given: Given<'_>,
    init: &[api::ContainerStatus],
    regular: &[api::ContainerStatus],
    previous: Option<&api::PodStatus>,
) -> &'static str {
    let told = previous.and_then(|previous| previous.phase.as_deref());
    if told == Some(phase::SUCCEEDED) {
        return phase::SUCCEEDED;
    }
    if given.memory.is_some_and(|memory| memory.ended.is_some()) {
        return phase::FAILED;
    }
    keep_final(phase::phase(given.pod, init, regular, life(given)), told)
}

/// The phase that is told: an end only when the pod has let go of everything.
fn told<'a>(given: Given<'_>, reached: &'a str, previous: Option<&'a api::PodStatus>) -> &'a str {
    let told = previous.and_then(|previous| previous.phase.as_deref());
    let waits = phase::is_final(reached) && is_alive(Some(given.seen)) && !told.is_some_and(phase::is_final);
    match waits {
        true => told.unwrap_or(unfinished(life(given))),
        false => reached,
    }
}

/// When the status changes next though nothing happens; `None`: not by time alone.
pub fn changes_at(
    memory: &PodMemory,
    observed: &ObservedName,
    policy: &NodePolicy,
    now: Timestamp,
) -> Option<Timestamp> {
    let seen = observed.uids.get(&memory.uid);
    let containers = memory.containers.iter();
    containers
        .filter_map(|(name, memory)| {
            let newest = seen.and_then(|seen| seen.container(name));
            container::changes_at(memory, newest, policy, now)
        })
        .min()
}

/// A pod that has told its end stays at its end.
fn keep_final(phase: &'static str, told: Option<&str>) -> &'static str {
    match told {
        Some(phase::SUCCEEDED) if !phase::is_final(phase) => phase::SUCCEEDED,
        Some(phase::FAILED) if !phase::is_final(phase) => phase::FAILED,
        _ => phase,
    }
}

/// Whether something of the pod may still run; `None` is a pod of which nothing is observed.
pub fn is_alive(seen: Option<&ObservedPod>) -> bool {
    let Some(seen) = seen else { return false };
    seen.containers.iter().any(|instance| instance.may_run()) || seen.ready_sandboxes().next().is_some()
}

/// The phase told meanwhile of a pod that nothing was told of yet.
fn unfinished(life: Life) -> &'static str {
    match life.has_initialized {
        true => phase::RUNNING,
        false => phase::PENDING,
    }
}

fn life(given: Given<'_>) -> Life {
    let Given {
        pod, seen, memory, ..
    } = given;
    let sandbox = seen.sandboxes.first().map(|sandbox| &sandbox.id);
    let regular = |name: &str| pod.containers.iter().any(|container| container.name == name);
    Life {
        is_terminal: pod.deletion.is_some() || memory.is_some_and(|memory| memory.ended.is_some()),
        has_initialized: seen
            .containers
            .iter()
            .any(|instance| Some(&instance.sandbox) == sandbox && regular(&instance.name)),
    }
}

/// Reason and message belong to a phase and go with it.
fn why(
    phase: &str,
    ended: Option<&(String, String)>,
    previous: Option<&api::PodStatus>,
) -> Option<(String, String)> {
    if phase == phase::FAILED
        && let Some(ended) = ended.filter(|(reason, _)| !reason.is_empty())
    {
        return Some(ended.clone());
    }
    let previous = previous.filter(|previous| previous.phase.as_deref() == Some(phase))?;
    Some((
        previous.reason.clone()?,
        previous.message.clone().unwrap_or_default(),
    ))
}

fn start_time(
    memory: Option<&PodMemory>,
    previous: Option<&api::PodStatus>,
    now: Timestamp,
) -> Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time> {
    let told = previous.and_then(|previous| previous.start_time.clone());
    told.or_else(|| Some(time(memory.map_or(now, |memory| memory.started))))
}

/// The pod's addresses, those of the node's family first. They are kept when the sandbox is gone, for
/// whoever asks afterwards.
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
        let told = previous.and_then(|previous| previous.pod_ips.as_ref());
        return told.into_iter().flatten().map(|ip| ip.ip.clone()).collect();
    }
    let family = policy.host_ips.first().map(IpAddr::is_ipv4);
    ips.sort_by_key(|ip| Some(ip.is_ipv4()) != family);
    ips.iter().map(ToString::to_string).collect()
}

fn list<T>(items: impl Iterator<Item = T>) -> Option<Vec<T>> {
    let items: Vec<_> = items.collect();
    (!items.is_empty()).then_some(items)
}
