//! The static pods in the incarnations that people asked for: a stage between the manifests and the merged set. The only
//! writer of how often a pod was restarted by hand.
//!
//! A restart is a next incarnation of the same pod, as if its manifest had gone and come back. How far it has come is
//! saved by the plan that carries it out, so nothing is saved here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::SetReceiver;
use super::publish::publish;
use crate::model::desired::{Provenance, SourceSet};
use crate::model::pod::Pod;
use crate::model::pod_name::{PodName, PodUid};
use crate::model::pod_restart::{NotRestarted, Restart, RestartRequest, RestartRequests};

/// Passes the pods on in their incarnations, until canceled or until the manifests' source ends.
pub async fn run(
    mut from: SetReceiver,
    mut requests: RestartRequests,
    out: watch::Sender<Option<Arc<SourceSet>>>,
    cancel: CancellationToken,
) {
    let mut restarts = Restarts::default();
    loop {
        let set = from.borrow_and_update().clone();
        if let Some(set) = &set {
            publish(&out, restarts.apply(set));
        }
        tokio::select! {
            // Nothing is half done between two turns.
            () = cancel.cancelled() => return,
            changed = from.changed() => if changed.is_err() { return },
            // A request that was taken is answered below.
            Some(request) = requests.0.recv() => answer(request, &mut restarts, set.as_deref()),
        }
    }
}

fn answer(request: RestartRequest, restarts: &mut Restarts, set: Option<&SourceSet>) {
    let RestartRequest {
        pod,
        restart,
        grace,
        answer,
    } = request;
    let done = restarts.restart(set, &pod, restart, grace);
    if done.is_ok() {
        let grace_seconds = grace.map(|grace| grace.as_secs());
        match restart {
            Restart::Again => tracing::info!(%pod, grace_seconds, "restarting the pod, as asked"),
            Restart::Hasten => {
                tracing::info!(%pod, grace_seconds, "the restart is given another grace period, as asked");
            }
        }
    }
    // It fails if the one who asked has gone.
    let _ = answer.send(done);
}

/// How often a pod was restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Restarted {
    times: u64,
    grace: Option<Duration>,
}

/// Which pods were restarted. Pure.
#[derive(Debug, Default)]
struct Restarts {
    restarted: BTreeMap<PodUid, Restarted>,
    /// By UID: the pod of the manifest, and its incarnation, so that an unchanged pod keeps its `Arc`.
    made: BTreeMap<PodUid, (Arc<Pod>, Arc<Pod>)>,
}

impl Restarts {
    fn apply(&mut self, set: &SourceSet) -> SourceSet {
        let mut set = set.clone();
        if self.restarted.is_empty() {
            return set;
        }
        if set.provenance == Provenance::Live {
            let wanted: BTreeSet<&PodUid> = set.pods.values().map(|pod| &pod.uid).collect();
            self.restarted.retain(|uid, _| wanted.contains(uid));
            self.made.retain(|uid, _| wanted.contains(uid));
        }
        for pod in set.pods.values_mut() {
            let Some(restarted) = self.restarted.get(&pod.uid) else {
                continue;
            };
            let known = self.made.get(&pod.uid);
            let made = match known.filter(|(from, _)| Arc::ptr_eq(from, pod)) {
                Some((_, made)) => made.clone(),
                None => {
                    let made = Arc::new(Pod {
                        incarnation: pod.incarnation + restarted.times,
                        past_grace: restarted.grace,
                        ..(**pod).clone()
                    });
                    let both = (pod.clone(), made.clone());
                    self.made.insert(pod.uid.clone(), both);
                    made
                }
            };
            *pod = made;
        }
        set
    }

    fn restart(
        &mut self,
        set: Option<&SourceSet>,
        name: &PodName,
        restart: Restart,
        grace: Option<Duration>,
    ) -> Result<(), NotRestarted> {
        let pod = set.and_then(|set| set.pods.get(name));
        let pod = pod.ok_or_else(|| NotRestarted::NoPod(name.clone()))?;
        let none = Restarted {
            times: 0,
            grace: None,
        };
        let restarted = self.restarted.entry(pod.uid.clone()).or_insert(none);
        match restart {
            Restart::Again => {
                *restarted = Restarted {
                    times: restarted.times + 1,
                    grace,
                };
            }
            Restart::Hasten if grace.is_some() => restarted.grace = grace,
            Restart::Hasten => {}
        }
        self.made.remove(&pod.uid);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pod::RestartPolicy;
    use crate::model::pod_restart::restarter;
    use crate::model::sample;

    fn set(pods: &[Arc<Pod>]) -> SourceSet {
        let pods = pods.iter().map(|pod| (pod.name.clone(), pod.clone()));
        SourceSet {
            pods: pods.collect(),
            ..SourceSet::default()
        }
    }

    #[test]
    fn a_restart_is_the_next_incarnation_and_goes_with_its_pod() {
        let pod = Arc::new(sample::pod(RestartPolicy::Always, &[], &["c"]));
        let wanted = set(std::slice::from_ref(&pod));
        let mut restarts = Restarts::default();
        assert!(Arc::ptr_eq(&restarts.apply(&wanted).pods[&pod.name], &pod));
        let check = |restarts: &mut Restarts, restart, grace: Option<u64>, expected: (u64, Option<u64>)| {
            let grace = grace.map(Duration::from_secs);
            restarts
                .restart(Some(&wanted), &pod.name, restart, grace)
                .unwrap();
            let first = restarts.apply(&wanted).pods[&pod.name].clone();
            let found = (first.incarnation, first.past_grace.map(|grace| grace.as_secs()));
            assert_eq!(found, expected);
            // It is not made again without a reason.
            assert!(Arc::ptr_eq(&restarts.apply(&wanted).pods[&pod.name], &first));
        };
        check(&mut restarts, Restart::Again, Some(5), (1, Some(5)));
        check(&mut restarts, Restart::Hasten, None, (1, Some(5)));
        check(&mut restarts, Restart::Hasten, Some(0), (1, Some(0)));
        check(&mut restarts, Restart::Again, None, (2, None));
        restarts.apply(&set(&[]));
        assert!(Arc::ptr_eq(&restarts.apply(&wanted).pods[&pod.name], &pod));
        let unknown = PodName::new("default", "other");
        let refused = restarts.restart(Some(&wanted), &unknown, Restart::Again, None);
        assert_eq!(refused, Err(NotRestarted::NoPod(unknown)));
    }

    #[tokio::test]
    async fn a_request_is_answered_and_the_set_follows() {
        let pod = Arc::new(sample::pod(RestartPolicy::Always, &[], &["c"]));
        let (_from, receiver) = watch::channel(Some(Arc::new(set(std::slice::from_ref(&pod)))));
        let (out, mut seen) = watch::channel(None);
        let (restarter, requests) = restarter();
        let cancel = CancellationToken::new();
        let task = tokio::spawn(run(receiver, requests, out, cancel.clone()));
        restarter
            .restart(pod.name.clone(), Restart::Again, None)
            .await
            .unwrap();
        let is_next = |set: &Option<Arc<SourceSet>>| {
            let set = set.as_ref();
            set.is_some_and(|set| set.pods[&pod.name].incarnation == 1)
        };
        seen.wait_for(is_next).await.unwrap();
        cancel.cancel();
        task.await.unwrap();
        let stopping = restarter.restart(pod.name.clone(), Restart::Again, None).await;
        assert_eq!(stopping, Err(NotRestarted::Stopping));
    }
}
