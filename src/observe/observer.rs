//! The loop that reads and publishes. Events and requests determine what to read; only what was read is published.

mod reads;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::due::Due;
use super::log_numbers::LogNumbers;
use super::out_of_memory::OutOfMemory;
use super::pod_files::PodFiles;
use super::request::{Inbox, ProbeUpdate, Request};
use super::settings::Settings;
use super::termination::Directories;
use super::world::{Changes, World};
use crate::cri::events::Event;
use crate::cri::{CriError, Runtime};
use crate::model::health::Health;
use crate::model::pod::PodName;
use crate::model::runtime::{ObservedName, Snapshot};

/// How often everything is read while no events come, or the runtime does not answer or is not ready.
const RELIST_OFTEN: Duration = Duration::from_secs(1);
/// A pull makes several events about its image.
const AFTER_IMAGE_EVENT: Duration = Duration::from_millis(200);
/// After everything was read, this many times as long as the read took passes before the next read: constant queries
/// would slow down a busy runtime.
const REST_AFTER_ALL: u32 = 2;
const LONGEST_REST: Duration = Duration::from_millis(200);
/// Reading more names than this one by one costs more than reading everything.
const NAMES_ONE_BY_ONE: usize = 3;

/// Whether events arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Events {
    Coming,
    Missing,
}

/// What one pass reads.
enum Reading {
    Everything,
    Names(HashSet<PodName>),
}

pub(super) struct Observer {
    runtime: Runtime,
    out: watch::Sender<Arc<Snapshot>>,
    settings: Settings,
    world: World,
    snapshot: Snapshot,
    due: Due,
    /// The probe results, by container id.
    health: HashMap<String, Health>,
    pod_files: PodFiles,
    logs: LogNumbers,
    waiting: Vec<Request>,
    waiting_for_images: Vec<oneshot::Sender<()>>,
    events: Events,
    next_relist: Instant,
    /// When everything was read last.
    listed: Option<Instant>,
    next_images: Instant,
    /// Nothing is read before this time; and whether a read was postponed until then.
    rests_until: Instant,
    is_put_off: bool,
}

impl Observer {
    pub(super) fn new(runtime: Runtime, out: watch::Sender<Arc<Snapshot>>, settings: Settings) -> Self {
        let now = Instant::now();
        let directories = Directories {
            pods: settings.pods_dir.clone(),
            logs: settings.pod_logs_dir.clone(),
        };
        let snapshot = Snapshot::clone(&out.borrow());
        let out_of_memory = OutOfMemory::new(settings.cgroups.clone());
        Observer {
            world: World::new(runtime.clone(), directories, out_of_memory),
            runtime,
            out,
            pod_files: PodFiles::new(settings.pods_dir.clone()),
            logs: LogNumbers::new(settings.pod_logs_dir.clone()),
            settings,
            snapshot,
            due: Due::default(),
            health: HashMap::new(),
            waiting: Vec::new(),
            waiting_for_images: Vec::new(),
            events: Events::Missing,
            next_relist: now,
            listed: None,
            next_images: now,
            rests_until: now,
            is_put_off: false,
        }
    }

    pub(super) async fn run(mut self, mut events: mpsc::Receiver<Event>, inbox: Inbox) {
        let Inbox {
            mut requests,
            mut images,
            mut news,
        } = inbox;
        loop {
            // The receivers keep what was not taken.
            tokio::select! {
                Some(event) = events.recv() => self.note(event),
                Some(request) = requests.recv() => self.waiting.push(request),
                Some(waits) = images.recv() => {
                    self.next_images = Instant::now();
                    self.waiting_for_images.push(waits);
                }
                Some(first) = news.recv() => {
                    self.take_probe_updates(first, &mut news);
                    // Nothing was read, and nothing has to be.
                    continue;
                }
                () = tokio::time::sleep_until(self.wake()) => {}
            }
            while let Ok(event) = events.try_recv() {
                self.note(event);
            }
            while let Ok(request) = requests.try_recv() {
                self.waiting.push(request);
            }
            self.is_put_off = Instant::now() < self.rests_until;
            if self.is_put_off {
                continue;
            }
            if let Err(error) = self.pass().await {
                self.lose(&error);
            }
        }
    }

    fn wake(&self) -> Instant {
        if self.is_put_off {
            return self.rests_until;
        }
        if !self.reachable() {
            return self.next_relist.max(self.rests_until);
        }
        let next = self.next_relist.min(self.next_images);
        let next = self.due.next().map_or(next, |due| next.min(due));
        next.max(self.rests_until)
    }

