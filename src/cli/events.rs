//! `gantry events`

use clap::{Args, ValueEnum};

use super::report::Report;

/// `gantry events`
#[derive(Debug, Args)]
pub struct Events {
    /// Only those of this pod
    pub pod: Option<String>,
    /// Only those in this namespace
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Keep printing events as they happen
    #[arg(short, long)]
    pub watch: bool,
    /// Only those of this type
    #[arg(long, value_enum)]
    pub r#type: Option<EventKind>,
    /// The output format; json is one event a line
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Report,
}

/// `Event.type`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EventKind {
    /// The expected course
    #[value(alias = "Normal")]
    Normal,
    /// A failure, or something that is probably a mistake
    #[value(alias = "Warning")]
    Warning,
}
