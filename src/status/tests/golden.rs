//! Statuses and events, compared with those recorded from a kubelet v1.36.2.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use serde_json::{Value, json};

use crate::model::end::End;
use crate::model::event::PodEvent;
use crate::model::memory::{Backoff, ContainerMemory, PodMemory};
use crate::model::outcome::Failure;
use crate::model::outcome::{Done, HookResult, Outcome, SlowAction, StepError, StepReport, StepStarted};
use crate::model::pod::{Pod, PodName, RestartPolicy};
use crate::model::resources::{Amounts, Bytes, Resources};
use crate::model::runtime::{ContainerState, ObservedContainer, ObservedName, ObservedPod, Sandbox};
use crate::model::sample::{self, at, exited, instance, running, sandbox};
use crate::model::step::{StepKind, Subject};
use crate::status::pod::pod_status;
use crate::status::{end_events, events};

use RestartPolicy::{Always, Never, OnFailure};

/// A pod that is followed through a recording.
struct Followed {
    name: &'static str,
    recorded: Value,
    pod: Pod,
    memory: PodMemory,
    reported: Option<api::PodStatus>,
}

impl Followed {
    fn new(name: &'static str, restart: RestartPolicy, init: &[&str], containers: &[&str]) -> Followed {
        let mut pod = sample::pod(restart, init, containers);
        pod.name = PodName::new("<ns>", pod.name.name.clone());
        pod.uid = sample::uid("<uid>");
        Followed {
            name,
            recorded: sample::recording(name),
            memory: PodMemory::new(pod.uid.clone(), at(0)),
            pod,
            reported: None,
        }
    }

    /// Checks that the observed state produces the status with that number in the recording (0 is the API server's
    /// own).
    fn check(
        &mut self,
        number: usize,
        now: i64,
        sandboxes: Vec<Sandbox>,
        containers: Vec<ObservedContainer>,
    ) -> &mut Followed {
        let seen = ObservedPod {
            sandboxes,
            containers,
            allocation: None,
            checkpoint: None,
        };
        let observed = ObservedName {
            uids: [(self.pod.uid.clone(), seen)].into(),
        };
        let status = pod_status(
            &self.pod,
            &observed,
            Some(&self.memory),
            self.reported.as_ref(),
            &sample::policy(),
            &[],
            at(now),
        );
        let ours = summary(&status);
        let recorded = &self.recorded["statuses"][number];
        for (field, value) in ours.as_object().unwrap() {
            // The kubelet reports addresses one status later than it could, and sometimes later than the agent.
            let lags = field == "podIP" && recorded[field] == json!(false);
            assert!(
                lags || recorded[field] == *value,
                "{} {number}, {field}: recorded\n{}\nours\n{value}",
                self.name,
                recorded[field]
            );
        }
        self.reported = Some(status);
        self
    }

    fn container(&mut self, name: &str) -> &mut ContainerMemory {
        let fresh = || ContainerMemory::of(&sample::container(name));
        self.memory
            .containers
            .entry(name.to_owned())
            .or_insert_with(fresh)
    }
}

/// The summary in the format of the recordings.
fn summary(status: &api::PodStatus) -> Value {
    let conditions = status.conditions.iter().flatten().map(|condition| {
        let reason = condition.reason.clone().unwrap_or_default();
        (
            condition.type_.clone(),
            json!(format!("{} {reason}", condition.status).trim()),
        )
    });
    let of = |statuses: &Option<Vec<api::ContainerStatus>>| -> Value {
        let all = statuses.iter().flatten();
        Value::Object(
            all.map(|status| (status.name.clone(), of_container(status)))
                .collect(),
        )
    };
    json!({
        "phase": status.phase,
        "reason": status.reason,
        "message": status.message,
        "qosClass": status.qos_class,
        "podIP": status.pod_ip.is_some(),
        "hostIP": status.host_ip.is_some(),
        "startTime": status.start_time.is_some(),
        "conditions": Value::Object(conditions.collect()),
        "init": of(&status.init_container_statuses),
        "containers": of(&status.container_statuses),
    })
}

