//! Where a configuration is read, and what follows from it for a value. Pure.

use std::path::PathBuf;

use crate::model::duration::Span;

/// What the configuration needs to know of the place it is read in.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The host's name.
    pub hostname: String,
    /// The directory that relative paths of flags start at.
    pub directory: PathBuf,
    /// The version of Kubernetes that this machine was told to tell, as written; empty where it was not.
    pub version: String,
}

pub(super) fn span(span: Option<Span>) -> std::time::Duration {
    span.unwrap_or_default().unsigned()
}

pub(super) fn directory(stated: Option<&String>, default: &str, around: &Surroundings) -> PathBuf {
    let stated = stated.map(String::as_str).filter(|path| !path.is_empty());
    around.directory.join(stated.unwrap_or(default))
}
