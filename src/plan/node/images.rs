//! The collection of images (`pkg/kubelet/images/image_gc_manager.go`): which go, in which order, and when.
//!
//! Every five minutes those go that have not been used for `imageMaximumGCAge`; then, where their file system is used to
//! `imageGCHighThresholdPercent`, the least recently used ones until it is used to `imageGCLowThresholdPercent`. A
//! person's request, and the node's lack of room, have all go at once; a lack of room has the containers of ended pods
//! removed before, whose images are unused then.
//!
//! An image stays while a container uses it, running or not, also as a volume; while it is pinned, [`Provided`], or has
//! been known for less than `imageMinimumGCAge`. Other than with the kubelet, it also stays while a pod names it: the pod
//! is about to start, and there need not be a registry from which it comes back. For the same reason the maximum age of an
//! image that was never used begins when it was first seen; the kubelet removes such an image at once.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use super::NodeView;
use super::image_names::names;
use super::image_records::{ImageRecords, KnownUse};
use super::occupants::has_ended_in_api;
use crate::model::collection::{
    Collection, CollectionCause, CollectionNews, EndedPod, Fate, NO_CAPACITY, Provided, SurveyedImage,
    UnusedImage, WantedRoom, WhyKept,
};
use crate::model::measured::FsUsage;
use crate::model::pod::{Pod, Source};
use crate::model::runtime::ObservedImage;
use crate::plan::gc;

/// How often images are looked at (`ImageGCPeriod` in `pkg/kubelet/kubelet.go`).
const PERIOD: Duration = Duration::from_secs(300);

/// What is to be done about images.
#[derive(Debug, Default)]
pub(super) struct ImagesPlan {
    pub(super) records: ImageRecords,
    pub(super) collect: Option<Collection>,
    pub(super) news: Vec<CollectionNews>,
    pub(super) wake_at: Option<Timestamp>,
    /// A measurement of the machine that began at this moment or later is needed.
    pub(super) measure_since: Option<Timestamp>,
}

/// What the agent knows of each image: those that may be removed in their order, then the others.
pub fn survey(view: NodeView<'_>, now: Timestamp) -> Vec<SurveyedImage> {
    let records = view.decisions.images.looked_at(view.snapshot, now);
    let nothing = Provided::default();
    view.survey(&records, view.provided.unwrap_or(&nothing), now)
}

