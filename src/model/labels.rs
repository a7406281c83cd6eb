//! The labels and annotations of sandboxes and containers, on which restarts rest: written when the runtime creates
//! them, read by the next agent, ours or the kubelet (`pkg/kubelet/types/labels.go`, `pkg/kubelet/kuberuntime/labels.go`,
//! `pkg/kubelet/types/pod_update.go`).
//!
//! Each has its writer and its reader here. Other programs on the machine create sandboxes and containers too, with any
//! labels: what cannot be read is absent, and what would lead out of a pod's directory belongs to no pod.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerPort, LifecycleHandler};
use serde::Serialize;

use super::pod::{Container, OF_FILE, Pod, PodName, PodUid, Port, Protocol};
use super::probe::Hook;

const POD_NAME: &str = "io.kubernetes.pod.name";
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const POD_UID: &str = "io.kubernetes.pod.uid";
const CONTAINER_NAME: &str = "io.kubernetes.container.name";

const HASH: &str = "io.kubernetes.container.hash";
const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
const PORTS: &str = "io.kubernetes.container.ports";
const GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";

const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
const CONFIG_SEEN: &str = "kubernetes.io/config.seen";

const FROM_FILE: &str = "File";
const FROM_LOGS: &str = "FallbackToLogsOnError";

/// Labels or annotations as CRI has them.
pub type Labels = HashMap<String, String>;

/// The labels of a pod's sandboxes.
pub fn of_sandbox(name: &PodName, uid: &PodUid) -> Labels {
    let mut labels = selector(name);
    labels.insert(POD_UID.to_owned(), uid.0.clone());
    labels
}

/// The labels of the instances of a container.
pub fn of_container(name: &PodName, uid: &PodUid, container: &str) -> Labels {
    let mut labels = of_sandbox(name, uid);
    labels.insert(CONTAINER_NAME.to_owned(), container.to_owned());
    labels
}

/// The labels by which CRI finds everything of one pod name.
pub fn selector(name: &PodName) -> Labels {
    HashMap::from([
        (POD_NAME.to_owned(), name.name.clone()),
        (POD_NAMESPACE.to_owned(), name.namespace.clone()),
    ])
}

/// The pod that a sandbox or a container belongs to. The labels become parts of paths beneath which files are removed:
/// labels that lead elsewhere are neither the kubelet's nor this agent's.
pub fn owner(labels: &Labels) -> Option<(PodName, PodUid)> {
    let is_part =
        |value: &&String| !matches!(value.as_str(), "" | "." | "..") && !value.contains(['/', '\0']);
    let label = |key| labels.get(key).filter(is_part).cloned();
    let name = PodName::new(label(POD_NAMESPACE)?, label(POD_NAME)?);
    Some((name, PodUid(label(POD_UID)?)))
}

/// The container that an instance is of.
pub fn container_name(labels: &Labels) -> Option<&str> {
    labels.get(CONTAINER_NAME).map(String::as_str)
}

/// The annotations of an instance of a container.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContainerAnnotations {
    /// The hash of the container's specification.
    pub hash: Option<u32>,
    /// How many instances there were before.
    pub restart_count: Option<u32>,
    /// Where the container sees its termination message file; empty if it has none.
    pub termination_path: String,
    /// Whether the end of the log stands in for an empty termination message.
    pub termination_from_logs: bool,
    /// The pod's grace period in seconds.
    pub grace_seconds: Option<i64>,
    /// The pre-stop hook, as written in the pod.
    pub pre_stop: Option<LifecycleHandler>,
    /// The container's ports, by which the hook may name its own.
    pub ports: Vec<Port>,
}

impl ContainerAnnotations {
    /// Of the instance that was restarted `attempt` times before.
    pub fn new(pod: &Pod, container: &Container, attempt: u32) -> ContainerAnnotations {
        ContainerAnnotations {
            hash: Some(container.hash),
            restart_count: Some(attempt),
            termination_path: container.termination_path.clone(),
            termination_from_logs: container.termination_from_logs,
            grace_seconds: i64::try_from(pod.grace.as_secs()).ok(),
            pre_stop: container.lifecycle.pre_stop.clone(),
            ports: container.ports.clone(),
        }
    }

