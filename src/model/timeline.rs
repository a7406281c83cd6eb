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
        let timeline = self.begin(&outcome.pod, &outcome.uid);
        // A new sandbox is a new start; what precedes it in the same plan belongs to it.
        if steps.iter().any(|step| step.kind == StepKind::RunSandbox) {
            timeline.entries.clear();
            timeline.dropped = 0;
        }
        for step in steps {
            if let Subject::Container(name) = &step.subject {
                timeline.restart(step.kind, name);
            }
            timeline.add(What::Step(step.kind, step.subject.clone()), entry(step));
        }
        true
    }

    /// Records something that was observed for the first time of a pod that this agent has started; returns whether it was
    /// recorded.
    pub fn observe(&mut self, name: &PodName, uid: &PodUid, what: What, at: Timestamp) -> bool {
        let Some(timeline) = self.pods.get_mut(name).filter(|known| known.uid == *uid) else {
            return false;
        };
        if timeline.entries.contains_key(&what) {
            return false;
        }
        Arc::make_mut(timeline).add(what, moment(at));
        true
    }

    /// Records that the API server has taken a status of a pod that this agent has started; returns whether it was
    /// recorded.
    pub fn write(&mut self, name: &PodName, began: Timestamp, took: Duration) -> bool {
        let Some(timeline) = self.pods.get_mut(name) else {
            return false;
        };
        let timeline = Arc::make_mut(timeline);
        let of_statuses = timeline.entries.keys().filter_map(|what| match what {
            What::StatusWritten(number) => Some(*number),
            _ => None,
        });
        let numbers: Vec<u64> = of_statuses.collect();
        if let Some(first) = numbers.first().filter(|_| numbers.len() >= STATUSES_OF_A_POD) {
            timeline.entries.remove(&What::StatusWritten(*first));
        }
        let number = numbers.last().map_or(1, |last| last + 1);
        timeline.add(
            What::StatusWritten(number),
            Entry {
                took,
                ..moment(began)
            },
        );
        true
    }

    /// Nothing of the pod is left on the node: of such pods only the last few are remembered.
    pub fn end(&mut self, name: &PodName) {
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

impl Timeline {
    fn add(&mut self, what: What, entry: Entry) {
        if self.entries.len() < ENTRIES_OF_A_POD || self.entries.contains_key(&what) {
            self.entries.insert(what, entry);
        } else {
            self.dropped += 1;
        }
    }

    /// A container that is created again after it was started: what followed its former start is forgotten.
    fn restart(&mut self, kind: StepKind, container: &str) {
        let start = What::Step(StepKind::StartContainer, Subject::Container(container.to_owned()));
        if kind != StepKind::CreateContainer || !self.entries.contains_key(&start) {
            return;
        }
        self.entries.retain(|what, _| match what {
            What::Step(StepKind::StartContainer | StepKind::PostStart, Subject::Container(name))
            | What::Started(name)
            | What::ContainerReady(name) => name != container,
            What::PodReady => false,
            What::StatusWritten(_) | What::Step(..) => true,
        });
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
