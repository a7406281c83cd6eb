//! What works on a disk of a storage network, and for whom: programs and operations on files have slots of a pod's, or of the
//! node's where no pod uses the disk any more.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::node_disks::NodeDisks;
use super::sysfs::DiskPlaces;
use crate::act::context::Work;
use crate::act::files::{FilePlaces, Whose};
use crate::act::mount_tools::{MountTools, NotRun, Ran};
use crate::bulkhead::program::Fate;
use crate::model::pod::PodUid;

/// How long a program may take: iscsiadm(8) tries to log in for two minutes before it says why it fails (iscsid.conf,
/// `initial_login_retry_max`). The kubelet sets no limit.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long the kernel may take to look for a disk, or to give one up: it asks the target.
const KERNEL_PATIENCE: Duration = Duration::from_secs(60);

/// What is needed to work on disks, and whose slots are taken for it.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    pub(super) disks: &'a NodeDisks,
    pub(super) files: &'a FilePlaces,
    pub(super) tools: &'a MountTools,
    pub(super) owner: &'a PodUid,
}

impl<'a> Node<'a> {
    /// For a pod.
    pub(super) fn of(work: &'a Work<'_>) -> Node<'a> {
        Node {
            disks: &work.context.disks,
            files: &work.context.files,
            tools: &work.context.mounts,
            owner: work.uid,
        }
    }

    /// Runs a program about something to its end.
    pub(super) async fn run(&self, about: &str, (name, arguments): (&str, &[&str])) -> Result<Ran, NotRun> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let of = (self.files, self.owner);
        // One that hangs keeps others about the same from being begun.
        let subject = format!("{name} {about}");
        let program = (name, arguments.as_slice(), Fate::Killed);
        self.tools.run(of, Path::new(&subject), program, PATIENCE).await
    }

    /// Asks the kernel, about something.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        about: &str,
        asking: impl FnOnce(&DiskPlaces) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let places = self.disks.places().clone();
        let asking = move || asking(&places);
        self.files
            .run(Whose::Host, self.owner, Path::new(about), KERNEL_PATIENCE, asking)
            .await
    }
}
