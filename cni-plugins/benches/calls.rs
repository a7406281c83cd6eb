//! How long a runtime waits for the plugins: the medians over a row of pods. `CNI_PATH_UNDER_TEST=/usr/lib/cni cargo
//! bench -p gantry-cni` measures others by the same code.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    dead_code,
    reason = "a program for developers"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Pod, World, isolated};

const PODS: usize = 60;

fn main() {
    isolated("calls", measure);
}

fn measure(world: World) {
    let pods: Vec<Pod> = (0..PODS)
        .map(|number| Pod::new(&format!("pod{number}")))
        .collect();
    for masquerade in [false, true] {
        let conf = world.bridge_conf(json!({ "ipMasq": masquerade }));
        let mapped = |number: usize, result: &Value| {
            let mapping = json!([{"hostPort": 20000 + number, "containerPort": 80, "protocol": "tcp"}]);
            world.portmap_conf(result, mapping)
        };
        let mut results = Vec::new();
        let add = median(&pods, |_, pod| results.push(world.add(pod, &conf)));
        let forward = median(&pods, |number, pod| {
            drop(world.add(pod, &mapped(number, &results[number])))
        });
        let stop = median(&pods, |number, pod| {
            world.del(pod, &mapped(number, &results[number]))
        });
        let del = median(&pods, |_, pod| world.del(pod, &conf));
        eprintln!(
            "ipMasq {masquerade}: bridge ADD {add:.1?}, DEL {del:.1?}; portmap ADD {forward:.1?}, DEL {stop:.1?}"
        );
    }
}

fn median(pods: &[Pod], mut call: impl FnMut(usize, &Pod)) -> Duration {
    let mut times: Vec<Duration> = Vec::new();
    for (number, pod) in pods.iter().enumerate() {
        let begin = Instant::now();
        call(number, pod);
        times.push(begin.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}
