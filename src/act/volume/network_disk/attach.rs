//! Attaches a disk to the node, and writes down beforehand which.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::node::Node;
use super::{fc, iscsi, ledger};
use crate::act::context::Work;
use crate::act::off_thread::off_thread;
use crate::model::network_disk::{NamedDisk, NetworkDisk};

/// Attaches a disk; returns its device. To be called with the turn of its directory.
pub(super) async fn attached(work: &Work<'_>, named: &NamedDisk, dir: &Path) -> Result<PathBuf, String> {
    let node = Node::of(work);
    node.disks.enter(dir, named);
    let result = match &named.disk {
        NetworkDisk::Fc(disk) => fc::find(&node, disk).await,
        NetworkDisk::Iscsi(disk) => {
            let (dir, record) = (dir.to_owned(), disk.record.clone());
            let saved = off_thread(move || ledger::save(&dir, &record)).await;
            match saved {
                Ok(()) => {
                    let _attaching = node.disks.attaching(&disk.record.iqn).await;
                    iscsi::attach(&node, disk).await
                }
                Err(error) => Err(format!("iscsi: {error}")),
            }
        }
    };
    if result.is_err() && !is_connected(&node, named).await {
        // Else it stays noted, and is detached once no pod wants it.
        let own = dir.to_owned();
        if off_thread(move || ledger::remove(&own)).await.is_ok() {
            node.disks.leave(dir);
        }
    }
    result
}

/// Whether something may have to be detached.
async fn is_connected(node: &Node<'_>, named: &NamedDisk) -> bool {
    let NetworkDisk::Iscsi(disk) = &named.disk else {
        return false;
    };
    let (iqn, portals) = (disk.record.iqn.clone(), disk.record.portals.clone());
    let sessions = node.ask(&iqn.clone(), move |places| places.sessions(&iqn)).await;
    sessions.map_or(true, |sessions| {
        portals.iter().any(|portal| sessions.contains_key(portal))
    })
}

/// Makes a directory, and those above it, with the kubelet's mode.
pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(path)
}