    fn note(&mut self, event: Event) {
        let now = Instant::now();
        tracing::trace!(?event, "receiving containerd's events");
        match event {
            Event::Connected => {
                self.events = Events::Coming;
                self.next_relist = now;
            }
            // The runtime is probably gone; the next list shows it.
            Event::Disconnected => {
                self.events = Events::Missing;
                self.next_relist = now;
            }
            Event::Unsupported => {
                tracing::info!("containerd sends no events; listing every second");
                self.events = Events::Missing;
            }
            Event::Container(id, kind) => self.due.note(id.clone(), kind, self.world.seen(&id), now),
            Event::Images => self.next_images = self.next_images.min(now + AFTER_IMAGE_EVENT),
        }
    }

    /// Reads what is due and publishes it, then answers the requests that it satisfies. Requests that arrive meanwhile
    /// wait for the next pass: what is being read may be older.
    async fn pass(&mut self) -> Result<(), CriError> {
        let now = Instant::now();
        let relist = now >= self.next_relist;
        if !relist && !self.reachable() {
            return Ok(());
        }
        let health = match relist {
            true => Some(self.read_health().await?),
            false => None,
        };
        let reads_images = now >= self.next_images;
        let images = match reads_images {
            true => self.read_images(now).await?,
            false => None,
        };
        let reading = match relist {
            true => Reading::Everything,
            false => self.reading(now).await?,
        };
        let began = Instant::now();
        let changes = match &reading {
            Reading::Everything => self.world.read_all().await?,
            Reading::Names(names) => self.world.read(names).await?,
        };
        self.count(&reading, began);
        // Nothing fails from here on, so nothing that was read is lost.
        let mut changed = health.is_some_and(|health| replace(&mut self.snapshot.runtime, health));
        changed |= images.is_some_and(|images| replace(&mut self.snapshot.images, Arc::new(images)));
        changed |= relist && replace(&mut self.snapshot.listed, true);
        if relist || !self.waiting.is_empty() {
            changed |= self.read_leftovers(&reading);
            changed |= self.read_logs(&reading);
        }
        self.read_pod_files(&mut changed);
        let unread = self.apply(changes, &mut changed, relist);
        if relist {
            self.forget_health();
            self.next_relist = now + self.relist_period();
        }
        if !unread.is_empty() {
            self.next_relist = self.next_relist.min(now + RELIST_OFTEN);
        }
        if changed {
            self.out.send_replace(Arc::new(self.snapshot.clone()));
        }
        self.answer_for_images(reads_images);
        let names = match &reading {
            Reading::Everything => None,
            Reading::Names(names) => Some(names.len()),
        };
        tracing::trace!(names, changed, waiting = self.waiting.len(), "read");
        self.answer(&reading, &unread);
        if names.is_none() {
            self.rests_until = Instant::now() + (now.elapsed() * REST_AFTER_ALL).min(LONGEST_REST);
        }
        self.due.settle(|id| self.world.seen(id), now, Instant::now());
        Ok(())
    }

    fn relist_period(&self) -> Duration {
        // There is no event for the runtime or its network becoming ready.
        let state = &self.snapshot.runtime;
        let waits = state.runtime_fault.is_some() || state.network_fault.is_some();
        match self.events {
            Events::Coming if !waits => self.settings.relist,
            _ => RELIST_OFTEN,
        }
    }

    /// What requests and events cause to be read.
    async fn reading(&mut self, now: Instant) -> Result<Reading, CriError> {
        let mut names: HashSet<PodName> = self.waiting.iter().map(|request| request.pod.clone()).collect();
        for id in self.due.at(now) {
            if self.due.doubts_reason(&id) {
                self.world.forget_status(&id);
            }
            match self.world.owner(&id) {
                Some(name) => names.extend([name.clone()]),
                None => names.extend(self.world.look_up(&id).await?),
            }
        }
        let many = names.len() > NAMES_ONE_BY_ONE;
        Ok(if many {
            Reading::Everything
        } else {
            Reading::Names(names)
        })
    }

