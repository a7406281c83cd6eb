//! Plans under way: one worker for each key, what it reports, and what is remembered of it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt as _;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{DEATH_RETRY, Key, LEFTOVER_RETRY, Loop, Message, NO_PROGRESS_RETRY, Outputs, Work};
use crate::act;
use crate::model::end::End;
use crate::model::memory::{Executed, PodMemory};
use crate::model::outcome::Outcome;
use crate::model::pod::{PodName, PodUid};
use crate::model::runtime::ObservedName;
use crate::model::step::{Plan, Subject};
use crate::plan::restart;

impl Loop {
    pub(super) fn start(&mut self, key: Key, uid: PodUid, plan: Plan, cancel: &CancellationToken) {
        let work = cancel.child_token();
        let memory = match &key {
            Key::Pod(name) => self.memory.pods.get(name).cloned(),
            Key::Node | Key::Leftover(_) => None,
        };
        let counted = match &key {
            Key::Pod(name) => Some((Instant::now(), self.count_start(name, &uid, &plan))),
            Key::Node | Key::Leftover(_) => None,
        };
        self.busy.insert(
            key.clone(),
            Work {
                uid: uid.clone(),
                ends: plan.ends,
                yields: plan.yields(),
                cancel: work.clone(),
                memory,
                counted,
            },
        );
        let (rooms, to_loop, stopping) = (self.rooms.clone(), self.to_loop.clone(), cancel.clone());
        self.workers.spawn(async move {
            let name = match &key {
                Key::Pod(name) => name.clone(),
                Key::Leftover(_) | Key::Node => PodName::new("", uid.0.clone()),
            };
            let execution = AssertUnwindSafe(act::run(&rooms.act, &name, &uid, plan, work.clone()));
            // A panic caused by one pod must neither end the agent nor leave the pod unattended forever.
            let Ok(outcome) = execution.catch_unwind().await else {
                let _ = to_loop.send(Message::Died(key));
                return;
            };
            // The loop may have ended; then the result is not needed.
            let _ = to_loop.send(Message::Finished(key.clone(), Arc::new(outcome)));
            if let Key::Pod(name) = &key {
                // When the agent stops, nothing is planned any more. The observer stops then, too: a request that is sent in
                // this moment may stay in its channel, and get no answer for as long as somebody can send.
                tokio::select! {
                    () = stopping.cancelled() => return,
                    read = rooms.observe.refresh(name.clone(), uid) => if read.is_err() { return },
                }
            }
            let _ = to_loop.send(Message::Settled(key));
        });
    }

    pub(super) fn take_message(&mut self, message: Message, outputs: &Outputs) -> &'static str {
        match message {
            Message::Finished(key @ (Key::Node | Key::Leftover(_)), outcome) => {
                log_failures(&outcome);
                // Nothing is remembered about a pod that no source knows; what failed is retried later.
                if outcome.steps.iter().any(|step| step.result.is_err()) {
                    self.deadlines.insert(key, outcome.at + LEFTOVER_RETRY);
                }
                "leftover"
            }
            Message::Finished(key @ Key::Pod(_), outcome) => {
                if let Some((began, work)) = self.busy.get(&key).and_then(|work| work.counted) {
                    self.rooms.counters.pods.worked(work, began.elapsed());
                }
                log_failures(&outcome);
                let after = self.remember(&outcome);
                outputs.memory.send_replace(Arc::new(self.memory.clone()));
                // Reporting may end first at shutdown.
                let _ = outputs.outcomes.send(Executed { outcome, after });
                "finished"
            }
            Message::Died(key) => {
                tracing::error!(
                    ?key,
                    "work on a pod panicked; this is a bug in gantry, please report it; retrying"
                );
                self.busy.remove(&key);
                self.note_settled(&key);
                self.allocation_is_saved(&key);
                self.dirty.remove(&key);
                self.deadlines.insert(key, Timestamp::now() + DEATH_RETRY);
                "died"
            }
            Message::Settled(key) => {
                let before = self.busy.remove(&key).and_then(|work| work.memory);
                self.note_settled(&key);
                self.allocation_is_saved(&key);
                self.retry_deferred_resizes();
                // A shutdown goes on when the last pods of a group are cleared away, and a pod has room when others are.
                if self.decisions.awaits_ends() {
                    self.dirty.insert(Key::Node);
                }
                if let Key::Pod(name) = &key {
                    // An observed change has already marked the name, and a failure is remembered.
                    if self.memory.pods.get(name) == before.as_ref() {
                        self.deadlines.insert(key, Timestamp::now() + NO_PROGRESS_RETRY);
                    } else {
                        self.dirty.insert(key);
                    }
                }
                "settled"
            }
            Message::Images(message) => {
                self.take_of_images(message);
                "images"
            }
        }
    }

    fn remember(&mut self, outcome: &Outcome) -> Arc<PodMemory> {
        let nothing = ObservedName::default();
        let desired = self.desired.get(&outcome.pod).cloned();
        let observed = self
            .snapshot
            .pods
            .get(&outcome.pod)
            .map_or(&nothing, AsRef::as_ref);
        let before = self.memory.pods.get(&outcome.pod).map(AsRef::as_ref);
        let after = restart::after(before, desired.as_deref(), outcome, observed, &self.rooms.policy);
        let was_rejected = before
            .and_then(|before| before.ended.as_ref())
            .is_some_and(End::is_refusal);
        if let Some(End::Refused { reason, message }) = after.ended.as_ref().filter(|_| !was_rejected) {
            self.note_rejected(&outcome.pod, reason, message);
        }
        let after = Arc::new(after);
        self.memory.pods.insert(outcome.pod.clone(), after.clone());
        after
    }
}

/// Logs what failed, here where it is retried. Calls that the runtime did not answer, or that were abandoned, are
/// logged by the observer or by the cause of the abandonment.
fn log_failures(outcome: &Outcome) {
    for step in &outcome.steps {
        let Err(error) = &step.result else { continue };
        let container = match &step.subject {
            Subject::Pod | Subject::Volume(_) | Subject::ImageVolume(_) => "",
            Subject::Container(name) => name.as_str(),
        };
        let (pod, uid, verb, reason) = (&outcome.pod, &outcome.uid, step.kind.as_str(), error.reason);
        if error.counts() {
            tracing::warn!(%pod, %uid, container, verb, reason, "failed: {}", error.message);
        } else {
            tracing::debug!(%pod, %uid, container, verb, reason, "step failed: {}", error.message);
        }
    }
}
