//! The collection of images: who stays, who goes first, and when.

use super::*;
use crate::model::collection::{CollectionCause, EndedPod, Fate, UnusedImage, WhyKept};
use crate::model::measured::FsUsage;
use crate::model::pod::{Volume, VolumeSource};
use crate::model::resources::Bytes;
use crate::model::runtime::ObservedImage;
use crate::model::step::Step;

const GIB: i64 = 1 << 30;
/// The period of the looks, and `imageMinimumGCAge`.
const PERIOD: i64 = 300;
const MIN_AGE: i64 = 120;

fn image(name: &str, size: u64) -> ObservedImage {
    ObservedImage {
        id: format!("sha256:{name}"),
        tags: vec![format!("docker.io/library/{name}:1")],
        digests: vec![format!("docker.io/library/{name}@sha256:{name}")],
        size,
        pinned: false,
    }
}

fn disk(used_percent: i64) -> FsUsage {
    FsUsage {
        capacity: Bytes(100 * GIB),
        available: Bytes((100 - used_percent) * GIB),
        inodes: 1,
        inodes_free: 1,
    }
}

/// An API pod with one container of that image.
fn pod_of(name: &str, image: &str) -> Pod {
    let mut pod = pod(name, 1);
    pod.containers[0].image = image.to_owned();
    pod
}

fn ended(mut pod: Pod) -> Pod {
    let status = serde_json::json!({"phase": "Succeeded"});
    Arc::make_mut(&mut pod.object).status = Some(serde_json::from_value(status).unwrap());
    pod
}

impl Node {
    fn with_images(images: Vec<ObservedImage>) -> Node {
        let mut node = Node::new();
        node.snapshot.images = Arc::new(images);
        node.snapshot.runtime.reachable = Some(Ok(()));
        node.provided = Some(Provided::default());
        node.measured.imagefs = Some(disk(50));
        node.policy.images.min_age = std::time::Duration::from_secs(120);
        node
    }

    /// A container of the pod is there, which uses what the runtime calls so.
    fn has_container(&mut self, pod: &Pod, reference: &str, is_running: bool) {
        let state = match is_running {
            true => sample::running(0),
            false => sample::exited(0, 1, 0),
        };
        let mut container = sample::instance("c", 0, 0, state);
        container.image = reference.to_owned();
        container.image_ref = reference.to_owned();
        let sandbox = sample::sandbox(0, is_running, 0);
        let mut observed = sample::observed(vec![sandbox], vec![container]);
        let seen = observed.uids.remove(&sample::uid("u1")).unwrap();
        observed.uids.insert(pod.uid.clone(), seen);
        self.snapshot.pods.insert(pod.name.clone(), Arc::new(observed));
    }

    /// Measures and plans at that second, as the loop does; what is to be removed.
    fn looks(&mut self, second: i64) -> Option<Collection> {
        self.measured.at = at(second);
        self.plans(second)
    }

    /// Plans without a measurement.
    fn plans(&mut self, second: i64) -> Option<Collection> {
        self.now = at(second);
        let plan = plan(self.view(), self.now);
        self.decisions.images = plan.images;
        self.decisions.collecting = plan.collect.clone().map(Arc::new);
        plan.collect
    }

    /// Carries out a collection, without these images.
    fn removes(&mut self, collection: &Collection, failing: &[&str]) -> Collected {
        let mut collected = Collected::at(self.now);
        for image in &collection.images {
            let enough = collection
                .wanted
                .is_some_and(|wanted| collected.bytes >= wanted.bytes);
            if enough {
                break;
            }
            if failing.iter().any(|name| image.id.ends_with(name)) {
                collected.failures.push((image.clone(), "no".to_owned()));
                continue;
            }
            collected.bytes += image.size;
            collected.images.push(image.clone());
            Arc::make_mut(&mut self.snapshot.images).retain(|present| present.id != image.id);
        }
        collected
    }

