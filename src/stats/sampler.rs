//! The task that samples, one sample at a time: requests that arrive meanwhile share the result.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::depth::Depth;
use super::reading::{self, Memory, Place};
use crate::model::runtime::Snapshot;
use crate::model::stats::NodeSample;

/// For how long a sample is fresh enough for a scrape: the kubelet's own interval (`defaultHousekeepingInterval` in
/// `pkg/kubelet/cadvisor`).
pub const HOUSEKEEPING: Duration = Duration::from_secs(10);
/// How many may wait for a sample. More wait to be let in.
const WAITING: usize = 64;

/// The sampler does not run any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent is stopping")]
pub struct Stopped;

#[derive(Debug)]
struct Request {
    max_age: Duration,
    depth: Depth,
    answer: oneshot::Sender<Option<Arc<NodeSample>>>,
}

/// Asks for samples.
#[derive(Debug, Clone)]
pub struct Handle(mpsc::Sender<Request>);

impl Handle {
    /// A sample that is at most that old. `None`: the kernel does not show the machine's counters.
    pub async fn sample(&self, max_age: Duration, depth: Depth) -> Result<Option<Arc<NodeSample>>, Stopped> {
        let (answer, answered) = oneshot::channel();
        let request = Request {
            max_age,
            depth,
            answer,
        };
        self.0.send(request).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }
}

/// The requests of a sampler that is still to run.
#[derive(Debug)]
pub struct Requests(mpsc::Receiver<Request>);

/// The two ends.
pub fn requests() -> (Handle, Requests) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Handle(sender), Requests(receiver))
}

/// Answers every request with this sample.
#[cfg(test)]
pub(crate) fn answering(sample: NodeSample) -> Handle {
    let (handle, mut requests) = requests();
    let sample = Arc::new(sample);
    std::thread::spawn(move || {
        while let Some(request) = requests.0.blocking_recv() {
            let _ = request.answer.send(Some(Arc::clone(&sample)));
        }
    });
    handle
}

/// The last sample.
struct Last {
    taken: Instant,
    depth: Depth,
    sample: Arc<NodeSample>,
}

