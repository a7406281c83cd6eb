//! One probe of one instance of a container: when it is due, and what its results mean
//! (`pkg/kubelet/prober/worker.go`). Pure but for the time, which is a parameter.

use std::hash::Hasher;
use std::time::Duration;

use tokio::time::Instant;

use super::Finding;
use crate::model::health::{Probed, Verdict};
use crate::model::probe::{Action, Probe, ProbeKind};

/// The kubelet sees a new container up to a second later than this agent. For that long a failure to listen is not
/// reported, the probe runs more often, and liveness is not probed at all.
const JUST_STARTED: Duration = Duration::from_secs(1);
/// How often it is probed meanwhile.
const STARTUP_PERIOD: Duration = Duration::from_millis(100);
/// The period over which the first runs are spread after the agent's start, unless a pod waits for them.
const SPREAD: Duration = Duration::from_secs(2);

/// The state of one probe.
#[derive(Debug)]
pub(in crate::observe) struct Worker {
    pub(in crate::observe) kind: ProbeKind,
    /// When it is due; `None`: not before a change.
    pub(in crate::observe) due: Option<Instant>,
    /// A run is in progress.
    pub(in crate::observe) busy: bool,
    started: Instant,
    well: Option<bool>,
    streak: u32,
    pub(in crate::observe) probed: Probed,
}

/// How an instance was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::observe) enum Found {
    /// It started while the agent was running.
    Starting,
    /// It was running when the agent started.
    Running,
}

impl Worker {
    pub(in crate::observe) fn new(
        kind: ProbeKind,
        probe: &Probe,
        id: &str,
        started: Instant,
        found: Found,
        gated: bool,
        now: Instant,
    ) -> Worker {
        let mut worker = Worker {
            kind,
            due: None,
            busy: false,
            started,
            well: None,
            streak: 0,
            probed: Probed::default(),
        };
        if !gated {
            worker.open(probe, now);
        }
        if found == Found::Running {
            let over = match kind {
                ProbeKind::Liveness => probe.period,
                ProbeKind::Startup | ProbeKind::Readiness => probe.period.min(SPREAD),
            };
            worker.due = worker.due.map(|due| due.max(now + over.mul_f64(part(id, kind))));
        }
        worker
    }

    /// Starts the probe, once the container has started or if there is nothing to wait for.
    pub(in crate::observe) fn open(&mut self, probe: &Probe, now: Instant) {
        let quiet = match self.kind {
            ProbeKind::Liveness => JUST_STARTED,
            ProbeKind::Startup | ProbeKind::Readiness => Duration::ZERO,
        };
        self.due = Some(now.max(self.started + probe.initial_delay.max(quiet)));
    }

    /// Records a result; returns whether there is something to report.
    pub(in crate::observe) fn take(&mut self, probe: &Probe, finding: &Finding, now: Instant) -> bool {
        self.busy = false;
        let next = now.max(self.due.unwrap_or(now) + probe.period);
        let by_socket = !matches!(probe.action, Action::Exec(_));
        let failed = matches!(finding, Finding::Failed(_) | Finding::Errored(_));
        if failed && by_socket && self.kind != ProbeKind::Liveness && now < self.started + JUST_STARTED {
            self.due = Some(now + STARTUP_PERIOD.min(probe.period));
            return false;
        }
        self.due = Some(next);
        let before = self.probed.clone();
        if let Some(trouble) = finding.trouble(self.kind) {
            self.probed.troubles += 1;
            self.probed.last = Some(trouble);
        }
        match finding {
            Finding::Well | Finding::Warned(_) => self.count(probe, true),
            Finding::Failed(_) => self.count(probe, false),
            Finding::Errored(_) => {}
        }
        self.probed != before
    }

    fn count(&mut self, probe: &Probe, well: bool) {
        self.streak = match self.well {
            Some(last) if last == well => self.streak.saturating_add(1),
            _ => 1,
        };
        self.well = Some(well);
        let threshold = if well { probe.successes } else { probe.failures };
        if self.streak < threshold {
            return;
        }
        self.probed.verdict = if well { Verdict::Success } else { Verdict::Failure };
        let ends = match self.kind {
            // Started once is started; what is condemned waits for its end.
            ProbeKind::Startup => true,
            ProbeKind::Liveness => !well,
            ProbeKind::Readiness => false,
        };
        if ends {
            self.due = None;
        }
    }
}