    fn finishes(&mut self, collection: &Collection, collected: &Collected) -> Vec<CollectionNews> {
        finish(&mut self.decisions, collection, collected)
    }
}

fn ids(images: &[UnusedImage]) -> Vec<&str> {
    images.iter().map(|image| &image.id["sha256:".len()..]).collect()
}

fn fate(node: &Node, name: &str) -> Fate {
    let survey = survey(node.view(), node.now);
    let found = survey
        .iter()
        .find(|known| known.image.id == format!("sha256:{name}"));
    found.unwrap().fate
}

#[test]
fn an_image_that_something_needs_stays_whoever_asks() {
    let names = [
        "run", "dead", "named", "digest", "volume", "pinned", "pause", "archive", "free",
    ];
    let mut node = Node::with_images(names.iter().map(|name| image(name, 1)).collect());
    Arc::make_mut(&mut node.snapshot.images)[5].pinned = true;
    let provided = node.provided.as_mut().unwrap();
    provided.sandbox.insert("docker.io/library/pause:1".to_owned());
    provided.archives.insert("docker.io/library/archive:1".to_owned());
    let (runs, dead) = (pod_of("runs", "other"), pod_of("dead", "other"));
    node.has_container(&runs, "docker.io/library/run@sha256:run", true);
    node.has_container(&dead, "sha256:dead", false);
    node.wants(pod_of("named", "named:1"));
    node.wants(of_file(pod_of(
        "digest",
        "docker.io/library/digest:old@sha256:digest",
    )));
    let mut mounts = pod_of("mounts", "other");
    mounts.volumes.push(Volume {
        name: "v".to_owned(),
        source: VolumeSource::Image {
            reference: "volume:1".to_owned(),
            pull: crate::model::pod::PullPolicy::IfNotPresent,
        },
    });
    node.wants(mounts);
    node.looks(0);
    assert_eq!(fate(&node, "free"), Fate::Stays(WhyKept::New));
    node.now = at(MIN_AGE);
    for (name, why) in [
        ("run", WhyKept::InUse),
        ("dead", WhyKept::InUse),
        ("named", WhyKept::Named),
        ("digest", WhyKept::Named),
        ("volume", WhyKept::Named),
        ("pinned", WhyKept::Pinned),
        ("pause", WhyKept::Sandbox),
        ("archive", WhyKept::Archive),
    ] {
        assert_eq!(fate(&node, name), Fate::Stays(why), "{name}");
    }
    assert_eq!(fate(&node, "free"), Fate::Goes(0));
    node.decisions.prune_wanted = Some(at(MIN_AGE));
    let collection = node.looks(MIN_AGE).unwrap();
    assert_eq!(
        (ids(&collection.images), collection.why),
        (vec!["free"], CollectionCause::Asked)
    );
    // While something is removed, nothing else is decided.
    assert!(node.looks(MIN_AGE + 1).is_none());
    // A pod comes while it is removed.
    assert!(!is_named(&node.desired, &collection.images[0]));
    node.wants(pod_of("late", "free:1"));
    assert!(is_named(&node.desired, &collection.images[0]));
}

#[test]
fn over_the_threshold_the_least_recently_used_go_until_there_is_room() {
    let names = ["c", "b", "a", "never"];
    let mut node = Node::with_images(names.iter().map(|name| image(name, 4 << 30)).collect());
    // Each is used for a while, one after the other.
    for (second, name) in [(0, "a"), (10, "b"), (20, "c")] {
        let user = pod_of(name, "other");
        node.has_container(&user, &format!("sha256:{name}"), true);
        node.looks(second);
        node.snapshot.pods.clear();
    }
    node.measured.imagefs = Some(disk(90));
    assert!(node.looks(PERIOD - 1).is_none(), "it looks every five minutes");
    assert_eq!(plan(node.view(), node.now).wake_at, Some(at(PERIOD)));
    let collection = node.looks(PERIOD).unwrap();
    assert_eq!(collection.why, CollectionCause::Threshold);
    assert_eq!(ids(&collection.images), ["never", "a", "b", "c"]);
    let wanted = collection.wanted.unwrap();
    assert_eq!((wanted.bytes, wanted.used_percent), (10 << 30, 90));
    let collected = node.removes(&collection, &[]);
    assert_eq!(ids(&collected.images), ["never", "a", "b"]);
    assert_eq!(node.finishes(&collection, &collected), []);
    // There is room for five minutes.
    assert!(node.looks(PERIOD + 1).is_none());
}

