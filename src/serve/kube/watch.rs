//! Answers a watch: what there is, if the client has not listed before, then each change as a line of JSON. It waits for
//! changes of the state, and for nothing else.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::stream;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::accept::{Form, TableVersion};
use super::options::{Bookmarks, Initial, Options, Version, Watch};
use super::path::Place;
use super::read::{api_version, expired, selected};
use super::store::{Change, Entry, State};
use super::table::Printing;

/// The annotation of the bookmark that ends what there was at the beginning (KEP 3157).
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// What is watched, and for whom.
pub(super) struct Asked {
    pub(super) place: Place,
    pub(super) form: Form,
    pub(super) options: Options,
    pub(super) watch: Watch,
}

/// The answer, which lasts until the client leaves, its time is over, or the agent stops.
pub(super) fn answer(
    state: watch::Receiver<Arc<State>>,
    asked: Asked,
    stopping: CancellationToken,
) -> Response {
    let end = asked.watch.timeout.map(|timeout| Instant::now() + timeout);
    let watcher = Watcher::new(state, asked);
    let lines = stream::unfold(watcher, move |mut watcher| {
        let stopping = stopping.clone();
        async move {
            let line = watcher.next(end, &stopping).await?;
            Some((Ok::<_, Infallible>(line), watcher))
        }
    });
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (kind, Body::from_stream(lines)).into_response()
}

struct Watcher {
    state: watch::Receiver<Arc<State>>,
    asked: Asked,
    /// The changes up to this version have been sent or are waiting.
    seen: u64,
    waiting: VecDeque<Waiting>,
    is_over: bool,
}

/// What is still to be sent. It becomes JSON when the client takes it, so that a slow client costs a pointer for each.
enum Waiting {
    /// An object of the beginning.
    There(Arc<Entry>),
    /// A change, which the client may not have selected.
    Change(Arc<Change>),
    /// Any other event.
    Event(Value),
}

impl Watcher {
    fn new(mut state: watch::Receiver<Arc<State>>, asked: Asked) -> Watcher {
        let now = state.borrow_and_update().clone();
        let mut watcher = Watcher {
            state,
            asked,
            seen: now.version,
            waiting: VecDeque::new(),
            is_over: false,
        };
        let begins_with_all = match (watcher.asked.watch.initial, watcher.asked.options.version) {
            (Initial::Marked, _) | (Initial::ByVersion, Version::Any) => true,
            (Initial::Left, Version::Any) => false,
            (_, Version::NotOlderThan(version) | Version::Exactly(version)) => {
                watcher.seen = version;
                false
            }
        };
        if begins_with_all {
            let entries = selected(&now, &watcher.asked.place, &watcher.asked.options);
            watcher.waiting = entries.cloned().map(Waiting::There).collect();
        }
        if watcher.asked.watch.initial == Initial::Marked {
            let end = watcher.bookmark(Marked::EndOfInitial);
            watcher.waiting.push_back(Waiting::Event(end));
        }
        watcher.take_changes(&now);
        watcher
    }

    /// The next line; `None`: the end.
    async fn next(&mut self, end: Option<Instant>, stopping: &CancellationToken) -> Option<Bytes> {
        loop {
            while let Some(waiting) = self.waiting.pop_front() {
                if let Some(event) = self.event_of(waiting) {
                    return Some(format!("{event}\n").into());
                }
            }
            if self.is_over {
                return None;
            }
            let over = async {
                match end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                // A change that is not waited for to the end is seen at the next call.
                changed = self.state.changed() => match changed {
                    Ok(()) => {
                        let now = self.state.borrow_and_update().clone();
                        self.take_changes(&now);
                    }
                    Err(_) => self.is_over = true,
                },
                () = over => {
                    self.is_over = true;
                    // The client goes on from here, however long ago the last change was.
                    if self.asked.watch.bookmarks == Bookmarks::Allowed {
                        let here = self.bookmark(Marked::Nothing);
                        self.waiting.push_back(Waiting::Event(here));
                    }
                }
                () = stopping.cancelled() => self.is_over = true,
            }
        }
    }

    fn take_changes(&mut self, now: &State) {
        match now.since(self.seen) {
            Ok(changes) => {
                self.waiting.extend(changes.cloned().map(Waiting::Change));
                self.seen = now.version;
            }
            Err(_) => {
                let status = expired(self.seen).object();
                let error = json!({"type": "ERROR", "object": status});
                self.waiting.push_back(Waiting::Event(error));
                self.is_over = true;
            }
        }
    }

    fn selects(&self, entry: &Entry) -> bool {
        let place = &self.asked.place;
        let metadata = entry.object.metadata();
        let is_there = place.namespace.is_none() || metadata.namespace == place.namespace;
        let is_named = place.name.is_none() || metadata.name == place.name;
        entry.object.kind() == place.kind
            && is_there
            && is_named
            && self.asked.options.selector.selects(&entry.object)
    }

    fn event_of(&self, waiting: Waiting) -> Option<Value> {
        match waiting {
            Waiting::There(entry) => Some(self.event("ADDED", &entry)),
            Waiting::Change(change) => self.event_of_change(&change),
            Waiting::Event(event) => Some(event),
        }
    }

    fn event_of_change(&self, change: &Change) -> Option<Value> {
        let before = change.before.as_deref().filter(|entry| self.selects(entry));
        let after = change.after.as_deref().filter(|entry| self.selects(entry));
        match (before, after) {
            (None, Some(after)) => Some(self.event("ADDED", after)),
            (Some(_), Some(after)) => Some(self.event("MODIFIED", after)),
            (Some(before), None) => {
                // The version is that of the change, from which the client goes on.
                let gone = Entry {
                    version: change.version,
                    object: before.object.clone(),
                };
                Some(self.event("DELETED", &gone))
            }
            (None, None) => None,
        }
    }

    fn event(&self, what: &str, entry: &Entry) -> Value {
        let place = &self.asked.place;
        let object = match self.asked.form {
            Form::Objects => entry.object.json(place.api, entry.version),
            Form::Table(version) => {
                let metadata = json!({"resourceVersion": entry.version.to_string()});
                let rows = [entry].into_iter();
                self.printing(version)
                    .table(place.kind, metadata, rows, Timestamp::now())
            }
        };
        json!({"type": what, "object": object})
    }

    fn printing(&self, version: TableVersion) -> Printing {
        Printing {
            version,
            include: self.asked.options.include,
            api: self.asked.place.api,
        }
    }

    fn bookmark(&self, marked: Marked) -> Value {
        let place = &self.asked.place;
        let mut metadata = json!({"resourceVersion": self.seen.to_string()});
        if marked == Marked::EndOfInitial {
            metadata["annotations"] = json!({INITIAL_EVENTS_END: "true"});
        }
        let object = match self.asked.form {
            Form::Objects => json!({
                "kind": place.kind.names().kind,
                "apiVersion": api_version(place.api),
                "metadata": metadata,
            }),
            Form::Table(version) => {
                let none = std::iter::empty();
                self.printing(version)
                    .table(place.kind, metadata, none, Timestamp::now())
            }
        };
        json!({"type": "BOOKMARK", "object": object})
    }
}

/// What a bookmark marks besides its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marked {
    Nothing,
    EndOfInitial,
}

#[cfg(test)]
mod tests;
