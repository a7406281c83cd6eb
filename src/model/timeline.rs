//! The steps of a pod's last start and end, with their times. Written by `report` from outcomes and statuses; bounded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::outcome::{Done, Outcome, StepReport};
use super::pod::{PodName, PodUid};
use super::step::{StepKind, Subject};

/// The most entries for one pod: a start and an end of some thirty containers. Later ones are counted.
pub const ENTRIES_OF_A_POD: usize = 256;
/// The pods that have ended and are still remembered; the one that ended first is forgotten first.
pub const ENDED_PODS: usize = 16;
/// The most writes of a pod's status; the first one is forgotten first, since a pod that runs for long has many.
const STATUSES_OF_A_POD: usize = 16;
/// The longest error of an entry.
const ERROR: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// A step of a plan.
    Step(StepKind, Subject),
    /// A container with a startup probe has started: the probe succeeded for the first time.
    Started(String),
    /// A container with a readiness probe has become ready: the probe succeeded.
    ContainerReady(String),
    /// The pod has become ready.
    PodReady,
    /// The API server has taken a status of the pod; the number is that of the write.
    StatusWritten(u64),
}

/// An entry. Something that was observed, not done, ends when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When it began.
    pub began: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// The image that was used, if it is about one.
    pub image: Option<String>,
    /// The bytes that were pulled.
    pub pulled: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
}

type Entries = BTreeMap<What, Entry>;

/// What happened to one pod. Of what happened repeatedly, the last time counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeline {
    /// The pod's UID.
    pub uid: PodUid,
    /// What happened.
    pub entries: BTreeMap<What, Entry>,
    /// Entries for which there was no room.
    pub dropped: usize,
}

/// The timelines of the pods. Unchanged ones keep their `Arc`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timelines {
    pods: BTreeMap<PodName, Arc<Timeline>>,
    /// What was observed and belongs to no timeline, or to the next start: its steps are recorded when all of them were
    /// made, which the pod's status may precede.
    early: BTreeMap<PodName, Arc<Entries>>,
    /// Those that have ended, the first one first.
    ended: Vec<PodName>,
}

impl Timelines {
    /// The timeline of a pod; absent if this agent has done nothing for it.
    pub fn get(&self, name: &PodName) -> Option<&Arc<Timeline>> {
        self.pods.get(name)
    }

    /// All of them, with whether the pod has ended: nothing of it is left on the node.
    pub fn iter(&self) -> impl Iterator<Item = (&PodName, &Arc<Timeline>, bool)> {
        let all = self.pods.iter();
        all.map(|(name, timeline)| (name, timeline, self.ended.contains(name)))
    }

    /// Records the steps of an executed plan; returns whether there were any.
    pub fn record(&mut self, outcome: &Outcome) -> bool {
        let steps = outcome.steps.iter().filter(|step| is_recorded(step));
        let steps: Vec<&StepReport> = steps.collect();
        if steps.is_empty() {
            return false;
        }
        let sandboxes = steps.iter().filter(|step| step.kind == StepKind::RunSandbox);
        let sandbox = sandboxes.map(|step| step.began).max();
        let early = self.early.remove(&outcome.pod);
        let timeline = self.begin(&outcome.pod, &outcome.uid);
        // A new sandbox is a new start; what precedes it in the same plan belongs to it.
        if let Some(sandbox) = sandbox {
            timeline.begin_anew(sandbox);
        }
        let mut since = sandbox;
        for step in steps {
            if let Subject::Container(name) = &step.subject
                && timeline.restart(step.kind, name, step.began)
            {
                since = since.max(Some(step.began));
            }
            timeline.add(What::Step(step.kind, step.subject.clone()), entry(step));
        }
        match (early, since) {
            (Some(early), Some(since)) => timeline.take(&early, since),
            (Some(early), None) => drop(self.early.insert(outcome.pod.clone(), early)),
            (None, _) => {}
        }
        true
    }