#[test]
fn too_little_room_and_failures_are_told() {
    let mut node = Node::with_images(vec![image("a", 1), image("b", 2)]);
    node.measured.imagefs = Some(disk(85));
    node.looks(0);
    // The first look found nothing old enough.
    let first = node.decisions.collecting.clone().unwrap();
    let news = node.finishes(&first, &Collected::at(at(0)));
    assert!(
        matches!(news[..], [CollectionNews::Insufficient { freed: 0, .. }]),
        "{news:?}"
    );
    // Where removing fails there is an event only the second time, with all that did not go.
    let collection = node.looks(PERIOD).unwrap();
    let collected = node.removes(&collection, &["a"]);
    assert_eq!(ids(&collected.images), ["b"], "the rest goes on");
    let news = node.finishes(&collection, &collected);
    let wanted = collection.wanted.unwrap().bytes;
    let expected =
        format!("wanted to free {wanted} bytes, but freed 2 bytes space with errors in image deletion: no");
    assert_eq!(news, [CollectionNews::FailedAgain(expected)]);
    let no_size = |node: &mut Node, second: i64| {
        node.now = at(second);
        let plan = plan(node.view(), node.now);
        node.decisions.images = plan.images;
        plan.image_news
    };
    // Success ends it.
    node.measured.imagefs = Some(disk(50));
    assert!(node.looks(2 * PERIOD).is_none());
    node.measured.imagefs = Some(FsUsage::default());
    let invalid = CollectionNews::InvalidCapacity;
    assert_eq!(no_size(&mut node, 3 * PERIOD), std::slice::from_ref(&invalid));
    let again = CollectionNews::FailedAgain("invalid capacity 0 on image filesystem".to_owned());
    assert_eq!(no_size(&mut node, 4 * PERIOD), [invalid, again]);
}

#[test]
fn old_images_go_once_the_agent_has_run_for_that_long() {
    let mut node = Node::with_images(vec![image("old", 1), image("used", 1)]);
    node.policy.images.max_age = Some(std::time::Duration::from_secs(3600));
    let user = pod_of("user", "other");
    node.has_container(&user, "sha256:used", true);
    assert!(node.looks(0).is_none());
    assert!(node.looks(3600).is_none());
    let collection = node.looks(3600 + PERIOD).unwrap();
    assert_eq!(
        (ids(&collection.images), collection.why),
        (vec!["old"], CollectionCause::Age)
    );
    // A failure waits for the next look, and holds nothing else up.
    let collected = node.removes(&collection, &["old"]);
    assert_eq!(node.finishes(&collection, &collected), []);
    assert!(node.looks(3600 + PERIOD + 1).is_none());
    let again = node.looks(3600 + 2 * PERIOD).unwrap();
    let collected = node.removes(&again, &["old"]);
    assert_eq!(node.finishes(&again, &collected).len(), 1);
    // After the old ones the same look goes on with the threshold.
    let once_more = node.looks(3600 + 3 * PERIOD).unwrap();
    let collected = node.removes(&once_more, &[]);
    node.finishes(&once_more, &collected);
    node.measured.imagefs = Some(disk(99));
    let threshold = node.looks(3600 + 3 * PERIOD).unwrap();
    assert_eq!(
        (threshold.why, threshold.images.len()),
        (CollectionCause::Threshold, 0)
    );
}

