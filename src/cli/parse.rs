//! Turns the arguments of the process into a verb, or into a one-line error.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::error::ErrorKind;
use clap::{Args, FromArgMatches, Parser};

use super::flags::KubeletFlags;
use super::{Cli, Command, kubelet_version};
use crate::config::{files, version};

/// Why there is no verb to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// Help or version output: print this and succeed.
    Show(String),
    /// Invalid arguments: print this one line to standard error and exit with status 2.
    Wrong(String),
}

/// Parses the arguments, the program's name first. A program named `kubelet` is the kubelet.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, Stop> {
    let args: Vec<OsString> = args.into_iter().collect();
    let program = args.first().map(OsString::as_os_str).unwrap_or_default();
    if Path::new(program).file_name() == Some(OsStr::new("kubelet")) {
        return kubelet("kubelet", args.get(1..).unwrap_or_default());
    }
    // Under `kubelet`, `-v` is the kubelet's, so its arguments are not parsed with the shared definitions.
    if args.get(1).is_some_and(|verb| verb == "kubelet") {
        return kubelet("gantry kubelet", &args[2..]);
    }
    Cli::try_parse_from(args).map_err(|error| stop(&error, "gantry"))
}

fn kubelet(name: &'static str, args: &[OsString]) -> Result<Cli, Stop> {
    let command = KubeletFlags::augment_args(
        clap::Command::new(name)
            .bin_name(name)
            .about("Run the agent with the kubelet's flags and defaults")
            .no_binary_name(true),
    );
    let flags = command
        .try_get_matches_from(args.iter().map(|argument| with_dashes(argument)))
        .and_then(|matches| KubeletFlags::from_arg_matches(&matches))
        .map_err(|error| stop(&error, name))?;
    match flags.version.as_deref() {
        None | Some("false") => {}
        Some("true") => {
            return Err(Stop::Show(format!(
                "{}\n",
                kubelet_version::kubelet(&reported(&flags)?)
            )));
        }
        Some("raw") => {
            return Err(Stop::Show(format!(
                "{}\n",
                kubelet_version::kubelet_raw(&reported(&flags)?)
            )));
        }
        Some(other) => {
            return Err(Stop::Wrong(format!(
                "--version={other} is not supported; use --version or --version=raw"
            )));
        }
    }
    Ok(Cli {
        verbose: false,
        socket: None,
        command: Command::Kubelet(flags),
    })
}

/// The version that the node reports, as far as it is known without its configuration: kubeadm asks for it before there
/// is one.
fn reported(flags: &KubeletFlags) -> Result<String, Stop> {
    let given = flags
        .given
        .iter()
        .find(|(flag, _)| flag.name == "kubernetes-version");
    let given = given.and_then(|(_, texts)| texts.last().cloned());
    let stated = given.unwrap_or_else(|| files::version(Path::new(files::VERSION_FILE)));
    version::reported(&stated).map_err(Stop::Wrong)
}

/// The kubelet accepts `--node_ip` for `--node-ip` (`WordSepNormalizeFunc` of Kubernetes).
fn with_dashes(argument: &OsStr) -> OsString {
    let Some(text) = argument.to_str().filter(|text| text.starts_with("--")) else {
        return argument.to_owned();
    };
    match text.split_once('=') {
        Some((name, value)) => format!("{}={value}", name.replace('_', "-")).into(),
        None => text.replace('_', "-").into(),
    }
}

