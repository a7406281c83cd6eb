//! Which plugins are asked what they are, which drivers are registered, and which socket of two speaks for a driver. Pure:
//! the loop has the sockets, the calls and the clock.
//!
//! A plugin that was asked is in one state until it is settled, has failed, or its socket is gone:
//!
//! ```text
//!   Asked ──answer──► Registered ──told──► Registered, no wait after the next failure
//!     ▲ │                  │
//!     │ └───failure────────┴──► Failed, until the wait is over
//!     └───────────────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::version::Version;
use super::words;
use crate::model::backoff::{Doubling, Waits};
use crate::model::driver::{Driver, Drivers};
use crate::model::last_logged::LastLogged;

/// The waits after failures (`pkg/util/goroutinemap/exponentialbackoff`).
const WAITS: Doubling = Doubling::new(Duration::from_millis(500), Duration::from_secs(122));

/// What tells a socket from one that is made later in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inode {
    /// The device, and the number on it.
    pub(super) device: u64,
    pub(super) number: u64,
    /// Seconds and nanoseconds: the number may be given again.
    pub(super) modified: (i64, i64),
}

/// What is done with a socket next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Whatever is under way with it is abandoned.
    Leave(PathBuf),
    /// The plugin is asked what it is. The number comes back with the answer.
    Ask(PathBuf, u64),
}

/// What a driver has answered.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) name: String,
    pub(super) version: Version,
    pub(super) driver: Arc<Driver>,
}

/// Why a plugin is not registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It does not say what it is, or is a driver that cannot be registered.
    MaybeDriver(String),
    /// It is not a driver.
    NoDriver(String),
}

/// What follows from an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing: it was asked again since, or its socket is gone.
    Stale,
    /// The driver is registered on this node. What was under way with the socket that had its name is abandoned.
    Registered {
        name: String,
        driver: Arc<Driver>,
        replaced: Option<PathBuf>,
    },
    /// It is registered, and knows it.
    Settled,
    /// It is not registered, and is told so.
    Refused { message: String, is_news: bool },
    /// It is not registered, and asked again later.
    Failed { message: String, is_news: bool },
}

#[derive(Debug)]
enum State {
    Asked,
    Registered(Answer),
    Failed {
        until: Timestamp,
        /// The name that another socket's driver has: asked again at once when it is free.
        taken: Option<String>,
        is_maybe_driver: bool,
    },
}

/// A socket and what is known of the plugin behind it.
#[derive(Debug)]
struct Plugin {
    inode: Inode,
    attempt: u64,
    state: State,
    waits: Waits,
    logged: LastLogged<String>,
}

/// What is known of all sockets.
#[derive(Debug)]
pub(super) struct Registry {
    plugins: BTreeMap<PathBuf, Plugin>,
    attempts: u64,
    /// The sockets of the first listing that were not tried yet; `None` before it.
    untried: Option<BTreeSet<PathBuf>>,
    /// Those that are not tried by then are no longer waited for.
    patience: Timestamp,
}

impl Registry {
    /// Nothing is known.
    pub(super) fn new(patience: Timestamp) -> Registry {
        Registry {
            plugins: BTreeMap::new(),
            attempts: 0,
            untried: None,
            patience,
        }
    }

    /// Compares with the sockets that there are: those that are gone first, then those that are new or due.
    pub(super) fn compare(&mut self, present: &BTreeMap<PathBuf, Inode>, now: Timestamp) -> Vec<Step> {
        let gone = self
            .plugins
            .iter()
            .filter(|(path, plugin)| present.get(*path) != Some(&plugin.inode));
        let gone: Vec<PathBuf> = gone.map(|(path, _)| path.clone()).collect();
        for path in &gone {
            self.plugins.remove(path);
            self.tried(path);
        }
        let mut steps: Vec<Step> = gone.into_iter().map(Step::Leave).collect();
        if self.untried.is_none() {
            self.untried = Some(present.keys().cloned().collect());
        }
        let names = self.names();
        let due = present.iter().filter(|(path, _)| {
            self.plugins.get(*path).is_none_or(|plugin| match &plugin.state {
                State::Asked | State::Registered(_) => false,
                State::Failed { until, taken, .. } => {
                    *until <= now || taken.as_ref().is_some_and(|name| !names.contains(name))
                }
            })
        });
        let due: Vec<(PathBuf, Inode)> = due.map(|(path, inode)| (path.clone(), *inode)).collect();
        for (path, inode) in due {
            steps.push(self.ask(path, inode));
        }
        steps
    }

    fn ask(&mut self, path: PathBuf, inode: Inode) -> Step {
        self.attempts += 1;
        let plugin = self.plugins.entry(path.clone()).or_insert_with(|| Plugin {
            inode,
            attempt: 0,
            state: State::Asked,
            waits: WAITS.waits(),
            logged: LastLogged::default(),
        });
        plugin.attempt = self.attempts;
        plugin.state = State::Asked;
        Step::Ask(path, self.attempts)
    }

