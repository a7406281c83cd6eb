//! What is known at the agent's start of who had what before: nothing is remembered but what is on disk and what runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::claims::{Claim, Evidence, Seniority, What};
use super::last_good::LastGood;
use crate::manifest::Content;
use crate::manifest::ManifestContext;
use crate::model::pod::PodUid;

/// What is known of the time before.
#[derive(Debug, Default)]
pub(super) struct Former {
    running: BTreeSet<PodUid>,
    /// The last good version of each file that claims what another one does.
    kept: BTreeMap<PathBuf, Content>,
    /// Who waited for what, as [`LastGood::waiting`] has it.
    waiting: Vec<(String, String)>,
}

impl Former {
    /// Of these files. `running` are the UIDs of the pods that the runtime has.
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
        // The file may have been edited while no agent ran: then the pod of its last good version is what runs.
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
