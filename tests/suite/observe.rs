//! Stories of observing: the runtime changes and the snapshot follows.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use gantry::cri::Runtime;
use gantry::model::pod::PodUid;
use gantry::model::runtime::{ContainerState, ObservedContainer, ObservedPod, Snapshot};
use gantry::observe;
use gantry::observe::Handle;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

use crate::fake_cri::{FakeCri, Lag};
use crate::pods::{self, Directories, name, uid};

/// Every condition becomes true long before this, or the test has failed.
const DEADLINE: Duration = Duration::from_secs(20);

/// An observed fake runtime. No list is read for an hour unless something asks for it, so whatever a test
/// sees after the first it sees because of an event or a request.
struct Observed {
    fake: FakeCri,
    at: Directories,
    handle: Handle,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    _running: DropGuard,
}

impl Observed {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(prepare: impl FnOnce(&mut FakeCri)) -> Self {
        let at = Directories::new();
        at.pod_cgroup(&PodUid("has-a-cgroup".to_owned()), 0);
        let mut fake = FakeCri::start(at.root.path());
        prepare(&mut fake);
        let (handle, inbox) = observe::requests();
        let (out, snapshot) = watch::channel(Arc::default());
        let settings = observe::Settings {
            pods_dir: at.pods(),
            pod_logs_dir: at.logs(),
            relist: Duration::from_secs(3600),
            list_images: Duration::from_secs(3600),
            cgroups: at.cgroups(),
            counters: Arc::default(),
        };
        let cancel = CancellationToken::new();
        let runtime = Runtime::new(&fake.settings());
        tokio::spawn(observe::run(runtime, inbox, out, settings, cancel.clone()));
        Observed {
            fake,
            at,
            handle,
            snapshot,
            _running: cancel.drop_guard(),
        }
    }

    /// The runtime has been read, and its events come: what happens from now on is reported by them.
    async fn settled(mut self) -> Self {
        self.until("the first list", |snapshot| snapshot.listed).await;
        self.becomes("a subscriber", |fake| fake.has_subscriber()).await;
        // Events are read in their order, so a reader of this one has read that the stream began.
        let before = self.fake.count("ListImages");
        self.fake.touch_images();
        self.becomes("the answer to an event", |fake| fake.count("ListImages") > before)
            .await;
        self.handle.refresh(name("nobody"), uid("nobody")).await.unwrap();
        self
    }

    /// Waits for something about the runtime.
    async fn becomes(&self, what: &str, holds: impl Fn(&FakeCri) -> bool) {
        let waiting = async {
            while !holds(&self.fake) {
                tokio::task::yield_now().await;
            }
        };
        let done = tokio::time::timeout(DEADLINE, waiting).await;
        done.unwrap_or_else(|_| panic!("waited for {what}; calls: {:?}", self.fake.calls()));
    }

    async fn until(&mut self, what: &str, holds: impl FnMut(&Snapshot) -> bool) -> Arc<Snapshot> {
        let mut holds = holds;
        let found = tokio::time::timeout(DEADLINE, self.snapshot.wait_for(|now| holds(now))).await;
        let found = found.map(|found| Arc::clone(&found.expect("it is observed")));
        found.unwrap_or_else(|_| panic!("waited for {what}; last seen: {:#?}", self.snapshot.borrow()))
    }

    async fn until_state(&mut self, what: &str, holds: impl Fn(&ContainerState) -> bool) -> ContainerState {
        let found = self
            .until(what, |now| container(now).is_some_and(|c| holds(&c.state)))
            .await;
        container(&found).unwrap().state.clone()
    }

    /// A pod `web` with one running container `c`, as another program would make it; its two ids.
    fn run_pod(&self) -> (String, String) {
        let (sandbox, container) = self.create_pod();
        self.fake.world().begin_container(&container).unwrap();
        (sandbox, container)
    }

    fn create_pod(&self) -> (String, String) {
        std::fs::create_dir_all(pods::log_dir(&self.at, "web").join("c")).unwrap();
        let sandbox_config = pods::sandbox_config(&self.at, "web", 0);
        let config = gantry_config(&self.at);
        let mut world = self.fake.world();
        let sandbox = world.add_sandbox(sandbox_config.clone()).unwrap();
        let container = world.add_container(&sandbox, config, &sandbox_config).unwrap();
        (sandbox, container)
    }
}

fn gantry_config(at: &Directories) -> k8s_cri::v1::ContainerConfig {
    let mut config = pods::container_config(at, "web", "c", 0);
    config.image.as_mut().unwrap().image = "busybox:latest".to_owned();
    config
}