    /// As CRI has them.
    pub fn write(&self) -> Labels {
        let policy = match self.termination_from_logs {
            true => FROM_LOGS,
            false => FROM_FILE,
        };
        let ports = (!self.ports.is_empty()).then(|| {
            let ports: Vec<_> = self.ports.iter().map(PortAnnotation::from).collect();
            serde_json::to_string(&ports).expect("numbers and strings can be written as JSON")
        });
        let pre_stop = self.pre_stop.as_ref().map(|handler| {
            serde_json::to_string(handler).expect("strings and numbers can be written as JSON")
        });
        let all = [
            (HASH, self.hash.map(|hash| format!("{hash:x}"))),
            (RESTART_COUNT, self.restart_count.map(|count| count.to_string())),
            (TERMINATION_PATH, Some(self.termination_path.clone())),
            (TERMINATION_POLICY, Some(policy.to_owned())),
            (
                GRACE_PERIOD,
                self.grace_seconds.map(|seconds| seconds.to_string()),
            ),
            (PRE_STOP, pre_stop),
            (PORTS, ports),
        ];
        all.into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect()
    }

    /// Each that can be read; the others are absent. So an unreadable hook counts as none: it does not delay a stop.
    pub fn read(annotations: &Labels) -> ContainerAnnotations {
        let text = |key| annotations.get(key).map(String::as_str);
        let ports: Option<Vec<ContainerPort>> =
            text(PORTS).and_then(|ports| serde_json::from_str(ports).ok());
        ContainerAnnotations {
            hash: text(HASH).and_then(|hash| u32::from_str_radix(hash, 16).ok()),
            restart_count: text(RESTART_COUNT).and_then(|count| count.parse().ok()),
            termination_path: text(TERMINATION_PATH).unwrap_or_default().to_owned(),
            termination_from_logs: text(TERMINATION_POLICY) == Some(FROM_LOGS),
            grace_seconds: text(GRACE_PERIOD).and_then(|seconds| seconds.parse().ok()),
            pre_stop: text(PRE_STOP).and_then(|handler| serde_json::from_str(handler).ok()),
            ports: ports.into_iter().flatten().filter_map(port).collect(),
        }
    }

    /// The hook that the instance was created with; it may name one of the ports.
    pub fn hook(&self) -> Option<Hook> {
        Hook::new(self.pre_stop.as_ref()?, &self.ports)
    }
}

/// A port as Go serializes it: in the order of its type, empty fields omitted.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PortAnnotation<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_port: Option<u16>,
    container_port: u16,
    protocol: &'static str,
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
    host_ip: Option<IpAddr>,
}

impl<'a> From<&'a Port> for PortAnnotation<'a> {
    fn from(port: &'a Port) -> PortAnnotation<'a> {
        PortAnnotation {
            name: &port.name,
            host_port: port.host,
            container_port: port.container,
            protocol: match port.protocol {
                Protocol::Tcp => "TCP",
                Protocol::Udp => "UDP",
                Protocol::Sctp => "SCTP",
            },
            host_ip: port.host_ip,
        }
    }
}

/// `None` for a number that is no port.
fn port(port: ContainerPort) -> Option<Port> {
    Some(Port {
        name: port.name.unwrap_or_default(),
        container: u16::try_from(port.container_port).ok()?,
        host: port.host_port.and_then(|number| u16::try_from(number).ok()),
        host_ip: port.host_ip.and_then(|address| address.parse().ok()),
        protocol: match port.protocol.as_deref() {
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            _ => Protocol::Tcp,
        },
    })
}

/// Annotates a pod with its source and with when the node first saw it. Its sandboxes get all its annotations.
pub fn write_origin(annotations: &mut BTreeMap<String, String>, source: &str, seen: Timestamp) {
    annotations.insert(CONFIG_SOURCE.into(), source.into());
    write_seen(annotations, seen);
}

/// Annotates a pod with when the node first saw it, always with nine digits after the point, as the kubelet does.
pub fn write_seen(annotations: &mut BTreeMap<String, String>, seen: Timestamp) {
    annotations.insert(CONFIG_SEEN.into(), format!("{seen:.9}"));
}

/// Annotates a static pod with its UID.
pub fn write_static_uid(annotations: &mut BTreeMap<String, String>, uid: &str) {
    annotations.insert(CONFIG_HASH.into(), uid.to_owned());
}

/// The source, as an agent has annotated the pod.
pub fn source(annotations: &BTreeMap<String, String>) -> Option<&str> {
    annotations.get(CONFIG_SOURCE).map(String::as_str)
}

/// When a node first saw the pod, as its agent has annotated it.
pub fn seen(annotations: &BTreeMap<String, String>) -> Option<Timestamp> {
    annotations.get(CONFIG_SEEN)?.parse().ok()
}

