//! The command line's definitions, for parsing, completions and man pages. What a verb does is in `command`.

pub mod copy;
pub mod debug;
pub mod events;
pub mod flags;
pub mod images;
pub mod join;
pub mod kubelet_version;
pub mod parse;
pub mod place;
pub mod ports;
pub mod report;
mod time;
pub mod timeline;
pub mod top;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::layers::{self, FlagValues};
use flags::{KubeletFlags, RunFlags};
pub use parse::{Stop, parse};
use ports::Ports;
pub use report::Report;
use time::duration;

/// The default path of the agent's socket.
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
    /// On failure, print the whole chain of causes
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
    /// The path of the agent's socket.
    pub fn socket(&self) -> PathBuf {
        self.socket
            .clone()
            .unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET))
    }

    /// The configuration flags, for the verbs that take them.
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
    #[command(after_help = "A copy of this program named `kubelet` behaves the same.")]
    Kubelet(KubeletFlags),
    /// Show pods, the node or volumes
    Get(Get),
    /// Show a pod or the node in detail
    Describe(Describe),
    /// Show what happened to pods
    Events(events::Events),
    /// Watch what the node and its pods use
    Top(top::Top),
    /// Show how long the steps of a pod's last start and end took
    Timeline(timeline::Timeline),
    /// Print the logs of a container
    Logs(Logs),
    /// Run a command in a container
    Exec(Exec),
    /// Attach to the process of a container
    Attach(Attach),
    /// Forward ports of this machine to a pod
    PortForward(PortForward),
    /// Add a container with tools to a running static pod
    Debug(debug::Debug),
    /// Copy files into a container or out of it
    Cp(copy::Cp),
    /// Show the images of this machine and the pods that use them, or remove unused ones
    Images(images::Images),
    /// Pull an image with the node's credentials
    #[command(
        after_help = "Ctrl-C cancels the pull. Pods that wait for the image are started as soon as it is there."
    )]
    Pull(images::Pull),
    /// Import images from archives
    #[command(after_help = "For example: docker save app:1 | gantry import -")]
    Import(images::Import),
    /// Print the kubeconfig with which kubectl works on this machine
    #[command(
        after_help = "For example: gantry kubeconfig > ~/gantry.conf; kubectl --kubeconfig ~/gantry.conf get pods -A"
    )]
    Kubeconfig,
    /// Print this machine's entry for the files of peers of other machines
    #[command(
        after_help = "For example: gantry peer >>peers.yaml; the same file may be given to all machines (--peers-file)."
    )]
    Peer,
    /// Check whether manifests would run, without running them
    #[command(
        after_help = "The exit code is 0 if every pod would run, 1 if some pod would not, and 2 if something cannot \
         be read."
    )]
    Check(Check),
    /// Join this machine to a cluster
    #[command(
        after_help = "On the control plane, `kubeadm token create --print-join-command` prints the arguments."
    )]
    Join(join::Join),
    /// Undo `gantry join`: remove pods, credentials and configuration
    Reset(join::Reset),
    /// Check this machine and suggest fixes
    Doctor(Doctor),
    /// Remove everything the agent created: pods, network, files
    Cleanup(Cleanup),
    /// Print the version
    Version(Version),
    /// Print shell completions
    Completions(Completions),
    /// Write the man pages to a directory
    Man(Man),
}

/// What `gantry get` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Resource {
    /// The pods of this machine
    #[value(name = "pods", alias = "pod", alias = "po")]
    Pods,
    /// This machine as a node
    #[value(name = "node", alias = "nodes", alias = "no")]
    Node,
    /// The volumes of its pods
    #[value(name = "volumes", alias = "volume", alias = "vol")]
    Volumes,
}

/// What `gantry describe` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Described {
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
    /// Only the pods with these names, or the volumes of these pods
    pub names: Vec<String>,
    /// Only pods in this namespace
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Pods in all namespaces, with their namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// The output format
    #[arg(short, long, value_enum)]
    pub output: Option<Output>,
}

/// The output format of `gantry get`.
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
    /// What to describe
    pub resource: Described,
    /// Only the ones with these names
    pub names: Vec<String>,
    /// The pod's namespace, if the name is ambiguous
    #[arg(short, long)]
    pub namespace: Option<String>,
}

