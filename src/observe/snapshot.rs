//! Converts CRI's answers to values of the model. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_cri::v1;

use crate::model::labels::{self, ContainerAnnotations};
use crate::model::pod::{PodName, PodUid};
use crate::model::runtime::{
    ContainerState, ObservedContainer, ObservedImage, ObservedName, ObservedPod, RuntimeHandler, Sandbox,
};
use crate::model::stop_signal::StopSignal;

/// All termination messages of a pod together, divided evenly (`MaxPodTerminationMessageLogLength`).
const MAX_POD_MESSAGES: usize = 12 * 1024;

/// Everything that CRI lists under one pod name.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) sandboxes: Vec<(PodUid, v1::PodSandbox)>,
    pub(super) containers: Vec<(PodUid, v1::Container)>,
}

/// What can change in a list: the states by id. Everything else of a sandbox or a container is fixed for its life.
pub(super) type Fingerprint = Vec<(String, i32)>;

impl Listed {
    /// The UIDs that are listed.
    pub(super) fn uids(&self) -> BTreeSet<PodUid> {
        let sandboxes = self.sandboxes.iter().map(|(uid, _)| uid);
        let containers = self.containers.iter().map(|(uid, _)| uid);
        sandboxes.chain(containers).cloned().collect()
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        let sandboxes = self.sandboxes.iter().map(|(_, s)| (s.id.clone(), s.state));
        let containers = self.containers.iter().map(|(_, c)| (c.id.clone(), c.state));
        let mut all: Fingerprint = sandboxes.chain(containers).collect();
        all.sort_unstable();
        all
    }
}

/// What only the status of a sandbox has.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct SandboxDetails {
    pub(super) ips: Vec<IpAddr>,
    pub(super) host_network: bool,
}

/// The lists by pod name. What lacks the kubelet's labels is not a pod's and is left out.
pub(super) fn by_name(
    sandboxes: Vec<v1::PodSandbox>,
    containers: Vec<v1::Container>,
) -> BTreeMap<PodName, Listed> {
    let mut names: BTreeMap<PodName, Listed> = BTreeMap::new();
    for sandbox in sandboxes {
        if let Some((name, uid)) = labels::owner(&sandbox.labels) {
            names.entry(name).or_default().sandboxes.push((uid, sandbox));
        }
    }
    for container in containers {
        if let Some((name, uid)) = labels::owner(&container.labels)
            && labels::container_name(&container.labels).is_some()
        {
            names.entry(name).or_default().containers.push((uid, container));
        }
    }
    names
}

/// The current state of one pod name. A container that went away before its status was read is left out.
pub(super) fn observed(
    listed: Listed,
    details: impl Fn(&str) -> Option<SandboxDetails>,
    container: impl Fn(&str) -> Option<ObservedContainer>,
) -> ObservedName {
    let mut name = ObservedName::default();
    for (uid, raw) in listed.sandboxes {
        let known = details(&raw.id);
        name.uids
            .entry(uid)
            .or_default()
            .sandboxes
            .push(sandbox(raw, known));
    }
    for (uid, raw) in listed.containers {
        if let Some(container) = container(&raw.id) {
            name.uids.entry(uid).or_default().containers.push(container);
        }
    }
    for pod in name.uids.values_mut() {
        // The newest first. The machine's clock may have been set back since an earlier one was created.
        pod.sandboxes
            .sort_by(|a, b| (b.attempt, b.created, &b.id).cmp(&(a.attempt, a.created, &a.id)));
        pod.containers
            .sort_by(|a, b| (b.restart_count, b.created, &b.id).cmp(&(a.restart_count, a.created, &a.id)));
        limit_messages(pod);
    }
    name
}

fn sandbox(raw: v1::PodSandbox, details: Option<SandboxDetails>) -> Sandbox {
    let ready = raw.state == v1::PodSandboxState::SandboxReady as i32;
    let details = details.unwrap_or_default();
    Sandbox {
        id: raw.id,
        attempt: raw.metadata.map_or(0, |metadata| metadata.attempt),
        ready,
        created: timestamp(raw.created_at),
        ips: if ready { details.ips } else { Vec::new() },
        host_network: details.host_network,
        handler: raw.runtime_handler,
        annotations: raw.annotations.into_iter().collect(),
        labels: raw.labels.into_iter().collect(),
    }
}

