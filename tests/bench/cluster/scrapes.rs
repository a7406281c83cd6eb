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
/// How often they are read.
const ROUNDS: u32 = 6;
/// Longer than a sample is fresh, for either agent.
const INTERVAL: Duration = Duration::from_secs(15);
/// How long the agent is watched doing nothing, to be subtracted.
const IDLE: Duration = Duration::from_secs(45);

/// What the scrapes took.
pub struct Scrapes {
    /// CPU time of the agent for one round of all pages, beyond what it takes when nobody asks.
    pub cpu: Duration,
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
    let before = cpu(pid);
    rest(IDLE);
    let idle = (cpu(pid) - before).as_secs_f64() / IDLE.as_secs_f64();
    let (mut took, mut bytes) = (Vec::new(), 0);
    let (begun, before) = (Instant::now(), cpu(pid));
    for round in 1..=ROUNDS {
        let asked = Instant::now();
        bytes = scrape();
        took.push(asked.elapsed());
        rest((INTERVAL * round).saturating_sub(begun.elapsed()));
    }
    let own = (cpu(pid) - before).as_secs_f64() - idle * begun.elapsed().as_secs_f64();
    Scrapes {
        cpu: Duration::from_secs_f64((own / f64::from(ROUNDS)).max(0.0)),
        took,
        bytes,
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
