//! Asks the agent, again and again, and remembers the answer before the last one.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::rows::{self, Rows};
use crate::command::client::Client;
use crate::command::{CommandError, pod_selection};
use crate::serve::top::wire::Top;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first rates are not worth waiting longer for.
const FIRST: Duration = Duration::from_secs(1);

/// What the agent says at one moment.
#[derive(Debug)]
pub(super) struct Answer {
    top: Top,
    pods: Vec<Pod>,
    at: Timestamp,
}

/// Asks once, for the pods of this namespace or all.
pub(super) async fn ask(client: &Client, namespace: Option<&str>) -> Result<Answer, CommandError> {
    let both = async {
        let mut top: Top = client.object("/top").await?;
        let mut pods = pod_selection::pods(client).await?;
        if let Some(namespace) = namespace {
            top.pods.retain(|pod| pod.namespace == namespace);
            pods.retain(|pod| pod_selection::namespace(pod) == namespace);
        }
        let at = Timestamp::now();
        Ok(Answer { top, pods, at })
    };
    let answered = timeout(PATIENCE, both).await;
    answered.unwrap_or_else(|_| {
        let seconds = PATIENCE.as_secs();
        Err(CommandError::Choice(format!(
            "gantry has not answered for {seconds} seconds"
        )))
    })
}

/// The last two answers that differ.
#[derive(Debug)]
pub(super) struct Answers {
    before: Option<Top>,
    last: Answer,
}

impl Answers {
    pub(super) fn new(first: Answer) -> Answers {
        Answers {
            before: None,
            last: first,
        }
    }

    /// The agent gives the same numbers again if others have just asked for them: the rates stay those of before.
    pub(super) fn add(&mut self, answer: Answer) {
        let before = std::mem::replace(&mut self.last, answer).top;
        if before.node.counters.at != self.last.top.node.counters.at {
            self.before = Some(before);
        }
    }

    pub(super) fn rows(&self) -> Rows {
        let last = &self.last;
        rows::rows(self.before.as_ref(), &last.top, &last.pods, last.at)
    }
}

/// Asks after each interval, until nobody receives the answers. An agent that does not answer is asked again: it may be
/// restarting.
pub(super) async fn repeat(
    client: Client,
    namespace: Option<String>,
    interval: Duration,
    answers: mpsc::Sender<Result<Answer, CommandError>>,
) {
    tokio::time::sleep(FIRST.min(interval)).await;
    loop {
        if answers
            .send(ask(&client, namespace.as_deref()).await)
            .await
            .is_err()
        {
            return;
        }
        tokio::time::sleep(interval).await;
    }
}
