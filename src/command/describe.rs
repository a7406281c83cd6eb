//! `gantry describe pod|node`: the output of `kubectl describe`, in its order.

use std::io::Write;

use jiff::Timestamp;
use k8s_openapi::List;
use k8s_openapi::api::core::v1::{Event, Node, Pod};

use super::client::Client;
use super::{CommandError, describe_node, describe_pod, pod_selection, print};
use crate::serve::problem::{ProblemList, ReportedProblem};
use crate::serve::volumes::wire::{ListedVolume, VolumeList};

/// The options.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is described.
    pub what: What,
    /// The namespace, if a pod's name is ambiguous; without names, the namespace of all described pods.
    pub namespace: Option<String>,
}

/// What is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Pods with these names, full or short; empty: all.
    Pods(Vec<String>),
    /// The node.
    Node,
}

/// Writes the description to `out`.
pub async fn run(
    client: &Client,
    options: &Options,
    now: Timestamp,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let pods = pod_selection::pods(client).await?;
    let events = client.object::<List<Event>>("/events").await?.items;
    let names = match &options.what {
        What::Node => {
            let node: Node = client.object("/node").await?;
            return print(out, &describe_node::text(&node, &pods, now));
        }
        What::Pods(names) => names,
    };
    let warnings: ProblemList = client.object("/warnings").await?;
    let problems: ProblemList = client.object("/problems").await?;
    let volumes: VolumeList = client.object("/volumes").await?;
    let namespace = options.namespace.as_deref();
    let here = |pod: &&Pod| namespace.is_none_or(|wanted| wanted == pod_selection::namespace(pod));
    let chosen: Vec<&Pod> = match names[..] {
        [] => pods.iter().filter(here).collect(),
        _ => names
            .iter()
            .map(|name| pod_selection::pod(&pods, name, namespace))
            .collect::<Result<_, _>>()?,
    };
    let texts: Vec<String> = chosen
        .into_iter()
        .map(|pod| {
            let own: Vec<&Event> = events.iter().filter(|event| is_about(event, pod)).collect();
            // A rejected manifest of the same name comes first.
            let all = problems.items.iter().chain(&warnings.items);
            let doubts: Vec<&ReportedProblem> = all.filter(|found| is_of(found, pod)).collect();
            let volumes = volumes.items.iter();
            let volumes: Vec<&ListedVolume> = volumes
                .filter(|volume| volume.pod_uid == pod.metadata.uid)
                .collect();
            describe_pod::text(pod, &volumes, &doubts, &own, now)
        })
        .collect();
    print(out, &texts.join("\n\n"))
}

fn is_about(event: &Event, pod: &Pod) -> bool {
    let object = &event.involved_object;
    object.name == pod.metadata.name && object.namespace == pod.metadata.namespace
}

fn is_of(found: &ReportedProblem, pod: &Pod) -> bool {
    found.pod == pod.metadata.name && found.namespace == pod.metadata.namespace
}
