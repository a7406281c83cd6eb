//! `gantry check`: whether the agent of this machine would run the given manifests, without running anything. It uses
//! the agent's own code, and the node's configuration if there is one.

use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::table::printable;
use super::{CommandError, print, start};
use crate::agent;
use crate::cli::Report;
use crate::config::layers::{self, FlagValues};
use crate::config::{Config, Role, files};
use crate::model::node;
use crate::model::object::Reference;
use crate::model::pod::{Pod, Problem, ProblemKind, Source};
use crate::model::reference;
use crate::model::resources::Amounts;
use crate::observe::{machine, measure};
use crate::plan::admit::{self, Denial, Protection};
use crate::plan::node::may_displace;
use crate::plan::shortage::Room;
use crate::serve::problem::ReportedProblem;
use crate::source::files::check::{CheckError, Found};

/// The file that kubeadm writes the configuration of a node to.
const KUBELET_CONFIG: &str = "/var/lib/kubelet/config.yaml";
/// The path that means standard input.
const INPUT: &str = "-";

/// What is requested.
#[derive(Debug, Clone)]
pub struct Options {
    /// The files and directories.
    pub paths: Vec<PathBuf>,
    /// The form of the answer.
    pub form: Report,
}

/// The node that the manifests are checked against.
pub struct Node {
    config: Config,
    /// The machine's facts; `None` without a node configuration; its capacity is then not checked.
    machine: Option<Machine>,
}

/// What a machine offers to pods.
struct Machine {
    allocatable: Amounts,
    apparmor: bool,
}

