//! The known state of the runtime's pods, and how it is read again.
//!
//! A list has ids and states; a status is requested only if a state is new. An ended container does not change any
//! more, so its status is cached as long as the container exists.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream;
use k8s_cri::v1;

use super::due::Seen;
use super::out_of_memory::{self, OutOfMemory};
use super::snapshot::{self, Fingerprint, Listed, MessageSource, SandboxDetails};
use super::termination::{self, Directories};
use crate::bulkhead::Bulkhead;
use crate::cri::{CriError, Runtime};
use crate::model::labels;
use crate::model::pod::{PodName, PodUid};
use crate::model::runtime::{ContainerState, ObservedContainer, ObservedName};
use crate::model::stop_signal::StopSignal;

/// How many statuses are requested at once: at the start there are hundreds to read.
const STATUSES_AT_ONCE: usize = 8;

/// The known state.
pub(super) struct World {
    runtime: Runtime,
    directories: Directories,
    /// The slots for messages that may hang.
    messages: Bulkhead,
    names: HashMap<PodName, Fingerprint>,
    owners: HashMap<String, PodName>,
    sandboxes: HashMap<String, KnownSandbox>,
    containers: HashMap<String, KnownContainer>,
    out_of_memory: OutOfMemory,
    /// Ids whose status the runtime failed to return, so that it is logged once.
    troubled: HashSet<String>,
}

#[derive(Debug)]
struct KnownSandbox {
    ready: bool,
    details: Option<SandboxDetails>,
}

#[derive(Debug)]
struct KnownContainer {
    state: i32,
    observed: ObservedContainer,
}

/// The result of a read.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Names that changed or are gone.
    pub(super) names: BTreeMap<PodName, Option<Arc<ObservedName>>>,
    /// Names that could not be read completely though the runtime answers, with the UIDs under them; they stay as they
    /// were.
    pub(super) unread: BTreeMap<PodName, BTreeSet<PodUid>>,
}

impl World {
    pub(super) fn new(runtime: Runtime, directories: Directories, out_of_memory: OutOfMemory) -> Self {
        World {
            runtime,
            directories,
            messages: termination::places(),
            names: HashMap::new(),
            owners: HashMap::new(),
            sandboxes: HashMap::new(),
            containers: HashMap::new(),
            out_of_memory,
            troubled: HashSet::new(),
        }
    }

    /// The pod that owns the container or sandbox.
    pub(super) fn owner(&self, id: &str) -> Option<&PodName> {
        self.owners.get(id)
    }

    /// Its last observed state.
    pub(super) fn seen(&self, id: &str) -> Seen {
        if let Some(known) = self.containers.get(id) {
            return match &known.observed.state {
                ContainerState::Created => Seen::Created,
                ContainerState::Running { .. } => Seen::Alive,
                ContainerState::Exited { reason, .. } if reason == out_of_memory::REASON => Seen::OutOfMemory,
                ContainerState::Exited { .. } | ContainerState::Unknown => Seen::Ended,
            };
        }
        match self.sandboxes.get(id) {
            Some(known) if known.ready => Seen::Alive,
            Some(_) => Seen::Ended,
            None => Seen::Absent,
        }
    }

    /// Has the status of a container requested again though its state is the same.
    pub(super) fn forget_status(&mut self, id: &str) {
        // The entry stays, so that it does not look absent meanwhile; a state that CRI never reports never compares
        // equal.
        if let Some(known) = self.containers.get_mut(id)
            && let Some(name) = self.owners.get(id)
        {
            known.state = -1;
            self.names.insert(name.clone(), vec![(String::new(), -1)]);
        }
    }

    /// Asks the runtime which pod an unknown id belongs to.
    pub(super) async fn look_up(&self, id: &str) -> Result<Option<PodName>, CriError> {
        let filter = v1::ContainerFilter {
            id: id.to_owned(),
            ..Default::default()
        };
        let containers = self.runtime.list_containers(filter).await?;
        let filter = v1::PodSandboxFilter {
            id: id.to_owned(),
            ..Default::default()
        };
        let sandboxes = match containers.is_empty() {
            true => self.runtime.list_pod_sandbox(filter).await?,
            false => Vec::new(),
        };
        let labels = containers
            .iter()
            .map(|c| &c.labels)
            .chain(sandboxes.iter().map(|s| &s.labels));
        Ok(labels.filter_map(labels::owner).map(|(name, _)| name).next())
    }

