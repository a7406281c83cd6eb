//! Whose numbers are shown: the machine, the cgroups above pods, pods, sandboxes and containers.

use jiff::Timestamp;

use super::super::exposition::Labels;
use crate::model::stats::{CgroupSample, ContainerSample, Interface, NodeSample, PodSample, SystemPart};

/// A cgroup with its labels (`containerPrometheusLabelsFunc` in `pkg/kubelet/server`).
pub(super) struct Subject<'a> {
    pub(super) labels: Labels,
    pub(super) cgroup: &'a CgroupSample,
    pub(super) created: Timestamp,
    /// Those of a sandbox and the machine.
    pub(super) interfaces: &'a [Interface],
    pub(super) is_machine: bool,
}

/// All of them.
pub(super) fn subjects(sample: &NodeSample) -> Vec<Subject<'_>> {
    let mut subjects = vec![Subject {
        labels: labels(&sample.machine, None, None),
        cgroup: &sample.machine,
        created: sample.machine.created,
        interfaces: &sample.interfaces,
        is_machine: true,
    }];
    let programs = sample.system.iter().filter(|(part, _)| *part != SystemPart::Pods);
    let plain = programs.map(|(_, cgroup)| cgroup).chain(&sample.levels);
    subjects.extend(plain.map(|cgroup| of_cgroup(cgroup, None)));
    for pod in &sample.pods {
        subjects.extend(pod.cgroup.as_ref().map(|cgroup| of_cgroup(cgroup, Some(pod))));
        let interfaces = pod.interfaces.as_deref().unwrap_or_default();
        subjects.extend(of_container(pod, &pod.sandbox, interfaces));
        subjects.extend(
            pod.containers
                .iter()
                .filter_map(|container| of_container(pod, container, &[])),
        );
    }
    subjects
}

fn of_cgroup<'a>(cgroup: &'a CgroupSample, pod: Option<&PodSample>) -> Subject<'a> {
    Subject {
        labels: labels(cgroup, pod, None),
        cgroup,
        created: cgroup.created,
        interfaces: &[],
        is_machine: false,
    }
}

fn of_container<'a>(
    pod: &PodSample,
    container: &'a ContainerSample,
    interfaces: &'a [Interface],
) -> Option<Subject<'a>> {
    let cgroup = container.cgroup.as_ref()?;
    Some(Subject {
        labels: labels(cgroup, Some(pod), Some(container)),
        cgroup,
        created: container.created,
        interfaces,
        is_machine: false,
    })
}

fn labels(cgroup: &CgroupSample, pod: Option<&PodSample>, container: Option<&ContainerSample>) -> Labels {
    Labels::of(&[
        ("container", container.map_or("", |container| &container.name)),
        ("id", &cgroup.path),
        ("image", container.map_or("", |container| &container.image)),
        ("name", container.map_or("", |container| &container.id)),
        ("namespace", pod.map_or("", |pod| &pod.name.namespace)),
        ("pod", pod.map_or("", |pod| &pod.name.name)),
    ])
}