pub(super) fn sandbox_details(status: &v1::PodSandboxStatus) -> SandboxDetails {
    let options = status
        .linux
        .as_ref()
        .and_then(|linux| linux.namespaces.as_ref()?.options.as_ref());
    let host_network = options.is_some_and(|options| options.network == v1::NamespaceMode::Node as i32);
    let network = status.network.as_ref();
    let first = network.map(|network| &network.ip);
    let more = network
        .into_iter()
        .flat_map(|network| network.additional_ips.iter().map(|ip| &ip.ip));
    SandboxDetails {
        // A pod on the host network has no address of its own; some runtimes report the host's.
        ips: if host_network {
            Vec::new()
        } else {
            first
                .into_iter()
                .chain(more)
                .filter_map(|ip| ip.parse().ok())
                .collect()
        },
        host_network,
    }
}

/// Where to find the termination message of an ended container.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MessageSource {
    /// The file on the host, where the container has one mounted at its termination message path.
    pub(super) file: Option<String>,
    /// The log, if the policy falls back to its end when the file is empty.
    pub(super) log: Option<String>,
}

/// `None` while the container has not ended.
pub(super) fn message_source(status: &v1::ContainerStatus) -> Option<MessageSource> {
    if status.state != v1::ContainerState::ContainerExited as i32 {
        return None;
    }
    let annotations = ContainerAnnotations::read(&status.annotations);
    let path = &annotations.termination_path;
    let mounted = status
        .mounts
        .iter()
        .find(|mount| !path.is_empty() && mount.container_path == *path);
    // A container that failed to start has no log (kuberuntime `convertToKubeContainerStatus`).
    let from_log =
        annotations.termination_from_logs && status.exit_code != 0 && status.reason != "ContainerCannotRun";
    Some(MessageSource {
        file: mounted.map(|mount| mount.host_path.clone()),
        log: (from_log && !status.log_path.is_empty()).then(|| status.log_path.clone()),
    })
}

/// One container; `None` if it lacks the kubelet's labels.
pub(super) fn container(
    (status, stop_signal): (v1::ContainerStatus, Option<StopSignal>),
    sandbox: String,
    termination_message: String,
) -> Option<ObservedContainer> {
    let annotations = ContainerAnnotations::read(&status.annotations);
    let name = labels::container_name(&status.labels)?.to_owned();
    let attempt = status.metadata.as_ref().map_or(0, |metadata| metadata.attempt);
    let user = status.user.as_ref().and_then(|user| user.linux.as_ref());
    Some(ObservedContainer {
        name,
        sandbox,
        restart_count: annotations.restart_count.unwrap_or(attempt),
        hash: annotations.hash.unwrap_or(0),
        grace_seconds: annotations.grace_seconds,
        created: timestamp(status.created_at),
        stop_signal,
        pre_stop: annotations.hook(),
        termination_path: annotations.termination_path,
        health: None,
        user: user.map(|user| (user.uid, user.gid, user.supplemental_groups.clone())),
        state: state(&status, termination_message),
        mounted_images: mounted_images(&status),
        id: status.id,
        image: status.image.map(|image| image.image).unwrap_or_default(),
        image_ref: status.image_ref,
        log_path: status.log_path,
        resources: status.resources.and_then(|resources| resources.linux),
    })
}

/// Each once.
fn mounted_images(status: &v1::ContainerStatus) -> Vec<String> {
    let images = status.mounts.iter().filter_map(|mount| mount.image.as_ref());
    let images: BTreeSet<&str> = images.map(|image| image.image.as_str()).collect();
    images.into_iter().map(str::to_owned).collect()
}

fn state(status: &v1::ContainerStatus, termination_message: String) -> ContainerState {
    let started = (status.started_at > 0).then(|| timestamp(status.started_at));
    match v1::ContainerState::try_from(status.state) {
        Ok(v1::ContainerState::ContainerCreated) => ContainerState::Created,
        Ok(v1::ContainerState::ContainerRunning) => ContainerState::Running {
            started: timestamp(status.started_at),
        },
        Ok(v1::ContainerState::ContainerExited) => ContainerState::Exited {
            started,
            finished: timestamp(status.finished_at),
            code: status.exit_code,
            reason: status.reason.clone(),
            message: status.message.clone(),
            termination_message,
        },
        Ok(v1::ContainerState::ContainerUnknown) | Err(_) => ContainerState::Unknown,
    }
}

/// Each container of a pod gets a share of the pod's limit (status manager, `normalizeStatus`).
fn limit_messages(pod: &mut ObservedPod) {
    let mut names: Vec<&str> = pod.containers.iter().map(|container| &*container.name).collect();
    names.sort_unstable();
    names.dedup();
    let share = MAX_POD_MESSAGES / names.len().max(1);
    for container in &mut pod.containers {
        if let ContainerState::Exited {
            termination_message, ..
        } = &mut container.state
        {
            let mut end = share.min(termination_message.len());
            while !termination_message.is_char_boundary(end) {
                end -= 1;
            }
            termination_message.truncate(end);
        }
    }
}

