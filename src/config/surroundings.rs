//! Where a configuration is read, and what follows from it for a value. Pure.

use std::path::PathBuf;

use crate::model::duration::Span;

/// The environment that the configuration is resolved in.
#[derive(Debug, Clone)]
pub struct ConfigContext {
    /// The host's name.
    pub hostname: String,
    /// The directory that relative paths in flags are resolved against.
    pub directory: PathBuf,
    /// The Kubernetes version that this machine is set to report, as written; empty if it is not set.
    pub version: String,
}

pub(super) fn span(span: Option<Span>) -> std::time::Duration {
    span.unwrap_or_default().unsigned()
}

pub(super) fn directory(stated: Option<&String>, default: &str, context: &ConfigContext) -> PathBuf {
    let stated = stated.map(String::as_str).filter(|path| !path.is_empty());
    context.directory.join(stated.unwrap_or(default))
}
