//! Stories of doing: a plan is executed against the fake runtime.

use std::sync::Arc;
use std::time::Duration;

use gantry::act::network_cache::NetworkCache;
use gantry::act::pull_records::PullRecords;
use gantry::act::pulls::Pulls;
use gantry::act::registry::DockerConfig;
use gantry::act::turn::Turns;
use gantry::act::user_ranges::PodUsers;
use gantry::act::{self, ActContext};
use gantry::cri::Runtime;
use gantry::model::outcome::{Done, Failure, HookResult, Outcome, StepError, StepReport};
use gantry::model::pod::PullPolicy;
use gantry::model::pull_policy::Verification;
use gantry::model::step::{Plan, Step};
use gantry::model::user_range::IdPool;
use k8s_cri::v1::ContainerState;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::fake_cri::FakeCri;
use crate::pods::{self, Directories, image_request, name, uid};

/// Every condition becomes true long before this, or the test has failed.
const DEADLINE: Duration = Duration::from_secs(20);

struct Node {
    fake: FakeCri,
    at: Directories,
    context: ActContext,
}

impl Node {
    async fn new() -> Self {
        let at = Directories::new();
        let fake = FakeCri::start(at.root.path());
        let context = ActContext {
            runtime: Runtime::new(&fake.settings()),
            cgroups: at.cgroups(),
            pulls: Pulls::new(Some(1), None),
            turns: Turns::new(1),
            docker_config: DockerConfig::default(),
            providers: Default::default(),
            records: PullRecords::new(at.root.path(), Some(Verification::default())),
            names: Default::default(),
            files: Default::default(),
            projects: Default::default(),
            csi: Default::default(),
            at_work: Default::default(),
            mounts: Default::default(),
            local: Default::default(),
            disks: Default::default(),
            users: PodUsers::of_pool(at.root.path(), IdPool::whole(65_536)),
            network_cache: NetworkCache(at.root.path().join("cni-results")),
            beginnings: mpsc::unbounded_channel().0,
            counters: Arc::default(),
        };
        Node { fake, at, context }
    }

    async fn run(&self, plan: Plan) -> Outcome {
        self.run_until(plan, CancellationToken::new()).await
    }

    async fn run_until(&self, plan: Plan, cancel: CancellationToken) -> Outcome {
        let (name, uid) = (name("web"), uid("web"));
        let run = act::run(&self.context, &name, &uid, plan, cancel);
        tokio::time::timeout(DEADLINE, run).await.expect("the plan ends")
    }

    /// One plan of one stage.
    async fn step(&self, step: Step) -> StepReport {
        let outcome = self
            .run(Plan {
                stages: vec![vec![step]],
                wake_at: None,
                ..Plan::default()
            })
            .await;
        let [report] = <[_; 1]>::try_from(outcome.steps).unwrap();
        report
    }

    async fn image(&self, image: &str, pull: PullPolicy) -> Result<Done, StepError> {
        self.step(Step::EnsureImage(image_request("c", image, pull)))
            .await
            .result
    }

