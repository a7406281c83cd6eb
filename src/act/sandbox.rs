//! Steps about a pod's sandbox.

use std::net::IpAddr;

use super::{Effect, Fact, call_failure, failure, gone};
use crate::cri::Runtime;
use crate::model::reason;
use crate::model::step::{Done, SandboxRequest, StepError};

/// Makes and starts the sandbox.
pub(super) async fn run(runtime: &Runtime, request: SandboxRequest) -> Result<Effect, StepError> {
    let not_made = |why: &str| format!("Failed to create pod sandbox: {why}");
    let handler = request
        .handler
        .map_err(|why| failure(reason::pod::FAILED_CREATE_SANDBOX, not_made(&why)))?;
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

/// Stops it.
pub(super) async fn stop(runtime: &Runtime, id: &str) -> Result<Effect, StepError> {
    finish(gone(runtime.stop_pod_sandbox(id).await), "KillPodSandboxError")
}

/// Removes it.
pub(super) async fn remove(runtime: &Runtime, id: &str) -> Result<Effect, StepError> {
    finish(
        gone(runtime.remove_pod_sandbox(id).await),
        "RemovePodSandboxError",
    )
}

/// The message is the kubelet's `error killing pod: failed to "KillPodSandbox" for … with
/// KillPodSandboxError: …` without the inner repetition of the pod's name.
fn finish(result: Result<(), crate::cri::CriError>, what: &str) -> Result<Effect, StepError> {
    match result {
        Ok(()) => Ok(Effect::PLAIN),
        Err(error) => Err(call_failure(
            reason::pod::FAILED_KILL_POD,
            format!("error killing pod: {what}: {}", error.grpc_text()),
            &error,
        )),
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