fn of_container(status: &api::ContainerStatus) -> Value {
    let mut summary = json!({
        "ready": status.ready,
        "started": status.started,
        "restarts": status.restart_count,
    });
    for (key, state) in [("state", &status.state), ("lastState", &status.last_state)] {
        let Some(state) = state else { continue };
        let text = if state.running.is_some() {
            "running".to_owned()
        } else if let Some(waiting) = &state.waiting {
            let parts = [
                "waiting".into(),
                waiting.reason.clone().unwrap_or_default(),
                waiting.message.clone().unwrap_or_default(),
            ];
            parts.join(" ").trim_end().replace("10s", "<dur>")
        } else if let Some(end) = &state.terminated {
            let code = format!("exit={}", end.exit_code);
            let parts = [
                "terminated".to_owned(),
                end.reason.clone().unwrap_or_default(),
                code,
            ];
            let message = end
                .message
                .as_ref()
                .map(|message| format!(" {message}"))
                .unwrap_or_default();
            parts.join(" ") + &message
        } else {
            continue;
        };
        summary[key] = json!(text);
    }
    summary
}

fn s(ready: bool) -> Vec<Sandbox> {
    vec![sandbox(0, ready, 0)]
}

#[test]
fn containers_that_run() {
    for name in ["running", "qos-best-effort"] {
        Followed::new(name, Always, &[], &["c"])
            .check(1, 0, vec![], vec![])
            .check(2, 1, s(true), vec![])
            .check(3, 2, s(true), vec![instance("c", 0, 1, running(1))]);
    }
    let (a, b) = (instance("a", 0, 1, running(1)), instance("b", 0, 1, running(1)));
    Followed::new("two-containers", Always, &[], &["b", "a"])
        .check(1, 0, vec![], vec![])
        .check(2, 1, s(true), vec![])
        .check(3, 2, s(true), vec![b, a]);
}

#[test]
fn containers_that_end_for_good() {
    for (name, code) in [("succeeds", 0), ("fails", 3)] {
        let ended = || vec![instance("c", 0, 1, exited(1, 2, code))];
        Followed::new(name, Never, &[], &["c"])
            .check(1, 0, vec![], vec![])
            .check(2, 1, s(true), vec![])
            .check(3, 2, s(true), vec![instance("c", 0, 1, running(1))])
            .check(4, 3, s(true), ended())
            .check(5, 4, s(false), ended());
    }
}

#[test]
fn on_failure() {
    let failed = || instance("c", 0, 1, exited(1, 2, 1));
    let done = || vec![instance("c", 1, 3, exited(3, 4, 0)), failed()];
    Followed::new("on-failure", OnFailure, &[], &["c"])
        .check(3, 2, s(true), vec![instance("c", 0, 1, running(1))])
        .check(4, 3, s(true), vec![failed()])
        .check(5, 4, s(true), vec![instance("c", 1, 3, running(3)), failed()])
        .check(6, 5, s(true), done())
        .check(7, 6, s(false), done());
}

#[test]
fn crash_loop() {
    let first = || instance("c", 0, 1, exited(1, 2, 7));
    let second = || instance("c", 1, 3, exited(3, 4, 7));
    let mut pod = Followed::new("crash-loop", Always, &[], &["c"]);
    pod.check(4, 3, s(true), vec![first()]);
    pod.container("c").restart = Some(Backoff {
        delay: Duration::from_secs(10),
        since: at(3),
    });
    // It has been started, but the runtime does not report it yet.
    pod.check(4, 3, s(true), vec![first()])
        .check(5, 4, s(true), vec![instance("c", 1, 3, running(3)), first()])
        .check(6, 5, s(true), vec![second(), first()]);
    // What the kubelet reports at its next look is reported here in the last second of the back-off.
    let seen = ObservedPod {
        sandboxes: s(true),
        containers: vec![second(), first()],
        allocation: None,
        checkpoint: None,
    };
    let observed = ObservedName {
        uids: [(pod.pod.uid.clone(), seen)].into(),
    };
    let changes = |now| crate::status::pod::changes_at(&pod.memory, &observed, &sample::policy(), at(now));
    assert_eq!((changes(5), changes(13)), (Some(at(13)), None));
    pod.check(6, 12, s(true), vec![second(), first()])
        .check(7, 13, s(true), vec![second(), first()])
        // The restart is due.
        .check(6, 14, s(true), vec![second(), first()]);
}

/// The runtime has removed the former instance; the report of its end stays.
#[test]
fn a_former_end_is_told_on() {
    let failed = || instance("c", 0, 1, exited(1, 2, 1));
    let done = || instance("c", 1, 3, exited(3, 4, 0));
    Followed::new("on-failure", OnFailure, &[], &["c"])
        .check(5, 4, s(true), vec![instance("c", 1, 3, running(3)), failed()])
        .check(6, 5, s(true), vec![done()])
        .check(7, 6, s(false), vec![done()]);
}

