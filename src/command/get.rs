//! `gantry get pods|node`.

use std::collections::BTreeSet;
use std::io::Write;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;
use serde_json::{Value, json};

use super::client::Client;
use super::table::{Table, in_line, printable};
use super::{CommandError, pod_selection, print};
use crate::model::yaml;
use crate::model::{age, node_row, pod_row};
use crate::serve::problem::{ProblemList, ReportedProblem};
use crate::serve::pulls::{ListedPull, PullList};

/// In a cell without a value.
const NONE: &str = "<none>";

/// The options.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What is listed.
    pub what: What,
    /// Only pods in this namespace; `None`: in all.
    pub namespace: Option<String>,
    /// Show the namespace column even if all pods have the same one.
    pub all_namespaces: bool,
    /// How it is written.
    pub output: Output,
}

/// What is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Pods with these names, full or short; empty: all.
    Pods(Vec<String>),
    /// The node.
    Node,
}

impl Default for What {
    fn default() -> Self {
        What::Pods(Vec::new())
    }
}

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Output {
    /// A table for people.
    #[default]
    Table,
    /// With more columns.
    Wide,
    /// JSON, as kubectl indents it.
    Json,
    /// YAML.
    Yaml,
    /// `pod/<name>`, one a line.
    Name,
}

/// Writes the result to `out` and warnings to `err`.
pub async fn run(
    client: &Client,
    options: &Options,
    now: Timestamp,
    out: &mut impl Write,
    err: &mut impl Write,
) -> Result<(), CommandError> {
    let names = match &options.what {
        What::Node => return print(out, &node(client, options.output, now).await?),
        What::Pods(names) => names,
    };
    let problems: ProblemList = client.object("/problems").await?;
    let all: Value = client.object("/pods").await?;
    let items = all
        .get("items")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let pulls: PullList = client.object("/pulls").await?;
    let pods: Vec<Pod> = items.iter().map(parse).collect::<Result<_, _>>()?;
    let chosen = choose(&pods, names, options.namespace.as_deref())?;
    let problems: Vec<&ReportedProblem> = problems
        .items
        .iter()
        .filter(|problem| names.is_empty() && is_in(problem, options))
        .collect();
    let objects = || chosen.iter().map(|&at| items[at].clone());
    let text = match options.output {
        Output::Table | Output::Wide => {
            let chosen: Vec<&Pod> = chosen.iter().map(|&at| &pods[at]).collect();
            if chosen.is_empty() && problems.is_empty() {
                return print(err, "No resources found\n");
            }
            pod_table(&chosen, &problems, &pulls.items, options, now)
        }
        Output::Name => chosen
            .iter()
            .map(|&at| format!("pod/{}\n", in_line(pod_selection::name(&pods[at]))))
            .collect(),
        Output::Json => json_text(&one_or_list(objects(), names.len() == 1))?,
        Output::Yaml => yaml_text(&one_or_list(objects(), names.len() == 1))?,
    };
    print(out, &text)?;
    // Not among the rows, so that programs can parse them.
    let lines: String = problems
        .iter()
        .map(|problem| printable(&problem.text) + "\n")
        .collect();
    print(err, &lines)
}

fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, CommandError> {
    T::deserialize(value).map_err(|error| CommandError::Answer(error.into()))
}

/// A broken file belongs to the namespace that could be read from it, else to every namespace.
fn is_in(problem: &ReportedProblem, options: &Options) -> bool {
    match (&options.namespace, &problem.namespace) {
        (Some(wanted), Some(is)) => wanted == is,
        _ => true,
    }
}

/// Indices of the selected pods.
fn choose(pods: &[Pod], names: &[String], namespace: Option<&str>) -> Result<Vec<usize>, CommandError> {
    if names.is_empty() {
        let here = |pod: &Pod| namespace.is_none_or(|wanted| wanted == pod_selection::namespace(pod));
        return Ok((0..pods.len()).filter(|&at| here(&pods[at])).collect());
    }
    let position = |name: &String| {
        let pod = pod_selection::pod(pods, name, namespace)?;
        Ok(pods
            .iter()
            .position(|one| std::ptr::eq(one, pod))
            .expect("it is one of them"))
    };
    names.iter().map(position).collect()
}

fn one_or_list(mut objects: impl Iterator<Item = Value>, one: bool) -> Value {
    if one && let Some(object) = objects.next() {
        return object;
    }
    let items: Vec<Value> = objects.collect();
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
}

/// JSON as kubectl indents it, without control characters.
pub(super) fn json_text(value: &Value) -> Result<String, CommandError> {
    let mut text = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, indent);
    value
        .serialize(&mut serializer)
        .map_err(|error| CommandError::Answer(error.into()))?;
    text.push(b'\n');
    let text = String::from_utf8(text).map_err(|error| CommandError::Answer(error.into()))?;
    Ok(without_commands(&text))
}

/// JSON with terminal control characters escaped: the serializer escapes only those below U+0020. Such characters occur
/// only in strings, where the escape means the same.
fn without_commands(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '\n' => text.push(c),
            c if c.is_control() => text.push_str(&format!("\\u{:04x}", c as u32)),
            c => text.push(c),
        }
    }
    text
}

fn age_of(time: Option<&Time>, now: Timestamp) -> String {
    time.map_or_else(|| "<unknown>".to_owned(), |time| age::since(time.0, now))
}

fn or_none(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or(NONE).to_owned()
}

