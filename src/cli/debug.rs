//! `gantry debug`

use clap::{Args, ValueEnum};

/// `gantry debug`
#[derive(Debug, Args)]
pub struct Debug {
    /// The pod; it must be a static pod
    pub pod: String,
    /// The image of the container to add
    #[arg(long)]
    pub image: String,
    /// The pod's namespace, if the name is ambiguous
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// The name of the container to add [default: debugger-N]
    #[arg(short, long, value_name = "NAME")]
    pub container: Option<String>,
    /// Show it the processes of this container
    #[arg(long, value_name = "CONTAINER")]
    pub target: Option<String>,
    /// Attach, and pass standard input to it
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Allocate a terminal for it
    #[arg(short, long, requires = "stdin")]
    pub tty: bool,
    /// What it may do
    #[arg(long, value_enum, default_value = "general")]
    pub profile: Profile,
    /// Environment variables, NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<(String, String)>,
    /// The command and its arguments, instead of the image's
    #[arg(last = true)]
    pub command: Vec<String>,
}

/// The profiles of `kubectl debug` (KEP-1441).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Trace processes
    General,
    /// No more than other containers
    Baseline,
    /// Nothing that a restricted namespace forbids
    Restricted,
    /// Change the pod's network
    Netadmin,
    /// Everything: a privileged container
    Sysadmin,
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not NAME=VALUE")),
    }
}