#[test]
fn nothing_is_decided_before_everything_is_known() {
    let wants_all = |change: fn(&mut Node)| {
        let mut node = Node::with_images(vec![image("a", 1)]);
        node.measured.imagefs = Some(disk(99));
        node.looks(-1000);
        node.decisions.collecting = None;
        node.decisions.prune_wanted = Some(at(0));
        change(&mut node);
        node.looks(0).is_some()
    };
    assert!(wants_all(|_| {}));
    assert!(!wants_all(|node| node.snapshot.listed = false));
    assert!(!wants_all(
        |node| node.snapshot.runtime.reachable = Some(Err("away".to_owned()))
    ));
    assert!(!wants_all(|node| node.provided = None));
    assert!(!wants_all(|node| node.desired.files = None));
    // With thresholds that are never reached nothing is collected by itself.
    assert!(!wants_all(|node| {
        node.decisions.prune_wanted = None;
        node.policy.images.high_percent = 100;
    }));
    assert!(!wants_all(|node| {
        node.decisions.prune_wanted = None;
        node.shutting_down = Some(at(0));
    }));
}

#[test]
fn a_lack_of_room_removes_the_containers_of_ended_pods_and_then_their_images() {
    let mut node = Node::with_images(vec![image("job", 7), image("rest", 1)]);
    let (job, static_job) = (ended(pod_of("job", "job:1")), of_file(pod_of("kept", "other")));
    for pod in [&job, &static_job] {
        node.wants(pod.clone());
    }
    node.has_container(&job, "sha256:job", false);
    // Whether this one has ended is known from its containers alone.
    node.has_container(&static_job, "sha256:other", false);
    node.looks(0);
    node.decisions.reclaim_wanted = Some(at(PERIOD));
    let first = node.looks(PERIOD).unwrap();
    assert_eq!((first.why, first.images.len()), (CollectionCause::Pressure, 0));
    let [EndedPod { pod, stages, .. }] = &first.containers[..] else {
        panic!("{first:?}");
    };
    assert_eq!(*pod, job.name);
    let kinds: Vec<Vec<_>> = stages
        .iter()
        .map(|stage| stage.iter().map(Step::kind).map(|kind| kind.as_str()).collect())
        .collect();
    assert_eq!(kinds.concat().len(), 3, "{kinds:?}");
    node.snapshot.pods.remove(&job.name);
    assert_eq!(node.finishes(&first, &Collected::at(at(PERIOD + 1))), []);
    assert!(node.decisions.collected.is_none(), "there is more to do");
    let second = node.looks(PERIOD + 1).unwrap();
    assert_eq!(ids(&second.images), ["rest", "job"], "the job's was used later");
    let mut collected = node.removes(&second, &[]);
    collected.at = at(PERIOD + 2);
    node.finishes(&second, &collected);
    assert_eq!(node.decisions.reclaim_wanted, None);
    let result = node.decisions.collected.as_ref().unwrap();
    assert_eq!(
        (result.at, result.bytes, result.images.len()),
        (at(PERIOD + 2), 8, 2)
    );
    assert!(node.looks(PERIOD + 3).is_none());
}

#[test]
fn a_request_that_comes_during_a_removal_has_another_one_follow() {
    let mut node = Node::with_images(vec![image("a", 1)]);
    node.looks(0);
    node.decisions.reclaim_wanted = Some(at(PERIOD));
    let first = node.looks(PERIOD).unwrap();
    node.decisions.reclaim_wanted = Some(at(PERIOD + 5));
    let collected = node.removes(&first, &[]);
    node.finishes(&first, &collected);
    assert!(node.decisions.collected.is_none());
    let second = node.looks(PERIOD + 10).unwrap();
    node.finishes(&second, &Collected::at(at(PERIOD + 10)));
    assert!(node.decisions.collected.as_ref().unwrap().at > at(PERIOD + 5));
}

