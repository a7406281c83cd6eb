//! The failures of a pod outside the attempts to start its containers, and the back-off of each.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::model::backoff::Doubling;
use crate::model::memory::{Backoff, FailedWork, PodFailure, PodMemory};
use crate::model::outcome::{Done, Outcome, StepError, StepReport};
use crate::model::request::Occasion;
use crate::model::step::StepKind;

/// The delays after a failure: of a volume, the sandbox, a removal.
const DELAYS: Doubling = Doubling::new(Duration::from_secs(1), Duration::from_secs(30));

/// What failed outside the attempts to start containers. Work that succeeds clears its failure; an execution without
/// any failure clears all others, because what failed is no longer needed: except of a volume or a resize that is still
/// to be tried again. Neither an unreachable runtime nor an abandoned step counts as a failure.
pub(super) fn note(memory: &mut PodMemory, outcome: &Outcome) {
    let before = std::mem::take(&mut memory.failures);
    let failed = |report: &&StepReport| report.result.is_err() && !report.kind.starts_container();
    let has_failed = outcome.steps.iter().any(|report| failed(&report));
    let tried: BTreeMap<FailedWork, Option<&StepError>> = tried(outcome);
    for (work, failure) in &before {
        let stays = match work {
            _ if tried.contains_key(work) => false,
            FailedWork::Volume(_)
            | FailedWork::Expansion(_)
            | FailedWork::Republish(_)
            | FailedWork::ImageVolume(_) => !has(outcome, StepKind::RemovePodDir),
            FailedWork::Resize => true,
            FailedWork::Step(_) => has_failed || outcome.steps.is_empty(),
        };
        if stays {
            memory.failures.insert(work.clone(), failure.clone());
        }
    }
    for (work, error) in tried {
        let last = before.get(&work);
        let failure = match error {
            None => continue,
            Some(error) if error.counts() => Some(PodFailure {
                error: error.clone(),
                backoff: back_off(&work, error, last.map(|last| last.backoff), outcome.at),
            }),
            Some(_) => last.cloned(),
        };
        memory.failures.extend(failure.map(|failure| (work, failure)));
    }
}

/// The back-off after one more failure. That of an image is the one that a container's own has.
fn back_off(work: &FailedWork, error: &StepError, last: Option<Backoff>, now: Timestamp) -> Backoff {
    match work {
        FailedWork::ImageVolume(_) if error.is_failed_pull() => Backoff::of_pull(last, now),
        FailedWork::ImageVolume(_) => Backoff {
            delay: Backoff::FIRST,
            since: now,
        },
        _ => Backoff {
            delay: DELAYS.after(last.map(|last| last.delay)),
            since: now,
        },
    }
}

fn has(outcome: &Outcome, kind: StepKind) -> bool {
    outcome.steps.iter().any(|report| report.kind == kind)
}

/// The work of an execution, with its error: one that counts, if there are several.
fn tried(outcome: &Outcome) -> BTreeMap<FailedWork, Option<&StepError>> {
    let mut tried: BTreeMap<FailedWork, Option<&StepError>> = BTreeMap::new();
    for report in &outcome.steps {
        let work = match FailedWork::of(report) {
            // A new size makes the failure of an earlier one meaningless.
            Some(FailedWork::Step(_)) if is_new_size(report) => FailedWork::Resize,
            Some(work) => work,
            None => continue,
        };
        let error = report.result.as_ref().err();
        let worst = tried.entry(work).or_default();
        if worst.is_none_or(|worst| !worst.counts()) && error.is_some() {
            *worst = error;
        }
    }
    tried
}