fn pod(snapshot: &Snapshot) -> Option<&ObservedPod> {
    snapshot.pods.get(&name("web"))?.uids.get(&uid("web"))
}

fn container(snapshot: &Snapshot) -> Option<&ObservedContainer> {
    pod(snapshot)?.container("c")
}

fn is_exited(state: &ContainerState) -> bool {
    matches!(state, ContainerState::Exited { .. })
}

#[tokio::test]
async fn the_first_snapshot_tells_everything() {
    let mut observed = Observed::new().await;
    let (sandbox_id, container_id) = observed.run_pod();
    observed.fake.add_stranger();
    std::fs::create_dir(observed.at.pods().join("has-a-directory")).unwrap();
    observed.handle.refresh(name("web"), uid("web")).await.unwrap();
    let found = observed.until("the images", |now| !now.images.is_empty()).await;
    assert!(found.listed);
    assert_eq!(found.runtime.reachable, Some(Ok(())));
    assert_eq!(
        (&*found.runtime.name, &*found.runtime.version),
        ("containerd", "1.6.20")
    );
    assert_eq!(
        (&found.runtime.runtime_fault, &found.runtime.network_fault),
        (&None, &None)
    );
    assert_eq!(
        found.pods.len(),
        1,
        "what has no labels of ours is somebody else's"
    );
    let pod = pod(&found).unwrap();
    let sandbox = pod.ready_sandbox().unwrap();
    assert_eq!(sandbox.id, sandbox_id);
    assert_eq!(sandbox.ips.len(), 1);
    assert_eq!(sandbox.annotations["kubernetes.io/config.source"], "file");
    let container = pod.container("c").unwrap();
    assert_eq!((&container.id, &container.sandbox), (&container_id, &sandbox_id));
    assert!(matches!(container.state, ContainerState::Running { .. }));
    assert_eq!(found.images[0].tags, ["busybox:latest"]);
    let leftovers: Vec<&str> = found.leftovers.iter().map(|uid| &*uid.0).collect();
    let web = uid("web");
    assert_eq!(leftovers, ["has-a-cgroup", "has-a-directory", &*web.0]);
    let logs: Vec<_> = found.log_dirs.iter().collect();
    assert_eq!(logs, [(&web, &pods::log_dir(&observed.at, "web"))]);
}

#[tokio::test]
async fn an_exit_is_seen_by_its_event_with_what_the_container_said() {
    let observed = Observed::new().await;
    let (_, id) = observed.run_pod();
    let mut observed = observed.settled().await;
    let file = pods::termination_file(&observed.at, "web", "c");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "done-well\n").unwrap();
    let lists = observed.fake.count("ListContainers");
    observed.fake.exit(&id, 3);
    let state = observed.until_state("the exit", is_exited).await;
    let ContainerState::Exited {
        code,
        reason,
        termination_message,
        started,
        ..
    } = state
    else {
        panic!()
    };
    assert_eq!(
        (code, &*reason, &*termination_message),
        (3, "Error", "done-well\n")
    );
    assert!(started.is_some());
    assert!(
        observed.fake.count("ListContainers") <= lists + 2,
        "only this pod was read, once or twice"
    );
}

#[tokio::test]
async fn an_exit_that_cri_notes_late_is_seen_all_the_same() {
    let observed = Observed::new().await;
    let (_, id) = observed.run_pod();
    let mut observed = observed.settled().await;
    observed.fake.world().calls.clear();
    observed.fake.announce_exit(&id);
    // It is asked for more than once while CRI says that the container runs.
    observed
        .becomes("CRI asked again", |fake| fake.count("ListContainers") >= 3)
        .await;
    {
        // Noted without a further event.
        let mut world = observed.fake.world();
        let container = world.containers.get_mut(&id).unwrap();
        container.state = k8s_cri::v1::ContainerState::ContainerExited;
        container.code = 7;
    }
    observed.until_state("the exit", is_exited).await;
}

#[tokio::test]
async fn the_reason_of_an_exit_may_come_after_it() {
    let observed = Observed::new().await;
    let (_, id) = observed.run_pod();
    let mut observed = observed.settled().await;
    observed.fake.out_of_memory(&id, Lag::ReasonAfterExit);
    observed.until_state("the exit", is_exited).await;
    observed.fake.world().containers.get_mut(&id).unwrap().reason = "OOMKilled".to_owned();
    let killed = |state: &ContainerState| matches!(state, ContainerState::Exited { reason, .. } if reason == "OOMKilled");
    observed.until_state("the reason", killed).await;
}

