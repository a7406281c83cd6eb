//! The node is short of memory or a pod takes too much of its disk: pods make room, and new ones that would make it worse
//! are not taken.

use std::time::Duration;

use gantry::model::eviction::{EvictionPolicy, EvictionThreshold, Signal};
use gantry::model::pods_use::{ContainerUse, PodUse};
use gantry::model::resources::Bytes;
use gantry::model::stats::{DirectoryUsage, PodStorage};
use gantry::model::threshold::Threshold;
use serde_json::{Value, json};

use crate::agent::{Machine, is_ready, simple};

const MIB: i64 = 1 << 20;

/// A node that wants 1 GiB of its memory to be free.
async fn machine() -> Machine {
    let mut machine = Machine::new();
    machine.eviction = EvictionPolicy {
        thresholds: vec![EvictionThreshold {
            signal: Signal::Memory,
            value: Threshold::Quantity(1024 * MIB),
            grace: Duration::ZERO,
            reclaim: None,
        }],
        ..EvictionPolicy::default()
    };
    machine.api = Some(crate::fake_api::FakeApi::start().await);
    machine.start().await;
    machine
        .becomes("a subscriber to events", |fake| fake.has_subscriber())
        .await;
    machine
}

fn asking(memory: &str) -> Value {
    let resources = json!({"requests": {"memory": memory}});
    json!({"containers": [{"name": "c", "image": "demo:1", "resources": resources}]})
}

fn of_memory(bytes: i64) -> PodUse {
    let bytes = u64::try_from(bytes).unwrap();
    let container = ContainerUse {
        id: String::new(),
        working_set: Some(bytes),
    };
    PodUse {
        working_set: bytes,
        processes: 1,
        containers: [("c".to_owned(), container)].into(),
        storage: None,
    }
}

fn status(machine: &Machine, pod: &str) -> Value {
    machine.api().get("pods", pod).unwrap_or_default()["status"].clone()
}

async fn becomes(machine: &Machine, pod: &str, phase: &str) -> Value {
    machine
        .until(&format!("{pod} is {phase}"), |machine| {
            status(machine, pod)["phase"] == phase
        })
        .await;
    status(machine, pod)
}

fn with<'a>(of: &'a Value, key: &str, value: &str) -> Option<&'a Value> {
    of.as_array()?.iter().find(|one| one[key] == value)
}

fn events(machine: &Machine, reason: &str) -> Vec<Value> {
    let all = machine.api().all("events").into_iter();
    all.filter(|event| event["reason"] == reason).collect()
}

async fn has_condition(machine: &Machine, condition: &str, expected: &str) {
    let holds = |machine: &Machine| {
        let node = machine.api().get("nodes", "node").unwrap_or_default();
        with(&node["status"]["conditions"], "type", condition)
            .is_some_and(|found| found["status"] == expected)
    };
    machine.until(&format!("{condition} is {expected}"), holds).await;
}

#[tokio::test]
async fn who_uses_more_than_it_requests_ends_with_the_kubelets_status_and_others_stay() {
    let machine = machine().await;
    machine.api().bind_asking("calm", "u1", "demo:1", asking("100Mi"));
    machine
        .api()
        .bind_asking("hungry", "u2", "demo:1", asking("50Mi"));
    machine.write("own.yaml", &simple("own"));
    machine.running("own").await;
    becomes(&machine, "calm", "Running").await;
    becomes(&machine, "hungry", "Running").await;
    has_condition(&machine, "MemoryPressure", "False").await;

    machine.measures(|measured| measured.memory_available = Bytes(900 * MIB));
    has_condition(&machine, "MemoryPressure", "True").await;
    let (calm, hungry) = (of_memory(90 * MIB), of_memory(300 * MIB));
    machine.uses(&[("u1", calm), ("u2", hungry)]).await;
    let ended = becomes(&machine, "hungry", "Failed").await;
    let said = "The node was low on resource: memory. Threshold quantity: 1Gi, available: 900Mi. Container c was using \
                300Mi, request is 50Mi, has larger consumption of memory. ";
    assert_eq!(ended["reason"], "Evicted");
    assert_eq!(ended["message"], said);
    let target = with(&ended["conditions"], "type", "DisruptionTarget").expect("the condition is published");
    assert_eq!(target["reason"], "TerminationByKubelet");
    assert_eq!(target["message"], said);
    machine
        .until("the event", |machine| !events(machine, "Evicted").is_empty())
        .await;
    let event = &events(&machine, "Evicted")[0];
    assert_eq!(
        (&event["type"], &event["message"]),
        (&json!("Warning"), &json!(said))
    );
    assert_eq!(
        event["metadata"]["annotations"],
        json!({
            "offending_containers": "c",
            "offending_containers_usage": "300Mi",
            "starved_resource": "memory",
        })
    );
    machine
        .until("the node's event", |machine| {
            !events(machine, "EvictionThresholdMet").is_empty()
        })
        .await;
    assert_eq!(
        events(&machine, "EvictionThresholdMet")[0]["message"],
        "Attempting to reclaim memory"
    );
    // Less than two seconds no container has (`minimumGracePeriodInSeconds` of the kubelet).
    assert_eq!(machine.fake.world().graces, [2]);
    assert!(machine.counted("kubelet_evictions", &["memory.available"]) > 0.0);

    // Enough is free again, but not for long: what requests nothing is not taken yet.
    machine.measures(|_| {});
    machine.api().bind("greedy", "u3", "demo:1");
    let greedy = becomes(&machine, "greedy", "Failed").await;
    assert_eq!(greedy["reason"], "Evicted");
    assert_eq!(
        greedy["message"],
        "Pod was rejected: The node had condition: [MemoryPressure]. "
    );
    machine
        .api()
        .bind_asking("modest", "u4", "demo:1", asking("10Mi"));
    becomes(&machine, "modest", "Running").await;
    assert_eq!(status(&machine, "calm")["phase"], "Running");
    assert!(machine.pod("own").is_some_and(|own| is_ready(&own)));
}

