//! Lifecycle hooks of containers (`pkg/kubelet/lifecycle`): how one is run, and the preStop hook, which runs while its
//! container is being stopped. The postStart hook has a step of its own, in [`super::post_start`].

use std::future::pending;
use std::time::Duration;

use super::context::Work;
use super::effect::Made;
use crate::ask::{self, Asker};
use crate::cri::Runtime;
use crate::model::outcome::HookResult;
use crate::model::probe::Hook;
use crate::model::request::{HookCall, HookHost, SandboxRef};

/// The timeout of a GET; the kubelet's own client would wait for ever.
const GET_PATIENCE: Duration = Duration::from_secs(300);

/// Runs the preStop hook for at most the grace period, and returns its result. A hook that has not finished by then
/// ends with the container and counts as failed (`executePreStopHook`, whose hook fails when its container is killed);
/// only a sleep counts as done.
pub(super) async fn pre_stop(
    work: &Work<'_>,
    id: &str,
    before: Option<&HookCall>,
    grace: Duration,
    made: &Made,
) -> HookResult {
    let Some(before) = before else {
        return HookResult::Done;
    };
    let why = match tokio::time::timeout(grace, call(work, id, before, made)).await {
        Ok(Ok(())) => return HookResult::Done,
        Ok(Err(why)) => why.error,
        Err(_) if matches!(before.hook, Hook::Sleep(_)) => {
            work.context.counters.containers.woken();
            return HookResult::Done;
        }
        Err(_) => format!(
            "it did not finish within the grace period of {} s",
            grace.as_secs()
        ),
    };
    tracing::warn!(container = id, "preStop hook failed: {why}");
    HookResult::Failed
}

/// Why a hook failed.
pub(super) struct Why {
    pub(super) error: String,
    /// The output of a command.
    pub(super) output: Option<String>,
}

/// Runs a hook to its end.
pub(super) async fn call(work: &Work<'_>, id: &str, call: &HookCall, made: &Made) -> Result<(), Why> {
    let runtime = &work.context.runtime;
    let plain = |error| Why { error, output: None };
    match &call.hook {
        Hook::Exec(command) => exec(runtime, id, command).await,
        Hook::Http(get) => {
            let address = match (&get.host, &call.host) {
                (Some(host), _) => host.clone(),
                (None, HookHost::At(address)) => address.to_string(),
                (None, HookHost::OfSandbox(sandbox)) => {
                    address(runtime, sandbox, made).await.map_err(plain)?
                }
            };
            // Any response counts as success.
            let pod = work.pod.to_string();
            let asker = Asker {
                names: &work.context.names,
                pod: &pod,
            };
            let answer = ask::http::get(asker, get, &address, ask::http::Purpose::Hook, GET_PATIENCE).await;
            answer.map(drop).map_err(plain)
        }
        Hook::Sleep(time) => {
            // A requested sleep, not a wait for a result.
            let () = tokio::time::timeout(*time, pending()).await.unwrap_or_default();
            Ok(())
        }
    }
}

async fn exec(runtime: &Runtime, id: &str, command: &[String]) -> Result<(), Why> {
    let answer = runtime.exec_sync(id, command.to_vec(), None).await;
    let answer = answer.map_err(|error| Why {
        error: error.grpc_text(),
        output: Some(String::new()),
    })?;
    if answer.exit_code == 0 {
        return Ok(());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&answer.stdout), text(&answer.stderr));
    Err(Why {
        error: format!(
            "command '{}' exited with {}: {err}",
            command.join(" "),
            answer.exit_code
        ),
        output: Some(out + &err),
    })
}

async fn address(runtime: &Runtime, sandbox: &SandboxRef, made: &Made) -> Result<String, String> {
    let id = match sandbox {
        SandboxRef::Id(id) => Some(id.as_str()),
        SandboxRef::Made => made.sandbox.as_deref(),
    };
    let no_sandbox = || "failed to find networking container".to_owned();
    let status = runtime.pod_sandbox_status(id.ok_or_else(no_sandbox)?).await;
    let status = status.map_err(|error| error.grpc_text())?;
    let ip = status
        .network
        .map(|network| network.ip)
        .filter(|ip| !ip.is_empty());
    ip.ok_or_else(no_sandbox)
}
