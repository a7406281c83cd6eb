//! The node, its pods and their containers as rows: what was measured, joined with what is reported. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde::Serialize;

use super::rates::{self, InterfaceTraffic, MeasuredPod, Measures, Traffic};
use crate::command::pod_selection;
use crate::model::pod_row;
use crate::serve::top::wire::Top;

/// Everything at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rows {
    pub(super) node: NodeRow,
    pub(super) pods: Vec<PodRow>,
}

/// The node.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeRow {
    pub(super) name: String,
    #[serde(flatten)]
    pub(super) measures: Measures,
    /// By interface.
    pub(super) network: Vec<InterfaceTraffic>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PodRow {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// As `gantry get pods` shows it; absent for a pod that only the runtime has, which is being removed.
    pub(super) status: Option<String>,
    /// `1/2`
    pub(super) ready: Option<String>,
    pub(super) restarts: Option<i32>,
    #[serde(flatten)]
    pub(super) measures: Measures,
    /// Absent with the host's network, which is the node's.
    pub(super) network: Option<Traffic>,
    pub(super) containers: Vec<ContainerRow>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContainerRow {
    pub(super) name: String,
    /// `Running`, or why it does not run.
    pub(super) status: Option<String>,
    pub(super) restarts: Option<i32>,
    #[serde(flatten)]
    pub(super) measures: Measures,
}

/// The rows of what two answers say, with the reported pods. The first answer is absent at the beginning.
pub(super) fn rows(before: Option<&Top>, after: &Top, pods: &[Pod], now: Timestamp) -> Rows {
    let node = rates::node(before, after);
    let mut measured: BTreeMap<&str, (&str, &str, MeasuredPod)> = after
        .pods
        .iter()
        .map(|pod| {
            let measured = rates::pod(before, after, pod);
            (pod.uid.as_str(), (&*pod.namespace, &*pod.name, measured))
        })
        .collect();
    let mut rows: Vec<PodRow> = pods
        .iter()
        .map(|pod| {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            reported(pod, measured.remove(uid).map(|(_, _, measured)| measured), now)
        })
        .collect();
    let left = measured.into_iter();
    rows.extend(left.map(|(uid, (namespace, name, pod))| unreported(namespace, name, uid, pod)));
    rows.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    Rows {
        node: NodeRow {
            name: after.node.name.clone(),
            measures: node.measures,
            network: node.interfaces,
        },
        pods: rows,
    }
}

fn reported(pod: &Pod, measured: Option<MeasuredPod>, now: Timestamp) -> PodRow {
    let row = pod_row::row(pod, now);
    let is_host_network = pod.spec.as_ref().and_then(|spec| spec.host_network) == Some(true);
    let (measures, network, mut containers) = match measured {
        Some(measured) => (measured.measures, measured.network, measured.containers),
        None => (Measures::default(), None, Vec::new()),
    };
    let status = pod.status.as_ref();
    let init = status
        .iter()
        .flat_map(|status| status.init_container_statuses.iter().flatten());
    let init = init.filter(|status| !is_completed(status));
    let main = status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    let added = status
        .iter()
        .flat_map(|status| status.ephemeral_container_statuses.iter().flatten());
    let all = init.chain(main).chain(added);
    let rows = all.map(|status| {
        let at = containers.iter().position(|(name, _)| *name == status.name);
        ContainerRow {
            name: status.name.clone(),
            status: Some(container_status(status)),
            restarts: Some(status.restart_count),
            measures: at.map(|at| containers.swap_remove(at).1).unwrap_or_default(),
        }
    });
    PodRow {
        namespace: pod_selection::namespace(pod).to_owned(),
        name: pod_selection::name(pod).to_owned(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        status: Some(row.status),
        ready: Some(row.ready),
        restarts: Some(row.restart_count),
        measures,
        network: network.filter(|_| !is_host_network),
        containers: rows.collect(),
    }
}

fn unreported(namespace: &str, name: &str, uid: &str, measured: MeasuredPod) -> PodRow {
    let container = |(name, measures)| ContainerRow {
        name,
        status: None,
        restarts: None,
        measures,
    };
    PodRow {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        status: None,
        ready: None,
        restarts: None,
        measures: measured.measures,
        network: measured.network,
        containers: measured.containers.into_iter().map(container).collect(),
    }
}

/// An init container that has done its work.
fn is_completed(status: &ContainerStatus) -> bool {
    let state = status.state.as_ref();
    let ended = state.and_then(|state| state.terminated.as_ref());
    ended.is_some_and(|ended| ended.exit_code == 0)
}

fn container_status(status: &ContainerStatus) -> String {
    let Some(state) = &status.state else {
        return "Waiting".to_owned();
    };
    let ended = state.terminated.as_ref();
    let waiting = state.waiting.as_ref();
    let given = |reason: Option<&String>, otherwise: &str| {
        reason
            .filter(|reason| !reason.is_empty())
            .map_or_else(|| otherwise.to_owned(), String::clone)
    };
    match (ended, waiting) {
        (Some(ended), _) => given(ended.reason.as_ref(), "Terminated"),
        (None, Some(waiting)) => given(waiting.reason.as_ref(), "Waiting"),
        (None, None) if state.running.is_some() => "Running".to_owned(),
        (None, None) => "Waiting".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::command::top::sample;

    fn now() -> Timestamp {
        "2026-11-29T00:10:00Z".parse().unwrap()
    }

    fn check(pods: &[Pod], after: &Top, expected: &[&str]) {
        let rows = rows(Some(&sample::top(0)), after, pods, now());
        let text = rows.pods.iter().flat_map(|pod| {
            let cpu = |measures: &Measures| {
                measures
                    .cpu_nano_cores
                    .map_or("-".to_owned(), |cpu| cpu.to_string())
            };
            let status = pod.status.as_deref().unwrap_or("-");
            let own = format!(
                "{}/{} {status} {:?} {}",
                pod.namespace,
                pod.name,
                pod.restarts,
                cpu(&pod.measures)
            );
            let containers = pod.containers.iter().map(move |container| {
                let status = container.status.as_deref().unwrap_or("-");
                let (name, restarts) = (&container.name, container.restarts);
                format!("  {name} {status} {restarts:?} {}", cpu(&container.measures))
            });
            std::iter::once(own).chain(containers).collect::<Vec<_>>()
        });
        assert_eq!(text.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_reported_and_what_was_measured_are_joined_by_uid() {
        let after = sample::top(1000);
        check(
            &sample::pods(),
            &after,
            &[
                "default/crashing-vm CrashLoopBackOff Some(12) -",
                "  main CrashLoopBackOff Some(12) -",
                "default/web-vm Running Some(3) 250000000",
                "  main Running Some(3) 200000000",
                "  proxy Running Some(0) 50000000",
            ],
        );
        // A pod of the same name that is another one: what runs is the old one's.
        let mut another = sample::pods();
        another[0].metadata.uid = Some("u9".to_owned());
        check(
            &another[..1],
            &after,
            &[
                "default/web-vm Running Some(3) -",
                "  main Running Some(3) -",
                "  proxy Running Some(0) -",
                "default/web-vm - None 250000000",
                "  main - None 200000000",
                "  proxy - None 50000000",
            ],
        );
    }

    #[test]
    fn completed_init_containers_are_left_out_and_others_are_shown() {
        let pod = |state: serde_json::Value| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "p", "namespace": "ns", "uid": "u7"},
                "spec": {"containers": [{"name": "main"}], "initContainers": [{"name": "init"}]},
                "status": {
                    "phase": "Pending",
                    "initContainerStatuses": [
                        {"name": "init", "image": "", "imageID": "", "ready": false, "restartCount": 2, "state": state},
                    ],
                },
            }))
            .unwrap()
        };
        let mut after = sample::top(1000);
        after.pods.clear();
        let done = pod(json!({"terminated": {"exitCode": 0, "reason": "Completed"}}));
        check(&[done], &after, &["ns/p Pending Some(0) -"]);
        for (state, shown) in [
            (json!({"terminated": {"exitCode": 1, "reason": "Error"}}), "Error"),
            (json!({"terminated": {"exitCode": 1}}), "Terminated"),
            (
                json!({"waiting": {"reason": "ImagePullBackOff"}}),
                "ImagePullBackOff",
            ),
            (json!({"waiting": {}}), "Waiting"),
            (json!({"running": {}}), "Running"),
            (json!({}), "Waiting"),
        ] {
            let rows = rows(None, &after, &[pod(state)], now());
            assert_eq!(rows.pods[0].containers[0].status.as_deref(), Some(shown));
        }
    }

    #[test]
    fn the_hosts_network_is_the_nodes() {
        let after = sample::top(1000);
        let mut pods = sample::pods();
        let network = |pods: &[Pod]| {
            let rows = rows(Some(&sample::top(0)), &after, pods, now());
            rows.pods.iter().find(|pod| pod.name == "web-vm").unwrap().network
        };
        assert!(network(&pods).is_some());
        pods[0].spec.as_mut().unwrap().host_network = Some(true);
        assert_eq!(network(&pods), None);
    }
}