impl NodeView<'_> {
    /// Brings what is remembered up to date, and decides whether something is to be removed. The images are surveyed only
    /// for that.
    pub(super) fn images(&self, now: Timestamp) -> ImagesPlan {
        let before = &self.decisions.images;
        if !self.snapshot.listed {
            return ImagesPlan {
                records: before.clone(),
                ..ImagesPlan::default()
            };
        }
        let mut plan = ImagesPlan {
            records: before.looked_at(self.snapshot, now),
            ..ImagesPlan::default()
        };
        let is_reachable = matches!(self.snapshot.runtime.reachable, Some(Ok(())));
        let Some(provided) = self
            .provided
            .filter(|_| is_reachable && self.desired.files.is_some())
        else {
            return plan;
        };
        if self.decisions.collecting.is_some() {
            return plan;
        }
        plan.collect = self.requested(&plan.records, provided, now);
        if plan.collect.is_none() && self.shutting_down.is_none() && self.collects_by_itself() {
            self.look(&mut plan, provided, now);
        }
        plan
    }

    /// With thresholds that are never reached the kubelet does not look at images at all.
    fn collects_by_itself(&self) -> bool {
        let policy = &self.policy.images;
        policy.high_percent < 100 || policy.max_age.is_some()
    }

    /// What everything that is unused is removed for.
    fn requested(&self, records: &ImageRecords, provided: &Provided, now: Timestamp) -> Option<Collection> {
        let decisions = self.decisions;
        let collection = |why, serves, images, containers| Collection {
            images,
            containers,
            why,
            serves: Some(serves),
            wanted: None,
        };
        let unused = || unused(&self.survey(records, provided, now), |_| true);
        if let Some(wanted) = decisions.reclaim_wanted {
            let ended = match records.round.has_removed_containers {
                true => Vec::new(),
                false => self.ended_pods(),
            };
            let images = if ended.is_empty() { unused() } else { Vec::new() };
            return Some(collection(CollectionCause::Pressure, wanted, images, ended));
        }
        let wanted = decisions.prune_wanted?;
        Some(collection(CollectionCause::Asked, wanted, unused(), Vec::new()))
    }

    /// The regular look, when it is due.
    fn look(&self, plan: &mut ImagesPlan, provided: &Provided, now: Timestamp) {
        let due = plan.records.round.looked.map(|looked| looked + PERIOD);
        if let Some(due) = due.filter(|due| *due > now) {
            plan.wake_at = Some(due);
            return;
        }
        let collection = |why, images, wanted| Collection {
            images,
            containers: Vec::new(),
            why,
            serves: None,
            wanted,
        };
        if !plan.records.round.has_removed_old {
            let old = self.old(&plan.records, provided, now);
            if !old.is_empty() {
                plan.collect = Some(collection(CollectionCause::Age, old, None));
                return;
            }
        }
        // A removal may have made room enough: the look goes on when that is measured.
        let removed = plan.records.round.removed;
        if removed.is_some_and(|removed| self.measured.at < removed) && self.measured.imagefs.is_some() {
            plan.measure_since = removed;
            return;
        }
        let round = &mut plan.records.round;
        round.ends(now);
        plan.wake_at = Some(now + PERIOD);
        let Some(disk) = &self.measured.imagefs else {
            return;
        };
        match room(
            disk,
            self.policy.images.high_percent,
            self.policy.images.low_percent,
        ) {
            Room::Unknown => {
                plan.news.push(CollectionNews::InvalidCapacity);
                plan.news.extend(round.fails(NO_CAPACITY.to_owned()));
            }
            Room::Enough => round.succeeds(),
            Room::Wanted(wanted) => {
                let images = unused(&self.survey(&plan.records, provided, now), |_| true);
                plan.collect = Some(collection(CollectionCause::Threshold, images, Some(wanted)));
            }
        }
    }

    /// The images that have not been used for the maximum age. None before the agent has run for as long: until then it
    /// does not know.
    fn old(&self, records: &ImageRecords, provided: &Provided, now: Timestamp) -> Vec<UnusedImage> {
        let is_older = |since: Timestamp, age: Duration| {
            let since = now.duration_since(since);
            !since.is_negative() && since.unsigned_abs() > age
        };
        let began = records.began.unwrap_or(now);
        let Some(age) = self.policy.images.max_age.filter(|age| is_older(began, *age)) else {
            return Vec::new();
        };
        unused(&self.survey(records, provided, now), |image| {
            is_older(image.last_used.unwrap_or(image.detected), age)
        })
    }

    /// What these records say of each image, in order. They are of the present snapshot.
    fn survey(&self, records: &ImageRecords, provided: &Provided, now: Timestamp) -> Vec<SurveyedImage> {
        let named = names(self.desired, |pod| self.stays_ended(pod));
        let min_age = self.policy.images.min_age;
        let fate = |image: &ObservedImage, uses: KnownUse| {
            let is_of = |names: &BTreeSet<String>| image.tags.iter().any(|tag| names.contains(tag));
            let age = now.duration_since(uses.detected);
            if uses.is_used {
                Fate::Stays(WhyKept::InUse)
            } else if named.contain(image.ways()) {
                Fate::Stays(WhyKept::Named)
            } else if is_of(&provided.sandbox) {
                Fate::Stays(WhyKept::Sandbox)
            } else if image.pinned {
                Fate::Stays(WhyKept::Pinned)
            } else if is_of(&provided.archives) {
                Fate::Stays(WhyKept::Archive)
            } else if age.is_negative() || age.unsigned_abs() < min_age {
                Fate::Stays(WhyKept::New)
            } else {
                Fate::Goes(0)
            }
        };
        let known = self.snapshot.images.iter().filter_map(|image| {
            let uses = records.of(&image.id)?;
            Some(SurveyedImage {
                fate: fate(image, uses),
                image: UnusedImage {
                    id: image.id.clone(),
                    names: image.tags.iter().chain(&image.digests).cloned().collect(),
                    size: image.size,
                },
                detected: uses.detected,
                last_used: uses.last_used,
            })
        });
        in_order(known.collect())
    }

    /// Whether the pod has ended for good: it does not start containers any more.
    fn stays_ended(&self, pod: &Pod) -> bool {
        let is_ended = self.remembered(pod).is_some_and(|memory| memory.ended.is_some());
        pod.source == Source::Api && (is_ended || has_ended_in_api(pod))
    }

    /// The pods whose end the API server has, and of which there are still dead containers or sandboxes
    /// (`DeleteAllUnusedContainers`). The end of any other pod is read from its containers, so those stay.
    fn ended_pods(&self) -> Vec<EndedPod> {
        let ended = self.desired.pods().filter(|pod| has_ended_in_api(pod));
        let with_remains = ended.filter_map(|pod| {
            let name = self.snapshot.pods.get(&pod.name)?;
            let seen = name.uids.get(&pod.uid)?;
            let stages = gc::ended(pod, seen, self.policy);
            (!seen.lives() && !stages.is_empty()).then(|| EndedPod {
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
                stages,
            })
        });
        with_remains.collect()
    }
}

/// Those that go, if `which` says so.
fn unused(survey: &[SurveyedImage], which: impl Fn(&SurveyedImage) -> bool) -> Vec<UnusedImage> {
    let goes = |image: &&SurveyedImage| matches!(image.fate, Fate::Goes(_)) && which(image);
    survey
        .iter()
        .filter(goes)
        .map(|image| image.image.clone())
        .collect()
}

/// The least recently used ones first, never used ones before those; then those that were seen first
/// (`byLastUsedAndDetected`). What stays comes last.
fn in_order(mut images: Vec<SurveyedImage>) -> Vec<SurveyedImage> {
    images.sort_by(|a, b| {
        let key = |image: &SurveyedImage| {
            let stays = matches!(image.fate, Fate::Stays(_));
            (stays, image.last_used, image.detected)
        };
        key(a).cmp(&key(b)).then_with(|| a.image.id.cmp(&b.image.id))
    });
    let mut before = 0..;
    for image in &mut images {
        if let Fate::Goes(place) = &mut image.fate {
            *place = before.next().unwrap_or(u32::MAX);
        }
    }
    images
}

/// Whether the images' file system has room.
#[derive(Debug, PartialEq, Eq)]
enum Room {
    Enough,
    Wanted(WantedRoom),
    /// It has no size.
    Unknown,
}

/// In whole percent, as the kubelet computes it.
fn room(disk: &FsUsage, high: u8, low: u8) -> Room {
    let (capacity, available) = (i128::from(disk.capacity.0), i128::from(disk.available.0));
    if capacity <= 0 {
        return Room::Unknown;
    }
    let available = available.min(capacity);
    let used_percent = 100 - available * 100 / capacity;
    if used_percent < i128::from(high) {
        return Room::Enough;
    }
    let bytes = capacity * (100 - i128::from(low)) / 100 - available;
    Room::Wanted(WantedRoom {
        bytes: u64::try_from(bytes).unwrap_or(0),
        used_percent: i64::try_from(used_percent).unwrap_or(100),
        capacity: disk.capacity,
    })
}
