//! The arguments of `gantry timeline`.

use clap::{Args, ValueEnum};

/// `gantry timeline`
#[derive(Debug, Clone, Args)]
pub struct Timeline {
    /// The pod; one that has ended recently, too
    pub pod: String,
    /// The pod's namespace, if the name is ambiguous
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// The output format
    #[arg(short, long, value_enum)]
    pub output: Option<Output>,
}

/// The output format of `gantry timeline`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// The spans as JSON
    Json,
}
