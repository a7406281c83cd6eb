//! The agent's flags for clap, made from the table in `config::flags`.

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};

use crate::config::flag::{Flag, Kind, Target};
use crate::config::flags::{RUN_HELP, all};
use crate::config::layers::FlagValues;

/// The flags of `gantry run`: all of them, the rarer ones hidden.
#[derive(Debug, Clone, Default)]
pub struct RunFlags(pub Vec<FlagValues>);

/// The flags of `gantry kubelet`.
#[derive(Debug, Clone, Default)]
pub struct KubeletFlags {
    /// As given.
    pub given: Vec<FlagValues>,
    /// `--version`, with the value after `=`.
    pub version: Option<String>,
}

/// `gantry run` has `--socket` and `-v` from the definitions that all verbs share.
fn is_shared(flag: &Flag) -> bool {
    matches!(flag.name, "socket" | "v")
}

fn argument(flag: &'static Flag) -> Arg {
    let help = match (flag.help, flag.target) {
        ("", Target::Kubelet(key)) => format!("Sets {key}"),
        (help, _) => help.to_owned(),
    };
    let argument = Arg::new(flag.name)
        .long(flag.name)
        .help(help)
        .action(ArgAction::Append)
        .num_args(1);
    match flag.kind {
        Kind::Bool => argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("BOOL"),
        Kind::Int => argument.allow_negative_numbers(true).value_name("NUMBER"),
        Kind::Text => argument.value_name("VALUE"),
        Kind::List => argument.value_name("A,B"),
        Kind::Map | Kind::BoolMap => argument.value_name("A=X,B=Y"),
        Kind::LessMap => argument.value_name("A<X,B<Y"),
        Kind::MultiMap => argument.value_name("A:X,B:Y"),
    }
}

fn given(matches: &ArgMatches, flags: impl Iterator<Item = &'static Flag>) -> Vec<FlagValues> {
    let texts = |flag: &'static Flag| {
        let texts: Vec<String> = matches.get_many::<String>(flag.name)?.cloned().collect();
        Some((flag, texts))
    };
    flags.filter_map(texts).collect()
}

fn run_flags() -> impl Iterator<Item = &'static Flag> {
    all().filter(|flag| !is_shared(flag))
}

impl clap::Args for RunFlags {
    fn augment_args(command: Command) -> Command {
        run_flags().fold(command, |command, flag| {
            let argument = argument(flag).hide(!RUN_HELP.contains(&flag.name));
            command.arg(match flag.name {
                "pod-manifest-path" => argument.visible_alias("manifests").value_name("DIR"),
                "logging-format" => argument.visible_alias("log-format"),
                _ => argument,
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for RunFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(RunFlags(given(matches, run_flags())))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for KubeletFlags {
    fn augment_args(command: Command) -> Command {
        let version = Arg::new("kubelet-version")
            .long("version")
            .help("Print the version and exit; --version=raw prints all details")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("FORM");
        all()
            .fold(command, |command, flag| match flag.name {
                // The ids equal those of the shared flags, so that clap omits those here.
                "v" => command.arg(argument(flag).id("verbose").short('v')),
                "socket" => command.arg(argument(flag)),
                "logging-format" => command.arg(argument(flag).alias("log-format")),
                "pod-manifest-path" => command.arg(argument(flag).alias("manifests")),
                _ => command.arg(argument(flag).help_heading(heading(flag))),
            })
            .arg(version)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn heading(flag: &Flag) -> Option<&'static str> {
    match flag.target {
        Target::Unused => Some("Has no effect"),
        Target::Kubelet(_) if flag.help.is_empty() => Some("Fields of KubeletConfiguration"),
        _ => None,
    }
}

impl FromArgMatches for KubeletFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = given(matches, run_flags());
        for flag in all().filter(|flag| is_shared(flag)) {
            let id = if flag.name == "v" { "verbose" } else { flag.name };
            if let Ok(Some(texts)) = matches.try_get_many::<String>(id) {
                flags.push((flag, texts.cloned().collect()));
            }
        }
        let version = matches.get_one::<String>("kubelet-version").cloned();
        Ok(KubeletFlags {
            given: flags,
            version,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
