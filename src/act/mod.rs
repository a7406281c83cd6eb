//! Executes a plan, step by step, and returns the outcome. Makes no decisions: no policy, no retry, no back-off.
//! Depends only on `model`, on the wires `cgroup` and `cri`, and on `ask` and `bulkhead`.

mod container;
pub mod credential_provider;
mod endings;
pub mod files;
mod hook;
mod hosts;
mod image;
pub mod kernel;
mod mount;
pub mod network_cache;
mod pod_dir;
pub mod pull_records;
pub mod registry;
mod resize;
pub mod rotate;
mod sandbox;
mod sub_path;
mod symbol;
mod tree;
pub mod turn;
mod volume;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::ask::Names;
use crate::cgroup::Cgroups;
use crate::cri::{CriError, Runtime};
use crate::model::bounds;
use crate::model::error_chain::chain;
use crate::model::pod::{PodName, PodUid};
use crate::model::reason;
use crate::model::step::{Beginning, Done, Lengthy, Outcome, Plan, Step, StepError, StepReport, Subject};

use credential_provider::Providers;
use endings::Endings;
use files::FilePlaces;
use image::ImageFound;
use network_cache::NetworkCache;
use pull_records::PullRecords;
use registry::DockerConfig;
use turn::{Load, Turn, Turns};

/// The resources that all steps share.
#[derive(Clone)]
pub struct ActContext {
    /// The container runtime.
    pub runtime: Runtime,
    /// The cgroups of pods.
    pub cgroups: Cgroups,
    /// One permit per image pull: a single one if `serializeImagePulls` is on, else `maxParallelImagePulls`.
    pub pulls: Arc<Semaphore>,
    /// How many pods are worked on at once.
    pub turns: Turns,
    /// The files with the node's own registry credentials.
    pub docker_config: DockerConfig,
    /// The credential provider plugins.
    pub providers: Providers,
    /// Which images were pulled, and with which credentials.
    pub records: PullRecords,
    /// Resolves host names in hooks.
    pub names: Names,
    /// File operations that may hang.
    pub files: FilePlaces,
    /// What the runtime remembers of attached networks.
    pub network_cache: NetworkCache,
    /// Receives a report when a lengthy step starts; there may be no receiver.
    pub beginnings: mpsc::UnboundedSender<Beginning>,
}

/// Executes a plan for one pod. If canceled, it ends after the current step, except that it does not wait for a
/// container stop or an image pull.
pub async fn run(
    context: &ActContext,
    pod: &PodName,
    uid: &PodUid,
    plan: Plan,
    cancel: CancellationToken,
) -> Outcome {
    let span = tracing::info_span!("pod", ns = %pod.namespace, name = %pod.name, uid = %uid);
    let work = Work {
        context,
        pod,
        uid,
        cancel: &cancel,
    };
    let steps = work.execute(plan).instrument(span).await;
    Outcome {
        pod: pod.clone(),
        uid: uid.clone(),
        at: Timestamp::now(),
        steps,
    }
}

/// The plan being executed.
struct Work<'a> {
    context: &'a ActContext,
    pod: &'a PodName,
    uid: &'a PodUid,
    cancel: &'a CancellationToken,
}

/// What earlier stages of the plan created, to resolve symbolic references in later ones.
#[derive(Debug, Default)]
struct Made {
    sandbox: Option<String>,
    images: BTreeMap<String, ImageFound>,
    containers: BTreeMap<String, String>,
}

/// The result of a step, and what later steps may refer to.
struct Effect {
    done: Done,
    fact: Option<Fact>,
}

/// An object that a step created.
enum Fact {
    Sandbox(String),
    Image(String, ImageFound),
    Container(String, String),
}

impl Effect {
    const PLAIN: Effect = Effect {
        done: Done::Plainly,
        fact: None,
    };
}