/// `gantry logs`
#[derive(Debug, Args)]
pub struct Logs {
    /// The pod
    pub pod: String,
    /// The pod's namespace, if the name is ambiguous
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// The container [default: the pod's default or first container]
    #[arg(short, long)]
    pub container: Option<String>,
    /// Keep printing new log lines as they are written
    #[arg(short, long)]
    pub follow: bool,
    /// The previous instance of the container, before its last restart
    #[arg(short, long)]
    pub previous: bool,
    /// Only this many lines from the end
    #[arg(long, value_name = "LINES")]
    pub tail: Option<u64>,
    /// Only lines newer than this, like 5m or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub since: Option<Duration>,
    /// Print the time before each line
    #[arg(long)]
    pub timestamps: bool,
}

/// `gantry exec`
#[derive(Debug, Args)]
pub struct Exec {
    /// The pod
    pub pod: String,
    /// The pod's namespace, if the name is ambiguous
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// The container [default: the pod's default or first container]
    #[arg(short, long)]
    pub container: Option<String>,
    /// Pass standard input to the command
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Allocate a terminal for the command
    #[arg(short, long)]
    pub tty: bool,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// `gantry attach`
#[derive(Debug, Args)]
pub struct Attach {
    /// The pod
    pub pod: String,
    /// The pod's namespace, if the name is ambiguous
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// The container [default: the pod's default or first container]
    #[arg(short, long)]
    pub container: Option<String>,
    /// Pass standard input to the process
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Use this terminal as the process's
    #[arg(short, long)]
    pub tty: bool,
}

/// `gantry port-forward`
#[derive(Debug, Args)]
pub struct PortForward {
    /// The pod
    pub pod: String,
    /// The local port and the pod's; 80 for the same number, :80 for any free local port
    #[arg(required = true, value_name = "[LOCAL:]PORT")]
    pub ports: Vec<Ports>,
    /// The pod's namespace, if the name is ambiguous
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// The addresses to listen at [default: the loopback addresses]
    #[arg(long, value_delimiter = ',')]
    pub address: Vec<IpAddr>,
}

/// `gantry doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// The output format
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Report,
    /// The flags of `gantry run`.
    #[command(flatten)]
    pub flags: RunFlags,
}

/// `gantry check`
#[derive(Debug, Args)]
pub struct Check {
    /// Manifest files or directories; - is standard input
    #[arg(required = true, value_name = "FILE|DIR|-")]
    pub paths: Vec<PathBuf>,
    /// The output format
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Report,
    /// The flags of `gantry run`.
    #[command(flatten)]
    pub flags: RunFlags,
}

/// `gantry cleanup`
#[derive(Debug, Args)]
pub struct Cleanup {
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
    /// The flags of `gantry run`.
    #[command(flatten)]
    pub flags: RunFlags,
}

/// `gantry version`
#[derive(Debug, Args)]
pub struct Version {
    /// The output format
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
    /// The directory; created if it does not exist
    pub directory: PathBuf,
}