/// clap's message as one line, with its tip and without the usage.
fn stop(error: &clap::Error, name: &str) -> Stop {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return Stop::Show(text),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return Stop::Wrong(format!("no command given; see `{name} --help`"));
        }
        _ => {}
    }
    let message = text.split("\n\nUsage:").next().unwrap_or_default();
    let mut parts: Vec<&str> = message
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"))
        .collect();
    if let Some(first) = parts.first_mut() {
        *first = first.strip_prefix("error: ").unwrap_or(first);
    }
    let message = parts.join(" ").replace(" tip: ", "; ");
    Stop::Wrong(format!("{message}; see `{name} --help`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, Stop> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn check_flags(line: &str, expected: &[(&str, &[&str])]) {
        let given = parsed(line)
            .unwrap_or_else(|stop| panic!("{line}: {stop:?}"))
            .given();
        let mut found: Vec<(&str, Vec<&str>)> = given
            .iter()
            .map(|(flag, texts)| (flag.name, texts.iter().map(String::as_str).collect()))
            .collect();
        found.sort();
        let expected: Vec<(&str, Vec<&str>)> = expected
            .iter()
            .map(|(name, texts)| (*name, texts.to_vec()))
            .collect();
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn the_kubelets_way_of_writing_flags() {
        check_flags("/usr/bin/kubelet", &[]);
        check_flags("gantry kubelet --v=4", &[("v", &["4"])]);
        check_flags(
            "kubelet -v 4 --config=/c --config-dir /d",
            &[("config", &["/c"]), ("config-dir", &["/d"]), ("v", &["4"])],
        );
        check_flags(
            "kubelet --fail-swap-on --seccomp-default=false",
            &[("fail-swap-on", &["true"]), ("seccomp-default", &["false"])],
        );
        check_flags(
            "kubelet --node_ip=1.2.3.4 --feature-gates=a_b=true",
            &[("feature-gates", &["a_b=true"]), ("node-ip", &["1.2.3.4"])],
        );
        check_flags(
            "kubelet --cluster-dns=a --cluster-dns b,c",
            &[("cluster-dns", &["a", "b,c"])],
        );
        check_flags("kubelet --oom-score-adj -999", &[("oom-score-adj", &["-999"])]);
        check_flags("kubelet --node-ip=", &[("node-ip", &[""])]);
        let kubeadm =
            "kubelet --bootstrap-kubeconfig=/b --kubeconfig=/k --config=/c --pod-infra-container-image=p";
        check_flags(
            kubeadm,
            &[
                ("bootstrap-kubeconfig", &["/b"]),
                ("config", &["/c"]),
                ("kubeconfig", &["/k"]),
                ("pod-infra-container-image", &["p"]),
            ],
        );
        check_flags("kubelet --socket /s", &[("socket", &["/s"])]);
    }

    #[test]
    fn the_flags_of_run() {
        check_flags(
            "gantry run --manifests m --max-pods 3 -v",
            &[("max-pods", &["3"]), ("pod-manifest-path", &["m"])],
        );
        check_flags(
            "gantry --socket /s run --log-format json",
            &[("logging-format", &["json"]), ("socket", &["/s"])],
        );
        check_flags(
            "gantry doctor --fail-swap-on=false -o json",
            &[("fail-swap-on", &["false"])],
        );
        check_flags("gantry get pods", &[]);
    }

    fn check_wrong(line: &str, expected: &str) {
        match parsed(line) {
            Err(Stop::Wrong(message)) => assert_eq!(message, expected, "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn what_is_wrong_is_one_line() {
        check_wrong("gantry", "no command given; see `gantry --help`");
        check_wrong(
            "kubelet --pod-manifst-path=/x",
            "unexpected argument '--pod-manifst-path' found; a similar argument exists: '--pod-manifest-path'; see `kubelet --help`",
        );
        check_wrong(
            "kubelet --fail-swap-on false",
            "unexpected argument 'false' found; see `kubelet --help`",
        );
        check_wrong(
            "gantry describ pods",
            "unrecognized subcommand 'describ'; a similar subcommand exists: 'describe'; see `gantry --help`",
        );
        check_wrong(
            "gantry logs",
            "the following required arguments were not provided: <POD>; see `gantry --help`",
        );
        check_wrong(
            "gantry logs p --since soon",
            "invalid value 'soon' for '--since <DURATION>': \"soon\" is not a duration; write it like 30s, 5m or 1h30m; see `gantry --help`",
        );
        check_wrong(
            "kubelet --version=1",
            "--version=1 is not supported; use --version or --version=raw",
        );
    }

    #[test]
    fn versions_and_help_are_shown() {
        let shown = |line: &str| match parsed(line) {
            Err(Stop::Show(text)) => text,
            other => panic!("{line}: {other:?}"),
        };
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            shown("kubelet --version"),
            format!("Kubernetes v1.36.2+gantry.{version}\n")
        );
        assert_eq!(
            shown("gantry kubelet --version --config=/absent"),
            format!("Kubernetes v1.36.2+gantry.{version}\n")
        );
        assert!(shown("kubelet --version=raw").starts_with("version.Info{Major:\"1\", Minor:\"36\""));
        assert_eq!(
            shown("kubelet --version --kubernetes-version v1.33.4"),
            format!("Kubernetes v1.33.4+gantry.{version}\n")
        );
        assert_eq!(shown("gantry --version"), format!("gantry {version}\n"));
        assert!(shown("kubelet --help").contains("--eviction-hard <A<X,B<Y>"));
        assert!(shown("gantry run -h").contains("--manifests"));
    }

    #[test]
    fn verbs_with_their_arguments() {
        let exec = parsed("gantry -v exec -it -c main web -- ls -la /").unwrap();
        assert!(exec.verbose);
        let Command::Exec(exec) = exec.command else {
            panic!("not exec")
        };
        assert!(exec.stdin && exec.tty);
        assert_eq!(exec.command, ["ls", "-la", "/"]);
        let Command::Get(get) = parsed("gantry get po -A -o wide").unwrap().command else {
            panic!("not get")
        };
        assert_eq!(get.resource, super::super::Resource::Pods);
        assert!(get.all_namespaces);
        assert!(parsed("gantry describe node").is_ok());
        let Command::Logs(logs) = parsed("gantry logs -f --tail 5 --since 90s web").unwrap().command else {
            panic!("not logs")
        };
        assert_eq!(
            (logs.tail, logs.since),
            (Some(5), Some(std::time::Duration::from_secs(90)))
        );
    }
}