    fn apply(&mut self, changes: Changes, changed: &mut bool, relist: bool) -> HashSet<PodName> {
        let waits = |name: &PodName| !relist && !changes.names.contains_key(name);
        let mut unread = BTreeMap::clone(&self.snapshot.unread);
        unread.retain(|name, _| waits(name));
        let is_new = |(name, _): &(&PodName, _)| !self.snapshot.pods.contains_key(*name);
        let new = changes.unread.iter().filter(is_new);
        unread.extend(new.map(|(name, uids)| (name.clone(), uids.clone())));
        *changed |= replace(&mut self.snapshot.unread, Arc::new(unread));
        for (name, observed) in changes.names {
            if let Some(before) = self.snapshot.pods.get(&name) {
                self.pod_files.forget_gone(before, observed.as_deref());
            }
            let observed = observed.map(|mut observed| {
                self.pod_files.fill(&mut observed);
                self.with_health(observed)
            });
            match observed {
                None => *changed |= self.snapshot.pods.remove(&name).is_some(),
                Some(observed) if self.snapshot.pods.get(&name) == Some(&observed) => {}
                Some(observed) => {
                    self.snapshot.pods.insert(name, observed);
                    *changed = true;
                }
            }
        }
        changes.unread.into_keys().collect()
    }

    /// Reads the checkpoints of the requested pods, as the work on them may have changed them.
    fn read_pod_files(&mut self, changed: &mut bool) {
        for request in &self.waiting {
            let Some(observed) = self.snapshot.pods.get_mut(&request.pod) else {
                continue;
            };
            self.pod_files.forget(observed);
            let before = observed.clone();
            self.pod_files.fill(observed);
            *changed |= !Arc::ptr_eq(&before, observed);
        }
    }

    /// What was read, with the probe results.
    fn with_health(&self, mut observed: Arc<ObservedName>) -> Arc<ObservedName> {
        let known = |id: &String| self.health.contains_key(id);
        let containers = observed.uids.values().flat_map(|pod| &pod.containers);
        if containers.map(|container| &container.id).any(known) {
            let pods = Arc::make_mut(&mut observed).uids.values_mut();
            for container in pods.flat_map(|pod| &mut pod.containers) {
                container.health = self.health.get(&container.id).cloned().map(Box::new);
            }
        }
        observed
    }

    /// Publishes probe results of known containers.
    fn take_probe_updates(&mut self, first: ProbeUpdate, more: &mut mpsc::UnboundedReceiver<ProbeUpdate>) {
        let mut changed = BTreeSet::new();
        let mut news = Some(first);
        while let Some(one) = news {
            *self.health.entry(one.id).or_default().get_mut(one.kind) = one.probed;
            changed.insert(one.pod);
            news = more.try_recv().ok();
        }
        for name in changed {
            if let Some(observed) = self.snapshot.pods.remove(&name) {
                let observed = self.with_health(observed);
                self.snapshot.pods.insert(name, observed);
            }
        }
        self.out.send_replace(Arc::new(self.snapshot.clone()));
    }

    /// Drops the probe results of containers that are gone and the checkpoints of pods that are gone.
    fn forget_health(&mut self) {
        let pods = self.snapshot.pods.values().flat_map(|name| name.uids.values());
        let ids: HashSet<&String> = pods
            .flat_map(|pod| &pod.containers)
            .map(|container| &container.id)
            .collect();
        self.health.retain(|id, _| ids.contains(id));
        let pods = self.snapshot.pods.values();
        self.pod_files
            .retain(&pods.flat_map(|name| name.uids.keys()).collect());
    }

    fn answer(&mut self, reading: &Reading, unread: &HashSet<PodName>) {
        let read = |name: &PodName| match reading {
            Reading::Everything => true,
            Reading::Names(names) => names.contains(name),
        };
        for request in std::mem::take(&mut self.waiting) {
            if read(&request.pod) && !unread.contains(&request.pod) {
                // The requester may have stopped waiting.
                let _ = request.done.send(());
            } else {
                self.waiting.push(request);
            }
        }
    }

    fn reachable(&self) -> bool {
        matches!(self.snapshot.runtime.reachable, Some(Ok(())))
    }

    /// What is known of pods stays as it was; requests wait.
    fn lose(&mut self, error: &CriError) {
        if self.reachable() || self.snapshot.runtime.reachable.is_none() {
            tracing::warn!(%error, "the runtime does not answer; retrying every second");
        }
        let state = Some(Err(error.to_string()));
        if self.snapshot.runtime.reachable != state {
            self.snapshot.runtime.reachable = state;
            self.out.send_replace(Arc::new(self.snapshot.clone()));
        }
        self.due.clear();
        self.next_relist = Instant::now() + RELIST_OFTEN;
        // They may have been read, and not published.
        self.next_images = Instant::now();
    }
}

/// Replaces a value; returns whether it differs. An equal value is left, so that what did not change keeps its
/// identity.
fn replace<T: PartialEq>(place: &mut T, value: T) -> bool {
    let changed = *place != value;
    if changed {
        *place = value;
    }
    changed
}