#[tokio::test]
async fn an_eviction_is_on_disk_before_anything_stops_and_goes_on_after_the_agent_is_killed() {
    let mut machine = machine().await;
    machine.api().bind("hungry", "u1", "demo:1");
    becomes(&machine, "hungry", "Running").await;
    machine.fake.hold("StopContainer");
    machine.measures(|measured| measured.memory_available = Bytes(MIB));
    machine.uses(&[("u1", of_memory(300 * MIB))]).await;
    machine.called("StopContainer", 1).await;
    let checkpoint = std::fs::read_to_string(machine.at.pods().join("u1/gantry-pod.json")).unwrap();
    let checkpoint: Value = serde_json::from_str(&checkpoint).unwrap();
    assert_eq!(checkpoint["ended"]["why"], "evicted");
    machine
        .until("the event", |machine| !events(machine, "Evicted").is_empty())
        .await;
    machine.kill().await;
    machine.fake.release("StopContainer");
    machine.start().await;
    let ended = becomes(&machine, "hungry", "Failed").await;
    assert_eq!(ended["reason"], "Evicted");
    assert!(
        with(&ended["conditions"], "type", "DisruptionTarget").is_some(),
        "{ended}"
    );
    assert_eq!(events(&machine, "Evicted").len(), 1);
}

#[tokio::test]
async fn a_pod_that_exceeds_its_limit_of_the_disk_ends_and_is_not_called_disrupted() {
    let machine = machine().await;
    let limits = json!({"limits": {"ephemeral-storage": "10Mi"}});
    let limited = json!({"containers": [{"name": "c", "image": "demo:1", "resources": limits}]});
    machine.api().bind_asking("writer", "u1", "demo:1", limited);
    becomes(&machine, "writer", "Running").await;
    let storage = |bytes: i64| PodUse {
        storage: Some(PodStorage {
            logs: [(
                "c".to_owned(),
                DirectoryUsage {
                    bytes: u64::try_from(bytes).unwrap(),
                    inodes: 1,
                },
            )]
            .into(),
            ..PodStorage::default()
        }),
        ..of_memory(MIB)
    };
    machine.measures(|_| {});
    machine.uses(&[("u1", storage(11 * MIB))]).await;
    let ended = becomes(&machine, "writer", "Failed").await;
    assert_eq!(
        (&ended["reason"], &ended["message"]),
        (
            &json!("Evicted"),
            &json!("Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. ")
        )
    );
    assert!(
        with(&ended["conditions"], "type", "DisruptionTarget").is_none(),
        "{ended}"
    );
    assert!(machine.counted("kubelet_evictions", &["ephemeralpodfs.limit"]) > 0.0);
}

#[tokio::test]
async fn a_pod_that_the_runtime_does_not_end_in_its_time_is_told_to_be_late_once() {
    let machine = machine().await;
    machine.api().bind("hungry", "u1", "demo:1");
    becomes(&machine, "hungry", "Running").await;
    machine.fake.hold("StopContainer");
    machine.measures(|measured| measured.memory_available = Bytes(MIB));
    machine.uses(&[("u1", of_memory(300 * MIB))]).await;
    machine.called("StopContainer", 1).await;
    assert_eq!(events(&machine, "ExceededGracePeriod").len(), 0);
    // After ten seconds: of a hard threshold it has no grace period.
    machine
        .until("the event", |machine| {
            !events(machine, "ExceededGracePeriod").is_empty()
        })
        .await;
    machine.fake.release("StopContainer");
    becomes(&machine, "hungry", "Failed").await;
    let late = events(&machine, "ExceededGracePeriod");
    let [event] = &late[..] else {
        panic!("once: {late:?}")
    };
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["count"], 1);
    assert_eq!(event["involvedObject"]["name"], "hungry");
    assert_eq!(
        event["message"],
        "Container runtime did not kill the pod within specified grace period."
    );
}