#[test]
fn a_request_is_served_once_though_the_clock_was_set_back_since() {
    let mut node = Node::with_images(vec![image("a", 1)]);
    node.looks(0);
    node.decisions.reclaim_wanted = Some(at(9_000));
    let collection = node.looks(PERIOD).unwrap();
    node.finishes(&collection, &Collected::at(at(PERIOD)));
    assert_eq!(node.decisions.reclaim_wanted, None);
    assert!(node.decisions.collected.is_some());
    node.decisions.prune_wanted = Some(at(9_000));
    let collection = node.looks(PERIOD).unwrap();
    // Another request comes meanwhile, by the clock before that one.
    node.decisions.prune_wanted = Some(at(PERIOD));
    node.finishes(&collection, &Collected::at(at(PERIOD)));
    let another = node.looks(PERIOD + 1).unwrap();
    node.finishes(&another, &Collected::at(at(PERIOD + 1)));
    assert_eq!(node.decisions.prune_wanted, None);
    assert!(node.looks(PERIOD + 2).is_none());
}

#[test]
fn a_clock_that_is_set_back_holds_up_neither_looks_nor_ages() {
    const DAY: i64 = 86_400;
    let mut node = Node::with_images(vec![image("old", 1)]);
    node.policy.images.max_age = Some(std::time::Duration::from_secs(3600));
    let user = pod_of("user", "other");
    node.has_container(&user, "sha256:old", true);
    node.looks(DAY);
    node.snapshot.pods.clear();
    assert!(node.looks(DAY + PERIOD).is_none());
    // The clock is a day behind from here on.
    assert!(node.looks(0).is_none());
    assert!(node.looks(3600).is_none());
    let collection = node.looks(3600 + PERIOD).unwrap();
    assert_eq!(
        (ids(&collection.images), collection.why),
        (vec!["old"], CollectionCause::Age)
    );
}

#[test]
fn after_old_images_the_threshold_is_judged_by_a_later_measurement() {
    let mut node = Node::with_images(vec![image("old", 40 << 30), image("new", 1 << 30)]);
    node.policy.images.max_age = Some(std::time::Duration::from_secs(3600));
    let new = node.snapshot.images[1].clone();
    Arc::make_mut(&mut node.snapshot.images).truncate(1);
    assert!(node.looks(0).is_none());
    Arc::make_mut(&mut node.snapshot.images).push(new);
    assert!(node.looks(3600).is_none());
    node.measured.imagefs = Some(disk(90));
    let collection = node.looks(3600 + PERIOD).unwrap();
    assert_eq!(ids(&collection.images), ["old"]);
    let mut collected = node.removes(&collection, &[]);
    collected.at = at(3600 + PERIOD + 5);
    node.finishes(&collection, &collected);
    // The disk was nearly full before that, and need not be any more.
    assert!(node.plans(3600 + PERIOD + 5).is_none());
    let waiting = plan(node.view(), node.now);
    assert_eq!(waiting.evictions.wanted.machine_since, Some(collected.at));
    node.measured.imagefs = Some(disk(50));
    assert!(node.looks(3600 + PERIOD + 6).is_none());
    let ended = plan(node.view(), node.now);
    assert_eq!(ended.evictions.wanted.machine_since, None);
    assert_eq!(ended.wake_at, Some(at(3600 + 2 * PERIOD + 6)));
    // Where that measures a lack of room, images go.
    node.measured.imagefs = Some(disk(90));
    let threshold = node.looks(3600 + 2 * PERIOD + 6).unwrap();
    assert_eq!(threshold.why, CollectionCause::Threshold);
}