fn is_new_size(report: &StepReport) -> bool {
    matches!(
        report.result,
        Ok(Done::AllocationWritten {
            occasion: Occasion::Resized,
            ..
        })
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::model::allocation::Allocation;
    use crate::model::outcome::Failure;
    use crate::model::pod::RestartPolicy;
    use crate::model::reason::waiting;
    use crate::model::sample::{self, at};
    use crate::model::step::Subject;

    /// How a step ended.
    #[derive(Clone, Copy)]
    enum End {
        Done,
        Resized,
        Error(Failure),
        Pull,
    }

    const DONE: End = End::Done;
    const FAILED: End = End::Error(Failure::Failed);
    const SILENT: End = End::Error(Failure::Unreachable);

    fn volume(name: &str, end: End) -> (Subject, StepKind, End) {
        (Subject::Volume(name.to_owned()), StepKind::EnsureVolume, end)
    }

    fn step(kind: StepKind, end: End) -> (Subject, StepKind, End) {
        (Subject::Pod, kind, end)
    }

    /// What is remembered after these executions, one a second from the first on: what failed, and its delay.
    fn check(executions: &[&[(Subject, StepKind, End)]], expected: Expect) {
        let pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        let mut memory = PodMemory::new(pod.uid.clone(), at(0));
        for (steps, second) in executions.iter().zip(1..) {
            let report = |(subject, kind, end): &(Subject, StepKind, End)| StepReport {
                subject: subject.clone(),
                kind: *kind,
                began: at(second),
                took: Duration::ZERO,
                result: match end {
                    End::Done => Ok(Done::Nothing),
                    End::Resized => Ok(Done::AllocationWritten {
                        allocation: Box::new(Allocation::of(&pod)),
                        occasion: Occasion::Resized,
                    }),
                    End::Error(failure) => Err(StepError {
                        reason: "Why",
                        message: String::new(),
                        failure: *failure,
                    }),
                    End::Pull => Err(StepError {
                        reason: waiting::ERR_IMAGE_PULL,
                        message: String::new(),
                        failure: Failure::Failed,
                    }),
                },
            };
            let outcome = Outcome {
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
                at: at(second),
                steps: steps.iter().map(report).collect(),
            };
            note(&mut memory, &outcome);
        }
        let line = |(work, failure): (&FailedWork, &PodFailure)| {
            format!("{work:?} {}s", failure.backoff.delay.as_secs())
        };
        let lines: BTreeSet<String> = memory.failures.iter().map(line).collect();
        expected.assert_eq(&lines.into_iter().collect::<Vec<_>>().join(", "));
    }

    #[test]
    fn each_volume_has_its_own_back_off() {
        let both = [volume("v", FAILED), volume("w", FAILED)];
        check(
            &[&both, &[volume("v", DONE), volume("w", FAILED)]],
            expect![[r#"Volume("w") 2s"#]],
        );
        // The rest of the plan goes on and says nothing about a volume that waits.
        check(
            &[&[volume("v", FAILED)], &[step(StepKind::RemoveContainer, DONE)]],
            expect![[r#"Volume("v") 1s"#]],
        );
        check(
            &[&[volume("v", FAILED)], &[step(StepKind::RemovePodDir, DONE)]],
            expect![""],
        );
    }

    #[test]
    fn the_image_of_a_volume_has_the_back_off_of_pulls() {
        let image = |end| {
            (
                Subject::ImageVolume("v".to_owned()),
                StepKind::EnsureVolumeImage,
                end,
            )
        };
        let failed: &[_] = &[image(End::Pull)];
        check(&[failed, failed], expect![[r#"ImageVolume("v") 20s"#]]);
        // What is not pulled at all is looked for at equal intervals.
        let refused: &[_] = &[image(FAILED)];
        check(&[refused, refused], expect![[r#"ImageVolume("v") 10s"#]]);
        check(&[failed, &[image(DONE)]], expect![""]);
        check(&[failed, &[step(StepKind::RemovePodDir, DONE)]], expect![""]);
    }

    #[test]
    fn a_step_that_is_no_longer_needed_is_forgotten() {
        let failed: &[_] = &[step(StepKind::RunSandbox, FAILED)];
        check(&[failed, &[step(StepKind::EnsurePodDir, DONE)]], expect![""]);
        check(&[failed, &[]], expect!["Step(RunSandbox) 1s"]);
        // As long as anything fails, it may be why the step was not reached.
        check(
            &[failed, &[step(StepKind::EnsureCgroup, FAILED)], failed],
            expect!["Step(EnsureCgroup) 1s, Step(RunSandbox) 2s"],
        );
    }

    #[test]
    fn a_resize_waits_until_it_is_applied_or_replaced() {
        let failed: &[_] = &[step(StepKind::Resize, FAILED)];
        check(
            &[failed, failed, &[step(StepKind::StopSandbox, DONE)]],
            expect!["Resize 2s"],
        );
        check(&[failed, &[step(StepKind::Resize, DONE)]], expect![""]);
        check(
            &[failed, &[step(StepKind::WriteAllocation, End::Resized)]],
            expect![""],
        );
    }

    #[test]
    fn what_was_not_answered_changes_nothing() {
        let silent: &[_] = &[step(StepKind::RunSandbox, SILENT), volume("v", SILENT)];
        check(&[silent], expect![""]);
        check(
            &[&[step(StepKind::RunSandbox, FAILED), volume("v", FAILED)], silent],
            expect![[r#"Step(RunSandbox) 1s, Volume("v") 1s"#]],
        );
        // Of several steps of one kind, the one that failed counts.
        let stops: &[_] = &[
            step(StepKind::StopContainer, SILENT),
            step(StepKind::StopContainer, FAILED),
            step(StepKind::StopContainer, DONE),
        ];
        check(&[stops], expect!["Step(StopContainer) 1s"]);
    }
}
