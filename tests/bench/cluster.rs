//! Our agent and the kubelet as the same node of one control plane, one after the other: the same pods by the same
//! client, on the same containerd. Single pods are measured in turns, so that neither has the quieter machine.

pub mod bulk;
mod load;
pub mod pressure;
mod requests;
mod scrapes;
pub mod serving;
mod side;
mod streams;
pub mod volumes;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::api::Api;
use crate::control_plane::{
    ADMIN, ControlPlane, let_nodes_connect_pods, let_server_ask_nodes, wait_node_ready,
};
use crate::cost::{cpu, proportional, resident};
use crate::node::{Node, SOON, USUAL};
use crate::report::{Report, median, ms};

use load::Load;
use requests::{Counts, Log};
use side::{Running, SIDES, Side};

/// How often each agent is started for single pods, and how many pods it is given each time.
const ROUNDS: usize = 3;
const SINGLES: usize = 7;
/// How many pods there are at once.
const LOTS: [usize; 2] = [50, 200];
/// How long a pod is left alone before it is taken away, and the node before the next comes.
const REST: Duration = Duration::from_secs(1);
/// How long after a lot the agent's work is still counted as the lot's.
const AFTERMATH: Duration = Duration::from_secs(3);
/// How long it is left alone then, before it is watched doing nothing for so long.
const SETTLING: Duration = Duration::from_secs(12);
const IDLE: Duration = Duration::from_secs(75);

/// What was seen of one agent.
#[derive(Default)]
struct Seen {
    ready: Vec<Duration>,
    gone: Vec<Duration>,
    lots: BTreeMap<usize, Lot>,
}

/// What one lot of pods took.
struct Lot {
    up: Work,
    idle: Idle,
    down: Work,
}

struct Work {
    took: Duration,
    cpu: Duration,
    requests: Counts,
}

struct Idle {
    /// CPU time of a second, in milliseconds.
    cpu: f64,
    resident: f64,
    proportional: f64,
    requests: Counts,
    during: Duration,
}

/// All that both agents share.
struct Sitting {
    node: Node,
    load: Load,
    log: Log,
    /// The configuration file of both agents.
    configuration: String,
    _plane: ControlPlane,
}

/// Measures both.
pub fn measure(report: &mut Report) {
    let mut sitting = Sitting::begin();
    let mut seen: BTreeMap<Side, Seen> = SIDES.map(|side| (side, Seen::default())).into();
    for round in 0..ROUNDS {
        for side in SIDES {
            let seen = seen.get_mut(&side).expect("both are there");
            sitting.with(side, |sitting, _| sitting.singles(seen));
            let (ready, gone) = (median(seen.ready.clone()), median(seen.gone.clone()));
            let (round, name) = (round + 1, side.name());
            println!("round {round}, {name}: ready {}, gone {}", ms(ready), ms(gone));
        }
    }
    for lot in LOTS {
        for side in SIDES {
            let measured = sitting.with(side, |sitting, running| sitting.lot(lot, running));
            let (up, down) = (measured.up.took, measured.down.took);
            println!("{lot} pods, {}: up {up:.1?}, gone {down:.1?}", side.name());
            seen.get_mut(&side)
                .expect("both are there")
                .lots
                .insert(lot, measured);
        }
    }
    tell(report, &seen[&Side::Gantry], &seen[&Side::Kubelet]);
}

impl Sitting {
    fn begin() -> Sitting {
        Sitting::begin_with(side::configuration("", "0%"))
    }

    fn begin_with(configuration: String) -> Sitting {
        let mut node = Node::new(USUAL);
        let plane = ControlPlane::start_with(requests::flags());
        let api = Api::new(Path::new(ADMIN));
        let_server_ask_nodes();
        let_nodes_connect_pods();
        side::prepare(&mut node, &configuration);
        api.create("/api/v1/namespaces", &json!({"metadata": {"name": "bench"}}));
        api.wait(
            "/api/v1/namespaces/bench/serviceaccounts/default",
            "there",
            SOON,
            |_| true,
        );
        // It writes the network's configuration and imports the images, for both.
        let first = Side::Gantry.start(&mut node, &configuration);
        wait_node_ready(&api);
        first.stop(&mut node);
        Sitting {
            node,
            load: Load::new("bench"),
            log: Log::default(),
            configuration,
            _plane: plane,
        }
    }

    /// With this agent as the node, which has had a pod already.
    fn with<T>(&mut self, side: Side, measure: impl FnOnce(&mut Sitting, &Running) -> T) -> T {
        let running = side.start(&mut self.node, &self.configuration);
        let warm = names("warm", 1);
        self.load.up(&warm);
        self.load.down(&warm);
        rest(AFTERMATH);
        let measured = measure(self, &running);
        running.stop(&mut self.node);
        measured
    }

