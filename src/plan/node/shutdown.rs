//! Graceful node shutdown: which pods end now and how long each has, and when the machine need not wait any longer
//! (`killPods` in `pkg/kubelet/nodeshutdown/nodeshutdown_manager.go`).
//!
//! The pods end in groups of rising priority. A group's time begins when the group before it has ended, or when the time
//! of that one is over; a group without pods takes no time. New pods are rejected meanwhile.
//!
//! The end of an API pod is for good. A static pod ends only as long as the machine is shutting down: that is nowhere on
//! disk, so that it runs again after the reboot, or when the shutdown is cancelled.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::NodeView;
use super::apply::forget_end;
use super::occupants::has_ended_in_api;
use crate::model::end::End;
use crate::model::later::later;
use crate::model::memory::{Memory, Remains};
use crate::model::pod::{Desired, Pod, PodName, PodUid, Source};
use crate::model::runtime::ObservedPod;
use crate::model::shutdown::{ShutdownProgress, ShutdownStage};
use crate::plan::need::has_come_to_its_end;

/// How far a shutdown has come. Losing it is harmless: what has ended is seen, and the rest begins with the first group
/// that has pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shutdown {
    /// The moment from which on the machine is shutting down.
    since: Timestamp,
    /// The group whose time it is; the number of groups when no group is left.
    group: usize,
    /// When the time of the group is over, if it has begun.
    until: Option<Timestamp>,
    /// The pods that had to end, or still have to.
    pods: BTreeSet<PodUid>,
}

/// What a shutdown needs now.
#[derive(Debug)]
pub struct ShutdownPlan {
    /// How far it has come.
    pub shutdown: Shutdown,
    /// The pods whose end begins now, and when it has to be over.
    pub due: Vec<(Arc<Pod>, Timestamp)>,
    /// The same for people.
    pub progress: ShutdownProgress,
    /// When it goes on though nothing else happens.
    pub(super) wake_at: Option<Timestamp>,
}

/// Something that has to end before the machine does.
struct Concerned<'a> {
    uid: &'a PodUid,
    group: usize,
    state: State<'a>,
}

/// How far its end has come.
enum State<'a> {
    /// It has not begun.
    Runs(&'a Arc<Pod>),
    /// It is under way, for whatever reason.
    Ends,
    /// Nothing of it runs, and its volumes are gone.
    Ended,
}

