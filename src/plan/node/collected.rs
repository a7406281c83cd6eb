//! What a collection of images changes in the node's decisions, and what the node's events tell about it
//! (`StartGarbageCollection` in `pkg/kubelet/kubelet.go`).

use jiff::Timestamp;

use super::NodeDecisions;
use crate::model::collection::{Collected, Collection, CollectionCause, CollectionNews};

/// How far a look at the images has come: first the old ones go, then those for whose room there is need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Round {
    /// When the last look ended.
    pub(super) looked: Option<Timestamp>,
    /// The old ones are removed.
    pub(super) has_removed_old: bool,
    /// When the last removal ended: what was measured before it does not show the room that it has made.
    pub(super) removed: Option<Timestamp>,
    /// For the present lack of room the containers of ended pods are removed.
    pub(super) has_removed_containers: bool,
    /// The last look failed.
    has_failed: bool,
}

impl Round {
    /// Nothing is looked at again before the next one is due.
    pub(super) fn ends(&mut self, now: Timestamp) {
        self.looked = Some(now);
        self.has_removed_old = false;
    }

    /// After the clock was set back to this moment: nothing has happened later.
    pub(super) fn set_back(&self, now: Timestamp) -> Round {
        let earlier = |moment: Option<Timestamp>| moment.map(|moment| moment.min(now));
        Round {
            looked: earlier(self.looked),
            removed: earlier(self.removed),
            ..self.clone()
        }
    }

    /// The look has failed for that reason, which is told if the one before has failed, too: the first one may come too
    /// early.
    pub(super) fn fails(&mut self, why: String) -> Option<CollectionNews> {
        let has_failed = std::mem::replace(&mut self.has_failed, true);
        has_failed.then_some(CollectionNews::FailedAgain(why))
    }

    /// Nothing is wrong.
    pub(super) fn succeeds(&mut self) {
        self.has_failed = false;
    }
}

/// Takes in what a collection brought. Answers what the node's events tell about it.
pub fn finish(
    decisions: &mut NodeDecisions,
    collection: &Collection,
    collected: &Collected,
) -> Vec<CollectionNews> {
    decisions.collecting = None;
    let round = &mut decisions.images.round;
    round.removed = Some(collected.at);
    match collection.why {
        CollectionCause::Pressure if !collection.containers.is_empty() => {
            round.has_removed_containers = true;
            return Vec::new();
        }
        CollectionCause::Pressure => {
            round.has_removed_containers = false;
            // A request that came meanwhile has another collection follow.
            if is_served(decisions.reclaim_wanted, collection) {
                decisions.reclaim_wanted = None;
                decisions.collected = Some(collected.clone());
            }
            return Vec::new();
        }
        CollectionCause::Asked => {
            if is_served(decisions.prune_wanted, collection) {
                decisions.prune_wanted = None;
            }
            return Vec::new();
        }
        // The look goes on with the threshold.
        CollectionCause::Age if collected.failures.is_empty() => {
            round.has_removed_old = true;
            return Vec::new();
        }
        // After a failure the rest waits for the next look, as with the kubelet.
        CollectionCause::Age => round.ends(collected.at),
        CollectionCause::Threshold => {}
    }
    let (insufficient, failure) = failure(collection, collected);
    let again = match failure {
        Some(why) => round.fails(why),
        None => {
            round.succeeds();
            None
        }
    };
    insufficient.into_iter().chain(again).collect()
}

/// Whether nothing is wanted but what the collection was made for. The moments are compared for equality alone: the clock
/// may have been set back since.
fn is_served(wanted: Option<Timestamp>, collection: &Collection) -> bool {
    wanted.is_none() || wanted == collection.serves
}

/// Whether less was freed than was wanted, and the kubelet's error, if it was one.
fn failure(collection: &Collection, collected: &Collected) -> (Option<CollectionNews>, Option<String>) {
    if !collected.failures.is_empty() {
        return (None, Some(why_not_removed(collection, collected)));
    }
    let wanted = collection.wanted.filter(|wanted| collected.bytes < wanted.bytes);
    let news = wanted.map(|wanted| CollectionNews::Insufficient {
        wanted,
        freed: collected.bytes,
    });
    let message = wanted.map(|wanted| wanted.insufficient(collected.bytes));
    (news, message)
}

fn why_not_removed(collection: &Collection, collected: &Collected) -> String {
    let mut texts: Vec<&str> = Vec::new();
    for (_, why) in &collected.failures {
        if !texts.contains(&why.as_str()) {
            texts.push(why);
        }
    }
    let together = match &texts[..] {
        [only] => (*only).to_owned(),
        several => format!("[{}]", several.join(", ")),
    };
    match collection.wanted {
        Some(wanted) => format!(
            "wanted to free {} bytes, but freed {} bytes space with errors in image deletion: {together}",
            wanted.bytes, collected.bytes
        ),
        None => format!("wanted to free old images, encountered errors in image deletion: {together}"),
    }
}
