//! The command line's definitions, for parsing, completions and man pages. What a verb does is in `command`.

pub mod flags;
pub mod kubelet_version;
pub mod parse;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::layers::{self, FlagValues};
use crate::model::duration::Span;
use flags::{KubeletFlags, RunFlags};
pub use parse::{Stop, parse};

/// The socket that commands reach the agent by, where nothing else is said.
pub const DEFAULT_SOCKET: &str = "/run/gantry/gantry.sock";

/// Runs the pods of a machine through containerd, as the kubelet does.
#[derive(Debug, Parser)]
#[command(
    name = "gantry",
    version,
    about = "A node agent for Kubernetes: runs this machine's pods through containerd",
    after_help = "Start with `gantry doctor`, which checks the machine, then `gantry run`.",
    disable_help_subcommand = true
)]
pub struct Cli {
    /// Say why, down to the first cause, when something fails
    #[arg(short, long, global = true, display_order = 100)]
    pub verbose: bool,
    /// The agent's socket [default: /run/gantry/gantry.sock]
    #[arg(long, value_name = "PATH", global = true, display_order = 101)]
    pub socket: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The socket to reach the agent by.
    pub fn socket(&self) -> PathBuf {
        self.socket
            .clone()
            .unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET))
    }

    /// The flags that say how the agent is configured, of the verbs that have some.
    pub fn given(&self) -> Vec<FlagValues> {
        let mut given = match &self.command {
            Command::Run(flags) => flags.0.clone(),
            Command::Doctor(doctor) => doctor.flags.0.clone(),
            Command::Check(check) => check.flags.0.clone(),
            Command::Cleanup(cleanup) => cleanup.flags.0.clone(),
            Command::Kubelet(flags) => flags.given.clone(),
            _ => Vec::new(),
        };
        if let (Some(socket), Some(flag)) = (&self.socket, layers::flag("socket")) {
            given.push((flag, vec![socket.display().to_string()]));
        }
        given
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent
    #[command(after_help = "Every flag of `gantry kubelet --help` is accepted too.")]
    Run(RunFlags),
    /// Run the agent with the kubelet's flags and defaults
    #[command(after_help = "A program named `kubelet` that is this one behaves the same.")]
    Kubelet(KubeletFlags),
    /// Show pods or the node
    Get(Get),
    /// Tell one pod or the node in detail
    Describe(Describe),
    /// Print what a container wrote
    Logs(Logs),
    /// Run a command in a container
    Exec(Exec),
    /// Say whether manifests would run, without running them
    #[command(
        after_help = "The exit code is 0 where everything would run, 1 where something would not, and 2 where something \
                      cannot be read."
    )]
    Check(Check),
    /// Make this machine a node of a cluster
    #[command(
        after_help = "On the control plane, `kubeadm token create --print-join-command` prints the arguments."
    )]
    Join(Join),
    /// Undo `gantry join`: pods, credentials, configuration
    Reset(Reset),
    /// Check this machine and say what to do
    Doctor(Doctor),
    /// Remove what the agent made: pods, network, files
    Cleanup(Cleanup),
    /// Print the version
    Version(Version),
    /// Print completions for a shell
    Completions(Completions),
    /// Write the man pages into a directory
    Man(Man),
}

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Resource {
    /// The pods of this machine
    #[value(name = "pods", alias = "pod", alias = "po")]
    Pods,
    /// This machine as a node
    #[value(name = "node", alias = "nodes", alias = "no")]
    Node,
}

/// `gantry get`
#[derive(Debug, Args)]
pub struct Get {
    /// What to show
    pub resource: Resource,
    /// Only those of these names
    pub names: Vec<String>,
    /// Only pods of this namespace
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Pods of all namespaces, and the namespace of each
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// The form
    #[arg(short, long, value_enum)]
    pub output: Option<Output>,
}

/// The form of `gantry get`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table with more columns
    Wide,
    /// The objects as JSON
    Json,
    /// The objects as YAML
    Yaml,
    /// Names only
    Name,
}

/// `gantry describe`
#[derive(Debug, Args)]
pub struct Describe {
    /// What to tell of
    pub resource: Resource,
    /// Only those of these names
    pub names: Vec<String>,
    /// The pod's namespace, where its name alone is not clear
    #[arg(short, long)]
    pub namespace: Option<String>,
}