    fn singles(&mut self, seen: &mut Seen) {
        for name in names("single", SINGLES) {
            let name = [name];
            seen.ready.push(self.load.up(&name));
            rest(REST);
            seen.gone.push(self.load.down(&name));
            rest(REST);
        }
    }

    fn lot(&mut self, count: usize, running: &Running) -> Lot {
        let pid = running.pid(&self.node);
        let names = names("lot", count);
        let up = self.work(pid, |load| load.up(&names));
        rest(SETTLING);
        let idle = self.idle(pid);
        let down = self.work(pid, |load| load.down(&names));
        Lot { up, idle, down }
    }

    fn work(&mut self, pid: u32, work: impl FnOnce(&Load) -> Duration) -> Work {
        self.log.take();
        let before = cpu(pid);
        let took = work(&self.load);
        rest(AFTERMATH);
        Work {
            took,
            cpu: cpu(pid) - before,
            requests: self.log.take(),
        }
    }

    fn idle(&mut self, pid: u32) -> Idle {
        self.log.take();
        let (begun, before) = (Instant::now(), cpu(pid));
        rest(IDLE);
        let during = begun.elapsed();
        Idle {
            cpu: (cpu(pid) - before).as_secs_f64() * 1000.0 / during.as_secs_f64(),
            resident: resident(pid),
            proportional: proportional(pid),
            requests: self.log.take(),
            during,
        }
    }
}

/// Leaves the node alone: what is measured is how little happens.
fn rest(long: Duration) {
    std::thread::sleep(long);
}

fn names(of: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{of}-{number}")).collect()
}

/// A figure of a lot.
type Figure = (&'static str, f64, &'static str, fn(&Lot, f64) -> f64);

/// What is told of each lot: what it is, its goal as a ratio, its unit, and how it is computed for that many pods.
const FIGURES: &[Figure] = &[
    ("all ready", 0.6, "s", |lot, _| lot.up.took.as_secs_f64()),
    ("all gone", 0.6, "s", |lot, _| lot.down.took.as_secs_f64()),
    ("CPU until ready", 0.25, "ms", |lot, _| millis(lot.up.cpu)),
    ("CPU until gone", 0.25, "ms", |lot, _| millis(lot.down.cpu)),
    ("idle CPU, per second", 0.05, "ms", |lot, _| lot.idle.cpu),
    ("resident memory", 0.2, "MiB", |lot, _| lot.idle.resident),
    ("API requests per pod started", 0.7, "", |lot, pods| {
        f64::from(lot.up.requests.about_pods()) / pods
    }),
    ("API requests per pod stopped", 0.7, "", |lot, pods| {
        f64::from(lot.down.requests.about_pods()) / pods
    }),
    ("API requests per idle minute", 0.7, "", |lot, _| {
        f64::from(lot.idle.requests.all()) * 60.0 / lot.idle.during.as_secs_f64()
    }),
];

fn tell(report: &mut Report, ours: &Seen, theirs: &Seen) {
    let middle = |all: &Vec<Duration>| millis(median(all.clone()));
    report.against(
        "one pod, created → Ready",
        middle(&ours.ready),
        middle(&theirs.ready),
        0.5,
        "ms",
    );
    report.against(
        "one pod, deleted → gone",
        middle(&ours.gone),
        middle(&theirs.gone),
        0.2,
        "ms",
    );
    for (count, lot) in &ours.lots {
        let other = &theirs.lots[count];
        for (what, goal, unit, figure) in FIGURES {
            let what = format!("{count} pods: {what}");
            let pods = f64::from(u32::try_from(*count).expect("a small number"));
            report.against(&what, figure(lot, pods), figure(other, pods), *goal, unit);
        }
    }
    note(report, ours, theirs);
}

fn note(report: &mut Report, ours: &Seen, theirs: &Seen) {
    report.note(format!(
        "Both: kubelet's configuration file the same, pods bound by their maker; medians of {} single pods. The kubelet \
         with Debian's Go CNI plugins, gantry with its own.",
        ROUNDS * SINGLES
    ));
    report.note(
        "API requests by the audit log, each watch once, where it begins; of pods started and stopped without Lease \
         and Node."
            .to_owned(),
    );
    for (side, seen) in [(Side::Gantry, ours), (Side::Kubelet, theirs)] {
        for (count, lot) in &seen.lots {
            let reported = [
                ("started", &lot.up.requests),
                ("idle", &lot.idle.requests),
                ("stopped", &lot.down.requests),
            ];
            for (when, requests) in reported {
                report.note(format!("{}, {count} pods {when}: {requests}", side.name()));
            }
            let proportional = lot.idle.proportional;
            report.note(format!(
                "{}, {count} pods: proportional set size {proportional:.1} MiB",
                side.name()
            ));
        }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