    /// Reads everything.
    pub(super) async fn read_all(&mut self) -> Result<Changes, CriError> {
        let (sandboxes, containers) = tokio::try_join!(
            self.runtime.list_pod_sandbox(v1::PodSandboxFilter::default()),
            self.runtime.list_containers(v1::ContainerFilter::default()),
        )?;
        let mut names = snapshot::by_name(sandboxes, containers);
        let uids = names.values().flat_map(|listed| &listed.sandboxes);
        self.out_of_memory
            .note(&uids.map(|(uid, _)| uid.clone()).collect());
        for name in self.names.keys() {
            if !names.contains_key(name) {
                names.insert(name.clone(), Listed::default());
            }
        }
        self.update(names).await
    }

    /// Reads the current state of some names.
    pub(super) async fn read(&mut self, wanted: &HashSet<PodName>) -> Result<Changes, CriError> {
        let mut names = BTreeMap::new();
        for name in wanted {
            let selector = labels::selector(name);
            let sandboxes = v1::PodSandboxFilter {
                label_selector: selector.clone(),
                ..Default::default()
            };
            let containers = v1::ContainerFilter {
                label_selector: selector,
                ..Default::default()
            };
            let (sandboxes, containers) = tokio::try_join!(
                self.runtime.list_pod_sandbox(sandboxes),
                self.runtime.list_containers(containers),
            )?;
            let mut listed = snapshot::by_name(sandboxes, containers);
            names.insert(name.clone(), listed.remove(name).unwrap_or_default());
        }
        self.update(names).await
    }

    async fn update(&mut self, names: BTreeMap<PodName, Listed>) -> Result<Changes, CriError> {
        let mut changed: BTreeMap<PodName, (Fingerprint, Listed)> = BTreeMap::new();
        for (name, listed) in names {
            let fingerprint = listed.fingerprint();
            if self.names.get(&name) != Some(&fingerprint) {
                changed.insert(name, (fingerprint, listed));
            }
        }
        let failed = self
            .ask_for_statuses(changed.values().map(|(_, listed)| listed))
            .await?;
        let mut changes = Changes::default();
        for (name, (fingerprint, listed)) in changed {
            if fingerprint.iter().any(|(id, _)| failed.contains(id)) {
                changes.unread.insert(name, listed.uids());
                continue;
            }
            self.keep_only(&name, &listed);
            let observed = snapshot::observed(
                listed,
                |id| self.sandboxes.get(id).and_then(|known| known.details.clone()),
                |id| self.containers.get(id).map(|known| known.observed.clone()),
            );
            if fingerprint.is_empty() {
                self.names.remove(&name);
                changes.names.insert(name, None);
            } else {
                self.names.insert(name.clone(), fingerprint);
                changes.names.insert(name, Some(Arc::new(observed)));
            }
        }
        Ok(changes)
    }

    /// Drops the ids of a name that are no longer listed and records those that are.
    fn keep_only(&mut self, name: &PodName, listed: &Listed) {
        let sandboxes = listed.sandboxes.iter().map(|(_, sandbox)| &sandbox.id);
        let containers = listed.containers.iter().map(|(_, container)| &container.id);
        let ids: HashSet<&String> = sandboxes.chain(containers).collect();
        self.owners.retain(|id, owner| {
            let keep = owner != name || ids.contains(id);
            if !keep {
                self.sandboxes.remove(id);
                self.containers.remove(id);
            }
            keep
        });
        for (_, sandbox) in &listed.sandboxes {
            let known = self.sandboxes.entry(sandbox.id.clone()).or_insert(KnownSandbox {
                ready: false,
                details: None,
            });
            known.ready = is_ready(sandbox);
        }
        self.owners
            .extend(ids.into_iter().map(|id| (id.clone(), name.clone())));
    }