    /// Waits until the fake has been called so.
    async fn called(&self, call: &str, times: usize) {
        tokio::time::timeout(DEADLINE, async {
            while self.fake.count(call) < times {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{call} was not called {times} times: {:?}", self.fake.calls()));
    }
}

fn verbs(outcome: &Outcome) -> Vec<&'static str> {
    outcome.steps.iter().map(|step| step.kind.as_str()).collect()
}

fn failures(outcome: &Outcome) -> Vec<(&'static str, &'static str)> {
    let failed = outcome
        .steps
        .iter()
        .filter_map(|step| Some((step.kind.as_str(), step.result.as_ref().err()?.reason)));
    failed.collect()
}

#[tokio::test]
async fn a_whole_pod_is_made() {
    let node = Node::new().await;
    let outcome = node.run(pods::whole_pod(&node.at, "web", &["a", "b"])).await;
    assert_eq!(failures(&outcome), []);
    assert_eq!((&outcome.pod, &outcome.uid), (&name("web"), &uid("web")));
    assert_eq!(outcome.steps.len(), 1 + 3 + 1 + 2 + 2);
    let world = node.fake.world();
    let (sandbox_id, sandbox) = world.sandbox("web").unwrap();
    for container in ["a", "b"] {
        let (id, made) = world.container(container).unwrap();
        assert_eq!(&made.sandbox, sandbox_id);
        assert_eq!(made.state, k8s_cri::v1::ContainerState::ContainerRunning);
        let image = made.config.image.as_ref().unwrap();
        assert!(image.image.starts_with("sha256:"), "{image:?}");
        assert_eq!(image.user_specified_image, "busybox");
        let security = made
            .config
            .linux
            .as_ref()
            .unwrap()
            .security_context
            .as_ref()
            .unwrap();
        assert_eq!(
            security.run_as_user.as_ref().unwrap().value,
            0,
            "the image names no user: root"
        );
        assert!(pods::termination_file(&node.at, "web", container).is_file());
        let link = node.at.links().join(format!("web_default_{container}-{id}.log"));
        let log = pods::log_dir(&node.at, "web").join(container).join("0.log");
        assert_eq!(std::fs::read_link(link).unwrap(), log);
    }
    let hosts = std::fs::read_to_string(pods::hosts_path(&node.at, "web")).unwrap();
    assert!(hosts.ends_with(&format!("{}\tweb\n", sandbox.ip)), "{hosts}");
}

#[tokio::test]
async fn the_steps_of_a_stage_run_at_once() {
    let node = Node::new().await;
    node.fake.hold("RunPodSandbox");
    node.fake.hold("ImageStatus");
    let plan = pods::whole_pod(&node.at, "web", &["a", "b"]);
    let run = node.run(plan);
    tokio::pin!(run);
    let all_called = async {
        node.called("RunPodSandbox", 1).await;
        node.called("ImageStatus", 2).await;
    };
    tokio::select! {
        outcome = &mut run => panic!("it ended early: {outcome:?}"),
        () = all_called => {}
    }
    node.fake.release("RunPodSandbox");
    node.fake.release("ImageStatus");
    assert_eq!(failures(&run.await), []);
}

#[tokio::test]
async fn a_failure_of_the_pod_ends_the_plan_after_its_stage() {
    let node = Node::new().await;
    node.fake.fail("RunPodSandbox", 1, Status::unknown("no network"));
    let outcome = node.run(pods::whole_pod(&node.at, "web", &["a"])).await;
    assert_eq!(failures(&outcome), [("run sandbox", "FailedCreatePodSandBox")]);
    assert_eq!(verbs(&outcome).len(), 3, "{:?}", verbs(&outcome));
    let failed = outcome
        .steps
        .iter()
        .find_map(|step| step.result.as_ref().err())
        .unwrap();
    assert_eq!(
        failed.message,
        "Failed to create pod sandbox: rpc error: code = Unknown desc = no network"
    );
    assert!(failed.counts());
}

#[tokio::test]
async fn a_failure_of_a_container_ends_only_that_containers_steps() {
    let node = Node::new().await;
    node.fake
        .fail("CreateContainer", 1, Status::unknown("no such device"));
    let outcome = node.run(pods::whole_pod(&node.at, "web", &["a", "b"])).await;
    assert_eq!(failures(&outcome), [("create container", "CreateContainerError")]);
    assert_eq!(node.fake.count("StartContainer"), 1);
    let failed = outcome
        .steps
        .iter()
        .find_map(|step| step.result.as_ref().err())
        .unwrap();
    assert_eq!(
        failed.message, "no such device",
        "the runtime's words without gRPC's"
    );
}

#[tokio::test]
async fn a_container_that_cannot_start() {
    let node = Node::new().await;
    node.fake
        .fail("StartContainer", 1, Status::unknown("exec: not found"));
    let outcome = node.run(pods::whole_pod(&node.at, "web", &["a"])).await;
    assert_eq!(failures(&outcome), [("start container", "RunContainerError")]);
}

#[tokio::test]
async fn a_runtime_that_is_away_is_told_as_such() {
    let mut node = Node::new().await;
    node.fake.stop();
    let outcome = node.run(pods::whole_pod(&node.at, "web", &["a"])).await;
    let failed: Vec<_> = outcome
        .steps
        .iter()
        .filter_map(|step| step.result.as_ref().err())
        .collect();
    assert_eq!(failed.len(), 2);
    assert!(
        failed.iter().all(|error| error.failure == Failure::Unreachable),
        "{failed:?}"
    );
    node.fake.restart();
    let outcome = node.run(pods::whole_pod(&node.at, "web", &["a"])).await;
    assert_eq!(failures(&outcome), [], "the connection comes back by itself");
}

#[tokio::test]
async fn a_pod_is_taken_away_and_again() {
    let node = Node::new().await;
    node.run(pods::whole_pod(&node.at, "web", &["a"])).await;
    let (sandbox, container) = {
        let world = node.fake.world();
        (
            world.sandbox("web").unwrap().0.clone(),
            world.container("a").unwrap().0.clone(),
        )
    };
    let log = pods::log_dir(&node.at, "web").join("a/0.log");
    let link = node.at.links().join(format!("web_default_a-{container}.log"));
    std::fs::write(log.with_file_name("0.log.20261121-000000"), "rotated").unwrap();
    let stop = Step::StopContainer {
        pre_stop: None,
        after: Vec::new(),
        container: "a".to_owned(),
        id: container.clone(),
        grace: Duration::from_secs(30),
        message: "Stopping container a".to_owned(),
    };
    let remove = Step::RemoveContainer {
        container: "a".to_owned(),
        id: container,
        log: log.clone(),
        link: Some(link.clone()),
    };
    let plan = Plan {
        stages: vec![
            vec![stop],
            vec![Step::StopSandbox { id: sandbox.clone() }],
            vec![remove],
            vec![Step::RemoveSandbox { id: sandbox }],
            vec![Step::RemovePodDir {
                dir: pods::pod_dir(&node.at, "web"),
            }],
            vec![Step::RemoveLogDir {
                dir: pods::log_dir(&node.at, "web"),
                links: link.parent().expect("it is in a directory").to_owned(),
            }],
        ],
        wake_at: None,
        ..Plan::default()
    };
    for round in ["first", "second"] {
        let outcome = node.run(plan.clone()).await;
        assert_eq!(failures(&outcome), [], "{round} round");
        assert_eq!(outcome.steps.len(), 6);
        let reported = Done::Stopped {
            hook: HookResult::Done,
        };
        assert_eq!(outcome.steps[0].result, Ok(reported));
    }
    let world = node.fake.world();
    assert!(world.containers.is_empty() && world.sandboxes.is_empty());
    for path in [
        &log,
        &link,
        &pods::pod_dir(&node.at, "web"),
        &pods::log_dir(&node.at, "web"),
    ] {
        assert!(std::fs::symlink_metadata(path).is_err(), "{}", path.display());
    }
}

#[tokio::test]
async fn images_are_had_by_the_policy() {
    let node = Node::new().await;
    node.fake.world().registry.insert("nginx:latest".to_owned());
    let present = node.image("busybox", PullPolicy::IfNotPresent).await;
    assert_eq!(
        present,
        Ok(Done::ImagePresent {
            image: "busybox".to_owned()
        })
    );
    assert_eq!(node.fake.count("PullImage"), 0);
    let pulled = node.image("nginx", PullPolicy::IfNotPresent).await;
    assert!(
        matches!(&pulled, Ok(Done::ImagePulled { image, size: 4096, .. }) if image == "nginx"),
        "{pulled:?}"
    );
    let present = node.image("nginx", PullPolicy::Never).await;
    assert!(matches!(present, Ok(Done::ImagePresent { .. })));
    let pulled = node.image("nginx", PullPolicy::Always).await;
    assert!(matches!(pulled, Ok(Done::ImagePulled { .. })));
    assert_eq!(node.fake.count("PullImage"), 2);
}

#[tokio::test]
async fn images_that_cannot_be_had() {
    let node = Node::new().await;
    let check = async |image: &str, pull, reason: &str, message: &str| {
        let error = node.image(image, pull).await.unwrap_err();
        assert_eq!((error.reason, &*error.message), (reason, message));
    };
    check(
        "localhost:1/none:v1",
        PullPolicy::Never,
        "ErrImageNeverPull",
        "Container image \"localhost:1/none:v1\" is not present with pull policy of Never",
    )
    .await;
    check(
        "localhost:1/none:v1",
        PullPolicy::IfNotPresent,
        "ErrImagePull",
        "failed to resolve reference \"localhost:1/none:v1\"",
    )
    .await;
    check(
        "Busybox",
        PullPolicy::Always,
        "InvalidImageName",
        "Failed to apply default image tag \"Busybox\": couldn't parse image name \"Busybox\": invalid \
         reference format: repository name (library/Busybox) must be lowercase",
    )
    .await;
    node.fake.fail("ImageStatus", 1, Status::unknown("disk"));
    check(
        "busybox",
        PullPolicy::IfNotPresent,
        "ImageInspectError",
        "Failed to inspect image \"\": rpc error: code = Unknown desc = disk",
    )
    .await;
}

#[tokio::test]
async fn one_image_is_pulled_at_a_time_and_no_image_twice() {
    let node = Node::new().await;
    node.fake.world().registry.insert("nginx:latest".to_owned());
    node.fake.hold("PullImage");
    let pull = || node.image("nginx", PullPolicy::IfNotPresent);
    let (first, second) = (pull(), pull());
    let release = async {
        node.called("PullImage", 1).await;
        node.called("ImageStatus", 2).await;
        node.fake.release("PullImage");
    };
    let (first, second, ()) = tokio::join!(first, second, release);
    let pulled = [&first, &second]
        .iter()
        .filter(|r| matches!(r, Ok(Done::ImagePulled { .. })))
        .count();
    let present = [&first, &second]
        .iter()
        .filter(|r| matches!(r, Ok(Done::ImagePresent { .. })))
        .count();
    assert_eq!((pulled, present), (1, 1), "{first:?} {second:?}");
    assert_eq!(node.fake.count("PullImage"), 1);
}

#[tokio::test]
async fn a_container_that_must_not_be_roots_is_not_created() {
    let node = Node::new().await;
    let mut plan = pods::whole_pod(&node.at, "web", &["a"]);
    for step in plan.stages.iter_mut().flatten() {
        if let Step::EnsureImage(request) = step {
            request.run_as.non_root = true;
        }
    }
    let outcome = node.run(plan.clone()).await;
    assert_eq!(
        failures(&outcome),
        [("create container", "CreateContainerConfigError")]
    );
    assert_eq!(node.fake.count("CreateContainer"), 0);
    let failed = outcome
        .steps
        .iter()
        .find_map(|step| step.result.as_ref().err())
        .unwrap();
    let want = "container has runAsNonRoot and image will run as root \
                (pod: \"web_default(uid-of-web)\", container: a)";
    assert_eq!(failed.message, want);
    {
        let mut world = node.fake.world();
        world.sandboxes.clear();
        world.images.clear();
        world.add_image("busybox:latest").username = "app".to_owned();
    }
    let outcome = node.run(plan.clone()).await;
    let failed = outcome
        .steps
        .iter()
        .find_map(|step| step.result.as_ref().err())
        .unwrap();
    assert!(failed.message.contains("non-numeric user (app)"), "{failed:?}");
    {
        let mut world = node.fake.world();
        world.sandboxes.clear();
        world.images.clear();
        world.add_image("busybox:latest").uid = Some(k8s_cri::v1::Int64Value { value: 7 });
    }
    assert_eq!(failures(&node.run(plan).await), []);
    let world = node.fake.world();
    let security = &world
        .container("a")
        .unwrap()
        .1
        .config
        .linux
        .as_ref()
        .unwrap()
        .security_context;
    assert_eq!(security.as_ref().unwrap().run_as_user.as_ref().unwrap().value, 7);
}

#[tokio::test]
async fn a_sandbox_whose_network_record_was_cut_short_can_be_stopped_at_the_next_attempt() {
    let node = Node::new().await;
    let records = &node.context.network_cache.0;
    std::fs::create_dir(records).unwrap();
    let (broken, whole) = (records.join("gantry-s-eth0"), records.join("gantry-t-eth0"));
    let stop = || Step::StopSandbox { id: "s".to_owned() };
    let remove = || Step::RemoveSandbox { id: "s".to_owned() };
    let refusal = || Status::unknown("failed to get network \"gantry\" cached result");
    let cases = [
        (stop(), "StopPodSandbox", Status::unavailable("no runtime"), true),
        (stop(), "StopPodSandbox", refusal(), false),
        (remove(), "RemovePodSandbox", refusal(), false),
    ];
    for (step, call, status, left) in cases {
        std::fs::write(&broken, "").unwrap();
        std::fs::write(&whole, "{}").unwrap();
        node.fake.fail(call, 1, status);
        let failed = node.step(step).await;
        assert!(failed.result.is_err(), "{failed:?}");
        assert_eq!((broken.exists(), whole.exists()), (left, true), "{failed:?}");
    }
    let stopped = node.step(stop()).await;
    assert!(stopped.result.is_ok(), "{stopped:?}");
}

#[tokio::test]
async fn a_stopping_agent_does_not_wait_for_a_container_to_stop() {
    let node = Node::new().await;
    node.run(pods::whole_pod(&node.at, "web", &["a"])).await;
    let id = node.fake.world().container("a").unwrap().0.clone();
    node.fake.hold("StopContainer");
    let stop = Step::StopContainer {
        pre_stop: None,
        after: Vec::new(),
        container: "a".to_owned(),
        id,
        grace: Duration::from_secs(3600),
        message: "Stopping container a".to_owned(),
    };
    let plan = Plan {
        stages: vec![vec![stop], vec![Step::StopSandbox { id: "s".to_owned() }]],
        wake_at: None,
        ..Plan::default()
    };
    let cancel = CancellationToken::new();
    let stopping = async {
        node.called("StopContainer", 1).await;
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(node.run_until(plan, cancel.clone()), stopping);
    assert_eq!(verbs(&outcome), ["stop container"], "nothing more is begun");
    assert!(
        outcome.steps[0].result.as_ref().unwrap_err().failure == Failure::Abandoned,
        "it counts for nothing"
    );
    // What was asked for is done nevertheless: a call that is given up in its first moment would spoil the next.
    node.fake.release("StopContainer");
    let ended = async {
        while node.fake.world().container("a").unwrap().1.state != ContainerState::ContainerExited {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, ended)
        .await
        .expect("the container is stopped");
}

#[tokio::test]
async fn a_stopping_agent_finishes_the_step_at_hand() {
    let node = Node::new().await;
    node.fake.hold("RunPodSandbox");
    let cancel = CancellationToken::new();
    let stopping = async {
        node.called("RunPodSandbox", 1).await;
        cancel.cancel();
        node.fake.release("RunPodSandbox");
    };
    let plan = pods::whole_pod(&node.at, "web", &["a"]);
    let (outcome, ()) = tokio::join!(node.run_until(plan, cancel.clone()), stopping);
    assert_eq!(failures(&outcome), []);
    assert_eq!(outcome.steps.len(), 3, "{:?}", verbs(&outcome));
    assert_eq!(node.fake.world().sandboxes.len(), 1);
}

#[tokio::test]
async fn a_stopping_agent_does_not_wait_for_a_pull() {
    let node = Node::new().await;
    node.fake.world().registry.insert("nginx:latest".to_owned());
    node.fake.hold("PullImage");
    let cancel = CancellationToken::new();
    let stopping = async {
        node.called("PullImage", 1).await;
        cancel.cancel();
    };
    let pull = Step::EnsureImage(image_request("c", "nginx", PullPolicy::Always));
    let plan = Plan {
        stages: vec![vec![pull]],
        wake_at: None,
        ..Plan::default()
    };
    let (outcome, ()) = tokio::join!(node.run_until(plan, cancel.clone()), stopping);
    assert_eq!(
        outcome.steps[0].result.as_ref().unwrap_err().failure,
        Failure::Abandoned
    );
}
