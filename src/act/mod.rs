//! Executes a plan, step by step, and returns the outcome. Makes no decisions: no policy, no retry, no back-off.
//! Depends only on `model`, on the wires `cgroup` and `cri`, and on `ask` and `bulkhead`.
//!
//! Here are the order of a plan and the one place that calls the function of each step. Beside it:
//!
//! - what a step is given and what it returns: `context`, `effect`, `failure`;
//! - the steps: `container` (with `hook`, `image_mount`, `sub_path`, `symbol`, `user_mapping`), `hosts`, `image` (with `pull`,
//!   [`credential_provider`], [`pull_records`], [`pulls`], [`registry`]), `pod_cgroup`, `pod_dir` (with `tree`), `post_start`,
//!   `resize`, `sandbox` (with [`network_cache`]), `volume`;
//! - what they share: `mount`, [`mount_tools`], [`user_ranges`], and where they wait: `endings`, [`files`], `off_thread`, [`turn`];
//! - what belongs to no pod's plan: [`collect`], [`kernel`], at the agent's start, [`projects`], which a start tidies up, [`requested_pull`]
//!   (with `download`), and [`rotate`].

pub mod collect;
mod container;
mod context;
pub mod credential_provider;
mod download;
mod effect;
mod endings;
mod env_file;
mod failure;
pub mod files;
mod hook;
mod hosts;
mod image;
mod image_mount;
pub mod keyed_turns;
pub mod kernel;
mod lasting;
mod mount;
pub mod mount_tools;
pub mod network_cache;
mod off_thread;
mod pod_cgroup;
mod pod_dir;
mod post_start;
pub mod projects;
mod pull;
pub mod pull_records;
pub mod pulls;
pub mod pulls_at_work;
pub mod registry;
pub mod requested_pull;
mod resize;
pub mod rotate;
mod sandbox;
mod sub_path;
mod symbol;
pub mod tmpfs;
pub mod turn;
pub mod volume;
mod user_mapping;
pub mod user_ranges;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::model::bounds;
use crate::model::outcome::{Outcome, SlowAction, StepError, StepReport};
use crate::model::pod::{PodName, PodUid};
use crate::model::step::{Failed, Plan, Step, Subject};

pub use context::ActContext;
use context::Work;
use effect::{Effect, Fact, Made};
use endings::Endings;
use turn::{Load, Turn};

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

impl Work<'_> {
    async fn execute(&self, plan: Plan) -> Vec<StepReport> {
        let mut turn = self.context.turns.queue(plan.pace);
        let mut made = Made::default();
        let mut failed = Failed::default();
        let mut reports = Vec::new();
        for stage in plan.stages {
            let steps: Vec<Step> = stage.into_iter().filter(|step| !failed.holds(step)).collect();
            if steps.iter().any(|step| Load::of(step) == Load::Work) {
                tokio::select! {
                    () = self.cancel.cancelled() => {}
                    () = turn.take() => {}
                }
            }
            if self.cancel.is_cancelled() || failed.ends_plan() {
                break;
            }
            let (finished, facts) = self.carry_out(steps, &made, &mut turn).await;
            for report in finished.iter().filter(|report| report.result.is_err()) {
                failed.add(&report.subject);
                made.note_failure(report);
            }
            reports.extend(finished);
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
        let (subject, kind) = (step.subject(), step.kind());
        let (began, clock) = (Timestamp::now(), Instant::now());
        let result = self.perform(step, made, endings).await;
        let took = clock.elapsed();
        if result.is_ok() {
            let ms = format_args!("{:.1}", took.as_secs_f64() * 1000.0).to_string();
            match &subject {
                Subject::Pod => tracing::info!(ms, "{kind}"),
                Subject::Volume(volume) | Subject::ImageVolume(volume) => {
                    tracing::info!(volume, ms, "{kind}")
                }
                Subject::Container(container) => tracing::info!(container, ms, "{kind}"),
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
                kind,
                began,
                took,
                result,
            },
            fact,
        )
    }

    async fn perform(&self, step: Step, made: &Made, endings: &Endings) -> Result<Effect, StepError> {
        let ActContext { runtime, cgroups, .. } = self.context;
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
                    what: SlowAction::Stop { message },
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
            Step::RemoveLogDir { dir, links } => pod_dir::remove_logs(self, dir, links).await,
            Step::RemoveCgroup { name } => pod_cgroup::remove(cgroups, &name).await,
            Step::EnsureCgroup(setting) => pod_cgroup::ensure(cgroups, &setting).await,
            Step::EnsurePodDir { dir, logs } => pod_dir::ensure(&dir, &logs),
            Step::EnsureVolume(request) | Step::RepublishVolume(request) => {
                volume::ensure(self, request).await
            }
            Step::ExpandVolume(request) => volume::csi::expand(self, *request).await,
            Step::RunSandbox(request) => sandbox::run(self, *request).await,
            Step::EnsureImage(request) => image::ensure(self, request).await,
            Step::EnsureVolumeImage(request) => image::ensure_of_volume(self, request).await,
            Step::WriteHosts(file) => hosts::write(runtime, file, made.sandbox.as_deref()).await,
            Step::CreateContainer(request) => container::create(self, *request, made).await,
            Step::StartContainer {
                container,
                which,
                link,
            } => container::start(runtime, container, which, link, made).await,
            Step::PostStart(step) => post_start::run(self, *step, made).await,
            Step::WriteCheckpoint(record) => pod_dir::save(&record),
            Step::WriteAllocation(record) => resize::save(*record),
            Step::Resize(request) => resize::resize(runtime, cgroups, *request).await,
        }
    }
}

#[cfg(test)]
mod tests;
