//! The steps that apply what was allocated to a running pod, and their order (`doPodResizeAction` in
//! `pkg/kubelet/kuberuntime`). What is allocated is decided in [`super::resize`].

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::cgroup;
use super::context::PlanContext;
use super::resize::{runs, save};
use crate::model::allocation::{Allocation, Sizes};
use crate::model::memory::FailedWork;
use crate::model::node::NodePolicy;
use crate::model::pod::{Container, Pod};
use crate::model::request::{CgroupSetting, Change, Floor, Occasion, ResizeRequest, Usage};
use crate::model::runtime::{ObservedContainer, ObservedPod};
use crate::model::step::Step;

/// A running container that gets other resources.
struct Update<'a> {
    container: &'a Container,
    id: &'a str,
    has: Sizes,
    gets: Sizes,
}

/// The steps that apply the pod's allocation, between the stops and the starts; and when to retry a failed one.
/// `stopped` are the instances that have been stopped before.
pub(super) fn stages(context: PlanContext<'_>, stopped: &[&str]) -> (Vec<Vec<Step>>, Option<Timestamp>) {
    let PlanContext {
        pod,
        seen,
        memory,
        now,
        policy,
        ..
    } = context;
    let Some(saved) = seen.allocation.as_ref().filter(|saved| saved.is_behind()) else {
        return (Vec::new(), None);
    };
    if let Some(until) = memory.retried_at(&FailedWork::Resize, now) {
        return (Vec::new(), Some(until));
    }
    let updates = updates(pod, seen, saved, stopped);
    let request = request(pod, saved, seen, &updates, policy);
    let mut after = Allocation::clone(saved);
    // A stop may have failed, so a stopped instance is not removed before its end has been observed.
    after.behind.retain(|id, _| stopped.contains(&id.as_str()));
    after.pod_behind = None;
    let resize = match request.changes.is_empty() {
        true => Vec::new(),
        false => vec![Step::Resize(Box::new(request))],
    };
    let note = save(pod, after, Occasion::Actuated, policy);
    (vec![resize, vec![note]], None)
}

fn updates<'a>(pod: &'a Pod, seen: &'a ObservedPod, saved: &Allocation, stopped: &[&str]) -> Vec<Update<'a>> {
    let update = |instance: &'a ObservedContainer| {
        let has = saved.of_instance(&instance.name, &instance.id)?;
        let container = pod
            .all_containers()
            .find(|container| container.name == instance.name)?;
        Some(Update {
            container,
            id: &instance.id,
            has,
            gets: saved.of_container(&instance.name)?,
        })
    };
    let running = seen.containers.iter().filter(|instance| runs(instance));
    let going_on = running.filter(|instance| !stopped.contains(&instance.id.as_str()));
    going_on.filter_map(update).collect()
}