    /// Records something that was observed for the first time of a pod; returns whether it can be seen: it is shown of
    /// pods that this agent has started.
    pub fn observe(&mut self, name: &PodName, uid: &PodUid, what: What, at: Timestamp) -> bool {
        let known = self.pods.get_mut(name).filter(|known| known.uid == *uid);
        if let Some(timeline) = known.filter(|known| !known.entries.contains_key(&what)) {
            Arc::make_mut(timeline).add(what, moment(at));
            return true;
        }
        let early = Arc::make_mut(self.early.entry(name.clone()).or_default());
        if early.len() < ENTRIES_OF_A_POD {
            early.insert(what, moment(at));
        }
        false
    }

    /// Records that the API server has taken a status of a pod; returns whether it can be seen, as with `observe`.
    pub fn write(&mut self, name: &PodName, began: Timestamp, took: Duration) -> bool {
        let is_ended = self.ended.contains(name);
        let Some(timeline) = self.pods.get_mut(name).filter(|_| !is_ended) else {
            let early = Arc::make_mut(self.early.entry(name.clone()).or_default());
            let number = next_write(early);
            early.insert(number, written(began, took));
            return false;
        };
        Arc::make_mut(timeline).write(began, took);
        true
    }

    /// The same of a pod of which nothing is left on the node: no start can follow that it would belong to.
    pub fn write_of_ended(&mut self, name: &PodName, began: Timestamp, took: Duration) -> bool {
        let timeline = self.pods.get_mut(name);
        timeline
            .map(|timeline| Arc::make_mut(timeline).write(began, took))
            .is_some()
    }

    /// Nothing of the pod is left on the node: of such pods only the last few are remembered.
    pub fn end(&mut self, name: &PodName) {
        self.early.remove(name);
        if !self.pods.contains_key(name) || self.ended.contains(name) {
            return;
        }
        self.ended.push(name.clone());
        if self.ended.len() > ENDED_PODS {
            self.pods.remove(&self.ended.remove(0));
        }
    }

    fn begin(&mut self, name: &PodName, uid: &PodUid) -> &mut Timeline {
        self.ended.retain(|ended| ended != name);
        let new = || {
            Arc::new(Timeline {
                uid: uid.clone(),
                entries: BTreeMap::new(),
                dropped: 0,
            })
        };
        let timeline = self.pods.entry(name.clone()).or_insert_with(new);
        if timeline.uid != *uid {
            *timeline = new();
        }
        Arc::make_mut(timeline)
    }
}

/// The number of the next write of a status. The first one of too many is forgotten.
fn next_write(entries: &mut Entries) -> What {
    let of_statuses = entries.keys().filter_map(|what| match what {
        What::StatusWritten(number) => Some(*number),
        _ => None,
    });
    let numbers: Vec<u64> = of_statuses.collect();
    if let Some(first) = numbers.first().filter(|_| numbers.len() >= STATUSES_OF_A_POD) {
        entries.remove(&What::StatusWritten(*first));
    }
    What::StatusWritten(numbers.last().map_or(1, |last| last + 1))
}

impl Timeline {
    /// The pod is started anew in a sandbox of this time. Of what is known only what was observed later belongs to it.
    fn begin_anew(&mut self, sandbox: Timestamp) {
        self.dropped = 0;
        let mut former = std::mem::take(&mut self.entries);
        former.retain(|what, _| !matches!(what, What::Step(..)));
        self.take(&former, sandbox);
    }

    /// Takes over what was observed since.
    fn take(&mut self, observed: &Entries, since: Timestamp) {
        for (what, entry) in observed.iter().filter(|(_, entry)| entry.began >= since) {
            match what {
                What::StatusWritten(_) => self.write(entry.began, entry.took),
                what => self.add(what.clone(), entry.clone()),
            }
        }
    }

    fn write(&mut self, began: Timestamp, took: Duration) {
        let number = next_write(&mut self.entries);
        self.add(number, written(began, took));
    }

