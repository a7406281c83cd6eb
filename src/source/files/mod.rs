//! Static pods: the files of the manifests directory to the set of their pods, with problems named.
//!
//! [`static_pods`] is the task. [`wake`] says when to look, by [`watch`] (inotify) and by deadlines; [`listing`], [`trail`]
//! and [`file`] look at the disk, and [`writing`] says whether a file may be read yet. [`directory`] puts together what is
//! [`known`] of each file; [`claims`] decides which of several files gives a pod, with [`former`] for the order after a
//! start; [`set`] is what follows. [`last_good`] keeps the last good version of each manifest, [`published`] logs what is
//! new, and [`check`] does the same once, without an agent. [`contents`] reads the files for those who change them.

mod trail;
mod watch;
mod file;
mod writing;
mod listing;
mod last_good;
mod ages;
mod known;
mod claims;
mod former;
mod set;
mod directory;
mod wake;
mod published;
pub mod check;
mod contents;
mod static_pods;

pub(super) use contents::{FileContents, Unlisted, contents};
pub use static_pods::{ManifestInputs, run};
