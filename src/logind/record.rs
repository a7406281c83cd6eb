//! When the last shutdown began and ended, in the kubelet's file (`pkg/kubelet/nodeshutdown/storage.go`): after the reboot
//! the metrics say how long it took.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::disk::write::{self, Durability, Mode, Writing};

/// The name of the file in the node's directory.
pub(super) const FILE: &str = "graceful_node_shutdown_state";

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Record {
    /// When logind announced it.
    #[serde(rename = "startTime")]
    pub(super) began: Option<Timestamp>,
    /// When the machine needed to wait no longer.
    #[serde(rename = "endTime")]
    pub(super) ended: Option<Timestamp>,
}

impl Record {
    /// `None`: there is none, or none that can be read.
    pub(super) fn read(path: &Path) -> Option<Record> {
        let record: Record = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
        // A time that was not set is that of the year 1 in the kubelet's file.
        let is_set = |time: &Timestamp| *time > Timestamp::UNIX_EPOCH;
        Some(Record {
            began: record.began.filter(is_set),
            ended: record.ended.filter(is_set),
        })
    }

    /// It has to be there after the reboot.
    pub(super) fn write(self, path: &Path) -> io::Result<()> {
        let text = serde_json::to_vec(&self)?;
        let writing = Writing {
            mode: Mode::Exactly(0o644),
            ..Writing::private(Durability::PowerFailure)
        };
        write::write(path, &text, writing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelets_file_is_read_and_ours_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        assert_eq!(Record::read(&path), None);
        let kubelets = r#"{"startTime":"2026-11-29T21:00:00.5+01:00","endTime":"0001-01-01T00:00:00Z"}"#;
        std::fs::write(&path, kubelets).unwrap();
        let record = Record {
            began: Some("2026-11-29T20:00:00.5Z".parse().unwrap()),
            ended: None,
        };
        assert_eq!(Record::read(&path), Some(record));
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path), Some(record));
        std::fs::write(&path, "{").unwrap();
        assert_eq!(Record::read(&path), None);
    }
}
