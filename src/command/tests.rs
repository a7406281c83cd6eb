//! The subcommands against a serving agent, over a socket: what a user sees.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, DuplexStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::client::Client;
use super::top::state::Containers;
use super::{CommandError, describe, exec, get, logs, streams, timeline, top};
use crate::cli::top::SortKey;
use crate::model::event::{EventType, PodEvent, RecordedEvent};
use crate::model::image_progress::{Phase, Progress};
use crate::model::outcome::{Done, Outcome, StepReport};
use crate::model::pod::{PodUid, Problem, ProblemKind};
use crate::model::pull_work::{PodPull, PullWork};
use crate::model::report::PodsReport;
use crate::model::step::{StepKind, Subject};
use crate::serve::fixture::{Changing, changing, exited, name, pod, running, snapshot_of};
use crate::serve::{self, socket};

/// The timeout for operations that should take milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

struct Agent {
    changing: Changing,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
}

impl Agent {
    fn start() -> Self {
        let changing = changing();
        let path = changing.temp.path().join("gantry.sock");
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(serve::run(
            socket::bind(&path).unwrap(),
            changing.world.clone(),
            shutdown,
        ));
        Agent {
            changing,
            client: Client::new(path),
            stop: Some(stop),
            task,
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.changing
            .world
            .pod_logs_dir
            .join("default_web-vm_u1/web")
            .join(name)
    }

    fn write(&self, words: &[&str]) {
        let mut file = fs::File::options()
            .append(true)
            .create(true)
            .open(self.log("0.log"))
            .unwrap();
        for word in words {
            writeln!(file, "2026-11-21T01:00:00.5Z stdout F {word}").unwrap();
        }
    }

    async fn get(&self, options: get::Options) -> (String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        get::run(&self.client, &options, now(), &mut out, &mut err)
            .await
            .unwrap();
        (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    async fn logs(&self, change: impl FnOnce(&mut logs::Options)) -> Result<String, String> {
        let mut options = logs::Options {
            pod: "web".into(),
            ..logs::Options::default()
        };
        change(&mut options);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let result = logs::run(&self.client, &options, &mut out, &mut err).await;
        result
            .map(|()| String::from_utf8(out).unwrap())
            .map_err(|error| error.to_string())
    }

    /// Follows the log; the reader returns what is written.
    fn follow(&self, tail: u64) -> (BufReader<DuplexStream>, JoinHandle<Result<(), CommandError>>) {
        let (mut writer, reader) = tokio::io::duplex(1 << 16);
        let client = self.client.clone();
        let task = tokio::spawn(async move {
            let options = logs::Options {
                pod: "web".into(),
                follow: true,
                tail: Some(tail),
                ..logs::Options::default()
            };
            logs::run(&client, &options, &mut writer, &mut Vec::new()).await
        });
        (BufReader::new(reader), task)
    }
}

fn now() -> Timestamp {
    "2026-11-21T00:05:00Z".parse().unwrap()
}

async fn line(from: &mut BufReader<DuplexStream>) -> String {
    let mut line = String::new();
    timeout(PATIENCE, from.read_line(&mut line))
        .await
        .unwrap()
        .unwrap();
    line
}

fn report(agent: &Agent) {
    let problem = Problem {
        path: "/etc/kubernetes/manifests/db.yaml".into(),
        document: 2,
        line: Some(7),
        field: "spec.containers[0].image".into(),
        message: "is missing".into(),
        pod: Some(name("data", "db")),
        kind: ProblemKind::Invalid,
    };
    let warning = Problem {
        path: "/etc/kubernetes/manifests/web.yaml".into(),
        document: 1,
        line: Some(9),
        field: "spec.containers[0].comand".into(),
        message: "is not a field in this version of Kubernetes and is ignored: did you mean command?".into(),
        pod: Some(name("default", "web-vm")),
        kind: ProblemKind::Dubious,
    };
    let event = RecordedEvent {
        uid: PodUid("u1".into()),
        what: PodEvent {
            kind: EventType::Warning,
            reason: "BackOff".into(),
            message: "Back-off restarting failed container web".into(),
            field_path: Some("spec.containers{web}".into()),
            annotations: Default::default(),
        },
        first: "2026-11-21T00:00:00Z".parse().unwrap(),
        last: "2026-11-21T00:04:00.7Z".parse().unwrap(),
        count: 3,
    };
    let key = name("default", "web-vm");
    agent.changing.pods.send_replace(Arc::new(PodsReport {
        listed: true,
        pods: [(key.clone(), Arc::new(pod("default", "web-vm")))].into(),
        problems: vec![problem],
        warnings: vec![warning],
        events: [(key, Arc::new(vec![event]))].into(),
        ..PodsReport::default()
    }));
}

fn check(text: &str, expected: &Expect) {
    expected.assert_eq(text);
}

#[tokio::test]
async fn pods_and_broken_files_are_listed() {
    let agent = Agent::start();
    check(
        &agent.get(get::Options::default()).await.0,
        &expect![[r#"
            NAME     READY   STATUS    RESTARTS   AGE
            web-vm   1/1     Running   0          5m
        "#]],
    );
    report(&agent);
    let (table, printed) = agent
        .get(get::Options {
            output: get::Output::Wide,
            ..Default::default()
        })
        .await;
    check(
        &table,
        &expect![[r#"
            NAMESPACE   NAME        READY   STATUS    RESTARTS   AGE   IP           NODE
            default     web-vm      1/1     Running   0          5m    10.244.0.7   vm
            data        db.yaml#2   -       Invalid   -          -     -            -
        "#]],
    );
    let expected = "/etc/kubernetes/manifests/db.yaml:7 (document 2): spec.containers[0].image: is missing\n";
    assert_eq!(printed, expected);
    let pull = |image: &str, progress| PodPull {
        uid: PodUid("u1".to_owned()),
        image: image.to_owned(),
        since: "2026-11-21T00:04:15Z".parse().unwrap(),
        progress,
    };
    let arrived = Progress::of_bytes(Phase::Downloading, 5 << 20, Some(80 << 20));
    let pulls = [pull("demo:1", arrived), pull("tool:2", Progress::default())];
    agent.changing.pulls.send_replace(PullWork {
        of_pods: (0..).zip(pulls).collect(),
    });
    check(
        &agent.get(get::Options::default()).await.0,
        &expect![[r#"
            NAMESPACE   NAME        READY   STATUS    RESTARTS   AGE   PULLING
            default     web-vm      1/1     Running   0          5m    5.0 of 80.0 MiB (45s), waiting for other pulls (45s)
            data        db.yaml#2   -       Invalid   -          -     -
        "#]],
    );
    let only = get::Options {
        namespace: Some("other".into()),
        ..Default::default()
    };
    assert_eq!(
        agent.get(only).await,
        (String::new(), "No resources found\n".into())
    );
}

#[tokio::test]
async fn objects_come_out_as_yaml_json_and_names() {
    let agent = Agent::start();
    let one = |output| get::Options {
        what: get::What::Pods(vec!["web".into()]),
        output,
        ..Default::default()
    };
    let yaml = agent.get(one(get::Output::Yaml)).await.0;
    assert!(
        yaml.starts_with("apiVersion: v1\nkind: Pod\nmetadata:\n  annotations:\n"),
        "{yaml}"
    );
    let json: serde_json::Value = serde_json::from_str(&agent.get(one(get::Output::Json)).await.0).unwrap();
    assert_eq!(json["metadata"]["name"], "web-vm");
    let all = get::Options {
        output: get::Output::Json,
        ..Default::default()
    };
    let list: serde_json::Value = serde_json::from_str(&agent.get(all).await.0).unwrap();
    assert_eq!(
        (list["kind"].as_str(), list["items"][0]["kind"].as_str()),
        (Some("List"), Some("Pod"))
    );
    assert_eq!(agent.get(one(get::Output::Name)).await.0, "pod/web-vm\n");
    let node = get::Options {
        what: get::What::Node,
        ..Default::default()
    };
    check(
        &agent.get(node).await.0,
        &expect![[r#"
            NAME   STATUS    ROLES    AGE         VERSION
            vm     Unknown   <none>   <unknown>
        "#]],
    );
}

#[tokio::test]
async fn a_pod_is_described_with_its_events() {
    let agent = Agent::start();
    report(&agent);
    let what = describe::What::Pods(vec!["web".into()]);
    let mut out = Vec::new();
    let options = describe::Options {
        what,
        namespace: None,
    };
    describe::run(&agent.client, &options, now(), &mut out)
        .await
        .unwrap();
    check(
        &String::from_utf8(out).unwrap(),
        &expect![[r#"
            Name:         web-vm
            Namespace:    default
            Priority:     0
            Node:         vm/
            Labels:       <none>
            Annotations:  kubernetes.io/config.source: file
            Status:       Running
            IP:           10.244.0.7
            IPs:          <none>
            Containers:
              web:
                Container ID:   containerd://c1
                Image:          demo:1
                Image ID:       sha256:1
                Port:           <none>
                Host Port:      <none>
                State:          Running
                  Started:      Sat, 21 Nov 2026 00:00:05 +0000
                Ready:          True
                Restart Count:  0
                Environment:    <none>
                Mounts:         <none>
            Conditions:
              Type    Status
              Ready   True
            Volumes:         <none>
            QoS Class:       <unset>
            Node-Selectors:  <none>
            Tolerations:     <none>
            Warnings:        /etc/kubernetes/manifests/web.yaml:9: spec.containers[0].comand: is not a field in this version of Kubernetes and is ignored: did you mean command?
            Events:
              Type      Reason    Age                From      Message
              ----      ------    ----               ----      -------
              Warning   BackOff   60s (x3 over 5m)   kubelet   Back-off restarting failed container web
        "#]],
    );
}

#[tokio::test]
async fn an_agent_that_does_not_run_is_told_with_what_to_type() {
    let client = Client::new("/nowhere/gantry.sock");
    let options = get::Options::default();
    let error = get::run(&client, &options, now(), &mut Vec::new(), &mut Vec::new())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "gantry does not answer at /nowhere/gantry.sock: is it running? start it with `systemctl start gantry` \
         or `gantry run`"
    );
}

#[tokio::test]
async fn logs_are_shown_and_what_cannot_be_is_explained() {
    let agent = Agent::start();
    agent.write(&["one", "two", "three"]);
    assert_eq!(agent.logs(|_| {}).await, Ok("one\ntwo\nthree\n".into()));
    assert_eq!(
        agent.logs(|options| options.tail = Some(2)).await,
        Ok("two\nthree\n".into())
    );
    let stamped = agent
        .logs(|options| (options.tail, options.timestamps) = (Some(1), true))
        .await;
    assert_eq!(stamped, Ok("2026-11-21T01:00:00.500000000Z three\n".into()));
    assert_eq!(
        agent.logs(|options| options.limit_bytes = Some(5)).await,
        Ok("one\nt".into())
    );
    let previous = agent.logs(|options| options.previous = true).await;
    assert_eq!(
        previous,
        Err("previous terminated container \"web\" in pod \"web-vm\" not found".into())
    );
    let other = agent
        .logs(|options| options.container = Some("side".into()))
        .await;
    assert_eq!(
        other,
        Err("container side is not valid for pod web-vm: it has web".into())
    );
    fs::remove_file(agent.log("0.log")).unwrap();
    assert_eq!(
        agent.logs(|_| {}).await,
        Ok(String::new()),
        "in the middle of a rotation"
    );
    agent.changing.snapshot.send_replace(Default::default());
    assert_eq!(
        agent.logs(|_| {}).await,
        Err("container c1 and its log have been removed".into())
    );
}

#[tokio::test]
async fn a_followed_log_goes_on_over_a_rotation_and_ends_with_the_container() {
    let agent = Agent::start();
    agent.write(&["old", "one"]);
    let (mut out, task) = agent.follow(1);
    assert_eq!(line(&mut out).await, "one\n");
    agent.write(&["two"]);
    assert_eq!(line(&mut out).await, "two\n");

    fs::rename(agent.log("0.log"), agent.log("0.log.20261121-010000")).unwrap();
    agent.write(&["three"]);
    assert_eq!(line(&mut out).await, "three\n");

    agent.write(&["last"]);
    let log = agent.log("0.log");
    let ended = snapshot_of(vec![exited(running("c1", "web", log.to_str().unwrap()))]);
    agent.changing.snapshot.send_replace(ended);
    let mut rest = String::new();
    timeout(PATIENCE, out.read_to_string(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(rest, "last\n");
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_agent_that_stops_ends_what_it_streams() {
    let mut agent = Agent::start();
    agent.write(&["one"]);
    let (mut out, task) = agent.follow(1);
    assert_eq!(line(&mut out).await, "one\n");
    agent.stop.take().unwrap().send(()).unwrap();
    timeout(PATIENCE, task).await.unwrap().unwrap().unwrap();
    timeout(PATIENCE, agent.task).await.unwrap().unwrap().unwrap();
    assert!(!agent.client.socket().exists());
}

async fn exec(agent: &Agent, command: &[&str]) -> Result<u32, String> {
    let command = command.iter().map(|&word| word.to_owned()).collect();
    let options = exec::Options {
        pod: "web".into(),
        command,
        ..exec::Options::default()
    };
    let connection = exec::connect(&agent.client, &options, &mut Vec::new()).await;
    let input = streams::Input {
        stdin: None,
        resized: None,
    };
    match connection {
        Ok(connection) => streams::carry(connection, input, &mut Vec::new(), &mut Vec::new()).await,
        Err(error) => Err(error),
    }
    .map_err(|error| error.to_string())
}

#[tokio::test]
async fn what_cannot_be_run_is_explained() {
    let agent = Agent::start();
    let error = exec(&agent, &["true"]).await.unwrap_err();
    let containerd = agent.changing.world.runtime.socket().display().to_string();
    assert!(
        error.starts_with(&format!("containerd does not answer at {containerd}")),
        "{error}"
    );
    assert_eq!(exec(&agent, &[]).await, Err("exec requires a command".into()));

    let mut waiting = pod("default", "web-vm");
    waiting
        .status
        .as_mut()
        .unwrap()
        .container_statuses
        .as_mut()
        .unwrap()[0]
        .state = None;
    let pods = [(name("default", "web-vm"), Arc::new(waiting))].into();
    agent.changing.pods.send_replace(Arc::new(PodsReport {
        finished: Default::default(),
        pods,
        ..PodsReport::default()
    }));
    let error = exec(&agent, &["true"]).await;
    assert_eq!(
        error,
        Err("container web is not running; exec requires a running container".into())
    );
}

#[tokio::test]
async fn everything_else_is_answered_in_kubernetes_own_form() {
    let agent = Agent::start();
    let refused = |path: &'static str| async {
        agent
            .client
            .object::<serde_json::Value>(path)
            .await
            .unwrap_err()
            .to_string()
    };
    assert_eq!(refused("/pods/default/x").await, "pods \"x\" not found");
    assert_eq!(refused("/nothing").await, "the agent does not serve /nothing");
    assert!(refused("/events?user=x").await.contains("unknown field `user`"));
    assert!(
        refused("/logs/default/web-vm/web?tailLines=-1")
            .await
            .contains("tailLines")
    );
    let config: serde_json::Value = agent.client.object("/configz").await.unwrap();
    assert_eq!(config["kubeletconfig"]["maxPods"], 110);
    let mut page = Vec::new();
    let mut chunks = agent.client.stream("/metrics").await.unwrap();
    while let Some(chunk) = chunks.next().await.unwrap() {
        page.extend_from_slice(&chunk);
    }
    assert!(
        String::from_utf8(page)
            .unwrap()
            .contains("kubelet_running_pods 1\n")
    );
}

#[tokio::test]
async fn top_joins_what_was_measured_with_what_is_reported() {
    let agent = Agent::start();
    let options = top::options::Options {
        namespace: None,
        sort: SortKey::Name,
        containers: Containers::Shown,
        // The same sample answers twice, so that there are no rates.
        interval: Duration::ZERO,
    };
    let (form, mut out) = (top::once::Form::Table, Vec::new());
    top::once::run(&agent.client, &options, form, &mut out)
        .await
        .unwrap();
    let expected = expect![[r#"
        NODE   CPU   CPU%   THROTTLED   MEMORY   MEMORY%   PSI
        vm     -     -      -           7.3Ki    38%       1.5%

        NAME     CONTAINER   STATUS    RESTARTS   CPU   CPU%   THROTTLED   MEMORY   MEMORY%   PSI    RX/S   TX/S
        web-vm   (pod)       Running   0          -     -      -           7.3Ki    38%       1.5%   -      -
        web-vm   web         Running   0          -     -      -           -        -         -      -      -
    "#]];
    expected.assert_eq(&String::from_utf8(out).unwrap());
}

async fn timeline(agent: &Agent, pod: &str) -> Result<String, String> {
    let options = timeline::Options {
        pod: pod.to_owned(),
        namespace: None,
        form: timeline::Form::Picture,
    };
    let mut out = Vec::new();
    match timeline::run(&agent.client, &options, &mut out).await {
        Ok(()) => Ok(String::from_utf8(out).unwrap()),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn a_timeline_is_of_a_pod_that_this_agent_has_started_or_ended() {
    let agent = Agent::start();
    let earlier = "not recorded: the pod was started by an earlier agent";
    assert_eq!(timeline(&agent, "web").await, Err(earlier.to_owned()));
    let unknown = "pod \"x\" not found: `gantry get pods -A` lists all pods";
    assert_eq!(timeline(&agent, "x").await, Err(unknown.to_owned()));
    assert!(timeline(&agent, "../../node").await.is_err());
    agent.changing.snapshot.send_replace(Arc::default());
    let not_yet = "nothing has been done for the pod yet";
    assert_eq!(timeline(&agent, "web").await, Err(not_yet.to_owned()));

    let step = StepReport {
        subject: Subject::Pod,
        kind: StepKind::RunSandbox,
        began: "2026-11-21T00:00:00Z".parse().unwrap(),
        took: Duration::from_millis(250),
        result: Ok(Done::Nothing),
    };
    let mut report = PodsReport::default();
    report.timelines.record(&Outcome {
        pod: name("default", "web-vm"),
        uid: PodUid("u1".into()),
        at: step.began,
        steps: vec![step],
    });
    agent.changing.pods.send_replace(Arc::new(report));
    // The pod is not reported any more; its short name is found nevertheless.
    let shown = timeline(&agent, "web").await.unwrap();
    expect![[r#"
        default/web-vm

        start at 2026-11-21T00:00:00.000Z, 250ms
            0ms    250ms  run sandbox (with the pod's network)  |======================|
    "#]]
    .assert_eq(&shown);
    assert_eq!(timeline(&agent, "web-vm").await, Ok(shown));
}