pub(super) fn images(raw: Vec<v1::Image>) -> Vec<ObservedImage> {
    let mut images: Vec<_> = raw
        .into_iter()
        .map(|image| ObservedImage {
            id: image.id,
            tags: image.repo_tags,
            digests: image.repo_digests,
            size: image.size,
            pinned: image.pinned,
        })
        .collect();
    images.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    images
}

/// The features of the runtime's handlers, by name: containerd lists them in a new order each time.
pub(super) fn handlers(answer: &v1::StatusResponse) -> Vec<RuntimeHandler> {
    let handler = |handler: &v1::RuntimeHandler| {
        let features = handler.features.unwrap_or_default();
        RuntimeHandler {
            name: handler.name.clone(),
            recursive_read_only: features.recursive_read_only_mounts,
            user_namespaces: features.user_namespaces,
        }
    };
    let mut handlers: Vec<_> = answer.runtime_handlers.iter().map(handler).collect();
    handlers.sort_by(|a, b| a.name.cmp(&b.name));
    handlers
}

/// Reason and message of a condition that is not true; a condition that the runtime does not report counts as such.
pub(super) fn fault(status: &v1::RuntimeStatus, kind: &str) -> Option<(String, String)> {
    match status
        .conditions
        .iter()
        .find(|condition| condition.r#type == kind)
    {
        Some(condition) if condition.status => None,
        Some(condition) => Some((condition.reason.clone(), condition.message.clone())),
        None => Some((
            String::new(),
            format!("the runtime does not report its condition {kind}"),
        )),
    }
}

/// CRI counts nanoseconds since 1970.
fn timestamp(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into()).expect("an i64 of nanoseconds is within jiff's range")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::labels::Labels;
    use proptest::prelude::*;

    const HASH: &str = "io.kubernetes.container.hash";
    const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
    const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
    const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
    const GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";

    fn labels(uid: &str, container: Option<&str>) -> Labels {
        let (name, uid) = (PodName::new("default", "web"), PodUid(uid.into()));
        match container {
            Some(container) => labels::of_container(&name, &uid, container),
            None => labels::of_sandbox(&name, &uid),
        }
    }

    fn raw_sandbox(id: &str, uid: &str, created: i64, ready: bool) -> v1::PodSandbox {
        v1::PodSandbox {
            id: id.into(),
            created_at: created,
            state: i32::from(!ready),
            labels: labels(uid, None),
            ..Default::default()
        }
    }

    fn raw_container(id: &str, uid: &str) -> v1::Container {
        v1::Container {
            id: id.into(),
            labels: labels(uid, Some("c")),
            ..Default::default()
        }
    }

    fn exited(name: &str, annotations: &[(&str, &str)]) -> v1::ContainerStatus {
        v1::ContainerStatus {
            id: "c1".into(),
            state: v1::ContainerState::ContainerExited as i32,
            created_at: 1_000_000_000,
            started_at: 2_000_000_000,
            finished_at: 3_000_000_000,
            exit_code: 2,
            reason: "Error".into(),
            labels: labels("u1", Some(name)),
            annotations: annotations
                .iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect(),
            log_path: "/var/log/pods/default_web_u1/c/0.log".into(),
            ..Default::default()
        }
    }

    #[test]
    fn lists_are_sorted_by_name_and_uid() {
        let mut stranger = raw_sandbox("s9", "u1", 1, true);
        stranger.labels.clear();
        let mut unnamed = raw_container("c9", "u1");
        unnamed.labels = labels("u1", None);
        let mut names = by_name(
            vec![
                raw_sandbox("s1", "u1", 1, false),
                raw_sandbox("s2", "u1", 2, true),
                raw_sandbox("s3", "u2", 3, true),
                stranger,
            ],
            vec![raw_container("c1", "u1"), unnamed],
        );
        let (name, listed) = names.pop_first().unwrap();
        assert!(names.is_empty());
        assert_eq!(name.to_string(), "default/web");
        assert_eq!(
            listed.fingerprint(),
            [("c1", 0), ("s1", 1), ("s2", 0), ("s3", 0)].map(|(id, state)| (id.to_owned(), state))
        );
        let details = SandboxDetails {
            ips: vec!["10.0.0.1".parse().unwrap()],
            host_network: false,
        };
        let got = observed(listed, |_| Some(details.clone()), |_| None);
        let sandboxes = &got.uids[&PodUid("u1".into())].sandboxes;
        assert_eq!(
            sandboxes.iter().map(|s| &*s.id).collect::<Vec<_>>(),
            ["s2", "s1"],
            "newest first"
        );
        assert_eq!((sandboxes[0].ready, sandboxes[0].ips.len()), (true, 1));
        assert_eq!(
            (sandboxes[1].ready, sandboxes[1].ips.len()),
            (false, 0),
            "its address is not its own"
        );
        assert_eq!(got.uids.len(), 2);
    }

    /// Found by the simulation: the older instance was taken for the newest, and the one that ran was stopped as a stray.
    #[test]
    fn what_was_made_after_the_clock_was_set_back_is_the_newest() {
        let second = |id: &str, created| {
            let mut sandbox = raw_sandbox(id, "u1", created, true);
            sandbox.metadata = Some(v1::PodSandboxMetadata {
                attempt: 1,
                ..Default::default()
            });
            sandbox
        };
        let mut names = by_name(
            vec![raw_sandbox("s1", "u1", 900, false), second("s2", 600)],
            vec![raw_container("c1", "u1"), raw_container("c2", "u1")],
        );
        let (_, listed) = names.pop_first().unwrap();
        let instance = |id: &str| {
            let (created, count) = if id == "c1" { (900, "0") } else { (600, "1") };
            let mut status = exited("c", &[(RESTART_COUNT, count)]);
            (status.id, status.created_at) = (id.to_owned(), created);
            container((status, None), "s2".into(), String::new())
        };
        let got = observed(listed, |_| None, instance);
        let pod = &got.uids[&PodUid("u1".into())];
        assert_eq!(pod.sandboxes[0].id, "s2");
        assert_eq!(pod.container("c").unwrap().id, "c2");
    }

    #[test]
    fn a_container_is_read_from_labels_and_annotations() {
        let status = exited(
            "c",
            &[
                (HASH, "78725ff3"),
                (RESTART_COUNT, "4"),
                (GRACE_PERIOD, "5"),
                (TERMINATION_PATH, "/dev/termination-log"),
            ],
        );
        let got = container((status, None), "s1".into(), "done-well\n".into()).unwrap();
        assert_eq!(
            (got.hash, got.restart_count, got.grace_seconds),
            (0x7872_5ff3, 4, Some(5))
        );
        assert_eq!(got.termination_path, "/dev/termination-log");
        let ContainerState::Exited {
            started,
            finished,
            code,
            reason,
            termination_message,
            ..
        } = got.state
        else {
            panic!("{:?}", got.state)
        };
        assert_eq!(started, Some(Timestamp::from_second(2).unwrap()));
        assert_eq!(finished, Timestamp::from_second(3).unwrap());
        assert_eq!(
            (code, &*reason, &*termination_message),
            (2, "Error", "done-well\n")
        );
    }

    #[test]
    fn states_of_a_container() {
        let check = |state: i32, started: i64, want: ContainerState| {
            let status = v1::ContainerStatus {
                state,
                started_at: started,
                ..exited("c", &[])
            };
            assert_eq!(
                container((status, None), "s1".into(), String::new())
                    .unwrap()
                    .state,
                want
            );
        };
        check(0, 0, ContainerState::Created);
        check(
            1,
            5_000_000_000,
            ContainerState::Running {
                started: Timestamp::from_second(5).unwrap(),
            },
        );
        check(3, 0, ContainerState::Unknown);
        check(77, 0, ContainerState::Unknown);
        let never = ContainerState::Exited {
            started: None,
            finished: Timestamp::from_second(3).unwrap(),
            code: 2,
            reason: "Error".into(),
            message: String::new(),
            termination_message: String::new(),
        };
        check(2, 0, never);
    }

    #[test]
    fn what_cannot_be_read_of_annotations_has_a_default() {
        let junk = [(HASH, "xyz"), (RESTART_COUNT, "-"), (GRACE_PERIOD, "")];
        let mut status = exited("c", &junk);
        status.metadata = Some(v1::ContainerMetadata {
            name: "c".into(),
            attempt: 3,
        });
        let got = container((status.clone(), None), "s1".into(), String::new()).unwrap();
        assert_eq!((got.hash, got.restart_count, got.grace_seconds), (0, 3, None));
        status.labels.clear();
        assert_eq!(container((status, None), "s1".into(), String::new()), None);
    }

    #[test]
    fn where_a_termination_message_is_looked_for() {
        let at = (TERMINATION_PATH, "/dev/termination-log");
        let from_log = (TERMINATION_POLICY, "FallbackToLogsOnError");
        let check = |status: &v1::ContainerStatus, file: bool, log: bool| {
            let got = message_source(status).unwrap();
            assert_eq!((got.file.is_some(), got.log.is_some()), (file, log), "{status:?}");
        };
        let mounted = |annotations: &[_]| {
            let mut status = exited("c", annotations);
            status.mounts = vec![v1::Mount {
                container_path: "/dev/termination-log".into(),
                host_path: "/var/lib/kubelet/pods/u1/containers/c/0a".into(),
                ..Default::default()
            }];
            status
        };
        check(&mounted(&[at]), true, false);
        check(&mounted(&[at, from_log]), true, true);
        check(&mounted(&[]), false, false);
        check(&mounted(&[(TERMINATION_PATH, "/elsewhere")]), false, false);
        check(&exited("c", &[at, from_log]), false, true);
        let mut well = mounted(&[at, from_log]);
        well.exit_code = 0;
        check(&well, true, false);
        let mut unstartable = mounted(&[at, from_log]);
        unstartable.reason = "ContainerCannotRun".into();
        check(&unstartable, true, false);
        let running = v1::ContainerStatus {
            state: 1,
            ..mounted(&[at])
        };
        assert_eq!(message_source(&running), None);
    }

    #[test]
    fn addresses_of_a_sandbox() {
        let check = |ip: &str, more: &[&str], network: v1::NamespaceMode, want: &[&str]| {
            let more = more.iter().map(|ip| v1::PodIp { ip: (*ip).into() }).collect();
            let options = v1::NamespaceOption {
                network: network as i32,
                ..Default::default()
            };
            let status = v1::PodSandboxStatus {
                network: Some(v1::PodSandboxNetworkStatus {
                    ip: ip.into(),
                    additional_ips: more,
                }),
                linux: Some(v1::LinuxPodSandboxStatus {
                    namespaces: Some(v1::Namespace {
                        options: Some(options),
                    }),
                }),
                ..Default::default()
            };
            let got = sandbox_details(&status);
            let want: Vec<IpAddr> = want.iter().map(|ip| ip.parse().unwrap()).collect();
            assert_eq!(got.ips, want);
            assert_eq!(got.host_network, network == v1::NamespaceMode::Node);
        };
        check("10.0.0.1", &[], v1::NamespaceMode::Pod, &["10.0.0.1"]);
        check(
            "10.0.0.1",
            &["fd00::1"],
            v1::NamespaceMode::Pod,
            &["10.0.0.1", "fd00::1"],
        );
        check("", &[], v1::NamespaceMode::Pod, &[]);
        check("192.168.0.1", &[], v1::NamespaceMode::Node, &[]);
        assert_eq!(
            sandbox_details(&v1::PodSandboxStatus::default()),
            SandboxDetails::default()
        );
    }

    #[test]
    fn conditions_of_the_runtime() {
        let condition = |kind: &str, status| v1::RuntimeCondition {
            r#type: kind.into(),
            status,
            reason: "NetworkPluginNotReady".into(),
            message: "cni plugin not initialized".into(),
        };
        let status = v1::RuntimeStatus {
            conditions: vec![condition("RuntimeReady", true), condition("NetworkReady", false)],
        };
        assert_eq!(fault(&status, "RuntimeReady"), None);
        let (reason, message) = fault(&status, "NetworkReady").unwrap();
        assert_eq!(
            (&*reason, &*message),
            ("NetworkPluginNotReady", "cni plugin not initialized")
        );
        assert!(fault(&v1::RuntimeStatus::default(), "RuntimeReady").is_some());
    }

    proptest! {
        #[test]
        fn the_messages_of_a_pod_have_a_bound(lengths in prop::collection::vec(0usize..6000, 1..12)) {
            let containers = lengths.iter().enumerate().map(|(n, length)| {
                let text = "ä".repeat(*length);
                container((exited(&format!("c{n}"), &[]), None), "s1".into(), text).unwrap()
            });
            let mut pod = ObservedPod { containers: containers.collect(), ..ObservedPod::default() };
            limit_messages(&mut pod);
            let total: usize = pod.containers.iter().map(|c| match &c.state {
                ContainerState::Exited { termination_message, .. } => termination_message.len(),
                _ => 0,
            }).sum();
            prop_assert!(total <= MAX_POD_MESSAGES);
        }
    }
}