/// The answer.
#[derive(Debug, Default)]
struct Answer {
    pods: Vec<std::sync::Arc<Pod>>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

/// The configuration from the flags, else this machine's, else the defaults. A file of this machine that the user
/// cannot read is reported on `err` and ignored; a file named by a flag must be readable.
pub fn node(given: &[FlagValues], err: &mut impl Write) -> anyhow::Result<Node> {
    let (config, is_node) = configuration(given, err)?;
    let machine = match is_node {
        true => Some(machine(&config)?),
        false => None,
    };
    Ok(Node { config, machine })
}

fn configuration(given: &[FlagValues], err: &mut impl Write) -> anyhow::Result<(Config, bool)> {
    if given
        .iter()
        .any(|(flag, _)| matches!(flag.name, "config" | "config-dir"))
    {
        return Ok((start::configuration(Role::Run, given)?, true));
    }
    let of_kubeadm = Path::new(KUBELET_CONFIG).exists() && !Path::new(files::RUN_FILE).exists();
    let read = match layers::flag("config").filter(|_| of_kubeadm) {
        Some(flag) => {
            let mut given = given.to_vec();
            given.push((flag, vec![KUBELET_CONFIG.to_owned()]));
            start::configuration(Role::Kubelet, &given)
        }
        None => start::configuration(Role::Run, given),
    };
    let is_node = of_kubeadm || Path::new(files::RUN_FILE).exists();
    match read {
        Ok(config) => Ok((config, is_node)),
        Err(error) if is_node => {
            writeln!(err, "gantry: ignoring the node's configuration: {error:#}")?;
            let context = files::here()?;
            Ok((files::load_without_file(Role::Run, given, &context)?, false))
        }
        Err(error) => Err(error),
    }
}

/// The allocatable amounts of this machine.
fn machine(config: &Config) -> anyhow::Result<Machine> {
    let machine = machine::machine_facts(Path::new("/"))?;
    // The root directory may not exist yet; it will be on the file system of its nearest existing parent.
    let there = config.paths.root.ancestors().find(|path| path.exists());
    let disk = measure::file_system(there.unwrap_or(Path::new("/")))?;
    let settings = config.node_settings(&machine, Vec::new());
    Ok(Machine {
        allocatable: node::allocatable(&machine.capacity(&disk), &settings),
        apparmor: machine.apparmor,
    })
}

/// Reads the manifests, checks them and prints the result. Returns whether everything would run.
pub fn run(node: &Node, options: &Options, now: Timestamp, out: &mut impl Write) -> Result<bool, Failure> {
    let context = agent::manifest_context(&node.config);
    let mut found = Found::default();
    for path in &options.paths {
        match path.as_os_str() == INPUT {
            true => found.add_input(&context, now)?,
            false => found.add(path, &context, now)?,
        }
    }
    let answer = answer(found, node);
    match options.form {
        Report::Text => print(out, &text(&answer))?,
        Report::Json => print(out, &format!("{:#}\n", json(&answer)))?,
    }
    Ok(answer.problems.is_empty())
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A manifest cannot be read.
    #[error(transparent)]
    Input(#[from] CheckError),
    /// The result cannot be written.
    #[error(transparent)]
    Output(#[from] CommandError),
}

fn answer(found: Found, node: &Node) -> Answer {
    let Found {
        pods,
        objects,
        mut problems,
        mut warnings,
    } = found;
    let mut admitted: Vec<std::sync::Arc<Pod>> = Vec::new();
    for pod in pods {
        let others = || admitted.iter().map(AsRef::as_ref);
        let nothing = Amounts::default();
        let machine = node.machine.as_ref();
        let room = Room {
            allocatable: machine.map_or(&nothing, |machine| &machine.allocatable),
            max_pods: node.config.node.max_pods,
        };
        let protection = Protection {
            // Only the runtime knows, and it is not queried.
            strict_groups: true,
            apparmor: machine.is_none_or(|machine| machine.apparmor),
        };
        let admission = admit::admit(&pod, others(), room, protection, None).or_else(|denial| {
            // Those of lower priority would leave for it.
            let staying = others().filter(|other| !may_displace(&pod, other));
            match denial.lacking.is_empty() {
                true => Err(denial),
                false => admit::admit(&pod, staying, room, protection, None),
            }
        });
        match admission {
            Err(Denial { refusal, lacking }) if machine.is_some() || lacking.is_empty() => {
                let message = format!(
                    "the node would reject it ({}): {}",
                    refusal.reason, refusal.message
                );
                problems.push(about(&pod, message, ProblemKind::Invalid));
            }
            _ => {
                warnings.extend(missing(&pod, &objects));
                admitted.push(pod);
            }
        }
    }
    Answer {
        pods: admitted,
        problems,
        warnings,
    }
}

/// The objects that a pod waits for.
fn missing(pod: &Pod, there: &std::collections::BTreeSet<Reference>) -> Option<Problem> {
    let missing: Vec<String> = reference::references(pod)
        .into_iter()
        .filter(|reference| matches!(reference, Reference::Object(_)) && !there.contains(reference))
        .map(|reference| reference.to_string())
        .collect();
    let message = format!(
        "refers to {}, which is not among the checked manifests: unless it is optional, the pod waits for it",
        missing.join(", ")
    );
    (!missing.is_empty()).then(|| about(pod, message, ProblemKind::Dubious))
}

fn about(pod: &Pod, message: String, kind: ProblemKind) -> Problem {
    let (path, document) = match &pod.source {
        Source::File { path, document } => (path.clone(), *document),
        Source::Api => (PathBuf::new(), 0),
    };
    Problem {
        path,
        document,
        line: None,
        field: String::new(),
        message,
        pod: Some(pod.name.clone()),
        kind,
    }
}

fn text(answer: &Answer) -> String {
    let mut text = String::new();
    for (mark, found) in [("FAIL", &answer.problems), ("warn", &answer.warnings)] {
        for problem in found {
            text += &format!("{mark}  {}\n", printable(&problem.to_string()));
        }
    }
    for pod in &answer.pods {
        text += &format!("ok    {}: pod {}\n", origin(pod), pod.name);
    }
    let count = |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
    let (pods, warnings) = (
        count(answer.pods.len(), "pod"),
        count(answer.warnings.len(), "warning"),
    );
    text += &match answer.problems.len() {
        0 => format!("\n{pods} would run ({warnings}).\n"),
        problems => format!(
            "\n{pods} would run; {} ({warnings}).\n",
            count(problems, "problem")
        ),
    };
    text
}

fn origin(pod: &Pod) -> String {
    match &pod.source {
        Source::File { path, document } if *document > 1 => {
            format!("{} (document {document})", path.display())
        }
        Source::File { path, .. } => path.display().to_string(),
        Source::Api => "API server".to_owned(),
    }
}

fn json(answer: &Answer) -> serde_json::Value {
    let pod = |pod: &std::sync::Arc<Pod>| {
        let (file, document) = match &pod.source {
            Source::File { path, document } => (path.display().to_string(), *document),
            Source::Api => (String::new(), 0),
        };
        serde_json::json!({
            "namespace": pod.name.namespace,
            "name": pod.name.name,
            "file": file,
            "document": document,
        })
    };
    let reported = |problems: &[Problem]| -> Vec<ReportedProblem> {
        problems.iter().map(ReportedProblem::from).collect()
    };
    serde_json::json!({
        "pods": answer.pods.iter().map(pod).collect::<Vec<_>>(),
        "problems": reported(&answer.problems),
        "warnings": reported(&answer.warnings),
    })
}
