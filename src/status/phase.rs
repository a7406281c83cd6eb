//! The phase of a pod, derived from its containers' statuses (`getPhase` in `pkg/kubelet/kubelet_pods.go`).

use k8s_openapi::api::core::v1 as api;

use super::restart_all;
use super::state::exit_code;
use crate::model::pod::{Container, Pod, Source};
use crate::model::runtime::ObservedPod;

pub(super) const PENDING: &str = "Pending";
pub(super) const RUNNING: &str = "Running";
pub(super) const SUCCEEDED: &str = "Succeeded";
pub(super) const FAILED: &str = "Failed";

/// How far a pod has got.
#[derive(Clone, Copy)]
pub(super) struct Life<'a> {
    /// The observed state.
    pub(super) seen: &'a ObservedPod,
    /// Whether its containers are no longer restarted, whatever their policy.
    pub(super) is_terminal: bool,
    /// Whether a regular container was created in its present sandbox.
    pub(super) has_initialized: bool,
}

/// Whether the phase is final.
pub(super) fn is_final(phase: &str) -> bool {
    phase == SUCCEEDED || phase == FAILED
}

/// How many containers are in which state.
#[derive(Default)]
struct Count {
    pending_init: usize,
    pending_sidecars: usize,
    unknown: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    stopped_for_good: usize,
    succeeded: usize,
}

pub(super) fn phase(
    pod: &Pod,
    init: &[api::ContainerStatus],
    regular: &[api::ContainerStatus],
    life: Life<'_>,
) -> &'static str {
    let mut count = Count::default();
    let is_restarting = |container: &Container, statuses: &[api::ContainerStatus]| {
        let newest = life.seen.container(&container.name);
        let is_stopped = newest.is_some_and(|newest| life.seen.is_restarting(newest));
        is_stopped || restart_all::is_ended_by_it(statuses, container)
    };
    for container in &pod.init_containers {
        let state = state_of(init, container);
        let fails = || init_failed_for_good(init, container) && !is_restarting(container, init);
        match container.sidecar {
            true => count.sidecar(init, container, state),
            false if fails() => return FAILED,
            false => count.init(state),
        }
    }
    for container in &pod.containers {
        let restarting = is_restarting(container, regular);
        count.regular(container, state_of(regular, container), restarting);
    }
    let starting = count.pending_sidecars > 0 && !life.has_initialized;
    if count.pending_init > 0 || starting || count.waiting > 0 || count.unknown > 0 {
        return PENDING;
    }
    if count.running > 0 {
        return RUNNING;
    }
    let terminal = life.is_terminal && matches!(pod.source, Source::Api);
    match count.stopped {
        0 => PENDING,
        _ if !terminal && count.stopped != count.stopped_for_good => RUNNING,
        stopped if stopped == count.succeeded => SUCCEEDED,
        _ => FAILED,
    }
}

/// The relevant part of a container's state.
#[derive(Clone, Copy)]
enum State {
    Unknown,
    Running,
    /// Ended, or waiting to be restarted after an end, with that exit code.
    Ended(i32, Now),
    /// Waiting, without an earlier end.
    Waiting,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Now {
    Stopped,
    Waiting,
}

fn state_of(statuses: &[api::ContainerStatus], container: &Container) -> State {
    let status = statuses.iter().find(|status| status.name == container.name);
    let Some((status, state)) = status.and_then(|status| Some((status, status.state.as_ref()?))) else {
        return State::Unknown;
    };
    if state.running.is_some() {
        return State::Running;
    }
    if let Some(code) = exit_code(state) {
        return State::Ended(code, Now::Stopped);
    }
    match status.last_state.as_ref().and_then(exit_code) {
        Some(code) => State::Ended(code, Now::Waiting),
        None => State::Waiting,
    }
}

fn init_failed_for_good(statuses: &[api::ContainerStatus], container: &Container) -> bool {
    matches!(state_of(statuses, container), State::Ended(code, _) if code != 0 && !container.restarts_after(code))
}

impl Count {
    fn init(&mut self, state: State) {
        // One that ended is either complete, or failed and is retried, which does not count as pending.
        if !matches!(state, State::Ended(..)) {
            self.pending_init += 1;
        }
    }

    fn sidecar(&mut self, statuses: &[api::ContainerStatus], container: &Container, state: State) {
        let status = statuses.iter().find(|status| status.name == container.name);
        match state {
            State::Running => {
                self.running += 1;
                if status.is_none_or(|status| status.started != Some(true)) {
                    self.pending_sidecars += 1;
                }
            }
            State::Ended(..) => {}
            State::Waiting => {
                self.pending_sidecars += 1;
                self.waiting += 1;
            }
            State::Unknown => self.unknown += 1,
        }
    }

    fn regular(&mut self, container: &Container, state: State, restarting: bool) {
        match state {
            State::Running => self.running += 1,
            State::Waiting => self.waiting += 1,
            State::Unknown => self.unknown += 1,
            State::Ended(code, now) => {
                self.stopped += 1;
                self.stopped_for_good += usize::from(!restarting && !container.restarts_after(code));
                self.succeeded += usize::from(code == 0 && now == Now::Stopped);
            }
        }
    }
}
