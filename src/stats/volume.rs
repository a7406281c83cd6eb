//! What one volume takes: asked of its file system if that counts it as a project of its own and is believed, else counted
//! by walking through it. Everything here blocks.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::quota::{Finding, Source, Standing, compare};
use crate::disk::{project, usage};
use crate::model::last_logged::LastLogged;
use crate::model::projects::FIRST;
use crate::model::stats::DirectoryUsage;

/// How many times as long as it took a count is remembered.
pub(super) const REST: u32 = 10;

/// A walk that was ended after so long would have taken too long by itself.
const ENDLESS: Duration = Duration::from_secs(10);

/// What is remembered of a volume.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Its project.
    project: Option<u32>,
    standing: Standing,
    /// When it may be walked through again if nothing else asks for it.
    rested: Option<Instant>,
    failures: LastLogged<String>,
}

/// Whether a project quota that was right so far is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// It is.
    Quotas,
    /// A pod may have to go for the number: it is not.
    Walks,
}

/// One count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count {
    pub(super) used: DirectoryUsage,
    pub(super) source: Source,
    /// Whether it was walked through, or that was tried.
    pub(super) is_counted: bool,
    pub(super) took: Duration,
    /// Whether the next count needs no walk.
    pub(super) is_cheap: bool,
}

/// Counts a volume that may be a project of its own; by walking through it if nothing else will do.
pub(super) fn count(path: &Path, known: &mut Known, trust: Trust, deadline: Instant) -> io::Result<Count> {
    let begun = Instant::now();
    if known.project.is_none() {
        // A directory that cannot be opened fails below.
        known.project = own_project(path).unwrap_or_default();
    }
    let before = known.quota(path);
    let rested = known.rested.is_none_or(|rested| begun >= rested);
    let drawn = RandomState::new().hash_one(path);
    if let Some(used) = before
        && trust == Trust::Quotas
        && known.standing.source(rested, drawn) == Source::Quota
    {
        return Ok(Count {
            is_counted: false,
            ..known.count(used, Source::Quota, begun)
        });
    }
    let walked = walk(path, deadline);
    known.rested = Some(Instant::now() + begun.elapsed() * REST);
    match (walked, before) {
        (Ok(walked), Some(before)) => {
            known.note(path, before, walked);
            Ok(known.count(walked, Source::Walk, begun))
        }
        (Ok(walked), None) => Ok(known.count(walked, Source::Walk, begun)),
        (Err(error), Some(used)) if is_endless(&error, begun.elapsed()) => {
            known.standing = known.standing.after(None);
            match known.standing.is_believed() {
                true => Ok(known.count(used, Source::Quota, begun)),
                false => Err(error),
            }
        }
        (Err(error), _) => Err(error),
    }
}

/// Counts a volume that is no project.
pub(super) fn count_walking(path: &Path, deadline: Instant) -> io::Result<Count> {
    let begun = Instant::now();
    Ok(Known::default().count(walk(path, deadline)?, Source::Walk, begun))
}

/// Counts a directory by walking through it.
pub(super) fn walk(path: &Path, deadline: Instant) -> io::Result<DirectoryUsage> {
    usage::measure(path, deadline).map(amounts)
}

/// Whether its own depth or size makes a walk fail, and neither an error of the disk nor the pod's other volumes.
fn is_endless(error: &io::Error, took: Duration) -> bool {
    match error.kind() {
        io::ErrorKind::TimedOut => took >= ENDLESS,
        kind => kind == io::ErrorKind::Other,
    }
}

fn own_project(path: &Path) -> io::Result<Option<u32>> {
    Ok(project::inherited(path)?.filter(|id| *id >= FIRST))
}

fn amounts(usage::Usage { bytes, inodes }: usage::Usage) -> DirectoryUsage {
    DirectoryUsage { bytes, inodes }
}

impl Known {
    /// What the file system says, if it can say something. It is asked without opening the directory: its owner would see
    /// that, and could give back what is hidden.
    fn quota(&mut self, path: &Path) -> Option<DirectoryUsage> {
        match project::quota(path, self.project?) {
            Ok(found) => found.map(|quota| amounts(quota.used)),
            Err(error) => {
                if self.failures.is_news(&error.to_string()) {
                    tracing::warn!(
                        volume = %path.display(),
                        %error,
                        "cannot read a volume's project quota: it is counted by walking through it"
                    );
                }
                None
            }
        }
    }

    /// Compares a walk with the quota.
    fn note(&mut self, path: &Path, before: DirectoryUsage, walked: DirectoryUsage) {
        let Some(after) = self.quota(path) else { return };
        let finding = match own_project(path) {
            Ok(project) if project == self.project => compare(before, walked, after),
            // What is made from now on belongs to another project.
            Ok(_) => Finding::Hidden,
            Err(_) => Finding::Differs,
        };
        let standing = self.standing.after(Some(finding));
        if standing == Standing::Refuted && self.standing != Standing::Refuted {
            tracing::warn!(
                volume = %path.display(),
                quota = after.bytes,
                walked = walked.bytes,
                "a volume's project quota does not count everything in it, so files were given to other projects: it is \
                 counted by walking through it from now on"
            );
        }
        self.standing = standing;
    }

    fn count(&self, used: DirectoryUsage, source: Source, begun: Instant) -> Count {
        Count {
            used,
            source,
            is_counted: true,
            took: begun.elapsed(),
            is_cheap: self.project.is_some() && self.standing.is_believed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_walk_is_endless_by_itself_or_not_at_all() {
        let check = |kind: io::ErrorKind, took: u64, expected| {
            assert_eq!(
                is_endless(&kind.into(), Duration::from_secs(took)),
                expected,
                "{kind}"
            );
        };
        check(io::ErrorKind::TimedOut, 29, true);
        check(io::ErrorKind::TimedOut, 1, false);
        check(io::ErrorKind::Other, 1, true);
        check(io::ErrorKind::NotFound, 29, false);
    }

    #[test]
    fn what_is_no_project_is_walked_through_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let mut known = Known::default();
        for number in 1..4 {
            fs::write(directory.path().join(number.to_string()), "").unwrap();
            let soon = Instant::now() + Duration::from_secs(60);
            let count = count(directory.path(), &mut known, Trust::Quotas, soon).unwrap();
            assert_eq!((count.used.inodes, count.source), (number + 1, Source::Walk));
            assert!(!count.is_cheap);
        }
        assert_eq!(known.standing, Standing::Unknown);
        assert!(
            super::count(
                Path::new("/none"),
                &mut Known::default(),
                Trust::Quotas,
                Instant::now()
            )
            .is_err()
        );
    }
}