/// Whether this is the static pod with that UID. An API pod may claim to come from a file, but cannot choose its UID.
pub fn is_of_static_pod(annotations: &BTreeMap<String, String>, uid: &PodUid) -> bool {
    source(annotations) == Some(OF_FILE) && annotations.get(CONFIG_HASH) == Some(&uid.0)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ExecAction, HTTPGetAction, SleepAction};
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    use proptest::prelude::*;

    use super::*;
    use crate::model::pod::OF_API;
    use crate::model::sample;

    fn map<M: FromIterator<(String, String)>>(pairs: &[(&str, &str)]) -> M {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        pairs.collect()
    }

    #[test]
    fn a_container_is_found_again_by_what_it_was_created_with() {
        let (name, uid) = (PodName::new("ns", "p"), sample::uid("u1"));
        let labels = of_container(&name, &uid, "c");
        assert_eq!(owner(&labels), Some((name.clone(), uid.clone())));
        assert_eq!(container_name(&labels), Some("c"));
        assert!(
            selector(&name)
                .iter()
                .all(|(key, value)| labels.get(key) == Some(value))
        );
        let labels = of_sandbox(&name, &uid);
        assert_eq!(owner(&labels), Some((name, uid)));
        assert_eq!(container_name(&labels), None);
    }

    #[test]
    fn what_another_program_labels_belongs_to_no_pod() {
        let check = |labels: &[(&str, &str)], is_a_pods: bool| {
            assert_eq!(owner(&map(labels)).is_some(), is_a_pods, "{labels:?}");
        };
        let (name, namespace) = ((POD_NAME, "p"), (POD_NAMESPACE, "ns"));
        check(&[name, namespace, (POD_UID, "u1")], true);
        check(&[name, namespace, (POD_UID, "..u1")], true);
        check(&[], false);
        check(&[("com.docker.compose.project", "p")], false);
        check(&[name, namespace], false);
        check(&[name, (POD_UID, "u1")], false);
        check(&[namespace, (POD_UID, "u1")], false);
        for leads_elsewhere in ["", ".", "..", "/", "a/b", "../u2", "u\0"] {
            check(&[name, namespace, (POD_UID, leads_elsewhere)], false);
            check(&[(POD_NAME, leads_elsewhere), namespace, (POD_UID, "u1")], false);
            check(&[name, (POD_NAMESPACE, leads_elsewhere), (POD_UID, "u1")], false);
        }
    }

    #[test]
    fn a_malformed_annotation_is_absent_and_the_others_are_read() {
        let check = |pairs: &[(&str, &str)], want: ContainerAnnotations| {
            assert_eq!(ContainerAnnotations::read(&map(pairs)), want, "{pairs:?}");
        };
        let none = ContainerAnnotations::default;
        check(&[], none());
        check(
            &[(HASH, "xyz"), (RESTART_COUNT, "-1"), (GRACE_PERIOD, "")],
            none(),
        );
        check(&[(HASH, "1ffffffff"), (RESTART_COUNT, "4294967296")], none());
        check(&[(HASH, "0x7f"), (GRACE_PERIOD, "9223372036854775808")], none());
        check(
            &[(HASH, ""), (RESTART_COUNT, "1.0"), (GRACE_PERIOD, "5s")],
            none(),
        );
        check(&[(TERMINATION_POLICY, "Whatever")], none());
        check(&[(PRE_STOP, "{"), (PORTS, "[{}")], none());
        check(&[(PRE_STOP, "[]"), (PORTS, "{}")], none());
        check(
            &[(HASH, "x"), (RESTART_COUNT, "4")],
            ContainerAnnotations {
                restart_count: Some(4),
                ..none()
            },
        );
        check(
            &[(GRACE_PERIOD, "-1")],
            ContainerAnnotations {
                grace_seconds: Some(-1),
                ..none()
            },
        );
        let web = Port {
            name: "web".to_owned(),
            container: 80,
            host: None,
            host_ip: None,
            protocol: Protocol::Tcp,
        };
        let ports = r#"[{"containerPort":70000},{"containerPort":-1},{"name":"web","containerPort":80,"hostIP":"x"}]"#;
        check(
            &[(PORTS, ports)],
            ContainerAnnotations {
                ports: vec![web],
                ..none()
            },
        );
    }

    #[test]
    fn the_ports_are_what_go_writes() {
        let annotations = ContainerAnnotations {
            ports: vec![Port {
                name: "web".to_owned(),
                container: 80,
                host: Some(8080),
                host_ip: Some("192.0.2.1".parse().unwrap()),
                protocol: Protocol::Udp,
            }],
            ..ContainerAnnotations::default()
        };
        assert_eq!(
            annotations.write()[PORTS],
            r#"[{"name":"web","hostPort":8080,"containerPort":80,"protocol":"UDP","hostIP":"192.0.2.1"}]"#
        );
    }

    #[test]
    fn a_hook_names_a_port_of_its_container() {
        let handler = r#"{"httpGet":{"path":"/bye","port":"web","scheme":"HTTP"}}"#;
        let ports = r#"[{"name":"web","containerPort":8080,"protocol":"TCP"}]"#;
        let hook = |pairs: &[(&str, &str)]| ContainerAnnotations::read(&map(pairs)).hook();
        let Some(Hook::Http(get)) = hook(&[(PRE_STOP, handler), (PORTS, ports)]) else {
            panic!("an HTTP hook")
        };
        assert_eq!((get.port.number(), get.path.as_str()), (Ok(8080), "/bye"));
        let Some(Hook::Http(get)) = hook(&[(PRE_STOP, handler)]) else {
            panic!("an HTTP hook")
        };
        assert!(get.port.number().is_err());
        assert_eq!(hook(&[(PORTS, ports)]), None);
        assert_eq!(hook(&[(PRE_STOP, "{}")]), None);
    }

    #[test]
    fn a_pod_is_known_by_its_origin() {
        let mut annotations = BTreeMap::new();
        assert_eq!((source(&annotations), seen(&annotations)), (None, None));
        assert!(!is_of_static_pod(&annotations, &sample::uid("u1")));
        let at = Timestamp::new(1_790_000_000, 5).unwrap();
        write_origin(&mut annotations, OF_FILE, at);
        write_static_uid(&mut annotations, "u1");
        assert_eq!(annotations[CONFIG_SEEN], "2026-09-21T14:13:20.000000005Z");
        assert_eq!(seen(&annotations), Some(at));
        assert!(is_of_static_pod(&annotations, &sample::uid("u1")));
        assert!(!is_of_static_pod(&annotations, &sample::uid("u2")));
        write_origin(&mut annotations, OF_API, at);
        assert!(!is_of_static_pod(&annotations, &sample::uid("u1")));
        annotations.insert(CONFIG_SEEN.to_owned(), "yesterday".to_owned());
        assert_eq!(seen(&annotations), None);
    }

    fn any_port() -> impl Strategy<Value = Port> {
        let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)];
        let host = any::<(Option<u16>, Option<IpAddr>)>();
        ("[a-z]{0,5}", any::<u16>(), host, protocol).prop_map(
            |(name, container, (host, host_ip), protocol)| Port {
                name,
                container,
                host,
                host_ip,
                protocol,
            },
        )
    }

    fn any_hook() -> impl Strategy<Value = LifecycleHandler> {
        let none = LifecycleHandler::default;
        prop_oneof![
            prop::collection::vec(any::<String>(), 1..4).prop_map(move |command| LifecycleHandler {
                exec: Some(ExecAction {
                    command: Some(command)
                }),
                ..none()
            }),
            any::<(String, i32)>().prop_map(move |(path, port)| LifecycleHandler {
                http_get: Some(HTTPGetAction {
                    path: Some(path),
                    port: IntOrString::Int(port),
                    ..HTTPGetAction::default()
                }),
                ..none()
            }),
            any::<i64>().prop_map(move |seconds| LifecycleHandler {
                sleep: Some(SleepAction { seconds }),
                ..none()
            }),
        ]
    }

    fn any_annotations() -> impl Strategy<Value = ContainerAnnotations> {
        let numbers = any::<(Option<u32>, Option<u32>, Option<i64>)>();
        let ports = prop::collection::vec(any_port(), 0..4);
        let hook = prop::option::of(any_hook());
        (numbers, any::<(String, bool)>(), hook, ports).prop_map(
            |((hash, restart_count, grace_seconds), (termination_path, from_logs), pre_stop, ports)| {
                ContainerAnnotations {
                    hash,
                    restart_count,
                    termination_path,
                    termination_from_logs: from_logs,
                    grace_seconds,
                    pre_stop,
                    ports,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn annotations_are_read_as_they_were_written(annotations in any_annotations()) {
            prop_assert_eq!(ContainerAnnotations::read(&annotations.write()), annotations);
        }

        #[test]
        fn annotations_of_anybody_are_read_to_an_end(values in prop::collection::vec(any::<String>(), 7)) {
            let keys = [HASH, RESTART_COUNT, TERMINATION_PATH, TERMINATION_POLICY, GRACE_PERIOD, PRE_STOP, PORTS];
            let all: Labels = keys.iter().map(|key| (*key).to_owned()).zip(values).collect();
            let found = ContainerAnnotations::read(&all);
            prop_assert_eq!(&found.termination_path, &all[TERMINATION_PATH]);
        }
    }
}