/// Memory first, then CPU; for each, an increase of the pod comes before its containers, a decrease after them.
fn request(
    pod: &Pod,
    saved: &Allocation,
    seen: &ObservedPod,
    updates: &[Update<'_>],
    policy: &NodePolicy,
) -> ResizeRequest {
    let name_of = |id: &String| {
        let mut instances = seen.containers.iter();
        instances
            .find(|instance| instance.id == *id)
            .map(|instance| instance.name.clone())
    };
    let had: BTreeMap<String, Sizes> = saved
        .behind
        .iter()
        .filter_map(|(id, sizes)| Some((name_of(id)?, *sizes)))
        .collect();
    let mut former = with_sizes(pod, &had);
    if let Some(has) = saved.pod_behind {
        has.apply(former.resources.get_or_insert_default());
    }
    let setting = |pod: &Pod| cgroup::pod_cgroup(pod, &policy.cgroup);
    let (before, after) = (setting(&former), setting(pod));
    let touches = |differs: fn(Sizes, Sizes) -> bool| updates.iter().any(|u| differs(u.has, u.gets));
    // The pod's cgroup changes whatever its running containers get.
    let of_pod = saved.pod_behind.is_some() || saved.behind.len() > updates.len();
    let (mut floors, mut changes) = (Vec::new(), Vec::new());
    if of_pod || touches(Sizes::differs_in_memory) {
        floors.extend(lowered(&before, &after, updates, policy));
        memory_changes(pod, (&before, &after), updates, policy, &mut changes);
    }
    if of_pod || touches(Sizes::differs_in_cpu) {
        cpu_changes(pod, (&before, &after), updates, policy, &mut changes);
    }
    ResizeRequest { floors, changes }
}

/// Memory is raised from the pod to its containers, and lowered the other way.
fn memory_changes(
    pod: &Pod,
    (before, after): (&CgroupSetting, &CgroupSetting),
    updates: &[Update<'_>],
    policy: &NodePolicy,
    changes: &mut Vec<Change>,
) {
    let limit = |setting: &CgroupSetting| setting.memory_limit.unwrap_or(i64::MAX);
    let grows = limit(after) > limit(before);
    let of_pod = CgroupSetting {
        memory_limit: after.memory_limit,
        ..CgroupSetting::untouched(after.name.clone())
    };
    let of_pod = of_pod
        .memory_limit
        .is_some()
        .then_some(of_pod)
        .filter(|_| policy.cgroup.per_qos);
    let mut memory: Vec<_> = updates
        .iter()
        .filter(|u| u.has.differs_in_memory(u.gets))
        .collect();
    memory.sort_by_key(|u| {
        grown(
            (u.has.memory_limit, u.has.memory_request),
            (u.gets.memory_limit, u.gets.memory_request),
        )
    });
    let containers = memory
        .into_iter()
        .map(|u| change(pod, u, u.gets.with_cpu_of(u.has), policy));
    around(of_pod, grows, containers, changes);
}

/// CPU is raised from the pod to its containers, and lowered the other way.
fn cpu_changes(
    pod: &Pod,
    (before, after): (&CgroupSetting, &CgroupSetting),
    updates: &[Update<'_>],
    policy: &NodePolicy,
    changes: &mut Vec<Change>,
) {
    let quota = |setting: &CgroupSetting| setting.cpu_quota.map_or(i64::MAX, |(quota, _)| quota);
    let grows = quota(after) > quota(before) || after.cpu_shares > before.cpu_shares;
    let of_pod = CgroupSetting {
        cpu_quota: after.cpu_quota,
        cpu_shares: after.cpu_shares,
        ..CgroupSetting::untouched(after.name.clone())
    };
    let of_pod = Some(of_pod).filter(|_| policy.cgroup.per_qos);
    let mut cpu: Vec<_> = updates.iter().filter(|u| u.has.differs_in_cpu(u.gets)).collect();
    cpu.sort_by_key(|u| {
        grown(
            (u.has.cpu_limit, u.has.cpu_request),
            (u.gets.cpu_limit, u.gets.cpu_request),
        )
    });
    let containers = cpu.into_iter().map(|u| change(pod, u, u.gets, policy));
    around(of_pod, grows, containers, changes);
}

/// The pod's change comes before those of its containers if it grows, otherwise after them.
fn around(
    of_pod: Option<CgroupSetting>,
    grows: bool,
    containers: impl Iterator<Item = Change>,
    changes: &mut Vec<Change>,
) {
    let (first, last) = match grows {
        true => (of_pod, None),
        false => (None, of_pod),
    };
    changes.extend(first.map(Change::Pod));
    changes.extend(containers);
    changes.extend(last.map(Change::Pod));
}

/// Whether the value grows, judged by the limit if that changes: decreases are applied first.
fn grown(has: (Option<i64>, Option<i64>), gets: (Option<i64>, Option<i64>)) -> bool {
    match has.0 == gets.0 {
        true => gets.1 > has.1,
        false => gets.0.unwrap_or(i64::MAX) > has.0.unwrap_or(i64::MAX),
    }
}

/// The memory limits that become lower, or are new.
fn lowered<'a>(
    before: &CgroupSetting,
    after: &CgroupSetting,
    updates: &'a [Update<'a>],
    policy: &NodePolicy,
) -> impl Iterator<Item = Floor> + use<'a> {
    let is_lower = |has: Option<i64>, gets: i64| has.is_none_or(|has| gets < has);
    let limit = after
        .memory_limit
        .filter(|limit| policy.cgroup.per_qos && is_lower(before.memory_limit, *limit));
    let of_pod = limit.map(|limit| Floor {
        of: Usage::Pod(after.name.clone()),
        limit,
    });
    let of_containers = updates.iter().filter_map(move |update| {
        let limit = update
            .gets
            .memory_limit
            .filter(|limit| is_lower(update.has.memory_limit, *limit))?;
        let of = Usage::Container {
            name: update.container.name.clone(),
            id: update.id.to_owned(),
        };
        Some(Floor { of, limit })
    });
    of_pod.into_iter().chain(of_containers)
}

fn change(pod: &Pod, update: &Update<'_>, sizes: Sizes, policy: &NodePolicy) -> Change {
    let mut container = update.container.clone();
    sizes.apply(&mut container.resources);
    Change::Container {
        id: update.id.to_owned(),
        resources: Box::new(cgroup::container_resources(pod, &container, policy)),
    }
}

fn with_sizes(pod: &Pod, sizes: &BTreeMap<String, Sizes>) -> Pod {
    let mut pod = pod.clone();
    for container in pod.init_containers.iter_mut().chain(&mut pod.containers) {
        if let Some(sizes) = sizes.get(&container.name) {
            sizes.apply(&mut container.resources);
        }
    }
    pod
}
