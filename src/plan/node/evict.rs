//! Evictions: which pods have to make room on a node that is short of memory, disk or processes, and which have taken more
//! of its disk than their limits allow (Kubernetes: *Node-pressure Eviction*;
//! `pkg/kubelet/eviction/eviction_manager.go`).
//!
//! A round makes room once. Where a disk is short, what nothing uses is removed first, and often that is enough. Else what pods
//! use is measured, one pod ends, and when it is gone the machine is measured again. Rounds follow each other until there is
//! enough. Critical pods, which all static pods are, stay.

pub(super) mod admission;
mod ending;
mod limits;
mod measuring;
mod message;
mod rank;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::NodeView;
use super::pressure::Crossed;
use crate::model::end::{End, EvictionCause};
use crate::model::eviction::{EvictionThreshold, NodePressure, Shortage, Signal, Starved};
use crate::model::later::later;
use crate::model::measured::DiskLayout;
use crate::model::pod::{Pod, PodName, PodUid};
use crate::model::pods_use::{PodsUse, Wanted};
use crate::model::resources::Bytes;
use crate::plan::cgroup::is_critical;

/// How often what pods with limits keep on the disk is looked at (`evictionMonitoringPeriod` in `pkg/kubelet`).
const MONITORED: Duration = Duration::from_secs(10);
/// What the disk may lose before the limits of pods that are close to them are looked at, in bytes.
const LEAST_ROOM: i64 = 16 << 20;
/// How long the next pod waits for the end of the one before (`podCleanupTimeout`).
const CLEANED_UP: Duration = Duration::from_secs(30);
/// How long it waits for the removal of what nothing uses.
const RECLAIMED: Duration = Duration::from_secs(60);
/// What pods have that must go at once (`immediateEvictionGracePeriodSeconds`).
const AT_ONCE: Duration = Duration::from_secs(1);

/// How far the node's evictions have come. Losing it is harmless: what has ended is seen, and a round begins anew.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evictions {
    crossed: Crossed,
    round: Round,
    /// When this was decided: the clock may be set back since.
    decided: Timestamp,
    /// Whether it was seen what an agent before this one had begun.
    has_looked: bool,
    /// What pods used when their limits were looked at last.
    limits_seen: Timestamp,
    /// What the node's disk had then.
    limits_free: Option<Bytes>,
    /// The pods that may have to go for numbers that only quotas give.
    doubted: BTreeSet<PodUid>,
    /// Those whose volumes were walked through for that: no better number is to be had.
    walked: BTreeSet<PodUid>,
    attempt: Option<(Starved, Timestamp)>,
}

/// What a round waits for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Round {
    /// Nothing is being done.
    #[default]
    Rests,
    /// The removal of what nothing uses, wanted since then; until the second moment.
    Reclaims(Timestamp, Timestamp),
    /// A measurement of the machine since that was over.
    Reclaimed(Timestamp),
    /// What pods use, measured since then.
    Ranks(Timestamp),
    /// The end of these pods, until then.
    Ends(BTreeMap<PodUid, PodName>, Timestamp),
    /// A measurement of the machine since then.
    Measures(Timestamp),
    /// That moment: no pod can be evicted.
    Waits(Timestamp),
}

/// What there is to do about evictions.
#[derive(Debug)]
pub struct EvictionPlan {
    /// How far it has come.
    pub evictions: Evictions,
    /// The node's conditions.
    pub pressure: NodePressure,
    /// The pods whose end begins now.
    pub due: Vec<Evicted>,
    /// What has to be measured before it goes on.
    pub wanted: Wanted,
    /// Since when dead containers and unused images have to go, if that is decided now.
    pub reclaim: Option<Timestamp>,
    /// When it goes on though nothing else happens.
    pub(super) wake_at: Option<Timestamp>,
}

/// A pod that has to go.
#[derive(Debug)]
pub struct Evicted {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Why it ends.
    pub end: End,
    /// When its end has to be over.
    pub by: Timestamp,
    /// The signal, as in the kubelet's metric `kubelet_evictions`.
    pub signal: &'static str,
}

