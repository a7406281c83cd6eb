//! `gantry run` and `kubelet`: the process around the agent. Configuration, the log, signals, systemd.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::agent;
use crate::config::layers::FlagValues;
use crate::config::{Config, Log, LogFormat, Role, files};
use crate::serve::health::Health;

/// Threads that carry the agent's tasks. Its work is waiting for containerd; two keep one slow file system
/// from holding up the rest.
const WORKERS: usize = 2;

/// How long after a signal the next one means that somebody has lost patience.
const IMPATIENCE: Duration = Duration::from_secs(2);

/// Reads the configuration that the flags point to.
pub fn configuration(role: Role, given: &[FlagValues]) -> anyhow::Result<Config> {
    Ok(files::load(role, given, &files::here()?)?)
}

/// Runs the agent until SIGTERM or SIGINT; pods live on.
pub fn start(role: Role, given: &[FlagValues]) -> anyhow::Result<ExitCode> {
    let config = configuration(role, given)?;
    if !nix::unistd::geteuid().is_root() {
        anyhow::bail!("the agent must run as root: use sudo");
    }
    start_log(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_keep_alive(Duration::from_secs(2))
        .enable_all()
        .build()
        .context("no threads can be started")?;
    let result = runtime.block_on(async {
        let cancel = CancellationToken::new();
        let signals = tokio::spawn(until_signal(cancel.clone()));
        let result = agent::run(config, cancel, tell_systemd).await;
        signals.abort();
        result
    });
    // Every task has ended; a thread that waits for a dead disk is not waited for.
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
    tracing::info!(signal = name, "the agent stops; the pods stay");
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    cancel.cancel();
    // A terminal and a script may both hand on one key press.
    tokio::time::sleep(IMPATIENCE).await;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::warn!("asked again to stop: steps that are under way are left to the next agent");
    std::process::exit(1);
}

/// Tells systemd that the agent serves, and from then on that its loops turn, where systemd asked for that.
fn tell_systemd(health: Health) {
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    if let Some(limit) = sd_notify::watchdog_enabled() {
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(limit / 3);
            loop {
                tick.tick().await;
                if let Err(error) = health.check() {
                    tracing::error!(
                        error,
                        "a loop does not turn: systemd is told nothing and will start the agent anew"
                    );
                    continue;
                }
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
            }
        });
    }
}

/// The client of the API server logs each failed request, and what it could not read of an answer, which may be
/// secret. Whoever asked tells it once, in our words. A filter that names `kube_client` overrides this.
const QUIET: &str = "kube_client=off,";

fn start_log(log: &Log) {
    let filter = EnvFilter::try_new(format!("{QUIET}{}", log.filter))
        .unwrap_or_else(|_| EnvFilter::new(format!("{QUIET}info")));
    // The part of the client that shows answers it cannot understand: a Secret or a token may be among them.
    let silenced = "kube_client::client=off".parse();
    let filter = filter.add_directive(silenced.expect("a target and a level are a directive"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Told on standard error, too: where that is a file on a full disk, it would end the agent.
        .log_internal_errors(false);
    match log.format {
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .with_target(false)
            .init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
