//! One run of a probe: the query, and what its answer means (`pkg/kubelet/prober/prober.go`).

pub(super) mod worker;

use std::time::Duration;

use tonic::Code;

use crate::ask::{self, Asker, Names};
use crate::cri::Runtime;
use crate::model::health::Trouble;
use crate::model::probe::{Action, ProbeKind};

/// How much of a command's output is reported (`pkg/probe/exec`).
const MOST_OUTPUT: usize = 10 << 10;
/// How often a probe that could not run is retried (`maxProbeRetries`).
const TRIES: usize = 3;

/// How long the call of a command continues after the probe's timeout. The runtime ends the command at its own timeout,
/// and a call that is dropped before that leaves the command running. So one probe has at most as many calls as its
/// period fits into this, and one more.
const LINGER: Duration = Duration::from_secs(10);

/// The result of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// Success.
    Well,
    /// Success, with a warning.
    Warned(String),
    /// Failure.
    Failed(String),
    /// The result is unknown, which does not count; a text, if any, is reported.
    Errored(Option<String>),
}

impl Finding {
    /// The reported text.
    pub(super) fn trouble(&self, kind: ProbeKind) -> Option<Trouble> {
        let title = kind.title();
        let (reason, message) = match self {
            Finding::Well | Finding::Errored(None) => return None,
            Finding::Warned(text) => ("ProbeWarning", format!("{title} probe warning: {text}")),
            Finding::Failed(text) => ("Unhealthy", format!("{title} probe failed: {text}")),
            Finding::Errored(Some(text)) => (
                "Unhealthy",
                format!("{title} probe errored and resulted in unknown state: {text}"),
            ),
        };
        Some(Trouble { reason, message })
    }
}

/// The target of a probe.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// The pod being probed: lookups of names are limited per pod.
    pub(super) pod: String,
    /// The container's id.
    pub(super) id: String,
    /// The pod's address; empty while it has none.
    pub(super) address: String,
    pub(super) action: Action,
    pub(super) timeout: Duration,
}

/// Runs the probe.
pub(super) async fn ask(runtime: &Runtime, names: &Names, question: &Question) -> Finding {
    let mut finding = Finding::Well;
    for _ in 0..TRIES {
        finding = once(runtime, names, question).await;
        if !matches!(finding, Finding::Errored(_)) {
            break;
        }
    }
    finding
}

async fn once(runtime: &Runtime, names: &Names, question: &Question) -> Finding {
    let Question {
        pod,
        id,
        address,
        action,
        timeout,
    } = question;
    let asker = Asker { names, pod };
    match action {
        Action::Exec(command) => exec(runtime, id, command, *timeout).await,
        Action::Http(get) => {
            if let Err(error) = get.port.number() {
                return Finding::Errored(Some(error));
            }
            match ask::http::get(asker, get, address, ask::http::Purpose::Probe, *timeout).await {
                Err(error) => Finding::Failed(error),
                Ok(answer) => of_answer(answer),
            }
        }
        Action::Tcp { host, port } => {
            let port = match port.number() {
                Ok(port) => port,
                Err(error) => return Finding::Errored(Some(error)),
            };
            let host = host.as_ref().unwrap_or(address);
            plain(ask::tcp(asker, host, port, *timeout).await)
        }
        Action::Grpc { port, service } => plain(ask::grpc::check(address, *port, service, *timeout).await),
    }
}

fn plain(result: Result<(), String>) -> Finding {
    result.map_or_else(Finding::Failed, |()| Finding::Well)
}

fn of_answer(answer: ask::http::Answer) -> Finding {
    match answer.status {
        200..=299 => Finding::Well,
        300..=399 => Finding::Warned(format!(
            "Probe terminated redirects, Response body: {}",
            answer.body
        )),
        // Without the body: it may hold secrets.
        status => Finding::Failed(format!("HTTP probe failed with statuscode: {status}")),
    }
}

/// The result comes within the probe's own timeout, whatever the runtime does: the runtime waits for every holder of
/// the command's output, for example a process that the command left behind. The call is left to the runtime meanwhile.
async fn exec(runtime: &Runtime, id: &str, command: &[String], timeout: Duration) -> Finding {
    let late = || {
        let (command, seconds) = (command.join(" "), timeout.as_secs());
        Finding::Failed(format!(
            "command timed out: {command:?} timed out after {seconds}s"
        ))
    };
    let (runtime, id, words) = (runtime.clone(), id.to_owned(), command.to_vec());
    let call = tokio::spawn(async move {
        let call = runtime.exec_sync(&id, words, Some(timeout));
        tokio::time::timeout(timeout + LINGER, call).await
    });
    // A call that is left has its own end; one that died with the agent has no verdict.
    let answer = match tokio::time::timeout(timeout, call).await {
        Err(_) | Ok(Ok(Err(_))) => return late(),
        Ok(Err(_)) => return Finding::Errored(None),
        Ok(Ok(Ok(answer))) => answer,
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if error.is_unreachable() => return Finding::Errored(None),
        Err(error) if error.code == Code::DeadlineExceeded => return late(),
        Err(error) => return Finding::Errored(Some(error.grpc_text())),
    };
    if answer.exit_code == 0 {
        return Finding::Well;
    }
    let mut output = answer.stdout;
    output.extend(answer.stderr);
    output.truncate(MOST_OUTPUT);
    Finding::Failed(String::from_utf8_lossy(&output).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_of_http() {
        let check = |status| {
            let body = "secret".to_owned();
            of_answer(ask::http::Answer { status, body })
        };
        assert_eq!(check(200), Finding::Well);
        assert_eq!(check(299), Finding::Well);
        assert!(matches!(check(302), Finding::Warned(_)));
        assert!(matches!(check(399), Finding::Warned(_)));
        let text = "HTTP probe failed with statuscode: 400".to_owned();
        assert_eq!(check(400), Finding::Failed(text));
        assert!(matches!(check(199), Finding::Failed(_)));
        assert!(matches!(check(503), Finding::Failed(_)));
    }

    #[test]
    fn what_is_told() {
        let text_of = |finding: Finding| {
            finding
                .trouble(ProbeKind::Liveness)
                .map(|t| (t.reason, t.message))
        };
        assert_eq!(text_of(Finding::Well), None);
        assert_eq!(
            text_of(Finding::Failed("x".to_owned())),
            Some(("Unhealthy", "Liveness probe failed: x".to_owned()))
        );
    }
}
