//! Additions on disk: one file for each pod, named after its UID.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::PathBuf;

use k8s_openapi::api::core::v1::EphemeralContainer;

use crate::disk::write::{Durability, Writing, remove_if_there, write};
use crate::manifest::names;
use crate::model::error_chain::chain;
use crate::model::pod_name::PodUid;

/// The longest file that is read: as large as a request to the API server may be.
const MOST_BYTES: u64 = 3 * 1024 * 1024;
/// How a file's name ends.
const EXTENSION: &str = ".json";

/// The directory.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    directory: PathBuf,
}

impl Saved {
    pub(super) fn new(directory: PathBuf) -> Saved {
        Saved { directory }
    }

    /// Everything that is saved. A file that cannot be read is reported and left; its containers are then unknown.
    pub(super) fn load(&self) -> BTreeMap<PodUid, Vec<EphemeralContainer>> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return BTreeMap::new(),
            Err(error) => {
                tracing::warn!(
                    directory = %self.directory.display(), error = chain(&error),
                    "cannot read which containers were added to pods"
                );
                return BTreeMap::new();
            }
        };
        let names = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let uids = names.filter_map(|name| Some(PodUid(name.strip_suffix(EXTENSION)?.to_owned())));
        uids.filter(|uid| names::uid(&uid.0).is_none())
            .filter_map(|uid| match self.read(&uid) {
                Ok(containers) => Some((uid, containers)),
                Err(error) => {
                    tracing::warn!(
                        file = %self.file(&uid).display(), error = chain(&error),
                        "cannot read which containers were added to a pod; remove the file if the pod is gone"
                    );
                    None
                }
            })
            .collect()
    }

    fn read(&self, uid: &PodUid) -> io::Result<Vec<EphemeralContainer>> {
        let mut text = String::new();
        File::open(self.file(uid))?
            .take(MOST_BYTES)
            .read_to_string(&mut text)?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Saves a pod's additions. They may be in use before the next power failure, and the pod may outlive it.
    pub(super) fn save(&self, uid: &PodUid, containers: &[EphemeralContainer]) -> io::Result<()> {
        let text = serde_json::to_vec(containers)?;
        write(&self.file(uid), &text, Writing::private(Durability::Crash))
    }

    pub(super) fn remove(&self, uid: &PodUid) -> io::Result<()> {
        remove_if_there(&self.file(uid))
    }

    fn file(&self, uid: &PodUid) -> PathBuf {
        self.directory.join(format!("{}{EXTENSION}", uid.0))
    }
}