#[test]
fn init_containers() {
    let done = |name: &str| instance(name, 0, 1, exited(1, 2, 0));
    let run = |name: &str| instance(name, 0, 1, running(1));
    Followed::new("init-ok", Always, &["i1", "i2"], &["c"])
        .check(1, 0, vec![], vec![])
        .check(2, 1, s(true), vec![])
        .check(3, 2, s(true), vec![run("i1")])
        .check(4, 3, s(true), vec![done("i1")])
        .check(5, 4, s(true), vec![run("i2"), done("i1")])
        .check(6, 5, s(true), vec![done("i2"), done("i1")])
        .check(7, 6, s(true), vec![run("c"), done("i2"), done("i1")]);
    let failed = || vec![instance("i1", 0, 1, exited(1, 2, 4))];
    Followed::new("init-fails-never", Never, &["i1"], &["c"])
        .check(1, 0, vec![], vec![])
        .check(2, 1, s(true), vec![])
        .check(3, 2, s(true), vec![run("i1")])
        .check(4, 3, s(true), failed())
        .check(5, 4, s(false), failed());
}

#[test]
fn sidecars() {
    let done = |name: &str| instance(name, 0, 1, exited(1, 2, 0));
    let run = |name: &str| instance(name, 0, 1, running(1));
    Followed::new("sidecar", Never, &["+side", "i2"], &["c"])
        .check(1, 0, vec![], vec![])
        .check(2, 1, s(true), vec![])
        .check(3, 2, s(true), vec![run("side")])
        .check(4, 3, s(true), vec![run("i2"), run("side")])
        .check(5, 4, s(true), vec![done("i2"), run("side")])
        .check(6, 5, s(true), vec![run("c"), done("i2"), run("side")])
        .check(7, 6, s(true), vec![done("c"), done("i2"), run("side")])
        // The status in between, when the containers have ended but the kubelet has not seen all of it, is skipped.
        .check(9, 7, s(false), vec![done("c"), done("i2"), done("side")]);
}

#[test]
fn images_and_users_that_do_not_do() {
    let refused = "failed to pull and unpack image \"localhost:1/none:v1\": failed to resolve reference \
                   \"localhost:1/none:v1\": failed to do request: Head \
                   \"http://localhost:1/v2/none/manifests/v1\": dial tcp 127.0.0.1:1: connect: connection refused";
    let mut pod = Followed::new("image-absent", Always, &[], &["c"]);
    pod.pod.containers[0].image = "localhost:1/none:v1".to_owned();
    pod.check(2, 1, s(true), vec![]);
    *pod.container("c") = ContainerMemory {
        failure: Some(error("ErrImagePull", refused)),
        pull: Some(Backoff {
            delay: Duration::from_secs(10),
            since: at(2),
        }),
        ..ContainerMemory::of(&pod.pod.containers[0])
    };
    pod.check(3, 2, s(true), vec![]);
    let nothing = ObservedName::default();
    let changes = |pod: &Followed, now| {
        crate::status::pod::changes_at(&pod.memory, &nothing, &sample::policy(), at(now))
    };
    assert_eq!(changes(&pod, 2), Some(at(11)));
    pod.check(4, 11, s(true), vec![]);
    assert_eq!(changes(&pod, 11), None);

    let mut pod = Followed::new("image-never", Always, &[], &["c"]);
    let message = "Container image \"localhost:1/none:v1\" is not present with pull policy of Never";
    pod.container("c").failure = Some(error("ErrImageNeverPull", message));
    pod.check(3, 2, s(true), vec![]);

    let mut pod = Followed::new("run-as-non-root", Always, &[], &["c"]);
    let message =
        "container has runAsNonRoot and image will run as root (pod: \"p_<ns>(<uid>)\", container: c)";
    pod.container("c").failure = Some(error("CreateContainerConfigError", message));
    pod.check(3, 2, s(true), vec![]);
}

#[test]
fn ends_with_a_reason() {
    let with = |state: ContainerState, reason: &str, text: &str| match state {
        ContainerState::Exited {
            started,
            finished,
            code,
            message,
            ..
        } => ContainerState::Exited {
            started,
            finished,
            code,
            message,
            reason: reason.to_owned(),
            termination_message: text.to_owned(),
        },
        other => other,
    };
    let killed = || vec![instance("c", 0, 1, with(exited(1, 2, 137), "OOMKilled", ""))];
    let mut pod = Followed::new("oom", Never, &[], &["c"]);
    let memory = Amounts {
        memory: Some(Bytes(16 << 20)),
        ..Amounts::default()
    };
    pod.pod = pod.pod.with_resources(&[Resources {
        requests: memory.clone(),
        limits: memory,
    }]);
    pod.check(3, 2, s(true), vec![instance("c", 0, 1, running(1))])
        .check(4, 3, s(true), killed())
        .check(5, 4, s(false), killed());
    let reported = || vec![instance("c", 0, 1, with(exited(1, 2, 2), "Error", "done-well\n"))];
    Followed::new("termination-message", Never, &[], &["c"])
        .check(3, 2, s(true), vec![instance("c", 0, 1, running(1))])
        .check(4, 3, s(true), reported())
        .check(5, 4, s(false), reported());
}