    /// Takes what a plugin is. Of two drivers of one name the one with the higher version is registered, and of equal ones
    /// the first (`validateVersions` in `pkg/volume/csi/csi_plugin.go`).
    pub(super) fn answered(
        &mut self,
        path: &Path,
        attempt: u64,
        answer: Result<Answer, Failure>,
        now: Timestamp,
    ) -> Verdict {
        if !self.is_current(path, attempt) {
            return Verdict::Stale;
        }
        self.tried(path);
        let answer = match answer {
            Ok(answer) => answer,
            Err(failure) => return self.fail(path, failure, None, now),
        };
        let holder = self
            .plugins
            .iter()
            .find_map(|(path, plugin)| match &plugin.state {
                State::Registered(of) if of.name == answer.name => Some((path.clone(), of.version.clone())),
                _ => None,
            });
        if let Some((_, version)) = &holder
            && *version >= answer.version
        {
            let message = words::name_taken(&answer.name, &answer.driver.endpoint, version);
            let failure = Failure::MaybeDriver(message);
            return match self.fail(path, failure, Some(answer.name), now) {
                Verdict::Failed { message, is_news } => Verdict::Refused { message, is_news },
                other => other,
            };
        }
        let replaced = holder.map(|(path, _)| path);
        if let Some(former) = &replaced {
            let message = words::name_taken(&answer.name, &answer.driver.endpoint, &answer.version);
            self.fail(
                former,
                Failure::MaybeDriver(message),
                Some(answer.name.clone()),
                now,
            );
        }
        let (name, driver) = (answer.name.clone(), answer.driver.clone());
        if let Some(plugin) = self.plugins.get_mut(path) {
            plugin.state = State::Registered(answer);
        }
        Verdict::Registered {
            name,
            driver,
            replaced,
        }
    }

    /// Takes whether a registered driver was told so. If not, it is not registered any more.
    pub(super) fn settled(
        &mut self,
        path: &Path,
        attempt: u64,
        result: Result<(), String>,
        now: Timestamp,
    ) -> Verdict {
        if !self.is_current(path, attempt) {
            return Verdict::Stale;
        }
        match result {
            Ok(()) => {
                if let Some(plugin) = self.plugins.get_mut(path) {
                    plugin.waits.reset();
                    plugin.logged.clear();
                }
                Verdict::Settled
            }
            Err(message) => self.fail(path, Failure::MaybeDriver(message), None, now),
        }
    }

    fn is_current(&self, path: &Path, attempt: u64) -> bool {
        self.plugins
            .get(path)
            .is_some_and(|plugin| plugin.attempt == attempt)
    }

    fn tried(&mut self, path: &Path) {
        if let Some(untried) = &mut self.untried {
            untried.remove(path);
        }
    }

    fn fail(&mut self, path: &Path, failure: Failure, taken: Option<String>, now: Timestamp) -> Verdict {
        let Some(plugin) = self.plugins.get_mut(path) else {
            return Verdict::Stale;
        };
        let (message, is_maybe_driver) = match failure {
            Failure::MaybeDriver(message) => (message, true),
            Failure::NoDriver(message) => (message, false),
        };
        // What comes back from what was under way is stale.
        plugin.attempt = 0;
        plugin.state = State::Failed {
            until: now + plugin.waits.fail(),
            taken,
            is_maybe_driver,
        };
        let is_news = plugin.logged.is_news(&message);
        Verdict::Failed { message, is_news }
    }

    fn names(&self) -> BTreeSet<String> {
        let registered = self.registered().map(|(_, answer)| answer.name.clone());
        registered.collect()
    }

    fn registered(&self) -> impl Iterator<Item = (&PathBuf, &Answer)> {
        self.plugins
            .iter()
            .filter_map(|(path, plugin)| match &plugin.state {
                State::Registered(answer) => Some((path, answer)),
                State::Asked | State::Failed { .. } => None,
            })
    }

    /// The drivers that are registered.
    pub(super) fn drivers(&self, now: Timestamp) -> Drivers {
        let is_unregistered = |plugin: &&Plugin| match &plugin.state {
            State::Asked => true,
            State::Registered(_) => false,
            State::Failed { is_maybe_driver, .. } => *is_maybe_driver,
        };
        Drivers {
            are_known: self
                .untried
                .as_ref()
                .is_some_and(|untried| untried.is_empty() || self.patience <= now),
            unregistered: self.plugins.values().filter(is_unregistered).count(),
            by_name: self
                .registered()
                .map(|(_, answer)| (answer.name.clone(), answer.driver.clone()))
                .collect(),
        }
    }

    /// When something changes by time alone.
    pub(super) fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        let retries = self.plugins.values().filter_map(|plugin| match &plugin.state {
            State::Failed { until, .. } => Some(*until),
            State::Asked | State::Registered(_) => None,
        });
        let patience = self.untried.as_ref().filter(|untried| !untried.is_empty());
        let patience = patience.map(|_| self.patience).filter(|at| *at > now);
        retries.chain(patience).min()
    }
}

#[cfg(test)]
mod tests;
