//! What evictions need to have measured, and when they go on though nothing else happens.

use jiff::Timestamp;

use super::limits;
use super::{Evictions, LEAST_ROOM, MONITORED, Round, just_after};
use crate::model::eviction::Starved;
use crate::model::later::later;
use crate::model::pods_use::Wanted;
use crate::model::resources::Bytes;
use crate::plan::cgroup::is_critical;
use crate::plan::node::NodeView;

impl NodeView<'_> {
    /// What has to be measured before it goes on; `watched` is [`Self::watched`].
    pub(super) fn wanted(&self, state: &Evictions, watched: Option<i64>, now: Timestamp) -> Wanted {
        let looked_at = later(self.pods_use.at, MONITORED);
        // As long as the disk has more, no pod can have exceeded its limit since.
        let room = watched.map(|room| room.max(LEAST_ROOM));
        let below = room
            .zip(state.limits_free)
            .map(|(room, free)| Bytes(free.0.saturating_sub(room)));
        let is_filling = below.is_some_and(|below| self.measured.nodefs.available < below);
        let for_limits = match watched.is_some() && looked_at <= now {
            true => Some(looked_at),
            false => is_filling.then_some(self.measured.at),
        };
        let for_doubts = (!state.doubted.is_empty()).then(|| just_after(self.pods_use.at));
        let (for_round, of_disk) = match (&state.round, state.attempt) {
            (Round::Ranks(since), Some((starved, _))) => (
                Some(*since),
                matches!(starved, Starved::Storage | Starved::Inodes),
            ),
            _ => (None, false),
        };
        let machine = match state.round {
            Round::Measures(since) | Round::Reclaimed(since) => Some(since),
            _ => state.crossed.outdated_since(&self.policy.eviction, now),
        };
        Wanted {
            machine_since: machine,
            pods_since: for_limits.max(for_round).max(for_doubts),
            with_storage: for_limits.or(for_doubts).is_some() || of_disk,
            nodefs_below: below,
            walked: state.doubted.clone(),
        }
    }

    /// When it goes on though nothing else happens.
    pub(super) fn goes_on_at(
        &self,
        state: &Evictions,
        watched: Option<i64>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let of_round = match &state.round {
            Round::Reclaims(_, until) | Round::Ends(_, until) | Round::Waits(until) => Some(*until),
            Round::Rests | Round::Ranks(_) | Round::Reclaimed(_) | Round::Measures(_) => None,
        };
        let looked_at = watched.map(|_| later(self.pods_use.at, MONITORED));
        let changes = state.crossed.changes_at(&self.policy.eviction, now);
        let all = [of_round, looked_at, changes].into_iter().flatten();
        all.filter(|at| *at > now).min()
    }

    /// How much more of the disk pods may take before one exceeds a limit that nothing but looking at it enforces; `None`: no
    /// pod has such a limit.
    pub(super) fn watched(&self) -> Option<i64> {
        if !self.policy.eviction.limits_storage {
            return None;
        }
        let pods = self.running().filter(|pod| !is_critical(pod));
        pods.filter_map(|pod| limits::room(pod, self.pods_use.pods.get(&pod.uid), self.measured.disks))
            .min()
    }
}