#[tokio::test]
async fn a_container_killed_for_lack_of_memory() {
    let observed = Observed::new().await;
    let (_, id) = observed.run_pod();
    let mut observed = observed.settled().await;
    observed.fake.out_of_memory(&id, Lag::None);
    let state = observed.until_state("the exit", is_exited).await;
    assert!(matches!(state, ContainerState::Exited { code: 137, reason, .. } if reason == "OOMKilled"));
}

#[tokio::test]
async fn a_lack_of_memory_that_only_the_kernel_tells() {
    let observed = Observed::new().await;
    observed.at.pod_cgroup(&uid("web"), 0);
    let (_, id) = observed.run_pod();
    let mut observed = observed.settled().await;
    observed.at.pod_cgroup(&uid("web"), 1);
    observed.fake.exit(&id, 137);
    let state = observed.until_state("the exit", is_exited).await;
    assert!(matches!(state, ContainerState::Exited { reason, .. } if reason == "OOMKilled"));
}

#[tokio::test]
async fn a_sandbox_that_dies_is_not_ready() {
    let observed = Observed::new().await;
    let (sandbox, _) = observed.run_pod();
    let mut observed = observed.settled().await;
    observed.fake.kill_sandbox(&sandbox);
    let gone = |now: &Snapshot| pod(now).is_some_and(|pod| pod.ready_sandbox().is_none());
    let found = observed.until("a sandbox that is not ready", gone).await;
    assert!(pod(&found).unwrap().sandboxes[0].ips.is_empty());
}

#[tokio::test]
async fn what_vanishes_without_an_event_is_seen_upon_request() {
    let observed = Observed::new().await;
    observed.run_pod();
    let observed = observed.settled().await;
    assert!(pod(&observed.snapshot.borrow()).is_some());
    observed.fake.world().containers.clear();
    observed.handle.refresh(name("web"), uid("web")).await.unwrap();
    assert!(container(&observed.snapshot.borrow()).is_none());
    observed.fake.world().sandboxes.clear();
    observed.handle.refresh(name("web"), uid("web")).await.unwrap();
    assert!(observed.snapshot.borrow().pods.is_empty());
}

#[tokio::test]
async fn a_request_is_answered_only_by_what_was_read_after_it() {
    let observed = Observed::new().await;
    observed.create_pod();
    let observed = observed.settled().await;
    observed.fake.hold("ListContainers");
    let first = observed.handle.refresh(name("web"), uid("web"));
    // The list for the first request is on its way when the second comes.
    let before = observed.fake.count("ListContainers");
    observed
        .becomes("the first request served", |fake| {
            fake.count("ListContainers") > before
        })
        .await;
    let second = observed.handle.refresh(name("web"), uid("web"));
    let lists = observed.fake.count("ListPodSandbox");
    observed.fake.release("ListContainers");
    first.await.unwrap();
    second.await.unwrap();
    assert!(
        observed.fake.count("ListPodSandbox") > lists,
        "the second was not answered by the first's list"
    );
}

#[tokio::test]
async fn many_requests_are_served_by_one_list() {
    let observed = Observed::new().await.settled().await;
    observed.fake.hold("ListPodSandbox");
    let first = observed.handle.refresh(name("web"), uid("web"));
    let asked = observed.fake.count("ListPodSandbox");
    observed
        .becomes("the first request served", |fake| {
            fake.count("ListPodSandbox") > asked
        })
        .await;
    let rest: Vec<_> = (0..50)
        .map(|n| {
            observed
                .handle
                .refresh(name(&format!("p{n}")), uid(&format!("p{n}")))
        })
        .collect();
    observed.fake.release("ListPodSandbox");
    first.await.unwrap();
    for request in rest {
        request.await.unwrap();
    }
    assert_eq!(observed.fake.count("ListPodSandbox"), asked + 2);
}

#[tokio::test]
async fn what_did_not_change_is_neither_published_nor_copied() {
    let observed = Observed::new().await;
    observed.run_pod();
    let mut observed = observed.settled().await;
    let before = Arc::clone(&observed.snapshot.borrow_and_update());
    let statuses = observed.fake.count("ContainerStatus");
    for pod in ["web", "other", "web"] {
        observed.handle.refresh(name(pod), uid(pod)).await.unwrap();
    }
    assert!(!observed.snapshot.has_changed().unwrap());
    assert_eq!(
        observed.fake.count("ContainerStatus"),
        statuses,
        "a status is read once a state"
    );
    let config = k8s_cri::v1::PodSandboxConfig {
        ..pods::sandbox_config(&observed.at, "other", 0)
    };
    observed.fake.world().add_sandbox(config).unwrap();
    observed
        .handle
        .refresh(name("other"), uid("other"))
        .await
        .unwrap();
    let after = Arc::clone(&observed.snapshot.borrow());
    assert!(Arc::ptr_eq(&before.pods[&name("web")], &after.pods[&name("web")]));
    assert!(Arc::ptr_eq(&before.images, &after.images));
}

