//! Which container each pod had when the node was at rest. No container is another one at the next rest, and none was
//! started again, unless a fault has ended it.

use std::collections::BTreeMap;

use super::faults::Harm;
use super::pods::Pods;
use super::truth::{Instance, Settled};
use crate::runtime;

/// The containers at the last rest, by the number of their pod and their name.
#[derive(Default)]
pub struct Ledger(BTreeMap<(usize, String), Instance>);

impl Ledger {
    /// Whether every container that was surely ended has a successor: what has just been killed may still be listed as running.
    pub fn has_successors(&self, pods: &Pods, now: &Settled, harm: &Harm) -> Result<(), String> {
        for pod in pods.iter().filter(|pod| harm.restarts(pod)) {
            for container in pod.kind.lasting() {
                let key = (pod.number, (*container).to_owned());
                if self
                    .0
                    .get(&key)
                    .is_some_and(|before| now.instances.get(&key) == Some(before))
                {
                    return Err(format!("{}/{container} was ended, and is there still", pod.name));
                }
            }
        }
        Ok(())
    }

    /// Compares with the last rest, and notes this one.
    pub fn check(&mut self, pods: &Pods, now: &Settled, harm: &Harm) -> Result<(), String> {
        let mut wrong = Vec::new();
        for ((number, container), instance) in &now.instances {
            let Some(pod) = pods.iter().find(|pod| pod.number == *number) else {
                continue;
            };
            if let Harm::Starts = harm
                && !pod.has_rested()
                && instance.restarts > 0
            {
                wrong.extend(not_given_up(now, &(*number, container.clone())));
            }
            if harm.may_restart(pod) {
                continue;
            }
            let name = format!("{}/{container} ({:?})", pod.name, pod.kind);
            match self.0.get(&(*number, container.clone())) {
                Some(before) if before == instance => {}
                Some(before) => wrong.push(format!("{name} was {before:?} and is {instance:?}")),
                None if pod.is_forgiven || instance.restarts == 0 => {}
                None => wrong.push(format!("{name} was restarted in its first moments: {instance:?}")),
            }
        }
        for pod in pods.iter().filter(|pod| pod.kind.runs() > 0 && !pod.is_forgiven) {
            let lines = std::fs::read_to_string(pod.runs_file())
                .unwrap_or_default()
                .lines()
                .count();
            if lines != pod.kind.runs() {
                wrong.push(format!("{} ({:?}) has run {lines} times", pod.name, pod.kind));
            }
        }
        self.0.clone_from(&now.instances);
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(wrong.join("; ")),
        }
    }
}

/// What is wrong with the end of a container's predecessor, if it is not that the runtime gave up its start.
fn not_given_up(now: &Settled, key: &(usize, String)) -> Option<String> {
    let (_, id) = now.ended.iter().find(|(own, _)| own == key)?;
    let reason = runtime::end_of(id).ok()?;
    let is_given_up = ["StartError", "Unknown"].contains(&reason.as_str());
    (!is_given_up).then(|| format!("{} was restarted after {reason}, having run", key.1))
}
