//! What the agent sets on its own process at its start, as the kubelet does: how late it is killed for lack of memory, how many
//! files it may open, and its cgroup. Without the rights to do so it goes on, with a warning.

use std::fs;

use nix::sys::resource::{Resource, setrlimit};

use crate::cgroup::Cgroups;
use crate::config::process::Process;
use crate::model::error_chain::chain;

/// proc_pid_oom_score_adj(5)
const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";

/// Sets `oomScoreAdj` and `maxOpenFiles`.
pub(super) fn limit(process: &Process) {
    let score = process.oom_score_adj;
    if let Err(error) = fs::write(OOM_SCORE_ADJ, score.to_string()) {
        tracing::warn!(score, %error, "cannot set the agent's oom_score_adj (oomScoreAdj)");
    }
    let files = process.max_open_files;
    if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, files, files) {
        tracing::warn!(files, %error, "cannot set how many files the agent may open (maxOpenFiles)");
    }
}

/// Moves the agent into its cgroup (`kubeletCgroups`).
pub(super) async fn join(process: &Process, cgroups: &Cgroups) {
    let Some(path) = &process.cgroup else { return };
    match cgroups.join(path, std::process::id()).await {
        Ok(()) => tracing::info!(cgroup = %path.display(), "the agent is in its cgroup (kubeletCgroups)"),
        Err(error) => {
            let error = chain(&error);
            tracing::warn!(cgroup = %path.display(), error, "cannot move the agent into its cgroup (kubeletCgroups)");
        }
    }
}
