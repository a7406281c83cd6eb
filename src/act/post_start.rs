//! The step that runs a container's postStart hook.

use super::container;
use super::context::Work;
use super::effect::{Effect, Made};
use super::failure::{abandoned, failure};
use super::hook::{self, Why};
use crate::model::outcome::{SlowAction, StepError};
use crate::model::probe::Hook;
use crate::model::reason;
use crate::model::request::{ContainerRef, HookCall, PostStart};

/// Runs the postStart hook. A container whose hook failed is stopped in the same step: it must not keep running,
/// whatever happens to the plan.
pub(super) async fn run(work: &Work<'_>, step: PostStart, made: &Made) -> Result<Effect, StepError> {
    let reason = reason::waiting::POST_START_HOOK_ERROR;
    let id = match &step.which {
        ContainerRef::Id(id) => id.clone(),
        ContainerRef::Made => made
            .containers
            .get(&step.container)
            .cloned()
            .ok_or_else(|| failure(reason, "the container was not created".to_owned()))?,
    };
    let outcome = tokio::select! {
        // The hook continues in the container; a new plan decides what the pod needs then.
        () = work.cancel.cancelled() => return Err(abandoned(reason)),
        outcome = hook::call(work, &id, &step.call, made) => outcome,
    };
    let Err(why) = outcome else {
        return Ok(Effect::PLAIN);
    };
    let message = message(&step, &why);
    let before = step.pre_stop.map(|hook| HookCall {
        hook,
        host: step.call.host,
    });
    let stop = container::Stop {
        container: &step.container,
        id: &id,
        grace: step.grace,
        what: SlowAction::StopAfterFailedHook,
        before: before.as_ref(),
        turn: Vec::new(),
    };
    let stopped = container::stop(work, stop, made).await;
    match stopped {
        Err(error) if !error.counts() => Err(StepError { reason, ..error }),
        _ => Err(failure(reason, message)),
    }
}

/// The message in the container's waiting state.
fn message(step: &PostStart, why: &Why) -> String {
    let (kind, what) = match &step.call.hook {
        Hook::Exec(command) => ("Exec", format!("[{}]", command.join(" "))),
        Hook::Http(get) => ("HTTP", get.path.clone()),
        Hook::Sleep(time) => ("Sleep", time.as_secs().to_string()),
    };
    let mut text = format!(
        "{kind} lifecycle hook ({what}) for Container {:?} in Pod {:?} failed - error: {}",
        step.container, step.pod, why.error
    );
    if let Some(output) = &why.output {
        text.push_str(&format!(", message: {output:?}"));
    }
    text
}
