//! `gantry describe pod|node`: what `kubectl describe` tells, in its order.

use std::collections::BTreeMap;
use std::io::Write;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use k8s_openapi::List;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::client::Client;
use super::outline::Outline;
use super::table::Table;
use super::{CommandError, age, describe_node, describe_pod, pod_selection, print};
use crate::serve::problem::{ProblemList, ToldProblem};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is described.
    pub what: What,
    /// The namespace, where a pod's name alone is not clear; or of all pods that are described.
    pub namespace: Option<String>,
}

/// What is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Pods of these names, full or short; of none: all.
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
            // What is refused comes first: a manifest of its name that is not run.
            let all = problems.items.iter().chain(&warnings.items);
            let doubts: Vec<&ToldProblem> = all.filter(|found| is_of(found, pod)).collect();
            describe_pod::text(pod, &doubts, &own, now)
        })
        .collect();
    print(out, &texts.join("\n\n"))
}

fn is_about(event: &Event, pod: &Pod) -> bool {
    let object = &event.involved_object;
    object.name == pod.metadata.name && object.namespace == pod.metadata.namespace
}

fn is_of(found: &ToldProblem, pod: &Pod) -> bool {
    found.pod == pod.metadata.name && found.namespace == pod.metadata.namespace
}

/// `Fri, 20 Nov 2026 07:10:46 +0000`, in UTC.
pub(super) fn date(time: Option<&Time>) -> String {
    let text = time.and_then(|time| rfc2822::DateTimePrinter::new().timestamp_to_string(&time.0).ok());
    text.unwrap_or_else(|| "<unset>".to_owned())
        .replace("-0000", "+0000")
}

/// `key=value` lines, or with annotations' `key: value`.
pub(super) fn pairs(map: Option<&BTreeMap<String, String>>, between: &str) -> impl Iterator<Item = String> {
    let map = map.cloned().unwrap_or_default();
    let between = between.to_owned();
    map.into_iter()
        .map(move |(key, value)| format!("{key}{between}{value}"))
}

/// The events' table, the oldest first.
pub(super) fn events(outline: &mut Outline, events: &[&Event], now: Timestamp) {
    let mut table = Table::new(&["Type", "Reason", "Age", "From", "Message"]);
    if !events.is_empty() {
        table.row(["----", "------", "----", "----", "-------"].map(str::to_owned));
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    for event in events {
        let ago = |time: &Option<Time>| {
            time.as_ref()
                .map_or("<unknown>".to_owned(), |time| age::since(time.0, now))
        };
        let when = match event.count {
            Some(count) if count > 1 => {
                format!(
                    "{} (x{count} over {})",
                    ago(&event.last_timestamp),
                    ago(&event.first_timestamp)
                )
            }
            _ => ago(&event.first_timestamp),
        };
        let from = event
            .source
            .as_ref()
            .and_then(|source| source.component.clone())
            .unwrap_or_default();
        let message = text(&event.message).trim().replace('\n', " ");
        table.row([text(&event.type_), text(&event.reason), when, from, message]);
    }
    outline.table("Events", &table);
}
