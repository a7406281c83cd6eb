//! `/logs/` of the node API: the files of the machine's log directory (`ServeLogs` in `pkg/kubelet/kubelet_pods.go`),
//! as Go's file server shows them.
//!
//! [`request`] reads the path, [`place`] opens it, [`listing`] shows a directory, [`conditions`] chooses the part of a
//! file, and [`endpoint`] answers; [`query`] reads a query, and [`journal`] carries it out. Pods write to that directory: what is opened is beneath it, and a regular file or a
//! directory; no file is sent as HTML.

mod conditions;
mod endpoint;
mod journal;
mod listing;
mod place;
mod query;
mod request;

use std::path::PathBuf;

pub(crate) use endpoint::answer;

/// What `/logs/` serves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SystemLogs {
    /// Nothing.
    #[default]
    Disabled,
    /// The files of this directory.
    Files(PathBuf),
    /// The files, and queries of the journal, for which a program is run.
    FilesAndQueries {
        /// The directory.
        files: PathBuf,
        /// journalctl.
        journalctl: PathBuf,
    },
}