/// `gantry logs`
#[derive(Debug, Args)]
pub struct Logs {
    /// The pod
    pub pod: String,
    /// The pod's namespace, where its name alone is not clear
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// The container; needed where the pod has several
    #[arg(short, long)]
    pub container: Option<String>,
    /// Go on as more is written
    #[arg(short, long)]
    pub follow: bool,
    /// The container before the last restart
    #[arg(short, long)]
    pub previous: bool,
    /// Only so many last lines
    #[arg(long, value_name = "LINES")]
    pub tail: Option<u64>,
    /// Only what is newer than this, like 5m or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub since: Option<Duration>,
    /// Put the time before each line
    #[arg(long)]
    pub timestamps: bool,
}

/// `gantry exec`
#[derive(Debug, Args)]
pub struct Exec {
    /// The pod
    pub pod: String,
    /// The pod's namespace, where its name alone is not clear
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// The container; needed where the pod has several
    #[arg(short, long)]
    pub container: Option<String>,
    /// Pass this terminal's input on
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Give the command a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// `gantry join`
#[derive(Debug, Args)]
pub struct Join {
    /// The API server, host:port
    pub endpoint: Option<String>,
    /// The bootstrap token
    #[arg(long, alias = "discovery-token")]
    pub token: Option<String>,
    /// The digest of the cluster's CA, sha256:...; may be repeated
    #[arg(long, value_name = "HASH", value_delimiter = ',')]
    pub discovery_token_ca_cert_hash: Vec<String>,
    /// Trust whoever knows the token
    #[arg(long)]
    pub discovery_token_unsafe_skip_ca_verification: bool,
    /// A kubeconfig, or its https:// address, that says where the cluster is, instead of address and digest
    #[arg(long, value_name = "FILE")]
    pub discovery_file: Option<PathBuf>,
    /// The node's name, if not the host's
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
}

/// `gantry reset`
#[derive(Debug, Args)]
pub struct Reset {
    /// Do not ask first
    #[arg(short, long)]
    pub yes: bool,
}

/// `gantry doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// The form
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Report,
    /// The flags that `gantry run` would be given.
    #[command(flatten)]
    pub flags: RunFlags,
}

/// `gantry check`
#[derive(Debug, Args)]
pub struct Check {
    /// Manifests, or directories of them; - is standard input
    #[arg(required = true, value_name = "FILE|DIR|-")]
    pub paths: Vec<PathBuf>,
    /// The form
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Report,
    /// The flags that `gantry run` would be given.
    #[command(flatten)]
    pub flags: RunFlags,
}

/// The form of a report that is text or JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Report {
    /// For people
    Text,
    /// For programs
    Json,
}

/// `gantry cleanup`
#[derive(Debug, Args)]
pub struct Cleanup {
    /// Do not ask first
    #[arg(short, long)]
    pub yes: bool,
    /// The flags that `gantry run` was given.
    #[command(flatten)]
    pub flags: RunFlags,
}

/// `gantry version`
#[derive(Debug, Args)]
pub struct Version {
    /// The form
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Report,
}

/// `gantry completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// `gantry man`
#[derive(Debug, Args)]
pub struct Man {
    /// The directory; made where it is absent
    pub directory: PathBuf,
}

fn duration(text: &str) -> Result<Duration, String> {
    let span: Span = text
        .parse()
        .map_err(|error: crate::model::duration::NotADuration| error.to_string())?;
    if span < Span(0) {
        Err("must not be negative".to_owned())
    } else {
        Ok(span.unsigned())
    }
}

