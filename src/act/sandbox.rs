//! Steps about a pod's sandbox.

use std::net::IpAddr;

use super::context::{ActContext, Work};
use super::effect::{Effect, Fact};
use super::failure::{call_failure, failure, gone};
use super::network_cache::NetworkCache;
use super::off_thread::off_thread;
use super::user_mapping;
use crate::cri::{CriError, Runtime};
use crate::model::outcome::{Done, StepError};
use crate::model::reason;
use crate::model::request::SandboxRequest;

/// Creates and starts the sandbox.
pub(super) async fn run(work: &Work<'_>, mut request: SandboxRequest) -> Result<Effect, StepError> {
    let not_made = |why: &str| format!("Failed to create pod sandbox: {why}");
    let handler = request
        .handler
        .map_err(|why| failure(reason::pod::FAILED_CREATE_SANDBOX, not_made(&why)))?;
    let filled_in = user_mapping::fill_in_sandbox(work, &mut request.config).await;
    filled_in.map_err(|why| failure(reason::pod::FAILED_CREATE_SANDBOX, not_made(&why)))?;
    let runtime = &work.context.runtime;
    match runtime.run_pod_sandbox(request.config, handler).await {
        Ok(id) => Ok(Effect {
            done: Done::Sandbox { id: id.clone() },
            fact: Some(Fact::Sandbox(id)),
        }),
        Err(error) => Err(call_failure(
            reason::pod::FAILED_CREATE_SANDBOX,
            not_made(&error.grpc_text()),
            &error,
        )),
    }
}

/// Stops the sandbox.
pub(super) async fn stop(context: &ActContext, id: &str) -> Result<Effect, StepError> {
    let stopped = gone(context.runtime.stop_pod_sandbox(id).await);
    finish(context, id, stopped, "KillPodSandboxError").await
}

/// Removes it. The runtime stops it first where it has not been stopped to the end.
pub(super) async fn remove(context: &ActContext, id: &str) -> Result<Effect, StepError> {
    let removed = gone(context.runtime.remove_pod_sandbox(id).await);
    finish(context, id, removed, "RemovePodSandboxError").await
}

/// Where the runtime refused, a record that may keep it from detaching the network is removed, so that the next attempt
/// succeeds. The message is the kubelet's `error killing pod: failed to "KillPodSandbox" for … with
/// KillPodSandboxError: …` without the inner repetition of the pod's name.
async fn finish(
    context: &ActContext,
    id: &str,
    result: Result<(), CriError>,
    what: &str,
) -> Result<Effect, StepError> {
    let Err(error) = result else {
        return Ok(Effect::PLAIN);
    };
    if !error.is_unreachable() {
        remove_broken_records(context.network_cache.clone(), id.to_owned()).await;
    }
    Err(call_failure(
        reason::pod::FAILED_KILL_POD,
        format!("error killing pod: {what}: {}", error.grpc_text()),
        &error,
    ))
}

async fn remove_broken_records(cache: NetworkCache, sandbox: String) {
    match off_thread(move || cache.remove_broken(&sandbox)).await {
        Ok(removed) => {
            for path in removed {
                tracing::warn!(
                    path = %path.display(),
                    "removed a truncated network record of the sandbox, which kept the container runtime from \
                     stopping it"
                );
            }
        }
        Err(error) => tracing::warn!(%error, "cannot look for truncated network records of the sandbox"),
    }
}

/// The addresses of a sandbox, the primary first.
pub(super) async fn addresses(runtime: &Runtime, id: &str) -> Result<Vec<IpAddr>, StepError> {
    let status = runtime.pod_sandbox_status(id).await.map_err(|error| {
        let message = format!("Unable to get pod sandbox status: {}", error.grpc_text());
        call_failure(reason::pod::FAILED_STATUS_SANDBOX, message, &error)
    })?;
    let network = status.network.unwrap_or_default();
    let all = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
    Ok(all.filter_map(|ip| ip.parse().ok()).collect())
}
