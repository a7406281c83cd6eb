//! What is remembered of the images: since when each is there, and when it was used last.
//!
//! It is brought up to date by each plan of the node. While neither the images nor the containers change that costs no
//! more than comparing them with what was seen last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::collected::Round;
use crate::model::difference::differing;
use crate::model::pod::PodName;
use crate::model::runtime::{ObservedImage, ObservedName, Snapshot};

/// What is remembered of the images. Losing it is harmless, as with the kubelet: images count as first seen now.
#[derive(Debug, Clone, Default)]
pub struct ImageRecords {
    /// By ID.
    uses: Arc<BTreeMap<String, ImageUse>>,
    /// What that was read from last.
    seen: Option<Arc<Seen>>,
    /// When that was still so.
    at: Timestamp,
    /// When the agent began to look.
    pub(super) began: Option<Timestamp>,
    /// How far the present look has come.
    pub(super) round: Round,
}

/// The part of a snapshot by which images are used.
#[derive(Debug)]
struct Seen {
    images: Arc<Vec<ObservedImage>>,
    pods: BTreeMap<PodName, Arc<ObservedName>>,
}

impl Seen {
    fn is_same(&self, snapshot: &Snapshot) -> bool {
        self.images == snapshot.images && differing(&self.pods, &snapshot.pods).next().is_none()
    }
}

/// When an image was there and used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ImageUse {
    detected: Timestamp,
    last: LastUse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastUse {
    /// It was not seen to be used.
    Never,
    /// It was used then.
    At(Timestamp),
    /// A container uses it.
    Now,
}

/// What is known of one image.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownUse {
    /// When it was seen first.
    pub(super) detected: Timestamp,
    /// When a container was last seen to use it.
    pub(super) last_used: Option<Timestamp>,
    /// Whether one uses it now.
    pub(super) is_used: bool,
}

impl ImageRecords {
    /// With what is seen now.
    pub(super) fn looked_at(&self, snapshot: &Snapshot, now: Timestamp) -> ImageRecords {
        if now < self.at {
            return self.set_back(now).looked_at(snapshot, now);
        }
        let began = self.began.or(Some(now));
        match self.seen.as_ref().filter(|seen| seen.is_same(snapshot)) {
            Some(_) => ImageRecords {
                at: now,
                began,
                ..self.clone()
            },
            None => ImageRecords {
                uses: Arc::new(self.uses_in(snapshot, now)),
                seen: Some(Arc::new(Seen {
                    images: snapshot.images.clone(),
                    pods: snapshot.pods.clone(),
                })),
                at: now,
                began,
                round: self.round.clone(),
            },
        }
    }

    fn uses_in(&self, snapshot: &Snapshot, now: Timestamp) -> BTreeMap<String, ImageUse> {
        let used = used(snapshot);
        let uses = snapshot.images.iter().map(|image| {
            let before = self.uses.get(&image.id);
            let last = match before.map_or(LastUse::Never, |before| before.last) {
                _ if is_used(image, &used) => LastUse::Now,
                LastUse::Now => LastUse::At(self.at),
                past => past,
            };
            let detected = before.map_or(now, |before| before.detected);
            (image.id.clone(), ImageUse { detected, last })
        });
        uses.collect()
    }

    /// After the clock was set back: nothing has happened later than now. Otherwise no image would be old, and no look
    /// due, until the clock has caught up.
    fn set_back(&self, now: Timestamp) -> ImageRecords {
        let uses = self.uses.iter().map(|(id, uses)| {
            let last = match uses.last {
                LastUse::At(moment) => LastUse::At(moment.min(now)),
                other => other,
            };
            let detected = uses.detected.min(now);
            (id.clone(), ImageUse { detected, last })
        });
        ImageRecords {
            uses: Arc::new(uses.collect()),
            seen: self.seen.clone(),
            at: now,
            began: self.began.map(|began| began.min(now)),
            round: self.round.set_back(now),
        }
    }

    /// What is known of the image with that ID.
    pub(super) fn of(&self, id: &str) -> Option<KnownUse> {
        let uses = self.uses.get(id)?;
        Some(KnownUse {
            detected: uses.detected,
            last_used: match uses.last {
                LastUse::Never => None,
                LastUse::At(moment) => Some(moment),
                LastUse::Now => Some(self.at),
            },
            is_used: uses.last == LastUse::Now,
        })
    }

    /// Has the next plan look at the images.
    #[cfg(test)]
    pub(super) fn forget_looks(&mut self) {
        self.round = Round::default();
    }

    /// Whether nothing was read from a snapshot since the other one.
    #[cfg(test)]
    pub(super) fn is_reading_of(&self, other: &ImageRecords) -> bool {
        Arc::ptr_eq(&self.uses, &other.uses)
    }
}

/// What containers use, as the runtime refers to it.
fn used(snapshot: &Snapshot) -> BTreeSet<&str> {
    let pods = snapshot.pods.values().flat_map(|name| name.uids.values());
    let containers = pods.flat_map(|pod| &pod.containers);
    let images = containers.flat_map(|container| {
        let own = [&container.image, &container.image_ref];
        own.into_iter().chain(&container.mounted_images)
    });
    images.map(String::as_str).collect()
}

fn is_used(image: &ObservedImage, used: &BTreeSet<&str>) -> bool {
    image.ways().any(|way| used.contains(way))
}