/// The definitions as clap's own value.
pub fn definitions() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    #[test]
    fn the_definitions_are_sound() {
        definitions().debug_assert();
    }

    fn check_help(verb: &[&str], expected: Expect) {
        let mut command = definitions();
        command.build();
        let found = verb.iter().fold(&mut command, |command, name| {
            command.find_subcommand_mut(name).expect("the verb exists")
        });
        expected.assert_eq(&found.clone().term_width(100).render_help().to_string());
    }

    #[test]
    fn help_of_each_verb() {
        check_help(
            &[],
            expect![[r#"
                A node agent for Kubernetes: runs this machine's pods through containerd

                Usage: gantry [OPTIONS] <COMMAND>

                Commands:
                  run          Run the agent
                  kubelet      Run the agent with the kubelet's flags and defaults
                  get          Show pods or the node
                  describe     Tell one pod or the node in detail
                  logs         Print what a container wrote
                  exec         Run a command in a container
                  check        Say whether manifests would run, without running them
                  join         Make this machine a node of a cluster
                  reset        Undo `gantry join`: pods, credentials, configuration
                  doctor       Check this machine and say what to do
                  cleanup      Remove what the agent made: pods, network, files
                  version      Print the version
                  completions  Print completions for a shell
                  man          Write the man pages into a directory

                Options:
                  -v, --verbose        Say why, down to the first cause, when something fails
                      --socket <PATH>  The agent's socket [default: /run/gantry/gantry.sock]
                  -h, --help           Print help
                  -V, --version        Print version

                Start with `gantry doctor`, which checks the machine, then `gantry run`.
            "#]],
        );
        check_help(
            &["run"],
            expect![[r#"
                Run the agent

                Usage: gantry run [OPTIONS]

                Options:
                      --config <VALUE>
                          Read KubeletConfiguration and GantryConfiguration from this file
                      --config-dir <VALUE>
                          Then read the *.conf files below this directory, in the order of their names
                      --kubeconfig <VALUE>
                          How to reach the API server whose node this is; without it there is none
                      --bootstrap-kubeconfig <VALUE>
                          How to ask for the node's certificate where there is no kubeconfig, or its certificate has
                          ended
                      --pod-manifest-path <DIR>
                          The directory of the pods' manifests [alias: --manifests]
                      --hostname-override <VALUE>
                          The node's name, if not the host's
                      --node-ip <VALUE>
                          The node's address, or an IPv4 and an IPv6 one with a comma between
                      --node-labels <A=X,B=Y>
                          Labels of the node: key=value,key=value
                      --root-dir <VALUE>
                          The directory of volumes and pods' files [default: /var/lib/kubelet]
                      --state-dir <VALUE>
                          The agent's own directory [default: /var/lib/gantry]
                      --cut-off-start <VALUE>
                          Stored pods to start while the API server does not answer: Tolerated, Always or Never
                          [default: Tolerated]
                      --container-runtime-endpoint <VALUE>
                          containerd's socket, unix://...
                      --cgroup-driver <VALUE>
                          systemd or cgroupfs, where containerd does not tell
                      --pod-network <VALUE>
                          Who connects the pods: own (this agent), cluster (a plugin that the cluster installs), or
                          auto: own unless there is a kubeconfig [default: auto]
                      --network-cidr <VALUE>
                          The network of all pods [default: 10.244.0.0/16]
                      --pod-cidr <VALUE>
                          This node's part of it [default: a free /24]
                      --cni-conf-dir <VALUE>
                          CNI configurations [default: /etc/cni/net.d]
                      --cni-bin-dir <VALUE>
                          CNI plugins [default: /opt/cni/bin]
                      --images-dir <VALUE>
                          Image archives to import [default: <state-dir>/images]
                      --pause-image <VALUE>
                          The sandboxes' image [default: the agent's own]
                      --log-level <VALUE>
                          error, warn, info, debug, trace, or a tracing filter [default: info]
                      --logging-format <VALUE>
                          text or json [alias: --log-format]
                      --cluster-dns <A,B>
                          The cluster's DNS servers
                      --cluster-domain <VALUE>
                          The cluster's DNS domain
                      --max-pods <NUMBER>
                          How many pods may run here [default: 110]
                      --fail-swap-on[=<BOOL>]
                          Refuse to start while swap is on [default: true]
                      --healthz-port <NUMBER>
                          The port of /healthz, 0 for none [default: 10248]
                      --healthz-bind-address <VALUE>
                          Its address [default: 127.0.0.1]
                  -v, --verbose
                          Say why, down to the first cause, when something fails
                      --socket <PATH>
                          The agent's socket [default: /run/gantry/gantry.sock]
                  -h, --help
                          Print help

                Every flag of `gantry kubelet --help` is accepted too.
            "#]],
        );
        check_help(
            &["get"],
            expect![[r#"
                Show pods or the node

                Usage: gantry get [OPTIONS] <RESOURCE> [NAMES]...

                Arguments:
                  <RESOURCE>  What to show [possible values: pods, node]
                  [NAMES]...  Only those of these names

                Options:
                  -n, --namespace <NAMESPACE>  Only pods of this namespace
                  -A, --all-namespaces         Pods of all namespaces, and the namespace of each
                  -o, --output <OUTPUT>        The form [possible values: wide, json, yaml, name]
                  -v, --verbose                Say why, down to the first cause, when something fails
                      --socket <PATH>          The agent's socket [default: /run/gantry/gantry.sock]
                  -h, --help                   Print help (see more with '--help')
            "#]],
        );
        check_help(
            &["join"],
            expect![[r#"
            Make this machine a node of a cluster

            Usage: gantry join [OPTIONS] [ENDPOINT]

            Arguments:
              [ENDPOINT]  The API server, host:port

            Options:
                  --token <TOKEN>
                      The bootstrap token
                  --discovery-token-ca-cert-hash <HASH>
                      The digest of the cluster's CA, sha256:...; may be repeated
                  --discovery-token-unsafe-skip-ca-verification
                      Trust whoever knows the token
                  --discovery-file <FILE>
                      A kubeconfig, or its https:// address, that says where the cluster is, instead of address
                      and digest
                  --node-name <NAME>
                      The node's name, if not the host's
              -v, --verbose
                      Say why, down to the first cause, when something fails
                  --socket <PATH>
                      The agent's socket [default: /run/gantry/gantry.sock]
              -h, --help
                      Print help

            On the control plane, `kubeadm token create --print-join-command` prints the arguments.
        "#]],
        );
        check_help(
            &["reset"],
            expect![[r#"
            Undo `gantry join`: pods, credentials, configuration

            Usage: gantry reset [OPTIONS]

            Options:
              -y, --yes            Do not ask first
              -v, --verbose        Say why, down to the first cause, when something fails
                  --socket <PATH>  The agent's socket [default: /run/gantry/gantry.sock]
              -h, --help           Print help
        "#]],
        );
        check_help(
            &["describe"],
            expect![[r#"
                Tell one pod or the node in detail

                Usage: gantry describe [OPTIONS] <RESOURCE> [NAMES]...

                Arguments:
                  <RESOURCE>  What to tell of [possible values: pods, node]
                  [NAMES]...  Only those of these names

                Options:
                  -n, --namespace <NAMESPACE>  The pod's namespace, where its name alone is not clear
                  -v, --verbose                Say why, down to the first cause, when something fails
                      --socket <PATH>          The agent's socket [default: /run/gantry/gantry.sock]
                  -h, --help                   Print help (see more with '--help')
            "#]],
        );
        check_help(
            &["logs"],
            expect![[r#"
                Print what a container wrote

                Usage: gantry logs [OPTIONS] <POD>

                Arguments:
                  <POD>  The pod

                Options:
                  -n, --namespace <NAMESPACE>  The pod's namespace, where its name alone is not clear
                  -c, --container <CONTAINER>  The container; needed where the pod has several
                  -f, --follow                 Go on as more is written
                  -p, --previous               The container before the last restart
                      --tail <LINES>           Only so many last lines
                      --since <DURATION>       Only what is newer than this, like 5m or 1h30m
                      --timestamps             Put the time before each line
                  -v, --verbose                Say why, down to the first cause, when something fails
                      --socket <PATH>          The agent's socket [default: /run/gantry/gantry.sock]
                  -h, --help                   Print help
            "#]],
        );
        check_help(
            &["exec"],
            expect![[r#"
                Run a command in a container

                Usage: gantry exec [OPTIONS] <POD> -- <COMMAND>...

                Arguments:
                  <POD>         The pod
                  <COMMAND>...  The command and its arguments

                Options:
                  -n, --namespace <NAMESPACE>  The pod's namespace, where its name alone is not clear
                  -c, --container <CONTAINER>  The container; needed where the pod has several
                  -i, --stdin                  Pass this terminal's input on
                  -t, --tty                    Give the command a terminal
                  -v, --verbose                Say why, down to the first cause, when something fails
                      --socket <PATH>          The agent's socket [default: /run/gantry/gantry.sock]
                  -h, --help                   Print help
            "#]],
        );
        check_help(
            &["cleanup"],
            expect![[r#"
                Remove what the agent made: pods, network, files

                Usage: gantry cleanup [OPTIONS]

                Options:
                  -y, --yes
                          Do not ask first
                      --config <VALUE>
                          Read KubeletConfiguration and GantryConfiguration from this file
                      --config-dir <VALUE>
                          Then read the *.conf files below this directory, in the order of their names
                      --kubeconfig <VALUE>
                          How to reach the API server whose node this is; without it there is none
                      --bootstrap-kubeconfig <VALUE>
                          How to ask for the node's certificate where there is no kubeconfig, or its certificate has
                          ended
                      --pod-manifest-path <DIR>
                          The directory of the pods' manifests [alias: --manifests]
                      --hostname-override <VALUE>
                          The node's name, if not the host's
                      --node-ip <VALUE>
                          The node's address, or an IPv4 and an IPv6 one with a comma between
                      --node-labels <A=X,B=Y>
                          Labels of the node: key=value,key=value
                      --root-dir <VALUE>
                          The directory of volumes and pods' files [default: /var/lib/kubelet]
                      --state-dir <VALUE>
                          The agent's own directory [default: /var/lib/gantry]
                      --cut-off-start <VALUE>
                          Stored pods to start while the API server does not answer: Tolerated, Always or Never
                          [default: Tolerated]
                      --container-runtime-endpoint <VALUE>
                          containerd's socket, unix://...
                      --cgroup-driver <VALUE>
                          systemd or cgroupfs, where containerd does not tell
                      --pod-network <VALUE>
                          Who connects the pods: own (this agent), cluster (a plugin that the cluster installs), or
                          auto: own unless there is a kubeconfig [default: auto]
                      --network-cidr <VALUE>
                          The network of all pods [default: 10.244.0.0/16]
                      --pod-cidr <VALUE>
                          This node's part of it [default: a free /24]
                      --cni-conf-dir <VALUE>
                          CNI configurations [default: /etc/cni/net.d]
                      --cni-bin-dir <VALUE>
                          CNI plugins [default: /opt/cni/bin]
                      --images-dir <VALUE>
                          Image archives to import [default: <state-dir>/images]
                      --pause-image <VALUE>
                          The sandboxes' image [default: the agent's own]
                      --log-level <VALUE>
                          error, warn, info, debug, trace, or a tracing filter [default: info]
                      --logging-format <VALUE>
                          text or json [alias: --log-format]
                      --cluster-dns <A,B>
                          The cluster's DNS servers
                      --cluster-domain <VALUE>
                          The cluster's DNS domain
                      --max-pods <NUMBER>
                          How many pods may run here [default: 110]
                      --fail-swap-on[=<BOOL>]
                          Refuse to start while swap is on [default: true]
                      --healthz-port <NUMBER>
                          The port of /healthz, 0 for none [default: 10248]
                      --healthz-bind-address <VALUE>
                          Its address [default: 127.0.0.1]
                  -v, --verbose
                          Say why, down to the first cause, when something fails
                      --socket <PATH>
                          The agent's socket [default: /run/gantry/gantry.sock]
                  -h, --help
                          Print help
            "#]],
        );
        check_help(
            &["version"],
            expect![[r#"
            Print the version

            Usage: gantry version [OPTIONS]

            Options:
              -o, --output <OUTPUT>  The form [default: text] [possible values: text, json]
              -v, --verbose          Say why, down to the first cause, when something fails
                  --socket <PATH>    The agent's socket [default: /run/gantry/gantry.sock]
              -h, --help             Print help (see more with '--help')
        "#]],
        );
        check_help(
            &["completions"],
            expect![[r#"
            Print completions for a shell

            Usage: gantry completions [OPTIONS] <SHELL>

            Arguments:
              <SHELL>  The shell [possible values: bash, elvish, fish, powershell, zsh]

            Options:
              -v, --verbose        Say why, down to the first cause, when something fails
                  --socket <PATH>  The agent's socket [default: /run/gantry/gantry.sock]
              -h, --help           Print help
        "#]],
        );
        check_help(
            &["man"],
            expect![[r#"
            Write the man pages into a directory

            Usage: gantry man [OPTIONS] <DIRECTORY>

            Arguments:
              <DIRECTORY>  The directory; made where it is absent

            Options:
              -v, --verbose        Say why, down to the first cause, when something fails
                  --socket <PATH>  The agent's socket [default: /run/gantry/gantry.sock]
              -h, --help           Print help
        "#]],
        );
    }
}