impl Made {
    fn note(&mut self, fact: Fact) {
        match fact {
            Fact::Sandbox(id) => self.sandbox = Some(id),
            Fact::Image(container, found) => {
                self.images.insert(container, found);
            }
            Fact::Container(container, id) => {
                self.containers.insert(container, id);
            }
        }
    }
}

impl Work<'_> {
    /// Reports that a lengthy step has started.
    fn begins(&self, container: &str, what: Lengthy) {
        // If pods are only removed, there is no receiver.
        let _ = self.context.beginnings.send(Beginning {
            pod: self.pod.clone(),
            uid: self.uid.clone(),
            container: container.to_owned(),
            at: Timestamp::now(),
            what,
        });
    }

    async fn execute(&self, plan: Plan) -> Vec<StepReport> {
        let mut turn = self.context.turns.queue(plan.pace);
        let mut made = Made::default();
        let mut failed = BTreeSet::new();
        let mut reports = Vec::new();
        for stage in plan.stages {
            let steps = stage.into_iter().filter(|step| !failed.contains(&step.subject()));
            let steps: Vec<Step> = steps.collect();
            if steps.iter().any(|step| Load::of(step) == Load::Work) {
                tokio::select! {
                    () = self.cancel.cancelled() => {}
                    () = turn.take() => {}
                }
            }
            if self.cancel.is_cancelled() || failed.contains(&Subject::Pod) {
                break;
            }
            let (told, facts) = self.carry_out(steps, &made, &mut turn).await;
            let failures = told.iter().filter(|report| report.result.is_err());
            failed.extend(failures.map(|report| report.subject.clone()));
            reports.extend(told);
            facts.into_iter().for_each(|fact| made.note(fact));
        }
        reports
    }

    /// Executes the steps of a stage concurrently. The turn ends when only waiting steps are left.
    async fn carry_out(
        &self,
        stage: Vec<Step>,
        made: &Made,
        turn: &mut Turn,
    ) -> (Vec<StepReport>, Vec<Fact>) {
        let mut loads: Vec<Load> = stage.iter().map(Load::of).collect();
        let endings = &Endings::of(&stage);
        let steps = stage.into_iter();
        let mut running: FuturesUnordered<_> = steps
            .map(|step| async {
                let load = Load::of(&step);
                (load, self.timed(step, made, endings).await)
            })
            .collect();
        let (mut reports, mut facts) = (Vec::new(), Vec::new());
        loop {
            if !loads.is_empty() && !loads.contains(&Load::Work) {
                turn.give_up();
            }
            // Both arms may be dropped: an unfinished step stays in its set.
            let next = tokio::select! {
                next = running.next() => next,
                () = turn.is_over() => {
                    turn.give_up();
                    continue;
                }
            };
            let Some((load, (report, fact))) = next else {
                return (reports, facts);
            };
            loads.extract_if(.., |left| *left == load).next();
            reports.push(report);
            facts.extend(fact);
        }
    }

    /// A failure is not logged here, but by the caller that plans again.
    async fn timed(&self, step: Step, made: &Made, endings: &Endings) -> (StepReport, Option<Fact>) {
        let (subject, verb) = (step.subject(), step.verb());
        let (began, clock) = (Timestamp::now(), Instant::now());
        let result = self.perform(step, made, endings).await;
        let took = clock.elapsed();
        if result.is_ok() {
            let ms = format_args!("{:.1}", took.as_secs_f64() * 1000.0).to_string();
            match &subject {
                Subject::Pod => tracing::info!(ms, "{verb}"),
                Subject::Container(container) => tracing::info!(container, ms, "{verb}"),
            }
        }
        let (result, fact) = match result {
            Ok(effect) => (Ok(effect.done), effect.fact),
            // Names may be as long as their object.
            Err(error) => {
                let message = bounds::shortened(error.message, bounds::MESSAGE);
                (Err(StepError { message, ..error }), None)
            }
        };
        (
            StepReport {
                subject,
                verb,
                began,
                took,
                result,
            },
            fact,
        )
    }

    async fn perform(&self, step: Step, made: &Made, endings: &Endings) -> Result<Effect, StepError> {
        let runtime = &self.context.runtime;
        match step {
            Step::StopContainer {
                container,
                id,
                grace,
                message,
                pre_stop,
                after,
            } => {
                let stop = container::Stop {
                    container: &container,
                    id: &id,
                    grace,
                    what: Lengthy::Stop { message },
                    before: pre_stop.as_ref(),
                    turn: endings.of_ids(&after),
                };
                let stopped = container::stop(self, stop, made).await;
                if stopped.is_ok() {
                    endings.note(&id);
                }
                stopped
            }
            Step::RemoveContainer { id, log, link, .. } => {
                container::remove(runtime, &id, &log, link.as_deref()).await
            }
            Step::StopSandbox { id } => sandbox::stop(self.context, &id).await,
            Step::RemoveSandbox { id } => sandbox::remove(self.context, &id).await,
            Step::RemovePodDir { dir } => pod_dir::remove(self, dir).await,
            Step::RemoveLogDir { dir } => pod_dir::remove_logs(self, dir).await,
            Step::RemoveCgroup { name } => match self.context.cgroups.remove(&name).await {
                Ok(()) => Ok(Effect::PLAIN),
                Err(error) => Err(failure(
                    reason::pod::FAILED_KILL_POD,
                    format!("error killing pod: {}", chain(&error)),
                )),
            },
            Step::EnsureCgroup(setting) => match self.context.cgroups.ensure(&setting).await {
                Ok(()) => Ok(Effect::PLAIN),
                Err(error) => Err(failure(
                    reason::pod::FAILED_CREATE_CGROUP,
                    format!(
                        "unable to ensure pod container exists: failed to create container for [{}] : {}",
                        setting.name.0.join(" "),
                        chain(&error)
                    ),
                )),
            },
            Step::EnsurePodDir { dir, logs } => pod_dir::ensure(&dir, &logs),
            Step::EnsureVolume(request) => volume::ensure(self, request).await,
            Step::RunSandbox(request) => sandbox::run(runtime, *request).await,
            Step::EnsureImage(request) => image::ensure(self, request).await,
            Step::WriteHosts(file) => hosts::write(runtime, file, made.sandbox.as_deref()).await,
            Step::CreateContainer(request) => container::create(self, *request, made).await,
            Step::StartContainer {
                container,
                which,
                link,
            } => container::start(runtime, container, which, link, made).await,
            Step::PostStart(step) => hook::post_start(self, *step, made).await,
            Step::KeepCheckpoint(record) => pod_dir::keep(&record),
            Step::KeepAllocation(record) => resize::keep(*record),
            Step::Resize(request) => resize::resize(runtime, &self.context.cgroups, *request).await,
        }
    }
}

/// The error of a step that failed within the agent.
fn failure(reason: &'static str, message: String) -> StepError {
    StepError {
        reason,
        message,
        unreachable: false,
    }
}

/// The error of a step that failed because of a runtime call.
fn call_failure(reason: &'static str, message: String, error: &CriError) -> StepError {
    StepError {
        reason,
        message,
        unreachable: error.is_unreachable(),
    }
}

/// The error of a step that was abandoned because the agent is stopping; it does not count as a failure.
fn abandoned(reason: &'static str) -> StepError {
    StepError {
        reason,
        message: "the agent is stopping".to_owned(),
        unreachable: true,
    }
}

/// Removing something that the runtime does not know counts as success.
fn gone(result: Result<(), CriError>) -> Result<(), CriError> {
    match result {
        Err(error) if error.not_found() => Ok(()),
        result => result,
    }
}

/// Runs work on the agent's own files, which others cannot block, off the threads of the asynchronous runtime. Paths
/// that pods name are handled in bulkheads ([`files`]).
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(std::io::Error::other(error)),
    }
}

#[cfg(test)]
mod tests;