/// The pulls of a pod: `12.5 of 80.0 MiB (45s)`.
fn pulls_of(pod: &Pod, pulls: &[ListedPull], now: Timestamp) -> String {
    let own = pulls
        .iter()
        .filter(|pull| pod.metadata.uid.as_ref() == Some(&pull.pod_uid));
    let texts = own.map(|pull| format!("{} ({})", pull.progress.text(), age::since(pull.since, now)));
    or_none(Some(&texts.collect::<Vec<_>>().join(", ")))
}

/// The columns that a table of pods may have.
struct Columns {
    namespace: bool,
    wide: bool,
    /// The last one is there only while something is pulled.
    pulling: bool,
}

impl Columns {
    fn headings(&self) -> Vec<&'static str> {
        let own = ["NAME", "READY", "STATUS", "RESTARTS", "AGE"];
        self.row("NAMESPACE", own, ["IP", "NODE"], "PULLING")
    }

    /// The cells of those that there are.
    fn row<T>(&self, namespace: T, own: [T; 5], wide: [T; 2], pulling: T) -> Vec<T> {
        let namespace = self.namespace.then_some(namespace);
        let wide = self.wide.then_some(wide).into_iter().flatten();
        let pulling = self.pulling.then_some(pulling);
        namespace
            .into_iter()
            .chain(own)
            .chain(wide)
            .chain(pulling)
            .collect()
    }
}

fn pod_table(
    pods: &[&Pod],
    problems: &[&ReportedProblem],
    pulls: &[ListedPull],
    options: &Options,
    now: Timestamp,
) -> String {
    let namespaces: BTreeSet<&str> = pods
        .iter()
        .map(|pod| pod_selection::namespace(pod))
        .chain(problems.iter().filter_map(|problem| problem.namespace.as_deref()))
        .collect();
    let pulling: Vec<String> = pods.iter().map(|pod| pulls_of(pod, pulls, now)).collect();
    let columns = Columns {
        namespace: options.all_namespaces || namespaces.len() > 1,
        wide: options.output == Output::Wide,
        pulling: pulling.iter().any(|pulls| pulls != NONE),
    };
    let mut table = Table::new(&columns.headings());
    for (pod, pulling) in pods.iter().zip(pulling) {
        let row = pod_row::row(pod, now);
        let age = age_of(pod.metadata.creation_timestamp.as_ref(), now);
        let name = pod_selection::name(pod).to_owned();
        let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        table.row(columns.row(
            pod_selection::namespace(pod).to_owned(),
            [name, row.ready, row.status, row.restarts, age],
            [or_none(ip), or_none(node)],
            pulling,
        ));
    }
    for problem in problems {
        let nothing = || "-".to_owned();
        table.row(columns.row(
            or_none(problem.namespace.as_deref()),
            [
                file_name(problem),
                nothing(),
                "Invalid".to_owned(),
                nothing(),
                nothing(),
            ],
            [nothing(), nothing()],
            nothing(),
        ));
    }
    table.text("")
}

/// YAML as kubectl writes it.
pub(super) fn yaml_text(value: &Value) -> Result<String, CommandError> {
    yaml::write::text(value).map_err(|error| CommandError::Answer(error.into()))
}

/// `web.yaml`, and `web.yaml#2` for a later document.
fn file_name(problem: &ReportedProblem) -> String {
    let name = problem.file.rsplit('/').next().unwrap_or_default();
    match problem.document {
        0 | 1 => name.to_owned(),
        document => format!("{name}#{document}"),
    }
}

async fn node(client: &Client, output: Output, now: Timestamp) -> Result<String, CommandError> {
    let value: Value = client.object("/node").await?;
    match output {
        Output::Json => json_text(&value),
        Output::Yaml => yaml_text(&value),
        Output::Name => Ok(format!(
            "node/{}\n",
            in_line(&parse::<Node>(&value)?.metadata.name.unwrap_or_default())
        )),
        Output::Table | Output::Wide => Ok(node_table(&parse(&value)?, output == Output::Wide, now)),
    }
}

fn node_table(node: &Node, wide: bool, now: Timestamp) -> String {
    let status = node.status.clone().unwrap_or_default();
    let info = status.node_info.clone().unwrap_or_default();
    let mut headings = vec!["NAME", "STATUS", "ROLES", "AGE", "VERSION"];
    if wide {
        headings.extend([
            "INTERNAL-IP",
            "EXTERNAL-IP",
            "OS-IMAGE",
            "KERNEL-VERSION",
            "CONTAINER-RUNTIME",
        ]);
    }
    let mut table = Table::new(&headings);
    let mut cells = vec![
        node.metadata.name.clone().unwrap_or_default(),
        node_row::status(node),
        node_row::roles(node),
        age_of(node.metadata.creation_timestamp.as_ref(), now),
        info.kubelet_version,
    ];
    if wide {
        let address = |kind: &str| {
            let mut all = status.addresses.iter().flatten();
            or_none(
                all.find(|address| address.type_ == kind)
                    .map(|address| address.address.as_str()),
            )
        };
        cells.extend([address("InternalIP"), address("ExternalIP")]);
        cells.extend([info.os_image, info.kernel_version, info.container_runtime_version]);
    }
    table.row(cells);
    table.text("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cve_2021_25743_json_means_the_same_and_commands_no_terminal() {
        let value = json!({"a\u{9b}": "x\u{1b}[2J\u{7f}\u{9b}2J\nü"});
        let text = json_text(&value).unwrap();
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
