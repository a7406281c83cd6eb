//! What the agent's own process gets. Pure.

use std::path::PathBuf;

use super::checks::Checks;
use super::raw::KubeletConfiguration;

/// The limits of the agent's own process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// `oomScoreAdj`: from -1000, which the kernel never ends, to 1000.
    pub oom_score_adj: i32,
    /// `maxOpenFiles`
    pub max_open_files: u64,
    /// `kubeletCgroups`, below the hierarchies' mount points; `None`: the agent stays where it was started.
    pub cgroup: Option<PathBuf>,
}

/// The configuration section of this name.
pub(super) fn process(written: &KubeletConfiguration, checks: &mut Checks<'_>) -> Process {
    let cgroup = written.kubelet_cgroups.as_deref().filter(|path| !path.is_empty());
    let cgroup = cgroup.and_then(|path| match below_root(path) {
        Ok(path) => Some(path),
        Err(problem) => {
            checks.wrong("kubeletCgroups", problem);
            None
        }
    });
    let reserved = written.kube_reserved_cgroup.as_deref().unwrap_or_default();
    if let Some(own) = &written.kubelet_cgroups
        && !own.is_empty()
        && !own.starts_with(reserved)
    {
        let text = format!(
            "{own:?} is not within kubeReservedCgroup {reserved:?}: what is reserved does not limit the agent"
        );
        checks.warn("kubeletCgroups", text);
    }
    Process {
        oom_score_adj: written.oom_score_adj.unwrap_or(-999),
        max_open_files: written
            .max_open_files
            .and_then(|files| u64::try_from(files).ok())
            .unwrap_or(1_000_000),
        cgroup,
    }
}

/// The path of a cgroup, relative to the root of the hierarchies, which it must not be.
pub(super) fn below_root(path: &str) -> Result<PathBuf, String> {
    let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
    if parts.peek().is_none() || parts.clone().any(|part| part == "." || part == "..") {
        return Err(format!(
            "{path:?} must be the plain path of a cgroup below the root, like /kube.slice"
        ));
    }
    Ok(parts.collect())
}
