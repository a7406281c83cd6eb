//! A scrape of every page of numbers, at the pace of Prometheus.

use std::fmt;
use std::process::Command;
use std::time::{Duration, Instant};

use super::rest;
use crate::cost::cpu;
use crate::process::printed;
use crate::report::{median, ms};

/// The pages that Prometheus and metrics-server read.
pub const PAGES: [&str; 4] = [
    "/metrics",
    "/metrics/cadvisor",
    "/metrics/resource",
    "/stats/summary",
];
/// How often the agent is left alone, and then asked: the kubelet's work while nobody asks is several times what is
/// measured, and drifts.
const TURNS: u32 = 3;
/// How often the pages are read in each turn.
const ROUNDS: u32 = 4;
/// Longer than a sample is fresh, for either agent.
const INTERVAL: Duration = Duration::from_secs(15);
/// How long the agent is watched doing nothing in each turn, to be subtracted.
const IDLE: Duration = Duration::from_secs(45);

/// What the scrapes took.
pub struct Scrapes {
    /// CPU time of the agent for one round of all pages, beyond what it takes when nobody asks.
    pub cpu: Duration,
    /// Its CPU time while it is asked every 15 s, in milliseconds for each second, with all that it does besides.
    pub pace: f64,
    /// How long the rounds took.
    pub took: Vec<Duration>,
    /// The bytes of one round.
    pub bytes: usize,
}

impl fmt::Display for Scrapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (cpu, took) = (ms(self.cpu), ms(median(self.took.clone())));
        write!(f, "a scrape of all pages took {cpu} CPU, {took}")
    }
}

/// Measures this process, which answers on port 10250.
pub fn measure(pid: u32) -> Scrapes {
    // The first answer of either has no rates, and opens what stays open.
    scrape();
    rest(INTERVAL);
    let (mut idle, mut asked) = (Spent::default(), Spent::default());
    let (mut took, mut bytes) = (Vec::new(), 0);
    for _ in 0..TURNS {
        idle.add(pid, || rest(IDLE));
        asked.add(pid, || {
            let begun = Instant::now();
            for round in 1..=ROUNDS {
                let asked = Instant::now();
                bytes = scrape();
                took.push(asked.elapsed());
                rest((INTERVAL * round).saturating_sub(begun.elapsed()));
            }
        });
    }
    let own = (asked.pace() - idle.pace()) * asked.time.as_secs_f64();
    Scrapes {
        cpu: Duration::from_secs_f64((own / f64::from(TURNS * ROUNDS)).max(0.0)),
        pace: asked.pace() * 1000.0,
        took,
        bytes,
    }
}

/// CPU time that was spent, and the time it was spent in.
#[derive(Default)]
struct Spent {
    cpu: Duration,
    time: Duration,
}

impl Spent {
    fn add(&mut self, pid: u32, run: impl FnOnce()) {
        let (begun, before) = (Instant::now(), cpu(pid));
        run();
        self.cpu += cpu(pid) - before;
        self.time += begun.elapsed();
    }

    fn pace(&self) -> f64 {
        self.cpu.as_secs_f64() / self.time.as_secs_f64()
    }
}

/// All pages over one connection, with the certificate by which the API server asks. The bytes that came.
fn scrape() -> usize {
    let pki = "/etc/kubernetes/pki/apiserver-kubelet-client";
    let (certificate, key) = (format!("{pki}.crt"), format!("{pki}.key"));
    let pages = PAGES.map(|page| format!("https://127.0.0.1:10250{page}"));
    let mut command = Command::new("curl");
    command
        .args(["-sSfk", "--cert", &certificate, "--key", &key])
        .args(&pages);
    printed(&mut command, &["curl", "all pages"]).len()
}
