//! `gantry run` and `kubelet`: the agent's process. Configuration, logging, signals, systemd.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{log, service_manager};
use crate::agent;
use crate::config::layers::FlagValues;
use crate::config::{Config, Role, files};

/// The threads that run the agent's tasks. They mostly wait for containerd; with two of them, one slow file system does
/// not block the rest.
const WORKERS: usize = 2;

/// The time after a stop signal from which on a second one means "now".
const IMPATIENCE: Duration = Duration::from_secs(2);

/// Reads the configuration that the flags point to.
pub fn configuration(role: Role, given: &[FlagValues]) -> anyhow::Result<Config> {
    Ok(files::load(role, given, &files::here()?)?)
}

/// Runs the agent until SIGTERM or SIGINT; pods keep running.
pub fn start(role: Role, given: &[FlagValues]) -> anyhow::Result<ExitCode> {
    let config = configuration(role, given)?;
    if !nix::unistd::geteuid().is_root() {
        anyhow::bail!("the agent must run as root: use sudo");
    }
    let verbosity = log::start(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_keep_alive(Duration::from_secs(2))
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let result = runtime.block_on(async {
        let cancel = CancellationToken::new();
        let signals = tokio::spawn(until_signal(cancel.clone()));
        let result = agent::run(config, verbosity, cancel, service_manager::ready).await;
        signals.abort();
        result
    });
    // Every task has ended; threads that hang on a dead disk are abandoned.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result.map(|()| ExitCode::SUCCESS)
}

async fn until_signal(cancel: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(signal = name, "stopping the agent; pods keep running");
    service_manager::stopping();
    cancel.cancel();
    // A terminal and a script may both forward one key press.
    tokio::time::sleep(IMPATIENCE).await;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::warn!("second stop signal received; exiting now and leaving unfinished steps to the next agent");
    std::process::exit(1);
}