impl NodeView<'_> {
    /// `None`: the machine is not shutting down.
    pub(super) fn shutdown(&self, now: Timestamp) -> Option<ShutdownPlan> {
        let since = self.shutting_down?;
        let before = self.decisions.shutdown.as_ref();
        let mut shutdown = match before.filter(|before| before.since == since) {
            Some(before) => before.clone(),
            None => Shutdown {
                since,
                group: 0,
                until: None,
                pods: BTreeSet::new(),
            },
        };
        let last = later(since, self.policy.shutdown.total());
        // What runs, and what of it is a static pod, is known in a moment, unless the runtime does not answer at all.
        let is_known = self.snapshot.listed && self.desired.files.is_some();
        if !is_known && now < last {
            shutdown.until = None;
            return Some(self.plan_of(shutdown, &[], Some(last), now));
        }
        let mut concerned = self.concerned();
        concerned.retain(|one| !matches!(one.state, State::Ended) || shutdown.pods.contains(one.uid));
        shutdown.pods.extend(concerned.iter().map(|one| one.uid.clone()));
        let groups = self.policy.shutdown.groups();
        while let Some(group) = groups.get(shutdown.group) {
            let waits =
                |one: &Concerned<'_>| one.group == shutdown.group && !matches!(one.state, State::Ended);
            let begun = || later(now, group.period);
            let until = *shutdown.until.get_or_insert_with(begun);
            if now < until && concerned.iter().any(waits) {
                break;
            }
            shutdown.group += 1;
            shutdown.until = None;
        }
        let wake_at = shutdown.until;
        Some(self.plan_of(shutdown, &concerned, wake_at, now))
    }

    fn plan_of(
        &self,
        shutdown: Shutdown,
        concerned: &[Concerned<'_>],
        wake_at: Option<Timestamp>,
        now: Timestamp,
    ) -> ShutdownPlan {
        let groups = self.policy.shutdown.groups();
        let mut due: Vec<_> = concerned
            .iter()
            .filter(|one| one.group <= shutdown.group)
            .collect();
        due.sort_by_key(|one| one.group);
        let due = due.into_iter().filter_map(|one| match one.state {
            State::Runs(pod) => {
                let own = pod.deletion.as_ref().map_or(pod.grace, |deletion| deletion.grace);
                let grace = own.min(groups.get(one.group)?.period);
                Some((pod.clone(), later(now, grace)))
            }
            State::Ends | State::Ended => None,
        });
        let is_left = |one: &&Concerned<'_>| !matches!(one.state, State::Ended);
        let left = concerned.iter().filter(is_left).count();
        let stage = match (groups.get(shutdown.group), wake_at) {
            (Some(group), Some(until)) => ShutdownStage::Group {
                priority: group.priority,
                until,
            },
            _ => ShutdownStage::Over,
        };
        ShutdownPlan {
            due: due.collect(),
            progress: ShutdownProgress {
                since: shutdown.since,
                pods: shutdown.pods.len(),
                ended: shutdown.pods.len().saturating_sub(left),
                stage,
            },
            wake_at,
            shutdown,
        }
    }

    /// What runs or has to be cleared away.
    fn concerned(&self) -> Vec<Concerned<'_>> {
        let nothing = ObservedPod::default();
        let periods = &self.policy.shutdown;
        let own = self.desired.pods().filter_map(|pod| {
            let name = self.snapshot.pods.get(&pod.name);
            let seen = name.and_then(|name| name.uids.get(&pod.uid)).unwrap_or(&nothing);
            Some(Concerned {
                uid: &pod.uid,
                group: periods.group_of(pod.priority.unwrap_or(0)),
                state: self.state(pod, seen)?,
            })
        });
        // What no source wants is ended already; its priority is not known any more.
        let others = self.snapshot.pods.iter().flat_map(|(name, observed)| {
            let wanted = self.desired.get(name).map(|pod| &pod.uid);
            let is_removed = move |uid: &PodUid| {
                let is_other = Some(uid) != wanted && Some(uid) != self.desired.unsupported(name);
                is_other && self.desired.complete_for(observed)
            };
            let living = observed.uids.iter().filter(|(_, seen)| seen.lives());
            living
                .filter(move |(uid, _)| is_removed(uid))
                .map(|(uid, _)| Concerned {
                    uid,
                    group: periods.group_of(0),
                    state: State::Ends,
                })
        });
        own.chain(others).collect()
    }

    /// The pods that run and whose end has not begun.
    pub(super) fn running(&self) -> impl Iterator<Item = &Arc<Pod>> {
        let nothing = ObservedPod::default();
        self.desired.pods().filter(move |pod| {
            let name = self.snapshot.pods.get(&pod.name);
            let seen = name.and_then(|name| name.uids.get(&pod.uid)).unwrap_or(&nothing);
            matches!(self.state(pod, seen), Some(State::Runs(_)))
        })
    }

    /// `None`: the shutdown does not concern it, since it has ended for another reason, or does not run here.
    fn state<'a>(&self, pod: &'a Arc<Pod>, seen: &ObservedPod) -> Option<State<'a>> {
        let memory = self.remembered(pod);
        let is_cleared = memory.is_some_and(|memory| memory.remains != Remains::Everything) && !seen.lives();
        let living = || seen.lives().then_some(State::Ends);
        match memory.and_then(|memory| memory.ended.as_ref()) {
            Some(End::Shutdown) if is_cleared => Some(State::Ended),
            Some(End::Shutdown) => Some(State::Ends),
            Some(_) => living(),
            None if is_cleared => None,
            None if has_ended_in_api(pod) => living(),
            None if pod.deletion.is_some() => Some(State::Runs(pod)),
            None if !self.is_admitted(pod) => None,
            // What has succeeded does not become a failure because its sandbox is still there.
            None if has_come_to_its_end(pod, seen) => living(),
            None => Some(State::Runs(pod)),
        }
    }
}

/// The machine is not shutting down any more: forgets the ends of static pods, which run again. Answers which they are.
pub fn resume(desired: &Desired, memory: &mut Memory) -> Vec<PodName> {
    let is_over = |pod: &&Arc<Pod>| {
        let own = memory.pods.get(&pod.name).filter(|own| own.uid == pod.uid);
        pod.source != Source::Api && own.is_some_and(|own| own.ended == Some(End::Shutdown))
    };
    let over: Vec<_> = desired.pods().filter(is_over).collect();
    for pod in &over {
        forget_end(memory, pod);
    }
    over.into_iter().map(|pod| pod.name.clone()).collect()
}