    fn add(&mut self, what: What, entry: Entry) {
        if self.entries.len() < ENTRIES_OF_A_POD || self.entries.contains_key(&what) {
            self.entries.insert(what, entry);
        } else {
            self.dropped += 1;
        }
    }

    /// A container that is created again after it was started: what followed its former start is forgotten.
    /// Returns whether it is one.
    fn restart(&mut self, kind: StepKind, container: &str, began: Timestamp) -> bool {
        let start = What::Step(StepKind::StartContainer, Subject::Container(container.to_owned()));
        if kind != StepKind::CreateContainer || !self.entries.contains_key(&start) {
            return false;
        }
        self.entries.retain(|what, entry| match what {
            What::Step(StepKind::StartContainer | StepKind::PostStart, Subject::Container(name)) => {
                name != container
            }
            What::Started(name) | What::ContainerReady(name) => name != container || entry.began >= began,
            What::PodReady => entry.began >= began,
            What::StatusWritten(_) | What::Step(..) => true,
        });
        true
    }
}

/// What is done again and again without being a part of a start or an end is left out, as are steps that were given up
/// because the agent stops.
fn is_recorded(step: &StepReport) -> bool {
    let is_routine = matches!(
        step.kind,
        StepKind::WriteCheckpoint | StepKind::WriteAllocation | StepKind::Resize
    );
    let is_given_up = matches!(&step.result, Err(error) if !error.counts());
    !is_routine && !is_given_up
}

fn moment(at: Timestamp) -> Entry {
    Entry {
        began: at,
        took: Duration::ZERO,
        image: None,
        pulled: None,
        error: None,
    }
}

fn written(began: Timestamp, took: Duration) -> Entry {
    Entry {
        took,
        ..moment(began)
    }
}

