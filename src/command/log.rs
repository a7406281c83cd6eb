//! The agent's log, on standard error, and its verbosity while it runs.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

use crate::config::log::{self, Log, LogFormat};
use crate::serve::Verbosity;

/// The Kubernetes client library logs each failed request and any response that it cannot parse, which may be secret.
/// The caller logs the failure once instead. A filter that names `kube_client` overrides this.
const QUIET: &str = "kube_client=off,";

/// Starts it, once for the process. What is returned replaces its filter.
pub(super) fn start(log: &Log) -> Verbosity {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(&log.filter))
        .with_writer(std::io::stderr)
        // They would go to standard error as well, and end the agent if that is a file on a full disk.
        .log_internal_errors(false);
    match log.format {
        LogFormat::Text => {
            let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            let builder = builder
                .with_ansi(terminal)
                .with_target(false)
                .with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            changing(handle)
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.init();
            changing(handle)
        }
    }
}

fn changing<S: 'static>(handle: Handle<EnvFilter, S>) -> Verbosity {
    Verbosity::new(move |level| {
        let filter = filter(log::filter(level.into()));
        handle.reload(filter).map_err(|error| error.to_string())
    })
}

/// A filter that is not valid is as none.
fn filter(text: &str) -> EnvFilter {
    let filter = EnvFilter::try_new(format!("{QUIET}{text}"));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(format!("{QUIET}info")));
    // The part of the client library that logs unparsable responses, which may contain a Secret or a token.
    let silenced = "kube_client::client=off".parse();
    filter.add_directive(silenced.expect("a target and a level form a directive"))
}
