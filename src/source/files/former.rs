//! Which file had what before the agent started. The only memory is the disk and the running pods.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::claims::{Claim, Evidence, Seniority, What};
use super::last_good::LastGood;
use crate::manifest::Content;
use crate::manifest::ManifestContext;
use crate::model::pod::PodUid;

/// The state from before the start.
#[derive(Debug, Default)]
pub(super) struct Former {
    running: BTreeSet<PodUid>,
    /// The last good version of each contested file.
    kept: BTreeMap<PathBuf, Content>,
    /// Who waited for what, as [`LastGood::waiting`] has it.
    waiting: Vec<(String, String)>,
}

impl Former {
    /// Reads the state of these files. `running` are the UIDs of the runtime's pods.
    pub(super) fn read(
        paths: &BTreeSet<&Path>,
        running: &BTreeSet<PodUid>,
        kept: Option<&LastGood>,
        context: &ManifestContext,
        now: Timestamp,
    ) -> Former {
        let Some(kept) = kept else {
            return Former {
                running: running.clone(),
                ..Former::default()
            };
        };
        let load = |path: &&Path| (path.to_path_buf(), kept.load(path, context, now));
        Former {
            running: running.clone(),
            kept: paths.iter().map(load).collect(),
            waiting: kept.waiting(),
        }
    }

    /// How early a claim is.
    pub(super) fn seniority(&self, claim: &Claim<'_>) -> Seniority {
        let kept = self.kept.get(claim.path);
        // The file may have been edited while no agent ran: then the running pod is that of its last good version.
        let (was_there, former_uid) = match claim.what {
            What::Pod(name) => {
                let mut pods = kept.into_iter().flat_map(|kept| &kept.pods);
                let former = pods.find(|read| read.pod.name == *name);
                (former.is_some(), former.map(|read| &read.pod.uid))
            }
            What::Object(key) => {
                let mut objects = kept.into_iter().flat_map(|kept| &kept.objects);
                (objects.any(|read| read.key == *key), None)
            }
        };
        let runs = claim
            .uid
            .into_iter()
            .chain(former_uid)
            .any(|uid| self.running.contains(uid));
        let (path, what) = (claim.path.to_string_lossy(), claim.what.to_string());
        let waited = |waiting: &(String, String)| waiting.0 == path && waiting.1 == what;
        Seniority {
            evidence: match (runs, was_there) {
                (true, _) => Evidence::Runs,
                (false, true) => Evidence::WasThere,
                (false, false) => Evidence::Nothing,
            },
            waited: self.waiting.iter().position(waited),
        }
    }
}