fn entry(step: &StepReport) -> Entry {
    let (image, pulled) = match &step.result {
        Ok(Done::ImagePresent { image }) => (Some(image.clone()), None),
        Ok(Done::ImagePulled { image, size, .. }) => (Some(image.clone()), Some(*size)),
        _ => (None, None),
    };
    let error = step.result.as_ref().err();
    Entry {
        began: step.began,
        took: step.took,
        image,
        pulled,
        error: error.map(|error| super::bounds::shortened(error.message.clone(), ERROR)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::{Failure, StepError};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn step(kind: StepKind, container: &str, began: i64) -> StepReport {
        let subject = match container {
            "" => Subject::Pod,
            name => Subject::Container(name.to_owned()),
        };
        StepReport {
            subject,
            kind,
            began: at(began),
            took: Duration::from_secs(1),
            result: Ok(Done::Nothing),
        }
    }

    fn failing(mut step: StepReport, failure: Failure) -> StepReport {
        step.result = Err(StepError {
            reason: "Error",
            message: "no".to_owned(),
            failure,
        });
        step
    }

    fn outcome(uid: &str, steps: Vec<StepReport>) -> Outcome {
        Outcome {
            pod: PodName::new("default", "web"),
            uid: PodUid(uid.to_owned()),
            at: at(0),
            steps,
        }
    }

    fn name() -> PodName {
        PodName::new("default", "web")
    }

    /// The entries in the order of their beginnings.
    fn check(timelines: &Timelines, expected: &[&str]) {
        let timeline = timelines.get(&name()).unwrap();
        let mut all: Vec<_> = timeline.entries.iter().collect();
        all.sort_by_key(|(_, entry)| entry.began);
        let text = all.iter().map(|(what, entry)| {
            let what = match what {
                What::Step(kind, Subject::Container(name)) => format!("{kind} {name}"),
                What::Step(kind, _) => kind.to_string(),
                other => format!("{other:?}"),
            };
            let error = entry
                .error
                .as_deref()
                .map_or(String::new(), |error| format!(" {error}"));
            format!("{} {what}{error}", entry.began.as_second())
        });
        assert_eq!(text.collect::<Vec<_>>(), expected);
    }

    fn started() -> Timelines {
        let mut timelines = Timelines::default();
        let steps = vec![
            step(StepKind::EnsureCgroup, "", 1),
            step(StepKind::RunSandbox, "", 2),
            step(StepKind::WriteCheckpoint, "", 3),
            step(StepKind::CreateContainer, "a", 4),
            step(StepKind::StartContainer, "a", 5),
        ];
        assert!(timelines.record(&outcome("u1", steps)));
        timelines
    }

    #[test]
    fn the_steps_of_a_start_and_what_was_observed_then() {
        let mut timelines = started();
        let uid = PodUid("u1".to_owned());
        assert!(timelines.observe(&name(), &uid, What::PodReady, at(6)));
        // Only the first time.
        assert!(!timelines.observe(&name(), &uid, What::PodReady, at(7)));
        // Of another pod of that name, and of one that an earlier agent has started.
        assert!(!timelines.observe(
            &name(),
            &PodUid("u2".to_owned()),
            What::Started("a".to_owned()),
            at(7)
        ));
        assert!(!timelines.observe(&PodName::new("x", "y"), &uid, What::PodReady, at(7)));
        check(
            &timelines,
            &[
                "1 set cgroup",
                "2 run sandbox",
                "4 create container a",
                "5 start container a",
                "6 PodReady",
            ],
        );
    }

    #[test]
    fn what_was_observed_before_the_steps_were_known_is_kept() {
        let uid = PodUid("u1".to_owned());
        let ready = |timelines: &mut Timelines, seconds| {
            timelines.observe(&name(), &uid, What::PodReady, at(seconds));
            timelines.write(&name(), at(seconds), Duration::ZERO);
        };
        let mut timelines = Timelines::default();
        assert!(!timelines.write(&name(), at(1), Duration::ZERO));
        ready(&mut timelines, 6);
        assert!(timelines.get(&name()).is_none());
        timelines.record(&outcome("u1", vec![step(StepKind::RunSandbox, "", 2)]));
        check(&timelines, &["2 run sandbox", "6 PodReady", "6 StatusWritten(1)"]);
        // The same of the next sandbox, and of a container that is started again.
        timelines.record(&outcome("u1", vec![step(StepKind::EnsureCgroup, "", 10)]));
        ready(&mut timelines, 13);
        timelines.record(&outcome("u1", vec![step(StepKind::RunSandbox, "", 12)]));
        check(
            &timelines,
            &["12 run sandbox", "13 PodReady", "13 StatusWritten(1)"],
        );
        timelines.record(&outcome("u1", vec![step(StepKind::StartContainer, "a", 14)]));
        ready(&mut timelines, 16);
        timelines.record(&outcome("u1", vec![step(StepKind::CreateContainer, "a", 15)]));
        let expected = [
            "12 run sandbox",
            "13 StatusWritten(1)",
            "15 create container a",
            "16 PodReady",
            "16 StatusWritten(2)",
        ];
        check(&timelines, &expected);
    }

    #[test]
    fn nothing_is_kept_for_the_next_start_of_a_pod_that_is_gone() {
        let mut timelines = started();
        timelines.end(&name());
        assert!(timelines.write_of_ended(&name(), at(7), Duration::ZERO));
        let other = PodName::new("default", "other");
        timelines.write(&other, at(7), Duration::ZERO);
        timelines.end(&other);
        assert!(!timelines.write_of_ended(&other, at(8), Duration::ZERO));
        assert!(timelines.early.is_empty(), "{timelines:?}");
        let entries = &timelines.get(&name()).unwrap().entries;
        assert!(entries.contains_key(&What::StatusWritten(1)));
        // The next pod of that name is there, and its start is not recorded yet.
        assert!(!timelines.write(&name(), at(9), Duration::ZERO));
        timelines.record(&outcome("u2", vec![step(StepKind::RunSandbox, "", 8)]));
        check(&timelines, &["8 run sandbox", "9 StatusWritten(1)"]);
    }

    #[test]
    fn a_new_sandbox_or_another_uid_begins_anew() {
        let mut timelines = started();
        timelines.record(&outcome("u1", vec![step(StepKind::RunSandbox, "", 10)]));
        check(&timelines, &["10 run sandbox"]);
        timelines.record(&outcome("u2", vec![step(StepKind::EnsureCgroup, "", 20)]));
        check(&timelines, &["20 set cgroup"]);
    }

    #[test]
    fn a_container_that_is_created_again_replaces_its_former_start() {
        let mut timelines = started();
        timelines.observe(
            &name(),
            &PodUid("u1".to_owned()),
            What::ContainerReady("a".to_owned()),
            at(6),
        );
        timelines.record(&outcome("u1", vec![step(StepKind::CreateContainer, "a", 10)]));
        check(
            &timelines,
            &["1 set cgroup", "2 run sandbox", "10 create container a"],
        );
    }

    #[test]
    fn the_last_writes_of_the_status_are_recorded() {
        let mut timelines = started();
        let took = Duration::from_millis(3);
        for number in 0..20 {
            assert!(timelines.write(&name(), at(10 + number), took));
        }
        assert!(!timelines.write(&PodName::new("x", "y"), at(1), took));
        let entries = &timelines.get(&name()).unwrap().entries;
        let writes = entries
            .iter()
            .filter(|(what, _)| matches!(what, What::StatusWritten(_)));
        let writes: Vec<_> = writes.map(|(_, entry)| (entry.began, entry.took)).collect();
        assert_eq!(writes.len(), STATUSES_OF_A_POD);
        assert_eq!((writes[0], writes[15]), ((at(14), took), (at(29), took)));
    }

    #[test]
    fn the_last_attempt_counts_and_one_that_was_given_up_does_not() {
        let mut timelines = started();
        let create = |began, failure| failing(step(StepKind::CreateContainer, "b", began), failure);
        timelines.record(&outcome("u1", vec![create(10, Failure::Failed)]));
        timelines.record(&outcome("u1", vec![create(20, Failure::Failed)]));
        assert!(!timelines.record(&outcome("u1", vec![create(30, Failure::Abandoned)])));
        assert!(!timelines.record(&outcome("u1", vec![])));
        let expected = [
            "1 set cgroup",
            "2 run sandbox",
            "4 create container a",
            "5 start container a",
            "20 create container b no",
        ];
        check(&timelines, &expected);
    }

    #[test]
    fn entries_and_pods_that_have_ended_are_bounded() {
        let mut timelines = started();
        let many =
            (0..2 * ENTRIES_OF_A_POD).map(|number| step(StepKind::StartContainer, &number.to_string(), 9));
        timelines.record(&outcome("u1", many.collect()));
        let timeline = timelines.get(&name()).unwrap();
        assert_eq!(timeline.entries.len(), ENTRIES_OF_A_POD);
        assert_eq!(timeline.dropped, ENTRIES_OF_A_POD + 4);

        let other = |number: usize| PodName::new("default", format!("pod-{number}"));
        for number in 0..ENDED_PODS + 1 {
            let steps = vec![step(StepKind::RemovePodDir, "", 1)];
            timelines.record(&Outcome {
                pod: other(number),
                ..outcome("u", steps)
            });
            timelines.end(&other(number));
            timelines.end(&other(number));
        }
        assert!(timelines.get(&other(0)).is_none());
        assert!(timelines.get(&other(1)).is_some());
        // One that has come back does not count as ended.
        timelines.record(&outcome("u1", vec![step(StepKind::EnsureCgroup, "", 9)]));
        assert!(timelines.get(&name()).is_some());
        assert_eq!(timelines.ended.len(), ENDED_PODS);
    }
}