/// The command line as a `clap::Command`.
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
                  run           Run the agent
                  kubelet       Run the agent with the kubelet's flags and defaults
                  get           Show pods, the node or volumes
                  describe      Show a pod or the node in detail
                  events        Show what happened to pods
                  top           Watch what the node and its pods use
                  timeline      Show how long the steps of a pod's last start and end took
                  logs          Print the logs of a container
                  exec          Run a command in a container
                  attach        Attach to the process of a container
                  port-forward  Forward ports of this machine to a pod
                  debug         Add a container with tools to a running static pod
                  cp            Copy files into a container or out of it
                  images        Show the images of this machine and the pods that use them, or remove unused ones
                  pull          Pull an image with the node's credentials
                  import        Import images from archives
                  kubeconfig    Print the kubeconfig with which kubectl works on this machine
                  peer          Print this machine's entry for the files of peers of other machines
                  check         Check whether manifests would run, without running them
                  join          Join this machine to a cluster
                  reset         Undo `gantry join`: remove pods, credentials and configuration
                  doctor        Check this machine and suggest fixes
                  cleanup       Remove everything the agent created: pods, network, files
                  version       Print the version
                  completions   Print shell completions
                  man           Write the man pages to a directory

                Options:
                  -v, --verbose        On failure, print the whole chain of causes
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
                          Then read the *.conf files below this directory, sorted by name
                      --kubeconfig <VALUE>
                          The kubeconfig for the API server; without it the agent runs standalone
                      --bootstrap-kubeconfig <VALUE>
                          The kubeconfig to request the node's certificate with, if there is no kubeconfig or its
                          certificate has expired
                      --pod-manifest-path <DIR>
                          The directory of static pod manifests [alias: --manifests]
                      --hostname-override <VALUE>
                          The node's name, if it is not the host name
                      --node-ip <VALUE>
                          The node's IP address, or an IPv4 and an IPv6 address separated by a comma
                      --node-labels <A=X,B=Y>
                          Labels of the node: key=value,key=value
                      --root-dir <VALUE>
                          The directory of volumes and other files of pods [default: /var/lib/kubelet]
                      --state-dir <VALUE>
                          The agent's state directory [default: /var/lib/gantry]
                      --cut-off-start <VALUE>
                          Checkpointed pods to start while the API server does not answer: Tolerated, Always or
                          Never [default: Tolerated]
                      --container-runtime-endpoint <VALUE>
                          containerd's socket, unix://...
                      --cgroup-driver <VALUE>
                          systemd or cgroupfs, if containerd does not report its driver
                      --pod-network <VALUE>
                          Which network connects the pods: own (this agent's), cluster (a plugin that the cluster
                          installs), or auto: own unless there is a kubeconfig [default: auto]
                      --network-cidr <VALUE>
                          The address range of all pods, or one of each IP family: 10.244.0.0/16,fd00:10:244::/48
                          [default: 10.244.0.0/16]
                      --pod-cidr <VALUE>
                          The address range of this node's pods, or one of each IP family [default: a free /24, a
                          free /64]
                      --cni-conf-dir <VALUE>
                          The directory of CNI configurations [default: /etc/cni/net.d]
                      --cni-bin-dir <VALUE>
                          The directory of CNI plugins [default: /opt/cni/bin]
                      --images-dir <VALUE>
                          The directory of image archives to import [default: <state-dir>/images]
                      --pause-image <VALUE>
                          The sandbox (pause) image [default: the agent's own]
                      --log-level <VALUE>
                          error, warn, info, debug, trace, or a tracing filter [default: info]
                      --logging-format <VALUE>
                          The log format: text or json [alias: --log-format]
                      --cluster-dns <A,B>
                          The cluster's DNS servers
                      --cluster-domain <VALUE>
                          The cluster's DNS domain
                      --max-pods <NUMBER>
                          The maximum number of pods on this node [default: 110]
                      --fail-swap-on[=<BOOL>]
                          Refuse to start while swap is on [default: true]
                      --healthz-port <NUMBER>
                          The port of /healthz; 0 disables it [default: 10248]
                      --healthz-bind-address <VALUE>
                          The IP address of /healthz [default: 127.0.0.1]
                  -v, --verbose
                          On failure, print the whole chain of causes
                      --socket <PATH>
                          The agent's socket [default: /run/gantry/gantry.sock]
                      --kubectl-port <NUMBER>
                          The port at 127.0.0.1 that answers kubectl; 0 disables it [default: 10247 without a
                          cluster, else 0]
                      --kubectl-group <VALUE>
                          The group that may read the kubeconfig of this port, and with it do what root may do
                          [default: root alone]
                      --peers-file <VALUE>
                          The file of other machines whose pods this machine's pods reach, without a cluster;
                          `gantry peer` prints this machine's entry for the others
                      --network-backend <VALUE>
                          How packets travel to other machines: vxlan, or host-gw within one link [default: vxlan]
                      --vxlan-vni <NUMBER>
                          The VXLAN network identifier, the same on all machines [default: 1]
                      --vxlan-port <NUMBER>
                          The UDP port of VXLAN, the same on all machines [default: 8472]
                      --direct-routing[=<BOOL>]
                          Reach machines on the same link without VXLAN
                  -h, --help
                          Print help

                Every flag of `gantry kubelet --help` is accepted too.
            "#]],
        );
        check_help(
            &["get"],
            expect![[r#"
                Show pods, the node or volumes

                Usage: gantry get [OPTIONS] <RESOURCE> [NAMES]...

                Arguments:
                  <RESOURCE>  What to show [possible values: pods, node, volumes]
                  [NAMES]...  Only the pods with these names, or the volumes of these pods

                Options:
                  -n, --namespace <NAMESPACE>  Only pods in this namespace
                  -A, --all-namespaces         Pods in all namespaces, with their namespaces
                  -o, --output <OUTPUT>        The output format [possible values: wide, json, yaml, name]
                  -v, --verbose                On failure, print the whole chain of causes
                      --socket <PATH>          The agent's socket [default: /run/gantry/gantry.sock]
                  -h, --help                   Print help (see more with '--help')
            "#]],
        );
        check_help(
            &["join"],
            expect![[r#"
            Join this machine to a cluster

            Usage: gantry join [OPTIONS] [ENDPOINT]

            Arguments:
              [ENDPOINT]  The API server's address, host:port

            Options:
                  --token <TOKEN>
                      The bootstrap token
                  --discovery-token-ca-cert-hash <HASH>
                      The hash of the cluster's CA, sha256:...; may be repeated
                  --discovery-token-unsafe-skip-ca-verification
                      Trust any server that knows the token
                  --discovery-file <FILE>
                      A kubeconfig file, or its https:// URL, with the cluster's address and CA; replaces the
                      address and the hash
                  --node-name <NAME>
                      The node's name, if it is not the host name
              -v, --verbose
                      On failure, print the whole chain of causes
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
            Undo `gantry join`: remove pods, credentials and configuration

            Usage: gantry reset [OPTIONS]

            Options:
              -y, --yes            Do not ask for confirmation
              -v, --verbose        On failure, print the whole chain of causes
                  --socket <PATH>  The agent's socket [default: /run/gantry/gantry.sock]
              -h, --help           Print help
        "#]],
        );
        check_help(
            &["describe"],
            expect![[r#"
                Show a pod or the node in detail

                Usage: gantry describe [OPTIONS] <RESOURCE> [NAMES]...

                Arguments:
                  <RESOURCE>  What to describe [possible values: pods, node]
                  [NAMES]...  Only the ones with these names

                Options:
                  -n, --namespace <NAMESPACE>  The pod's namespace, if the name is ambiguous
                  -v, --verbose                On failure, print the whole chain of causes
                      --socket <PATH>          The agent's socket [default: /run/gantry/gantry.sock]
                  -h, --help                   Print help (see more with '--help')
            "#]],
        );
        check_help(
            &["logs"],
            expect![[r#"
                Print the logs of a container

                Usage: gantry logs [OPTIONS] <POD>

                Arguments:
                  <POD>  The pod

                Options:
                  -n, --namespace <NAMESPACE>  The pod's namespace, if the name is ambiguous
                  -c, --container <CONTAINER>  The container [default: the pod's default or first container]
                  -f, --follow                 Keep printing new log lines as they are written
                  -p, --previous               The previous instance of the container, before its last restart
                      --tail <LINES>           Only this many lines from the end
                      --since <DURATION>       Only lines newer than this, like 5m or 1h30m
                      --timestamps             Print the time before each line
                  -v, --verbose                On failure, print the whole chain of causes
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
                  -n, --namespace <NAMESPACE>  The pod's namespace, if the name is ambiguous
                  -c, --container <CONTAINER>  The container [default: the pod's default or first container]
                  -i, --stdin                  Pass standard input to the command
                  -t, --tty                    Allocate a terminal for the command
                  -v, --verbose                On failure, print the whole chain of causes
                      --socket <PATH>          The agent's socket [default: /run/gantry/gantry.sock]
                  -h, --help                   Print help
            "#]],
        );
        check_help(
            &["cleanup"],
            expect![[r#"
                Remove everything the agent created: pods, network, files

                Usage: gantry cleanup [OPTIONS]

                Options:
                  -y, --yes
                          Do not ask for confirmation
                      --config <VALUE>
                          Read KubeletConfiguration and GantryConfiguration from this file
                      --config-dir <VALUE>
                          Then read the *.conf files below this directory, sorted by name
                      --kubeconfig <VALUE>
                          The kubeconfig for the API server; without it the agent runs standalone
                      --bootstrap-kubeconfig <VALUE>
                          The kubeconfig to request the node's certificate with, if there is no kubeconfig or its
                          certificate has expired
                      --pod-manifest-path <DIR>
                          The directory of static pod manifests [alias: --manifests]
                      --hostname-override <VALUE>
                          The node's name, if it is not the host name
                      --node-ip <VALUE>
                          The node's IP address, or an IPv4 and an IPv6 address separated by a comma
                      --node-labels <A=X,B=Y>
                          Labels of the node: key=value,key=value
                      --root-dir <VALUE>
                          The directory of volumes and other files of pods [default: /var/lib/kubelet]
                      --state-dir <VALUE>
                          The agent's state directory [default: /var/lib/gantry]
                      --cut-off-start <VALUE>
                          Checkpointed pods to start while the API server does not answer: Tolerated, Always or
                          Never [default: Tolerated]
                      --container-runtime-endpoint <VALUE>
                          containerd's socket, unix://...
                      --cgroup-driver <VALUE>
                          systemd or cgroupfs, if containerd does not report its driver
                      --pod-network <VALUE>
                          Which network connects the pods: own (this agent's), cluster (a plugin that the cluster
                          installs), or auto: own unless there is a kubeconfig [default: auto]
                      --network-cidr <VALUE>
                          The address range of all pods, or one of each IP family: 10.244.0.0/16,fd00:10:244::/48
                          [default: 10.244.0.0/16]
                      --pod-cidr <VALUE>
                          The address range of this node's pods, or one of each IP family [default: a free /24, a
                          free /64]
                      --cni-conf-dir <VALUE>
                          The directory of CNI configurations [default: /etc/cni/net.d]
                      --cni-bin-dir <VALUE>
                          The directory of CNI plugins [default: /opt/cni/bin]
                      --images-dir <VALUE>
                          The directory of image archives to import [default: <state-dir>/images]
                      --pause-image <VALUE>
                          The sandbox (pause) image [default: the agent's own]
                      --log-level <VALUE>
                          error, warn, info, debug, trace, or a tracing filter [default: info]
                      --logging-format <VALUE>
                          The log format: text or json [alias: --log-format]
                      --cluster-dns <A,B>
                          The cluster's DNS servers
                      --cluster-domain <VALUE>
                          The cluster's DNS domain
                      --max-pods <NUMBER>
                          The maximum number of pods on this node [default: 110]
                      --fail-swap-on[=<BOOL>]
                          Refuse to start while swap is on [default: true]
                      --healthz-port <NUMBER>
                          The port of /healthz; 0 disables it [default: 10248]
                      --healthz-bind-address <VALUE>
                          The IP address of /healthz [default: 127.0.0.1]
                  -v, --verbose
                          On failure, print the whole chain of causes
                      --socket <PATH>
                          The agent's socket [default: /run/gantry/gantry.sock]
                      --kubectl-port <NUMBER>
                          The port at 127.0.0.1 that answers kubectl; 0 disables it [default: 10247 without a
                          cluster, else 0]
                      --kubectl-group <VALUE>
                          The group that may read the kubeconfig of this port, and with it do what root may do
                          [default: root alone]
                      --peers-file <VALUE>
                          The file of other machines whose pods this machine's pods reach, without a cluster;
                          `gantry peer` prints this machine's entry for the others
                      --network-backend <VALUE>
                          How packets travel to other machines: vxlan, or host-gw within one link [default: vxlan]
                      --vxlan-vni <NUMBER>
                          The VXLAN network identifier, the same on all machines [default: 1]
                      --vxlan-port <NUMBER>
                          The UDP port of VXLAN, the same on all machines [default: 8472]
                      --direct-routing[=<BOOL>]
                          Reach machines on the same link without VXLAN
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
              -o, --output <OUTPUT>  The output format [default: text] [possible values: text, json]
              -v, --verbose          On failure, print the whole chain of causes
                  --socket <PATH>    The agent's socket [default: /run/gantry/gantry.sock]
              -h, --help             Print help (see more with '--help')
        "#]],
        );
        check_help(
            &["completions"],
            expect![[r#"
            Print shell completions

            Usage: gantry completions [OPTIONS] <SHELL>

            Arguments:
              <SHELL>  The shell [possible values: bash, elvish, fish, powershell, zsh]

            Options:
              -v, --verbose        On failure, print the whole chain of causes
                  --socket <PATH>  The agent's socket [default: /run/gantry/gantry.sock]
              -h, --help           Print help
        "#]],
        );
        check_help(
            &["man"],
            expect![[r#"
            Write the man pages to a directory

            Usage: gantry man [OPTIONS] <DIRECTORY>

            Arguments:
              <DIRECTORY>  The directory; created if it does not exist

            Options:
              -v, --verbose        On failure, print the whole chain of causes
                  --socket <PATH>  The agent's socket [default: /run/gantry/gantry.sock]
              -h, --help           Print help
        "#]],
        );
    }
}
