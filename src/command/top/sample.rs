//! A node with two pods for tests: `web-vm` has two running containers, `crashing-vm` has one that does not run.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::serve::top::wire::{
    ContainerCounters, Counters, CpuCounters, InterfaceCounters, MemoryNow, NodeCounters, PodCounters,
    PressureNow, ThrottlingCounters, Top,
};

/// A cgroup that has used `total` nanoseconds at this time, and 50 of 200 MiB.
pub(super) fn counters(millis: i64, total: u64) -> Counters {
    Counters {
        at: Timestamp::from_millisecond(millis).unwrap(),
        cgroup: 7,
        cpu: Some(CpuCounters {
            total,
            limit: None,
            throttling: None,
        }),
        memory: Some(MemoryNow {
            working_set: 50 << 20,
            limit: Some(200 << 20),
        }),
        pressure: PressureNow {
            cpu: Some(1.5),
            memory: Some(0.0),
            io: Some(12.25),
        },
    }
}

/// A cgroup that uses this many thousandths of a CPU of a limit, and is held back in half of the periods.
fn limited(millis: i64, used: u64, limit: Option<u64>) -> Counters {
    let mut counters = counters(millis, millis.unsigned_abs() * used * 1000);
    let periods = millis.unsigned_abs() / 100;
    let cpu = counters.cpu.as_mut().unwrap();
    cpu.limit = limit.map(|limit| limit * 1_000_000);
    cpu.throttling = limit.map(|_| ThrottlingCounters {
        periods,
        throttled_periods: periods / 2,
    });
    counters
}

fn interface(millis: i64, received: u64) -> Vec<InterfaceCounters> {
    vec![InterfaceCounters {
        name: "eth0".to_owned(),
        received: millis.unsigned_abs() * received / 1000,
        sent: millis.unsigned_abs() * received / 2000,
    }]
}

/// The agent's answer at this time.
pub(super) fn top(millis: i64) -> Top {
    let container = |name: &str, used, limit| ContainerCounters {
        name: name.to_owned(),
        id: format!("id-of-{name}"),
        counters: Some(limited(millis, used, limit)),
    };
    let mut machine = limited(millis, 900, None);
    machine.cpu.as_mut().unwrap().limit = Some(2_000_000_000);
    machine.memory = Some(MemoryNow {
        working_set: 3 << 30,
        limit: Some(4 << 30),
    });
    Top {
        node: NodeCounters {
            name: "vm".to_owned(),
            counters: machine,
            interfaces: interface(millis, 1_000_000),
        },
        pods: vec![PodCounters {
            namespace: "default".to_owned(),
            name: "web-vm".to_owned(),
            uid: "u1".to_owned(),
            sandbox: "s1".to_owned(),
            counters: Some(limited(millis, 250, Some(400))),
            interfaces: Some(interface(millis, 1000)),
            containers: vec![
                container("main", 200, Some(200)),
                container("proxy", 50, Some(200)),
            ],
        }],
    }
}

/// The reported pods.
pub(super) fn pods() -> Vec<Pod> {
    let status = |name: &str, restarts: i32, state: serde_json::Value| {
        let is_ready = state["running"].is_object();
        json!({
            "name": name, "image": "", "imageID": "", "ready": is_ready, "restartCount": restarts, "state": state,
        })
    };
    let pod = |name: &str, uid: &str, statuses: Vec<serde_json::Value>| {
        let containers: Vec<_> = statuses
            .iter()
            .map(|status| json!({"name": status["name"]}))
            .collect();
        let pod = json!({
            "metadata": {"namespace": "default", "name": name, "uid": uid},
            "spec": {"nodeName": "vm", "containers": containers},
            "status": {"phase": "Running", "containerStatuses": statuses},
        });
        serde_json::from_value(pod).unwrap()
    };
    let runs = || json!({"running": {}});
    let crashed = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    vec![
        pod(
            "web-vm",
            "u1",
            vec![status("main", 3, runs()), status("proxy", 0, runs())],
        ),
        pod("crashing-vm", "u2", vec![status("main", 12, crashed)]),
    ]
}