/// A fraction that differs between containers and is the same at each start.
fn part(id: &str, kind: ProbeKind) -> f64 {
    let mut hasher = fnv::FnvHasher::default();
    hasher.write(id.as_bytes());
    hasher.write(kind.title().as_bytes());
    f64::from(u32::try_from(hasher.finish() >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(successes: u32, failures: u32) -> Probe {
        Probe {
            action: Action::Exec(vec!["x".to_owned()]),
            initial_delay: Duration::from_secs(3),
            timeout: Duration::from_secs(1),
            period: Duration::from_secs(10),
            successes,
            failures,
            grace: None,
        }
    }

    /// Runs one after the other (`+` well, `-` failed); what the probe has come to after each.
    fn check(kind: ProbeKind, probe: &Probe, runs: &str, expected: &str) {
        let now = Instant::now();
        let mut worker = Worker::new(kind, probe, "c", now, Found::Starting, false, now);
        let mut verdicts = String::new();
        for run in runs.chars() {
            let finding = match run {
                '+' => Finding::Well,
                '-' => Finding::Failed("no".to_owned()),
                _ => Finding::Errored(Some("what".to_owned())),
            };
            worker.take(probe, &finding, now + JUST_STARTED);
            verdicts.push(match worker.probed.verdict {
                Verdict::Unknown => '?',
                Verdict::Success => '+',
                Verdict::Failure => '-',
            });
        }
        assert_eq!(verdicts, expected, "{kind:?} {runs}");
    }

    #[test]
    fn thresholds_count_what_comes_in_a_row() {
        check(ProbeKind::Readiness, &probe(1, 3), "--+---+", "??+++-+");
        check(ProbeKind::Readiness, &probe(2, 1), "+-++", "?--+");
        check(ProbeKind::Liveness, &probe(1, 2), "+-+--", "++++-");
        // A run that found nothing out is none.
        check(ProbeKind::Liveness, &probe(1, 2), "-e-", "??-");
    }

    #[test]
    fn the_first_run_waits_for_the_delay_and_others_for_the_period() {
        let now = Instant::now();
        let probe = probe(1, 1);
        let kind = ProbeKind::Readiness;
        let mut worker = Worker::new(kind, &probe, "c", now, Found::Starting, false, now);
        let first = now + Duration::from_secs(3);
        assert_eq!(worker.due, Some(first));
        worker.take(&probe, &Finding::Well, first);
        assert_eq!(worker.due, Some(first + probe.period));
    }

    #[test]
    fn what_is_gated_has_no_time_until_it_is_opened() {
        let now = Instant::now();
        let probe = probe(1, 1);
        let kind = ProbeKind::Liveness;
        let mut worker = Worker::new(kind, &probe, "c", now, Found::Starting, true, now);
        assert_eq!(worker.due, None);
        let later = now + Duration::from_secs(60);
        worker.open(&probe, later);
        assert_eq!(worker.due, Some(later));
        worker.take(&probe, &Finding::Failed(String::new()), later);
        assert_eq!((worker.due, worker.probed.verdict), (None, Verdict::Failure));
    }

    #[test]
    fn after_a_start_of_the_agent_the_first_runs_are_spread() {
        let now = Instant::now();
        let probe = probe(1, 1);
        let started = now.checked_sub(Duration::from_secs(60)).unwrap_or(now);
        let due = |id: &str| {
            let kind = ProbeKind::Liveness;
            let worker = Worker::new(kind, &probe, id, started, Found::Running, false, now);
            worker.due.unwrap()
        };
        let all: Vec<_> = (0..50).map(|n| due(&format!("{n}"))).collect();
        assert!(all.iter().all(|due| *due <= now + probe.period));
        assert!(all.iter().max() > all.iter().min());
    }
}
