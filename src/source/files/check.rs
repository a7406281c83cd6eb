//! Manifests read without an agent, for `gantry check`: what the agent would make of them in its manifests directory.
//! Nothing here watches or writes.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::claims::{Claim, What};
use super::directory::{Directory, Look};
use super::known::whole_file;
use super::listing::State;
use super::set::clash;
use super::writing::LeaseUse;
use crate::manifest::ManifestContext;
use crate::manifest::{Content, MOST_BYTES, read_with_content};
use crate::model::object::Reference;
use crate::model::pod::{Pod, Problem, Source};

/// The name of standard input in the output.
const STANDARD_INPUT: &str = "/dev/stdin";
/// Makes every file count as untouched: the agent waits a moment after a change to a file without an extension, but a
/// check must not wait for that.
const SETTLED: Duration = Duration::from_secs(3600);

/// Why there is nothing to check.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The file or directory does not exist.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The contents of all checked manifests.
#[derive(Debug, Default)]
pub struct Found {
    /// The pods that a node would take over, in the order in which they were read.
    pub pods: Vec<Arc<Pod>>,
    /// The ConfigMaps and Secrets.
    pub objects: BTreeSet<Reference>,
    /// The problems, each of which would reject a manifest.
    pub problems: Vec<Problem>,
    /// The warnings about the rest.
    pub warnings: Vec<Problem>,
}

impl Found {
    /// Reads one more path: a directory as the agent reads its own, or a file. Fails if the path itself cannot be read.
    pub fn add(&mut self, path: &Path, context: &ManifestContext, now: Timestamp) -> Result<(), CheckError> {
        let unreadable = |source| CheckError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let path = std::path::absolute(path).map_err(unreadable)?;
        if path.is_dir() {
            return self.directory(&path, context, now);
        }
        let file = std::fs::File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => CheckError::Missing { path: path.clone() },
            _ => unreadable(error),
        })?;
        self.stream(file, &path, context, now)
    }

    /// Reads standard input.
    pub fn add_input(&mut self, context: &ManifestContext, now: Timestamp) -> Result<(), CheckError> {
        self.stream(io::stdin().lock(), Path::new(STANDARD_INPUT), context, now)
    }

    /// Reads to just beyond the limit: longer input is rejected by its length, like a file of the directory.
    fn stream(
        &mut self,
        from: impl Read,
        path: &Path,
        context: &ManifestContext,
        now: Timestamp,
    ) -> Result<(), CheckError> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX).saturating_add(1);
        from.take(limit)
            .read_to_end(&mut bytes)
            .map_err(|source| CheckError::Unreadable {
                path: path.to_owned(),
                source,
            })?;
        let Content {
            pods,
            objects,
            problems,
            warnings,
        } = read_with_content(&bytes, path, context, now);
        if pods.is_empty() && objects.is_empty() && problems.is_empty() {
            self.problems
                .push(whole_file(path, "contains no manifest".to_owned()));
        }
        pods.into_iter()
            .for_each(|read| self.pod(Arc::new(read.pod), path));
        self.objects
            .extend(objects.into_iter().map(|read| Reference::Object(read.key)));
        self.problems.extend(problems);
        self.warnings.extend(warnings);
        Ok(())
    }

    fn directory(
        &mut self,
        path: &Path,
        context: &ManifestContext,
        now: Timestamp,
    ) -> Result<(), CheckError> {
        let everything = Look {
            everything: true,
            ..Look::default()
        };
        let later = now.checked_add(SETTLED).unwrap_or(now);
        let nothing_runs = BTreeSet::new();
        let seen = Directory::new(path.to_owned(), context.clone(), None, LeaseUse::No).look(
            &everything,
            Some(&nothing_runs),
            later,
        );
        match seen.state {
            State::There => {}
            State::Missing => {
                return Err(CheckError::Missing {
                    path: path.to_owned(),
                });
            }
            State::Unreadable(why) => {
                return Err(CheckError::Unreadable {
                    path: path.to_owned(),
                    source: io::Error::other(why),
                });
            }
        }
        let set = seen.set.unwrap_or_default();
        for pod in set.pods.into_values() {
            self.pod(pod, path);
        }
        self.objects.extend(set.objects.keys().cloned());
        self.problems.extend(set.problems);
        self.warnings.extend(set.warnings);
        Ok(())
    }

    /// Adds a pod, unless its name or its UID is taken.
    fn pod(&mut self, pod: Arc<Pod>, path: &Path) {
        let file = |pod: &Pod| match &pod.source {
            Source::File { path, .. } => path.clone(),
            Source::Api => path.to_owned(),
        };
        let clashes = self.pods.iter().find_map(|owner| {
            let owner_file = file(owner);
            let owner = Claim {
                path: &owner_file,
                what: What::Pod(&owner.name),
                uid: Some(&owner.uid),
            };
            clash(&file(&pod), &pod, &owner)
        });
        match clashes {
            Some(problem) => self.problems.push(problem),
            None => self.pods.push(pod),
        }
    }
}
