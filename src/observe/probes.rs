//! Runs the probes of the containers that are desired and running. The results are part of the snapshot, which the
//! observer writes. One task runs all of them: an idle probe costs a few words and a time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::probe::worker::{Found, Worker};
use super::probe::{self, Finding, Question};
use super::request::{Handle, ProbeUpdate};
use crate::ask::Names;
use crate::counters::{Counters, ProbeResult, Probed};
use crate::cri::Runtime;
use crate::model::health::Verdict;
use crate::model::pod::{Container, Desired, Pod, PodName};
use crate::model::probe::ProbeKind;
use crate::model::runtime::{ContainerState, ObservedContainer, ObservedName, Snapshot};

/// The probes' inputs.
pub struct ProbeInputs {
    /// The desired pods.
    pub desired: watch::Receiver<Arc<Desired>>,
    /// The observed state.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// The node's own addresses: pods on the host network are probed at the first one.
    pub addresses: watch::Receiver<Arc<[IpAddr]>>,
    /// How names of hosts are looked up.
    pub names: Names,
    /// Counts the results.
    pub counters: Arc<Counters>,
}

/// One instance of a container with its probes.
struct Asked {
    id: String,
    /// The container's name in the pod.
    name: String,
    address: String,
    workers: Vec<Worker>,
}

/// A pod with probes, as it was seen last.
struct Known {
    pod: Arc<Pod>,
    observed: Arc<ObservedName>,
    asked: Vec<Asked>,
}

/// Which probe was run.
struct Run {
    pod: PodName,
    id: String,
    kind: ProbeKind,
}

struct Probes {
    runtime: Runtime,
    out: Handle,
    host: Option<IpAddr>,
    names: Names,
    pods: BTreeMap<PodName, Known>,
    runs: JoinSet<(Run, Finding, Duration)>,
    counters: Arc<Counters>,
    began: Timestamp,
}

/// Runs them until canceled.
pub async fn run(mut inputs: ProbeInputs, runtime: Runtime, out: Handle, cancel: CancellationToken) {
    let mut probes = Probes {
        runtime,
        out,
        host: inputs.addresses.borrow_and_update().first().copied(),
        names: inputs.names.clone(),
        pods: BTreeMap::new(),
        runs: JoinSet::new(),
        counters: inputs.counters.clone(),
        began: Timestamp::now(),
    };
    loop {
        let next = probes.start_due(Instant::now());
        // Every arm is cancel-safe: watches and the set keep what was not taken. Without a probe only a change wakes
        // the task.
        tokio::select! {
            () = cancel.cancelled() => return,
            Ok(()) = inputs.desired.changed() => {}
            Ok(()) = inputs.snapshot.changed() => {}
            Ok(()) = inputs.addresses.changed() => {
                probes.move_to(inputs.addresses.borrow_and_update().first().copied());
            }
            Some(ended) = probes.runs.join_next() => {
                if let Ok((run, finding, took)) = ended {
                    probes.count(&run, &finding, took);
                    probes.note(&run, &finding);
                }
                continue;
            }
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => continue,
        }
        let desired = inputs.desired.borrow_and_update().clone();
        let snapshot = inputs.snapshot.borrow_and_update().clone();
        probes.take(&desired, &snapshot);
    }
}

impl Probes {
    /// Has pods on the host network probed at another address.
    fn move_to(&mut self, host: Option<IpAddr>) {
        self.host = host;
        let looked: Vec<(PodName, Known)> = std::mem::take(&mut self.pods).into_iter().collect();
        for (name, known) in looked {
            let again = self.look(&known.pod, &known.observed, known.asked);
            self.pods.insert(name, again);
        }
    }

    /// Looks at the pods that changed.
    fn take(&mut self, desired: &Desired, snapshot: &Snapshot) {
        let counters = &self.counters.probes;
        self.pods.retain(|name, known| {
            let is_kept = desired.get(name).is_some_and(|pod| pod.uid == known.pod.uid)
                && snapshot.pods.contains_key(name);
            if !is_kept {
                counters.forget(&known.pod.uid);
            }
            is_kept
        });
        for pod in desired.pods() {
            if !pod.all_containers().any(|container| container.probes.any()) {
                if self.pods.remove(&pod.name).is_some() {
                    self.counters.probes.forget(&pod.uid);
                }
                continue;
            }
            let Some(observed) = snapshot.pods.get(&pod.name) else {
                continue;
            };
            let before = self.pods.remove(&pod.name);
            let known = match before {
                Some(known) if Arc::ptr_eq(&known.pod, pod) && Arc::ptr_eq(&known.observed, observed) => {
                    known
                }
                before => self.look(pod, observed, before.map(|known| known.asked).unwrap_or_default()),
            };
            self.pods.insert(pod.name.clone(), known);
        }
    }

