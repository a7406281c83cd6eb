//! The arguments of `gantry images`, `gantry pull` and `gantry import`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `gantry images`
#[derive(Debug, Args)]
pub struct Images {
    /// The output format
    #[arg(short, long, value_enum)]
    pub output: Option<Output>,
}

/// The output format of `gantry images`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// The images as JSON, with all their names and pods
    Json,
}

/// `gantry pull`
#[derive(Debug, Args)]
pub struct Pull {
    /// The image, as in a manifest
    pub image: String,
    /// Print nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
}

/// `gantry import`
#[derive(Debug, Args)]
pub struct Import {
    /// Archives (docker save or OCI layout, tar or tar.gz); - is standard input
    #[arg(required = true, value_name = "ARCHIVE|-")]
    pub archives: Vec<PathBuf>,
    /// Print nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
}
