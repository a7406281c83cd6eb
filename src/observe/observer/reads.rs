//! What a pass reads beside the pods: the runtime's conditions, its images, what is left of pods, and logs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{Observer, Reading, replace};
use crate::cri::CriError;
use crate::model::pod::PodUid;
use crate::model::runtime::{ObservedImage, RuntimeState};
use crate::observe::{log_numbers, snapshot};

impl Observer {
    /// The runtime's conditions, and its version after it was away.
    pub(super) async fn read_health(&self) -> Result<RuntimeState, CriError> {
        let mut state = self.snapshot.runtime.clone();
        if !self.reachable() {
            let version = self.runtime.version().await?;
            (state.name, state.version) = (version.runtime_name, version.runtime_version);
            tracing::info!(
                runtime = state.name,
                version = state.version,
                "the runtime answers"
            );
        }
        let answer = self.runtime.status().await?;
        state.handlers = snapshot::handlers(&answer);
        state.strict_groups = answer
            .features
            .map(|features| features.supplemental_groups_policy);
        let status = answer.status.unwrap_or_default();
        state.reachable = Some(Ok(()));
        state.runtime_fault = snapshot::fault(&status, "RuntimeReady");
        state.network_fault = snapshot::fault(&status, "NetworkReady");
        Ok(state)
    }

    /// Images are only reported in the node status: a failure to list them delays nothing else.
    pub(super) async fn read_images(&mut self, now: Instant) -> Result<Option<Vec<ObservedImage>>, CriError> {
        self.next_images = now + self.settings.list_images;
        match self.runtime.list_images().await {
            Ok(images) => Ok(Some(snapshot::images(images))),
            Err(error) if error.is_unreachable() => Err(error),
            Err(error) => {
                tracing::warn!(%error, "cannot list the images");
                Ok(None)
            }
        }
    }

    /// Answers those who wait for the images, if these were read.
    pub(super) fn answer_for_images(&mut self, were_read: bool) {
        if !were_read {
            return;
        }
        for waits in std::mem::take(&mut self.waiting_for_images) {
            // It may not wait any more.
            let _ = waits.send(());
        }
    }

    pub(super) fn count(&mut self, reading: &Reading, began: Instant) {
        let (listing, at) = (&self.settings.counters.listing, Timestamp::now());
        match reading {
            Reading::Everything => {
                let since = self.listed.replace(began).map(|before| began - before);
                listing.listed(began.elapsed(), since, at);
            }
            Reading::Names(names) => {
                let pods = u32::try_from(names.len()).unwrap_or(u32::MAX);
                listing.read(began.elapsed(), pods, at);
            }
        }
    }

    pub(super) fn read_leftovers(&mut self, reading: &Reading) -> bool {
        let directories = pod_directories(&self.settings.pods_dir);
        let found = directories.and_then(|mut uids| {
            uids.append(&mut self.settings.cgroups.pod_uids().map_err(std::io::Error::other)?);
            let logs = match reading {
                Reading::Everything => Arc::new(log_numbers::directories(&self.settings.pod_logs_dir)?),
                Reading::Names(_) => self.log_dirs_left(),
            };
            uids.extend(logs.keys().cloned());
            Ok((uids, logs))
        });
        match found {
            Ok((uids, logs)) => {
                let have_changed = replace(&mut self.snapshot.log_dirs, logs);
                replace(&mut self.snapshot.leftovers, Arc::new(uids)) || have_changed
            }
            // The known ones stay: forgetting leftovers would leave them on the node forever.
            Err(error) => {
                tracing::warn!(%error, "cannot list the pods' directories, logs or cgroups");
                false
            }
        }
    }

    /// The log directories without those that the work on a pod has removed. Those of other pods are listed with everything
    /// else.
    fn log_dirs_left(&self) -> Arc<BTreeMap<PodUid, PathBuf>> {
        let mut left = Arc::clone(&self.snapshot.log_dirs);
        for request in &self.waiting {
            if left.get(&request.uid).is_some_and(|dir| !dir.exists()) {
                Arc::make_mut(&mut left).remove(&request.uid);
            }
        }
        left
    }

    pub(super) fn read_logs(&mut self, reading: &Reading) -> bool {
        let (logs, known) = (&self.logs, &mut self.snapshot.logs);
        let listed = matches!(reading, Reading::Everything).then(|| logs.list(known));
        let requests = self.waiting.iter();
        let read: Vec<_> = requests
            .map(|request| logs.read(known, &request.pod, &request.uid))
            .collect();
        let results = listed.into_iter().chain(read);
        // The known ones stay: a count that starts over would overwrite a log.
        let changed = results.map(|result| {
            result.unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot list a pod log directory");
                false
            })
        });
        changed.fold(false, |all, one| all | one)
    }
}

/// The UIDs that have a directory.
fn pod_directories(pods: &Path) -> io::Result<BTreeSet<PodUid>> {
    let entries = match fs::read_dir(pods) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error),
    };
    let names = entries.map(|entry| Ok(entry?.file_name().into_string().map(PodUid)));
    // A name that is not text is not this agent's.
    let texts = names.filter_map(|name: io::Result<_>| match name {
        Ok(Ok(uid)) => Some(Ok(uid)),
        Ok(Err(_)) => None,
        Err(error) => Some(Err(error)),
    });
    texts.collect()
}