/// Samples when asked, until canceled.
pub async fn run(
    place: Place,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    mut requests: Requests,
    cancel: CancellationToken,
) {
    let (mut memory, mut last) = (Memory::default(), None::<Last>);
    loop {
        let request = tokio::select! {
            // Cancel-safe; pending requests end with the agent.
            request = requests.0.recv() => request,
            () = cancel.cancelled() => None,
        };
        let Some(request) = request else { return };
        let is_fresh = |last: &&Last| last.depth >= request.depth && last.taken.elapsed() <= request.max_age;
        if let Some(last) = last.as_ref().filter(is_fresh) {
            // It fails if the request was dropped.
            let _ = request.answer.send(Some(Arc::clone(&last.sample)));
            continue;
        }
        let (place, snapshot, depth) = (place.clone(), snapshot.borrow().clone(), request.depth);
        let taken = Instant::now();
        let reading = tokio::task::spawn_blocking(move || {
            let sample = reading::read(&place, &snapshot, depth, &mut memory);
            (sample.map(Arc::new), memory)
        });
        match reading.await {
            Ok((sample, after)) => {
                memory = after;
                last = sample.clone().map(|sample| Last { taken, depth, sample });
                let _ = request.answer.send(sample);
            }
            Err(error) => {
                tracing::error!(%error, "a sample of the node's numbers failed");
                memory = Memory::default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::cgroup::Cgroups;
    use crate::model::pod::{PodName, PodUid};
    use crate::model::runtime::{ObservedName, ObservedPod};
    use crate::model::sample;
    use crate::model::stats::SystemPart;

    /// Files as the kernel has them for a pod with a sandbox and a container, in two cgroups.
    fn lay_out(root: &Path) {
        let write = |file: &str, text: &str| {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("cgroup.controllers", "cpu memory\n");
        let paths = [
            "",
            "kubepods/",
            "kubepods/burstable/",
            "kubepods/burstable/podu1/",
        ];
        let scopes = [
            "kubepods/burstable/podu1/s1/",
            "kubepods/burstable/podu1/cri-containerd-c1.scope/",
        ];
        for (number, path) in paths.iter().chain(&scopes).enumerate() {
            write(&format!("{path}cpu.stat"), &format!("usage_usec {number}\n"));
            write(&format!("{path}memory.stat"), "anon 5\nfile 4\ninactive_file 3\n");
            write(&format!("{path}memory.current"), "100\n");
            write(
                &format!("{path}cgroup.procs"),
                &format!("{}\n", std::process::id()),
            );
        }
    }

    fn observed() -> Arc<Snapshot> {
        let mut sandbox = sample::sandbox(0, true, 0);
        sandbox.id = "s1".to_owned();
        let mut container = sample::instance("main", 0, 1, sample::running(1));
        (container.id, container.sandbox) = ("c1".to_owned(), "s1".to_owned());
        let pod = ObservedPod {
            sandboxes: vec![sandbox],
            containers: vec![container],
            allocation: None,
            checkpoint: None,
        };
        let uids = BTreeMap::from([(PodUid("u1".to_owned()), pod)]);
        Arc::new(Snapshot {
            pods: BTreeMap::from([(PodName::new("default", "web"), Arc::new(ObservedName { uids }))]),
            ..Snapshot::default()
        })
    }

    #[tokio::test]
    async fn a_sample_is_taken_when_it_is_asked_for_and_the_last_one_is_too_old_or_too_shallow() {
        let root = tempfile::tempdir().unwrap();
        lay_out(root.path());
        let place = Place {
            cgroups: Cgroups::unified(root.path()).unwrap(),
            proc: "/proc".into(),
            facts: Arc::clone(&sample::stats::node().facts),
            runtime: root.path().join("none.sock"),
        };
        let (_out, snapshot) = watch::channel(observed());
        let (handle, requests) = requests();
        let cancel = CancellationToken::new();
        let running = tokio::spawn(run(place, snapshot, requests, cancel.clone()));
        let long = Duration::from_secs(3600);
        let first = handle.sample(long, Depth::Counters).await.unwrap().unwrap();
        let again = handle.sample(long, Depth::Counters).await.unwrap().unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let deeper = handle.sample(long, Depth::Processes).await.unwrap().unwrap();
        assert!(!Arc::ptr_eq(&first, &deeper));
        // A deeper sample answers a shallower request, too.
        let less = handle.sample(long, Depth::Counters).await.unwrap().unwrap();
        assert!(Arc::ptr_eq(&deeper, &less));
        let fresh = handle
            .sample(Duration::ZERO, Depth::Counters)
            .await
            .unwrap()
            .unwrap();
        assert!(!Arc::ptr_eq(&deeper, &fresh));

        let pod = &deeper.pods[0];
        let path = |sample: &Option<crate::model::stats::CgroupSample>| {
            sample.as_ref().map(|one| one.path.to_string())
        };
        assert_eq!(path(&pod.cgroup).as_deref(), Some("/kubepods/burstable/podu1"));
        assert_eq!(
            path(&pod.sandbox.cgroup).as_deref(),
            Some("/kubepods/burstable/podu1/s1")
        );
        let container = &pod.containers[0];
        let of_container = container.cgroup.as_ref().unwrap();
        assert_eq!(
            &*of_container.path,
            "/kubepods/burstable/podu1/cri-containerd-c1.scope"
        );
        assert_eq!(of_container.usage.cpu.unwrap().total, 5000);
        assert!(of_container.processes.descriptors > Some(0));
        assert!(pod.interfaces.is_some());
        let levels: Vec<&str> = deeper.levels.iter().map(|level| &*level.path).collect();
        assert_eq!(levels, ["/kubepods", "/kubepods/burstable"]);
        assert!(deeper.system.iter().any(|(part, _)| *part == SystemPart::Pods));
        assert_eq!(deeper.machine.usage.memory.unwrap().limits.memory, Some(4096));

        cancel.cancel();
        running.await.unwrap();
        assert_eq!(handle.sample(long, Depth::Counters).await, Err(Stopped));
    }
}