    /// Requests the statuses that lists do not contain. What went away meanwhile is not a failure; returns the ids for
    /// which the runtime returned another error.
    async fn ask_for_statuses(
        &mut self,
        listed: impl Iterator<Item = &Listed>,
    ) -> Result<HashSet<String>, CriError> {
        let (mut sandboxes, mut containers) = (Vec::new(), Vec::new());
        for listed in listed {
            let unknown = |id: &str| self.sandboxes.get(id).is_none_or(|known| known.details.is_none());
            let new = listed.sandboxes.iter().map(|(_, sandbox)| sandbox);
            sandboxes.extend(
                new.filter(|s| is_ready(s) && unknown(&s.id))
                    .map(|s| s.id.clone()),
            );
            let same = |id: &str, state| self.containers.get(id).is_some_and(|known| known.state == state);
            let new = listed.containers.iter();
            let new = new.filter(|(_, c)| !same(&c.id, c.state));
            containers.extend(new.map(|(uid, c)| (uid.clone(), c.id.clone(), c.pod_sandbox_id.clone())));
        }
        let mut failed = HashMap::new();
        let runtime = &self.runtime.clone();
        let mut answers = stream::iter(sandboxes)
            .map(|id| async { (runtime.pod_sandbox_status(&id).await, id) })
            .buffer_unordered(STATUSES_AT_ONCE);
        while let Some((answer, id)) = answers.next().await {
            if let Some(status) = checked_answer(answer, &id, &mut failed)? {
                let details = Some(snapshot::sandbox_details(&status));
                self.sandboxes.insert(id, KnownSandbox { ready: true, details });
            }
        }
        let mut answers = stream::iter(containers)
            .map(|(uid, id, sandbox)| async { (runtime.container_status(&id).await, uid, id, sandbox) })
            .buffer_unordered(STATUSES_AT_ONCE);
        let mut elsewhere = Vec::new();
        while let Some((answer, uid, id, sandbox)) = answers.next().await {
            let Some((mut status, signal)) = checked_answer(answer, &id, &mut failed)? else {
                self.containers.remove(&id);
                continue;
            };
            self.note_out_of_memory(&uid, &mut status);
            let Some(source) = snapshot::message_source(&status) else {
                self.note_container((status, signal), sandbox, String::new());
                continue;
            };
            match termination::message(&source, &self.directories) {
                Some(message) => self.note_container((status, signal), sandbox, message),
                None => elsewhere.push((uid, source, (status, signal), sandbox)),
            }
        }
        drop(answers);
        self.read_elsewhere(elsewhere).await;
        for (id, error) in &failed {
            if !self.troubled.contains(id) {
                tracing::warn!(id, %error, "the runtime does not return a status; retrying");
            }
        }
        self.troubled = failed.into_keys().collect();
        Ok(self.troubled.clone())
    }

    /// Reads messages that may hang, all at once, so that the wait is paid only once.
    async fn read_elsewhere(&mut self, ended: Vec<(PodUid, MessageSource, ReportedContainer, String)>) {
        let (places, directories) = (&self.messages, &self.directories);
        let reading = ended
            .into_iter()
            .map(|(uid, source, status, sandbox)| async move {
                let message = termination::message_elsewhere(places, &uid, source, directories).await;
                (status, sandbox, message)
            });
        for (status, sandbox, message) in join_all(reading).await {
            self.note_container(status, sandbox, message);
        }
    }

    fn note_container(&mut self, reported: ReportedContainer, sandbox: String, message: String) {
        let (id, state) = (reported.0.id.clone(), reported.0.state);
        if let Some(observed) = snapshot::container(reported, sandbox, message) {
            self.containers.insert(id, KnownContainer { state, observed });
        }
    }

    /// Adds the cause of an end that the runtime did not report. A recorded end keeps its cause, although its status
    /// may be requested again.
    fn note_out_of_memory(&mut self, uid: &PodUid, status: &mut v1::ContainerStatus) {
        if status.state != v1::ContainerState::ContainerExited as i32 {
            return;
        }
        let was_told = self.seen(&status.id) == Seen::OutOfMemory;
        if self.out_of_memory.ended(uid, status.exit_code, &status.reason) || was_told {
            status.reason = out_of_memory::REASON.to_owned();
        }
    }
}

/// A container's status, and its stop signal if the runtime reports it.
type ReportedContainer = (v1::ContainerStatus, Option<StopSignal>);

fn is_ready(sandbox: &v1::PodSandbox) -> bool {
    sandbox.state == v1::PodSandboxState::SandboxReady as i32
}

/// The answer; `None` if the object went away, or if the request failed, which is recorded.
fn checked_answer<T>(
    answer: Result<T, CriError>,
    id: &str,
    failed: &mut HashMap<String, CriError>,
) -> Result<Option<T>, CriError> {
    match answer {
        Ok(status) => Ok(Some(status)),
        Err(error) if error.not_found() => Ok(None),
        Err(error) if error.is_unreachable() => Err(error),
        Err(error) => {
            failed.insert(id.to_owned(), error);
            Ok(None)
        }
    }
}