    /// The instances to probe; probes that already run continue unchanged.
    fn look(&self, pod: &Arc<Pod>, observed: &Arc<ObservedName>, mut before: Vec<Asked>) -> Known {
        let mut asked = Vec::new();
        let seen = observed.uids.get(&pod.uid);
        for container in pod.all_containers().filter(|container| container.probes.any()) {
            let Some(seen) = seen else { break };
            let Some(instance) = seen.container(&container.name) else {
                continue;
            };
            let ContainerState::Running { started } = instance.state else {
                continue;
            };
            let sandbox = seen
                .sandboxes
                .iter()
                .find(|sandbox| sandbox.id == instance.sandbox);
            let address = sandbox.and_then(|sandbox| match sandbox.host_network {
                true => self.host,
                false => sandbox.ips.first().copied(),
            });
            let address = address.map(|address| address.to_string()).unwrap_or_default();
            let known = before.iter().position(|asked| asked.id == instance.id);
            let mut known = match known {
                Some(place) => before.swap_remove(place),
                None => self.meet(container, instance, started),
            };
            known.address = address;
            if pod.deletion.is_some() {
                // The probes of a container that is ending can no longer restart it.
                known.workers.retain(|worker| worker.kind == ProbeKind::Readiness);
            }
            asked.push(known);
        }
        Known {
            pod: pod.clone(),
            observed: observed.clone(),
            asked,
        }
    }

    fn meet(&self, container: &Container, instance: &ObservedContainer, started: Timestamp) -> Asked {
        let (now, clock) = (Timestamp::now(), Instant::now());
        let found = if started < self.began {
            Found::Running
        } else {
            Found::Starting
        };
        let age = now.duration_since(started).unsigned_abs();
        let started = clock.checked_sub(age).unwrap_or(clock);
        let gated = container.probes.startup.is_some();
        let worker = |kind| {
            let probe = container.probes.get(kind)?;
            let gated = gated && kind != ProbeKind::Startup;
            Some(Worker::new(
                kind,
                probe,
                &instance.id,
                started,
                found,
                gated,
                clock,
            ))
        };
        Asked {
            id: instance.id.clone(),
            name: container.name.clone(),
            address: String::new(),
            workers: ProbeKind::ALL.into_iter().filter_map(worker).collect(),
        }
    }

    /// Starts what is due; returns when the next one is.
    fn start_due(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for (name, known) in &mut self.pods {
            for asked in &mut known.asked {
                let container = known
                    .pod
                    .all_containers()
                    .find(|container| container.name == asked.name);
                let Some(container) = container else { continue };
                for worker in asked.workers.iter_mut().filter(|worker| !worker.busy) {
                    let (Some(due), Some(probe)) = (worker.due, container.probes.get(worker.kind)) else {
                        continue;
                    };
                    if due > now {
                        next = Some(next.map_or(due, |next| next.min(due)));
                        continue;
                    }
                    worker.busy = true;
                    let question = Question {
                        pod: name.to_string(),
                        id: asked.id.clone(),
                        address: asked.address.clone(),
                        action: probe.action.clone(),
                        timeout: probe.timeout,
                    };
                    let run = Run {
                        pod: name.clone(),
                        id: asked.id.clone(),
                        kind: worker.kind,
                    };
                    let (runtime, names) = (self.runtime.clone(), self.names.clone());
                    self.runs.spawn(async move {
                        let began = Instant::now();
                        let finding = probe::ask(&runtime, &names, &question).await;
                        (run, finding, began.elapsed())
                    });
                }
            }
        }
        next
    }

    /// Counts a result of a pod that is still probed. A probe that could not be run has none.
    fn count(&self, run: &Run, finding: &Finding, took: Duration) {
        let result = match finding {
            Finding::Well | Finding::Warned(_) => ProbeResult::Successful,
            Finding::Failed(_) => ProbeResult::Failed,
            Finding::Errored(_) => return,
        };
        let Some(known) = self.pods.get(&run.pod) else {
            return;
        };
        if let Some(asked) = known.asked.iter().find(|asked| asked.id == run.id) {
            let probe = Probed {
                pod: &run.pod,
                uid: &known.pod.uid,
                container: &asked.name,
                kind: run.kind,
            };
            self.counters.probes.ended(probe, result, took);
        }
    }

    /// Records a result, unless the probe was dropped meanwhile.
    fn note(&mut self, run: &Run, finding: &Finding) {
        let now = Instant::now();
        let Some(known) = self.pods.get_mut(&run.pod) else {
            return;
        };
        let Some(asked) = known.asked.iter_mut().find(|asked| asked.id == run.id) else {
            return;
        };
        let container = known
            .pod
            .all_containers()
            .find(|container| container.name == asked.name);
        let Some(container) = container else { return };
        let worker = asked.workers.iter_mut().find(|worker| worker.kind == run.kind);
        let (Some(worker), Some(probe)) = (worker, container.probes.get(run.kind)) else {
            return;
        };
        if !worker.take(probe, finding, now) {
            return;
        }
        let probed = worker.probed.clone();
        if run.kind == ProbeKind::Startup && probed.verdict == Verdict::Success {
            for worker in asked
                .workers
                .iter_mut()
                .filter(|worker| worker.kind != ProbeKind::Startup)
            {
                if let Some(probe) = container.probes.get(worker.kind) {
                    worker.open(probe, now);
                }
            }
        }
        self.out.add_probe_update(ProbeUpdate {
            pod: run.pod.clone(),
            id: run.id.clone(),
            kind: run.kind,
            probed,
        });
    }
}
