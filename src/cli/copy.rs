//! `gantry cp`

use clap::Args;

use super::place::Place;

/// `gantry cp`
#[derive(Debug, Args)]
pub struct Cp {
    /// What to copy: a local path, POD:PATH or NAMESPACE/POD:PATH
    pub source: Place,
    /// Where to; one of the two is in a pod
    pub destination: Place,
    /// The pod's namespace, if the name is ambiguous
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// The container [default: the pod's default or first container]
    #[arg(short, long)]
    pub container: Option<String>,
    /// In the container, files belong to its user, with the modes of its umask
    #[arg(long)]
    pub no_preserve: bool,
}