#[test]
fn host_network() {
    let on_host = || {
        vec![Sandbox {
            host_network: true,
            ips: Vec::new(),
            ..sandbox(0, true, 0)
        }]
    };
    let mut pod = Followed::new("host-network", Always, &[], &["c"]);
    pod.pod.namespaces.host_network = true;
    pod.check(1, 0, vec![], vec![])
        .check(2, 1, on_host(), vec![])
        .check(3, 2, on_host(), vec![instance("c", 0, 1, running(1))]);
}

#[test]
fn active_deadline() {
    let mut pod = Followed::new("active-deadline", Never, &[], &["c"]);
    pod.check(3, 2, s(true), vec![instance("c", 0, 1, running(1))]);
    pod.memory.ended = Some(End::Deadline);
    pod.check(4, 4, s(true), vec![instance("c", 0, 1, running(1))])
        .check(5, 5, s(false), vec![instance("c", 0, 1, exited(1, 4, 0))]);
}

#[test]
fn a_pod_that_was_refused() {
    let recorded = sample::recording("too-big");
    let mut pod = sample::pod(Never, &[], &["c"]);
    pod.qos = crate::model::resources::Qos::Burstable;
    let mut memory = PodMemory::new(pod.uid.clone(), at(0));
    let text = "Node didn't have enough resource: cpu, requested: 1000000, used: 600, capacity: 2000";
    memory.ended = Some(End::Refused {
        reason: "OutOfcpu".to_owned(),
        message: text.to_owned(),
    });
    let status = pod_status(
        &pod,
        &ObservedName::default(),
        Some(&memory),
        None,
        &sample::policy(),
        &[],
        at(1),
    );
    for (field, value) in summary(&status).as_object().unwrap() {
        assert_eq!(&recorded["final"][field], value, "{field}");
    }
    assert_events(
        "too-big",
        end_events::refusal(&memory, None).into_iter().collect(),
    );
    assert_eq!(end_events::refusal(&memory, Some(&status)), None);
}

fn error(reason: &'static str, message: &str) -> StepError {
    StepError {
        reason,
        message: message.to_owned(),
        failure: Failure::Failed,
    }
}

/// An execution with one step for each container, and their results.
fn outcome(steps: Vec<(&str, StepKind, Result<Done, StepError>)>) -> Outcome {
    let step = |(container, kind, result): (&str, StepKind, Result<Done, StepError>)| StepReport {
        subject: Subject::Container(container.to_owned()),
        kind,
        began: Timestamp::UNIX_EPOCH,
        took: Duration::ZERO,
        result,
    };
    Outcome {
        pod: sample::name(),
        uid: sample::uid("<uid>"),
        at: at(1),
        steps: steps.into_iter().map(step).collect(),
    }
}

fn brought_up(container: &str) -> Vec<(&str, StepKind, Result<Done, StepError>)> {
    let made = || {
        Ok(Done::Container {
            id: "0123".to_owned(),
        })
    };
    vec![
        (container, StepKind::EnsureImage, present()),
        (container, StepKind::CreateContainer, made()),
        (container, StepKind::StartContainer, made()),
    ]
}

fn present() -> Result<Done, StepError> {
    Ok(Done::ImagePresent {
        image: "docker.io/library/busybox:1.35".to_owned(),
    })
}

fn stopped(container: &str) -> (&str, StepKind, Result<Done, StepError>) {
    let done = Done::Stopped {
        hook: HookResult::Done,
    };
    (container, StepKind::StopContainer, Ok(done))
}

fn begins(container: &str, what: SlowAction) -> StepStarted {
    StepStarted {
        pod: sample::name(),
        uid: sample::uid("<uid>"),
        container: Some(container.to_owned()),
        at: at(1),
        what,
    }
}

fn assert_events(name: &str, ours: Vec<PodEvent>) {
    let recorded: Vec<[String; 5]> =
        serde_json::from_value(sample::recording(name)["events"].clone()).unwrap();
    // The scheduler's events are not the node's.
    let recorded: Vec<_> = recorded
        .into_iter()
        .filter(|event| event[3] == "kubelet")
        .collect();
    let text = |event: PodEvent| {
        [
            event.kind.as_str().to_owned(),
            event.reason,
            event.message,
            "kubelet".to_owned(),
            event.field_path.unwrap_or_default(),
        ]
    };
    let mut ours: Vec<_> = ours.into_iter().map(text).collect();
    ours.sort();
    ours.dedup();
    assert_eq!(ours, recorded, "{name}");
}