#[test]
fn what_has_not_changed_is_not_read_again_and_stays_used() {
    let mut node = Node::with_images(vec![image("a", 1)]);
    let user = pod_of("user", "other");
    node.has_container(&user, "sha256:a", true);
    node.looks(0);
    let first = node.decisions.images.clone();
    node.looks(100);
    assert!(node.decisions.images.is_reading_of(&first));
    let last_used = |node: &Node| survey(node.view(), node.now)[0].last_used;
    assert_eq!(last_used(&node), Some(at(100)));
    // It was used until the last plan that has seen it.
    node.snapshot.pods.clear();
    node.looks(200);
    assert!(!node.decisions.images.is_reading_of(&first));
    assert_eq!(last_used(&node), Some(at(100)));
    assert!(node.looks(250).is_none());
    assert_eq!(last_used(&node), Some(at(100)));
    // Other images are seen as soon as they are there.
    Arc::make_mut(&mut node.snapshot.images).push(image("b", 1));
    node.looks(260);
    assert_eq!(fate(&node, "b"), Fate::Stays(WhyKept::New));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_is_unused_old_enough_and_in_order_and_as_much_as_is_needed(
        // Of each image: its size in GiB, when it was used last, whether it is pinned, used, named or of an archive.
        images in proptest::collection::vec((1..20_u64, proptest::option::of(0..200_i64), 0..8_u8), 1..12),
        first_seen in proptest::collection::vec(0..400_i64, 12),
        used_percent in 0..=100_i64,
    ) {
        let name = |index: usize| format!("i{index}");
        let mut node = Node::with_images(Vec::new());
        let mut moments: Vec<i64> = first_seen.clone();
        moments.extend(images.iter().filter_map(|(_, used, _)| *used));
        moments.sort_unstable();
        let appears = |index: usize| first_seen[index].min(images[index].1.unwrap_or(i64::MAX));
        node.measured.imagefs = None;
        for moment in moments {
            let there = (0..images.len()).filter(|index| appears(*index) <= moment);
            node.snapshot.images = Arc::new(there.map(|index| image(&name(index), images[index].0 << 30)).collect());
            node.snapshot.pods.clear();
            for (index, (_, used, _)) in images.iter().enumerate() {
                if *used == Some(moment) {
                    node.has_container(&pod_of(&format!("u{index}"), "x"), &format!("sha256:i{index}"), true);
                }
            }
            prop_assert!(node.looks(moment).is_none());
        }
        node.snapshot.pods.clear();
        for (index, (_, _, what)) in images.iter().enumerate() {
            match what {
                0 => Arc::make_mut(&mut node.snapshot.images)[index].pinned = true,
                1 => node.has_container(&pod_of(&name(index), "x"), &format!("sha256:i{index}"), false),
                2 => node.wants(pod_of(&name(index), &format!("i{index}:1"))),
                3 => {
                    let archives = &mut node.provided.as_mut().unwrap().archives;
                    archives.insert(format!("docker.io/library/i{index}:1"));
                }
                _ => {}
            }
        }
        node.measured.imagefs = Some(disk(used_percent));
        node.decisions.images.forget_looks();
        let now = 401;
        let collection = node.looks(now);
        prop_assert_eq!(collection.is_some(), used_percent >= 85);
        let Some(collection) = collection else { return Ok(()) };
        let index = |image: &UnusedImage| image.id["sha256:i".len()..].parse::<usize>().unwrap();
        for image in &collection.images {
            let index = index(image);
            prop_assert!(images[index].2 > 3 && now - appears(index) >= MIN_AGE, "{image:?}");
        }
        let may_go = (0..images.len()).filter(|index| images[*index].2 > 3 && now - appears(*index) >= MIN_AGE);
        prop_assert_eq!(may_go.count(), collection.images.len());
        let order: Vec<_> = collection.images.iter().map(|image| (images[index(image)].1, appears(index(image)))).collect();
        prop_assert!(order.is_sorted(), "{order:?}");
        let collected = node.removes(&collection, &[]);
        let wanted = (used_percent - 80).cast_unsigned() << 30;
        prop_assert_eq!(collection.wanted.unwrap().bytes, wanted);
        let is_all = collected.images.len() == collection.images.len();
        prop_assert!(collected.bytes >= wanted || is_all);
        // Not one more than is needed.
        let last = collected.images.last().map_or(0, |image| image.size);
        prop_assert!(collected.bytes - last < wanted);
        let news = node.finishes(&collection, &collected);
        prop_assert_eq!(news.is_empty(), collected.bytes >= wanted, "{:?}", news);
    }
}
