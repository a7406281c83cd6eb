//! What still needs what a disk has that is going to be detached.

use std::path::Path;

use super::ledger::{self, DiskDir, DiskId};
use super::node::Node;
use crate::act::off_thread::off_thread;
use crate::model::iscsi::IscsiRecord;

/// The other disks that are or may be attached.
pub(super) struct Others(Vec<(DiskId, Option<IscsiRecord>)>);

impl Others {
    /// All but this one.
    pub(super) async fn of(node: &Node<'_>, root: &Path, own: &DiskDir) -> Result<Others, String> {
        let root = root.to_owned();
        let all = off_thread(move || ledger::directories(&root)).await;
        let mut all = all.map_err(|error| error.to_string())?;
        all.retain(|other| other.dir != own.dir);
        let with_record = |other: DiskDir| (other.id, node.disks.record(&other.dir));
        Ok(Others(all.into_iter().map(with_record).collect()))
    }

    /// Whether one of them is wanted.
    pub(super) fn any(&self, is_wanted: impl Fn(&DiskId) -> bool) -> bool {
        self.0.iter().any(|(id, _)| is_wanted(id))
    }

    /// Whether one of them needs the session with a target through this portal. Of one that an earlier agent has attached only the
    /// first portal is known, so it may.
    pub(super) fn need_session(&self, record: &IscsiRecord, portal: &str) -> bool {
        self.0.iter().any(|(id, known)| {
            let DiskId::Iscsi(named) = id else {
                return false;
            };
            let is_of_session = named.iqn == record.iqn && named.iface == record.iface;
            is_of_session
                && known
                    .as_ref()
                    .is_none_or(|known| known.portals.iter().any(|own| own == portal))
        })
    }
}