#[test]
fn events_have_the_kubelets_words() {
    let check = |name: &'static str,
                 init: &[&str],
                 containers: &[&str],
                 steps: Vec<(&str, StepKind, Result<Done, StepError>)>,
                 memory: Option<&PodMemory>| {
        let pod = Followed::new(name, Never, init, containers).pod;
        let stops = steps
            .iter()
            .filter(|(_, kind, _)| *kind == StepKind::StopContainer);
        let begun = stops.map(|(container, ..)| {
            let message = format!("Stopping container {container}");
            events::begun(&pod, &begins(container, SlowAction::Stop { message }))
        });
        let mut all: Vec<_> = begun.flatten().collect();
        all.extend(events::events(&pod, &outcome(steps), memory));
        assert_events(name, all);
    };
    check("running", &[], &["c"], brought_up("c"), None);
    let both = [brought_up("a"), brought_up("b")].concat();
    check("two-containers", &[], &["a", "b"], both, None);
    let all = [brought_up("i1"), brought_up("i2"), brought_up("c")].concat();
    check("init-ok", &["i1", "i2"], &["c"], all, None);
    let all = [
        brought_up("side"),
        brought_up("i2"),
        brought_up("c"),
        vec![stopped("side")],
    ]
    .concat();
    check("sidecar", &["+side", "i2"], &["c"], all, None);
    let mut memory = PodMemory::new(sample::uid("<uid>"), at(0));
    memory.ended = Some(End::Deadline);
    let all = [brought_up("c"), vec![stopped("c")]].concat();
    check("active-deadline", &[], &["c"], all, Some(&memory));
    let message =
        "container has runAsNonRoot and image will run as root (pod: \"p_<ns>(<uid>)\", container: c)";
    let failed = Err(error("CreateContainerConfigError", message));
    let steps = vec![
        ("c", StepKind::EnsureImage, present()),
        ("c", StepKind::CreateContainer, failed),
    ];
    check("run-as-non-root", &[], &["c"], steps, None);
}

#[test]
fn events_of_what_waits_have_the_kubelets_words() {
    let policy = sample::policy();
    let refused = "failed to pull and unpack image \"localhost:1/none:v1\": failed to resolve reference \
                   \"localhost:1/none:v1\": failed to do request: Head \
                   \"http://localhost:1/v2/none/manifests/v1\": dial tcp 127.0.0.1:1: connect: connection refused";
    let mut pod = Followed::new("image-absent", Always, &[], &["c"]);
    pod.pod.containers[0].image = "localhost:1/none:v1".to_owned();
    let failed = outcome(vec![(
        "c",
        StepKind::EnsureImage,
        Err(error("ErrImagePull", refused)),
    )]);
    let backoff = Backoff {
        delay: Duration::from_secs(10),
        since: at(2),
    };
    pod.container("c").pull = Some(backoff);
    let image = pod.pod.containers[0].image.clone();
    let mut all = events::begun(&pod.pod, &begins("c", SlowAction::Pull { image }));
    all.extend(events::events(&pod.pod, &failed, Some(&pod.memory)));
    all.extend(events::waiting(
        &pod.pod,
        &ObservedName::default(),
        &pod.memory,
        &policy,
        at(3),
    ));
    assert_events("image-absent", all);

    let message = "Container image \"localhost:1/none:v1\" is not present with pull policy of Never";
    let failed = outcome(vec![(
        "c",
        StepKind::EnsureImage,
        Err(error("ErrImageNeverPull", message)),
    )]);
    assert_events("image-never", events::events(&pod.pod, &failed, None));

    let mut pod = Followed::new("crash-loop", Always, &[], &["c"]);
    pod.container("c").restart = Some(backoff);
    let seen = ObservedPod {
        sandboxes: s(true),
        containers: vec![instance("c", 1, 3, exited(3, 4, 7))],
        allocation: None,
        checkpoint: None,
    };
    let observed = ObservedName {
        uids: [(pod.pod.uid.clone(), seen)].into(),
    };
    let mut all = events::events(&pod.pod, &outcome(brought_up("c")), Some(&pod.memory));
    all.extend(events::waiting(&pod.pod, &observed, &pod.memory, &policy, at(5)));
    assert_eq!(
        events::waiting(&pod.pod, &observed, &pod.memory, &policy, at(14)),
        []
    );
    assert_events("crash-loop", all);
}