impl NodeView<'_> {
    /// Decides about evictions. Linear in the number of pods, sorted where one of them must go.
    pub(super) fn evictions(&self, now: Timestamp) -> EvictionPlan {
        // What was measured before the clock was set back says nothing of now.
        let view = match self.pods_use.at > now {
            true => NodeView {
                pods_use: &NOTHING,
                ..*self
            },
            false => *self,
        };
        view.evictions_of_now(now)
    }

    fn evictions_of_now(&self, now: Timestamp) -> EvictionPlan {
        let policy = &self.policy.eviction;
        let mut before = self.decisions.evictions.clone();
        if now < before.decided || self.measured.at < before.crossed.seen {
            // All that it waits for is in the future now.
            before = Evictions {
                has_looked: before.has_looked,
                ..Evictions::default()
            };
        }
        let mut state = Evictions {
            crossed: before.crossed.after(self.measured, policy),
            decided: now,
            ..before.clone()
        };
        let mut due = Vec::new();
        // Nothing ends while the runtime does not answer, and nobody else has to go for that.
        let is_reachable = matches!(self.snapshot.runtime.reachable, Some(Ok(())));
        if self.snapshot.listed && is_reachable && self.shutting_down.is_none() {
            due = self.make_room(&mut state, now);
        }
        let watched = self.watched();
        EvictionPlan {
            pressure: NodePressure {
                short_of: state.crossed.short_of(policy, now),
                attempt: state.attempt,
            },
            wanted: self.wanted(&state, watched, now),
            reclaim: match state.round {
                Round::Reclaims(since, _) if state.round != before.round => Some(since),
                _ => None,
            },
            wake_at: self.goes_on_at(&state, watched, now),
            due,
            evictions: state,
        }
    }

    fn make_room(&self, state: &mut Evictions, now: Timestamp) -> Vec<Evicted> {
        // An agent before this one may have begun.
        if !state.has_looked {
            state.has_looked = true;
            let ending: BTreeMap<_, _> = self.being_evicted().collect();
            if !ending.is_empty() {
                state.round = Round::Ends(ending, later(now, CLEANED_UP));
            }
        }
        state.round = self.advanced(&state.round, now);
        let mut due = self.over_their_limits(state, now);
        if due.is_empty() {
            due.extend(self.next_of_round(state, now));
        }
        if !due.is_empty() {
            let mut pods = match std::mem::take(&mut state.round) {
                Round::Ends(pods, _) => pods,
                _ => BTreeMap::new(),
            };
            pods.extend(due.iter().map(|one| (one.pod.uid.clone(), one.pod.name.clone())));
            state.round = Round::Ends(pods, later(now, CLEANED_UP));
        }
        due
    }

    /// The round, after what it waited for.
    fn advanced(&self, round: &Round, now: Timestamp) -> Round {
        let next = self.after(round, now);
        match next == *round {
            true => next,
            // What comes next may be there already.
            false => self.advanced(&next, now),
        }
    }

    fn after(&self, round: &Round, now: Timestamp) -> Round {
        match round {
            Round::Ends(pods, until) => {
                let all_gone = pods.iter().all(|(uid, name)| self.is_gone(name, uid));
                match all_gone || now >= *until {
                    true => Round::Measures(now),
                    false => round.clone(),
                }
            }
            Round::Reclaims(since, until) => {
                let collected = self.decisions.collected.as_ref().map(|collected| collected.at);
                match collected.filter(|at| at >= since) {
                    Some(at) => Round::Reclaimed(at),
                    None if now >= *until => Round::Reclaimed(now),
                    None => round.clone(),
                }
            }
            Round::Reclaimed(since) if self.measured.at >= *since => Round::Ranks(self.measured.at),
            Round::Measures(since) if self.measured.at >= *since => Round::Rests,
            Round::Waits(until) if now >= *until => Round::Measures(now),
            Round::Rests | Round::Reclaimed(_) | Round::Ranks(..) | Round::Measures(_) | Round::Waits(_) => {
                round.clone()
            }
        }
    }

    /// The pods that take more of the disk than they may, once for each time that it is measured.
    fn over_their_limits(&self, state: &mut Evictions, now: Timestamp) -> Vec<Evicted> {
        let measured = self.pods_use;
        if measured.at <= state.limits_seen {
            return Vec::new();
        }
        state.limits_seen = measured.at;
        state.walked = std::mem::take(&mut state.doubted);
        state.limits_free = Some(self.measured.nodefs.available);
        let is_known = measured.pods.values().any(|own| own.storage.is_some());
        if !self.policy.eviction.limits_storage || !is_known {
            return Vec::new();
        }
        let by = later(now, AT_ONCE);
        let mut over = Vec::new();
        for pod in self.running().filter(|pod| !is_critical(pod)) {
            let used = measured.pods.get(&pod.uid);
            let exceeded = used.and_then(|used| limits::exceeded(pod, used, self.measured.disks));
            let Some(exceeded) = exceeded else {
                continue;
            };
            if !exceeded.is_counted && !state.walked.contains(&pod.uid) {
                state.doubted.insert(pod.uid.clone());
                continue;
            }
            let end = End::Evicted {
                message: exceeded.message,
                cause: EvictionCause::Limit,
                annotations: BTreeMap::new(),
            };
            over.push(Evicted {
                pod: Arc::clone(pod),
                end,
                by,
                signal: exceeded.signal,
            });
        }
        over
    }

    /// The pod that goes next, if one has to and it is known which.
    fn next_of_round(&self, state: &mut Evictions, now: Timestamp) -> Option<Evicted> {
        let met = state.crossed.met(&self.policy.eviction);
        let Some(first) = met.first() else {
            state.attempt = None;
            if matches!(
                state.round,
                Round::Reclaims(..) | Round::Ranks(..) | Round::Waits(_)
            ) {
                state.round = Round::Rests;
            }
            return None;
        };
        // What was begun for something else is not gone on with, unless a pod ends for it.
        let starved = first.signal.starved();
        let is_other = state.attempt.is_some_and(|(attempted, _)| attempted != starved);
        if is_other && !matches!(state.round, Round::Ends(..) | Round::Measures(_)) {
            state.round = Round::Rests;
        }
        if state.round == Round::Rests {
            state.attempt = Some((first.signal.starved(), now));
            state.round = match self.is_reclaimed(first.signal) {
                true => Round::Reclaims(now, later(now, RECLAIMED)),
                false => Round::Ranks(self.measured.at),
            };
        }
        let Round::Ranks(since) = state.round else {
            return None;
        };
        if self.pods_use.at < since {
            return None;
        }
        let is_of_disk = first.signal.shortage() == Shortage::Disk;
        let mut pods = self.pods_use.pods.values().peekable();
        if is_of_disk && pods.peek().is_some() && pods.all(|pod| pod.storage.is_none()) {
            // It takes long to count, and nobody goes for what is not known.
            state.round = Round::Ranks(just_after(self.pods_use.at));
            return None;
        }
        let Some(next) = self.ranked(first, &met, now) else {
            state.round = Round::Waits(later(now, MONITORED));
            return None;
        };
        let used = self.pods_use.pods.get(&next.pod.uid);
        let is_counted = !is_of_disk || used.is_none_or(limits::is_counted);
        if !is_counted && !state.walked.contains(&next.pod.uid) {
            // It may not be the first if its volumes are walked through.
            state.doubted.insert(next.pod.uid.clone());
            return None;
        }
        Some(next)
    }

    fn ranked(
        &self,
        first: &EvictionThreshold,
        met: &[&EvictionThreshold],
        now: Timestamp,
    ) -> Option<Evicted> {
        let running = self.running().filter(|pod| !is_critical(pod));
        let mut pods: Vec<Arc<Pod>> = running.map(|pod| self.allotted(pod)).collect();
        rank::rank(&mut pods, first.signal, self.measured.disks, self.pods_use);
        let pod = pods.into_iter().next()?;
        let used = self.pods_use.pods.get(&pod.uid);
        let (message, annotations) = message::message(&pod, first.signal.starved(), met, self.measured, used);
        let grace = match first.is_hard() {
            true => AT_ONCE,
            // A grace period of zero is one second, as wherever a pod ends.
            false => self
                .policy
                .eviction
                .max_pod_grace
                .unwrap_or(pod.grace)
                .max(AT_ONCE),
        };
        Some(Evicted {
            end: End::Evicted {
                message,
                cause: EvictionCause::Pressure,
                annotations,
            },
            by: later(now, grace),
            signal: first.signal.as_str(),
            pod,
        })
    }

    /// Whether unused images lie on the disk of the signal (`buildSignalToNodeReclaimFuncs`).
    fn is_reclaimed(&self, signal: Signal) -> bool {
        let is_of_images = matches!(signal, Signal::Imagefs | Signal::ImagefsInodes);
        match self.measured.disks {
            DiskLayout::Shared => signal.shortage() == Shortage::Disk,
            DiskLayout::Images | DiskLayout::Split => is_of_images,
        }
    }
}

/// Not measured.
static NOTHING: PodsUse = PodsUse {
    at: Timestamp::UNIX_EPOCH,
    pods: BTreeMap::new(),
};

impl Evictions {
    /// Whether it goes on when pods have ended.
    pub(super) fn awaits_ends(&self) -> bool {
        matches!(self.round, Round::Ends(..))
    }
}

/// The earliest moment at which it is measured anew.
fn just_after(at: Timestamp) -> Timestamp {
    later(at, Duration::from_nanos(1))
}
