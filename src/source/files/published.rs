//! The output of the source of files: the set for the agent, and a log line for each new problem, warning or state.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch as channel;
use tracing::{info, warn};

use super::directory::Seen;
use super::listing::State;
use crate::model::pod::{Problem, SourceSet};
use crate::model::stated;

/// Whether two sets are equal: unchanged pods are the same value.
fn same(a: &SourceSet, b: &SourceSet) -> bool {
    let pods = a.pods.values().zip(b.pods.values());
    a.pods.len() == b.pods.len()
        && pods.into_iter().all(|(a, b)| Arc::ptr_eq(a, b))
        && a.objects.is_same(&b.objects)
        && stated::is_same(&a.stated, &b.stated)
        && a.problems == b.problems
        && a.warnings == b.warnings
}

/// The last published and logged state, to avoid repetition.
pub(super) struct Published {
    path: PathBuf,
    out: channel::Sender<Option<Arc<SourceSet>>>,
    state: Option<State>,
    problems: BTreeSet<Problem>,
    warnings: BTreeSet<Problem>,
}

impl Published {
    /// Starts with nothing published. `path` is the directory, for the log.
    pub(super) fn new(path: PathBuf, out: channel::Sender<Option<Arc<SourceSet>>>) -> Published {
        Published {
            path,
            out,
            state: None,
            problems: BTreeSet::new(),
            warnings: BTreeSet::new(),
        }
    }

    /// Publishes and logs the changes in this.
    pub(super) fn publish(&mut self, seen: &Seen) {
        if let Some(set) = &seen.set {
            self.out.send_if_modified(|current| {
                let changed = current.as_deref().is_none_or(|current| !same(current, set));
                if changed {
                    *current = Some(Arc::new(set.clone()));
                }
                changed
            });
            self.log_problems(set);
            self.log_warnings(set);
        }
        self.log_state(&seen.state);
    }

    fn log_problems(&mut self, set: &SourceSet) {
        let problems: BTreeSet<Problem> = set.problems.iter().cloned().collect();
        for problem in problems.difference(&self.problems) {
            warn!(
                file = %problem.path.display(),
                line = problem.line,
                field = problem.field,
                "manifest rejected: {problem}"
            );
        }
        let broken = |problems: &BTreeSet<Problem>| -> BTreeSet<PathBuf> {
            problems.iter().map(|problem| problem.path.clone()).collect()
        };
        for file in broken(&self.problems).difference(&broken(&problems)) {
            info!(file = %file.display(), "manifest no longer has problems");
        }
        self.problems = problems;
    }

    fn log_warnings(&mut self, set: &SourceSet) {
        let warnings: BTreeSet<Problem> = set.warnings.iter().cloned().collect();
        for warning in warnings.difference(&self.warnings) {
            warn!(
                file = %warning.path.display(),
                line = warning.line,
                field = warning.field,
                "manifest has a warning: {warning}"
            );
        }
        self.warnings = warnings;
    }

    fn log_state(&mut self, state: &State) {
        if self.state.as_ref() == Some(state) {
            return;
        }
        let path = self.path.display();
        match state {
            State::There => info!(%path, "watching the manifests directory"),
            State::Missing => info!(%path, "the manifests directory does not exist yet; waiting for it"),
            State::Unreadable(error) => {
                warn!(%path, error, "cannot read the manifests directory; its pods keep running")
            }
        }
        self.state = Some(state.clone());
    }
}
