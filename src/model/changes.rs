//! What people ask of static pods while the agent runs, from `serve` to the sources that carry it out. Each kind of request
//! has one task that answers it.

use super::added::{AddRequests, Adder, adder};
use super::manifest_edit::{EditRequests, Editor, editor};
use super::pod_restart::{RestartRequests, Restarter, restarter};

/// Asks for changes.
#[derive(Debug, Clone)]
pub struct Changes {
    /// Adds ephemeral containers to static pods.
    pub adder: Adder,
    /// Restarts static pods.
    pub restarter: Restarter,
    /// Changes the manifests directory.
    pub editor: Editor,
}

/// The requests, for the sources.
#[derive(Debug)]
pub struct ChangeRequests {
    /// Ephemeral containers.
    pub additions: AddRequests,
    /// Restarts.
    pub restarts: RestartRequests,
    /// Manifests.
    pub edits: EditRequests,
}

/// The two ends.
pub fn changes() -> (Changes, ChangeRequests) {
    let (adder, additions) = adder();
    let (restarter, restarts) = restarter();
    let (editor, edits) = editor();
    let changes = Changes {
        adder,
        restarter,
        editor,
    };
    let requests = ChangeRequests {
        additions,
        restarts,
        edits,
    };
    (changes, requests)
}
