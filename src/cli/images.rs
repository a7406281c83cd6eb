//! The arguments of `gantry images`, with its own verbs, `gantry pull` and `gantry import`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `gantry images`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Images {
    /// The output format
    #[arg(short, long, value_enum)]
    pub output: Option<Output>,
    /// What to do with the images; without it they are listed
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What is done with images.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Remove the images that no container uses and no pod names
    #[command(
        after_help = "Images stay that are pinned, that an archive of the images directory contains, or that gantry has known \
                      for less than imageMinimumGCAge."
    )]
    Prune(Prune),
}

/// `gantry images prune`
#[derive(Debug, Args)]
pub struct Prune {
    /// Only print what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Before that, remove the containers of the API server's pods that have ended, with their logs
    #[arg(long)]
    pub ended_pods: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
}

/// The output format of `gantry images`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// The images as JSON, with all their names and pods
    Json,
    /// The table, with when an image was last used, and the order in which unused ones are removed
    Wide,
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
