//! What the runtime has, compared before and after the pods are taken over.

use std::time::Duration;

use crate::node::{SOON, stays};
use crate::runtime::{self, Container, Sandbox};
use crate::wait::wait_for;

/// How long nothing may change after everything is reported: what a successor would undo, it undoes at its start.
const QUIET: Duration = Duration::from_secs(6);

/// What the runtime has: every sandbox, and every container with its restarts and whether it runs.
#[derive(Debug, PartialEq)]
pub struct RuntimeState {
    sandboxes: Vec<Sandbox>,
    containers: Vec<Container>,
}

impl RuntimeState {
    /// As it is once the sandboxes of pods that have ended are stopped, for which nothing waits before the end is reported.
    #[track_caller]
    pub fn at_rest(ended: &[&str]) -> RuntimeState {
        wait_for("the sandboxes of ended pods to be stopped", SOON, || {
            let now = RuntimeState::now();
            let is_up = |sandbox: &&Sandbox| sandbox.ready && ended.contains(&sandbox.pod.as_str());
            match now.sandboxes.iter().find(is_up) {
                Some(sandbox) => Err(format!("{sandbox:?}")),
                None => Ok(now),
            }
        })
    }

    fn now() -> RuntimeState {
        RuntimeState {
            sandboxes: runtime::sandboxes().expect("containerd answers"),
            containers: runtime::containers().expect("containerd answers"),
        }
    }

    /// The same without a static pod that has been taken away.
    pub fn without(mut self, pod: &str) -> RuntimeState {
        let full = format!("{pod}-node-1");
        self.sandboxes.retain(|sandbox| sandbox.pod != full);
        self.containers.retain(|container| container.pod != full);
        self
    }

    /// Fails where anything changes now.
    #[track_caller]
    pub fn stays(&self, when: &str) {
        stays(&format!("every container and sandbox, {when},"), QUIET, || {
            let now = RuntimeState::now();
            if *self == now {
                Ok(())
            } else {
                Err(format!("{now:#?}\nnot {self:#?}"))
            }
        });
    }
}
