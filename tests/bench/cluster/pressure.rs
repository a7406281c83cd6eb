//! How soon the first pod has to leave once the pods together use too much memory: from the crossing of the threshold, as
//! the kernel counts, to the signal that a process of the pod gets.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::side::{self, SIDES};
use super::{Sitting, names};
use crate::api::Api;
use crate::control_plane::ADMIN;
use crate::node::{LONG, here};
use crate::objects::{condition, pod};
use crate::report::{Report, median, ms};
use crate::world::CGROUP;

/// How much memory pods have together, in MiB,
const MEMORY: u64 = 400;
/// and how much of it has to be free.
const FREE: u64 = 100;
/// From the crossing to the first action, in milliseconds.
const GOAL_MS: f64 = 500.0;
/// How often each pace is measured.
const TIMES: usize = 5;
/// How fast memory is used: as fast as the machine can, and some 100 MiB a second.
const PACES: [(&str, &str); 2] = [
    (
        "as fast as it can",
        "dd if=/dev/zero of=$at/file bs=1M count=170 2>/dev/null",
    ),
    (
        "100 MiB/s",
        "for part in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17; do dd if=/dev/zero of=$at/$part bs=1M count=10 2>/dev/null; sleep 0.1; done",
    ),
];

/// Measures both agents at each pace.
pub fn measure(report: &mut Report) {
    let reserved = machine_kibibytes() - MEMORY * 1024;
    let more = format!("systemReserved: {{memory: {reserved}Ki}}\nevictionPressureTransitionPeriod: 1s\n");
    let mut sitting = Sitting::begin_with(side::configuration(&more, &format!("{FREE}Mi")));
    let api = Api::new(Path::new(ADMIN));
    for (number, (pace, fill)) in PACES.into_iter().enumerate() {
        let [ours, theirs] = SIDES.map(|side| {
            sitting.with(side, |sitting, _| {
                let names = names(&format!("{}-{number}", side.name()), TIMES);
                let times = names.iter().map(|name| one(sitting, &api, name, fill));
                let times: Vec<Duration> = times.collect();
                println!("memory used {pace}, {}: {times:.1?}", side.name());
                times
            })
        });
        let longest = |times: &[Duration]| times.iter().max().copied().unwrap_or_default();
        let what = format!("memory used {pace}: crossed → first signal");
        report.beside(&what, median(ours.clone()), median(theirs.clone()));
        let what = format!("memory used {pace}: the longest of {TIMES}");
        report.goal(&what, longest(&ours).as_secs_f64() * 1000.0, GOAL_MS, "ms");
        report.note(format!(
            "memory used {pace}: the kubelet's longest {}",
            ms(longest(&theirs))
        ));
    }
}

/// How long a pod that takes too much is left alone.
fn one(sitting: &Sitting, api: &Api, name: &str, fill: &str) -> Duration {
    let seen = here(name);
    std::fs::create_dir_all(&seen).expect("a private directory");
    let names = [name.to_owned()];
    sitting.load.up_as(&names, |name| hungry(name, fill, &seen));
    let pods = Pods::find();
    std::fs::write(seen.join("go"), "").expect("a private directory");
    let crossed = wait_at_once("the threshold to be crossed", || pods.is_short());
    let signaled = wait_at_once("the pod to be told to end", || seen.join("signaled").exists());
    let path = format!("/api/v1/namespaces/bench/pods/{name}");
    api.wait(&path, "evicted", LONG, |pod| pod["status"]["reason"] == "Evicted");
    sitting.load.down(&names);
    api.wait("/api/v1/nodes/node-1", "no MemoryPressure", LONG, |node| {
        condition(node, "MemoryPressure")["status"] == "False"
    });
    signaled.saturating_duration_since(crossed)
}

/// A pod that uses memory when it is told to, and notes when it is told to end. Each volume is no larger than what pods have
/// together less the threshold: one alone need not cross it.
fn hungry(name: &str, fill: &str, seen: &Path) -> Value {
    let script = format!(
        "trap 'echo >/seen/signaled; exit' TERM; while [ ! -e /seen/go ]; do sleep 0.05; done; \
         (for at in /mem /more; do {fill}; done; exec sleep 100000) & wait"
    );
    let memory = json!({"medium": "Memory"});
    let mut object = pod(name, &script);
    object["spec"]["nodeName"] = json!("node-1");
    object["spec"]["volumes"] = json!([
        {"name": "mem", "emptyDir": memory},
        {"name": "more", "emptyDir": memory},
        {"name": "seen", "hostPath": {"path": seen}},
    ]);
    let container = &mut object["spec"]["containers"][0];
    container["resources"] = json!({"requests": {"memory": "32Mi"}});
    container["volumeMounts"] = json!([
        {"name": "mem", "mountPath": "/mem"},
        {"name": "more", "mountPath": "/more"},
        {"name": "seen", "mountPath": "/seen"},
    ]);
    object
}

/// The moment at which something is seen: a look each millisecond, which is little beside what is measured.
fn wait_at_once(what: &str, is_so: impl Fn() -> bool) -> Instant {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "waited {LONG:?} for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
    Instant::now()
}

/// The cgroup of all pods.
struct Pods {
    usage: PathBuf,
    stat: PathBuf,
    inactive: &'static str,
    limit: u64,
}

impl Pods {
    fn find() -> Pods {
        let story = std::env::var(CGROUP).expect("the outside names the story's cgroup");
        let root = Path::new("/sys/fs/cgroup");
        let is_v2 = root.join("cgroup.controllers").exists();
        let (mount, usage, limit, inactive) = match is_v2 {
            true => (root.to_owned(), "memory.current", "memory.max", "inactive_file "),
            false => (
                root.join("memory"),
                "memory.usage_in_bytes",
                "memory.limit_in_bytes",
                "total_inactive_file ",
            ),
        };
        let directory = mount.join(story.trim_start_matches('/')).join("kubepods");
        Pods {
            usage: directory.join(usage),
            stat: directory.join("memory.stat"),
            inactive,
            limit: number(&directory.join(limit)),
        }
    }

    /// Whether less is free than has to be.
    fn is_short(&self) -> bool {
        let stat = std::fs::read_to_string(&self.stat).expect("the pods' cgroup is there");
        let inactive = stat.lines().find_map(|line| line.strip_prefix(self.inactive));
        let inactive: u64 = inactive.and_then(|count| count.parse().ok()).unwrap_or(0);
        let used = number(&self.usage).saturating_sub(inactive);
        self.limit.saturating_sub(used) < FREE << 20
    }
}

fn number(path: &Path) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim().parse().expect("a number of bytes")
}

fn machine_kibibytes() -> u64 {
    let all = std::fs::read_to_string("/proc/meminfo").expect("proc(5) is mounted");
    let total = all.split_ascii_whitespace().nth(1);
    total
        .and_then(|total| total.parse().ok())
        .expect("the machine's memory")
}