#[tokio::test]
async fn a_runtime_that_goes_and_comes_back_costs_nothing_that_runs() {
    let observed = Observed::new().await;
    let (_, id) = observed.run_pod();
    let mut observed = observed.settled().await;
    observed.fake.stop();
    let lost = |now: &Snapshot| matches!(now.runtime.reachable, Some(Err(_)));
    let found = observed.until("the loss", lost).await;
    assert!(container(&found).is_some(), "what is known of pods stays");
    assert!(found.listed);
    let request = observed.handle.refresh(name("web"), uid("web"));
    tokio::pin!(request);
    assert!(
        (&mut request).now_or_never().is_none(),
        "nothing is known while the runtime is away"
    );
    // It ends while it is not observed.
    {
        let mut world = observed.fake.world();
        let container = world.containers.get_mut(&id).unwrap();
        container.state = k8s_cri::v1::ContainerState::ContainerExited;
    }
    observed.fake.restart();
    tokio::time::timeout(DEADLINE, request)
        .await
        .expect("the runtime is back")
        .unwrap();
    let found = Arc::clone(&observed.snapshot.borrow());
    assert_eq!(found.runtime.reachable, Some(Ok(())));
    assert!(is_exited(&container(&found).unwrap().state));
}

#[tokio::test]
async fn a_runtime_that_comes_after_the_agent() {
    let mut observed = Observed::with(|fake| fake.stop()).await;
    let found = observed
        .until("the answer that there is none", |now| {
            now.runtime.reachable.is_some()
        })
        .await;
    assert!(found.runtime.reachable.as_ref().unwrap().is_err());
    assert!(!found.listed, "absence proves nothing yet");
    observed.fake.restart();
    let found = observed.until("the first list", |now| now.listed).await;
    assert_eq!(found.runtime.reachable, Some(Ok(())));
}

#[tokio::test]
async fn a_runtime_without_events_is_read_every_second() {
    let mut observed = Observed::with(|fake| {
        fake.world().supports_events = false;
        fake.restart();
    })
    .await;
    observed.until("the first list", |now| now.listed).await;
    let (_, id) = observed.run_pod();
    observed
        .until_state("the container", |state| {
            matches!(state, ContainerState::Running { .. })
        })
        .await;
    observed.fake.exit(&id, 0);
    observed.until_state("the exit", is_exited).await;
}

/// containerd answers a subscription with its first event, and here nothing happens.
#[tokio::test]
async fn on_a_quiet_node_the_agent_learns_that_events_come_and_stops_listing() {
    let mut observed = Observed::new().await;
    observed.until("the first list", |now| now.listed).await;
    let lists = |fake: &FakeCri| fake.count("ListContainers");
    // Once at the start, once when the stream stands; without events it would be every second.
    observed
        .becomes("the list after the stream began", |fake| lists(fake) == 2)
        .await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(lists(&observed.fake), 2);
}

#[tokio::test]
async fn a_status_that_cannot_be_told_leaves_the_pod_as_it_was() {
    let observed = Observed::new().await;
    let (_, id) = observed.run_pod();
    let mut observed = observed.settled().await;
    observed
        .fake
        .fail("ContainerStatus", 1, Status::internal("out of order"));
    let statuses = observed.fake.count("ContainerStatus");
    observed.fake.exit(&id, 0);
    observed.until_state("the exit, asked for again", is_exited).await;
    assert!(observed.fake.count("ContainerStatus") >= statuses + 2);
    assert_eq!(observed.snapshot.borrow().runtime.reachable, Some(Ok(())));
}

#[tokio::test]
async fn images_are_listed_when_one_comes() {
    let mut observed = Observed::new().await.settled().await;
    observed.fake.world().registry.insert("nginx:1".to_owned());
    let runtime = Runtime::new(&observed.fake.settings());
    runtime.pull_image("nginx:1", None).await.unwrap();
    observed.until("the image", |now| now.images.len() == 2).await;
}

#[tokio::test]
async fn the_conditions_of_the_runtime_are_told() {
    let mut observed = Observed::with(|fake| {
        fake.world().network_ready = false;
    })
    .await;
    let found = observed
        .until("the fault", |now| now.runtime.network_fault.is_some())
        .await;
    let fault = found.runtime.network_fault.clone().unwrap();
    assert_eq!(
        fault,
        (
            "NetworkPluginNotReady".to_owned(),
            "cni plugin not initialized".to_owned()
        )
    );
    observed.fake.world().network_ready = true;
    observed
        .until("its end", |now| now.runtime.network_fault.is_none())
        .await;
}
