//! What the agent itself uses, over all its lives: it must not grow with the number of faults.

use std::path::PathBuf;

/// So much more than at the first rest is no leak: buffers, connections that are closed a moment later.
const MORE_DESCRIPTORS: usize = 40;
const MORE_THREADS: usize = 80;
/// A debug build with ten pods stays far below; a leak of a few KiB with each fault does not.
const MOST_KIB: u64 = 64 * 1024;

/// What one look at the process has found.
#[derive(Debug, Clone, Copy)]
struct Vital {
    pid: u32,
    descriptors: usize,
    threads: usize,
    anonymous_kib: u64,
}

/// All looks.
#[derive(Default)]
pub struct Vitals(Vec<Vital>);

impl Vitals {
    /// Looks at the agent. `Err` if it has far more than at first.
    pub fn take(&mut self, pid: u32) -> Result<(), String> {
        let of = |what: &str| PathBuf::from(format!("/proc/{pid}/{what}"));
        let count = |what: &str| std::fs::read_dir(of(what)).map_or(0, Iterator::count);
        let status = std::fs::read_to_string(of("status")).map_err(|error| format!("the agent: {error}"))?;
        let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let anonymous = anonymous.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        let now = Vital {
            pid,
            descriptors: count("fd"),
            threads: count("task"),
            anonymous_kib: anonymous.unwrap_or_default(),
        };
        let first = *self.0.first().unwrap_or(&now);
        self.0.push(now);
        let is_more = now.descriptors > first.descriptors + MORE_DESCRIPTORS
            || now.threads > first.threads + MORE_THREADS
            || now.anonymous_kib > MOST_KIB;
        match is_more {
            true => Err(format!("the agent has {now:?}, and had {first:?}")),
            false => Ok(()),
        }
    }

    /// The course of the longest life, and the most of all lives.
    pub fn summary(&self) -> String {
        let most = |of: fn(&Vital) -> u64| self.0.iter().map(of).max().unwrap_or_default();
        let lives = self.0.chunk_by(|a, b| a.pid == b.pid);
        let longest = lives.clone().max_by_key(|life| life.len()).unwrap_or_default();
        let course: Vec<u64> = longest.iter().map(|vital| vital.anonymous_kib).collect();
        format!(
            "{} agents have lived; at most {} KiB of anonymous memory, {} descriptors, {} threads; memory in the longest life: \
             {course:?}",
            lives.count(),
            most(|vital| vital.anonymous_kib),
            most(|vital| vital.descriptors as u64),
            most(|vital| vital.threads as u64),
        )
    }

    /// Whether the last lives had no more memory than the first ones, at their first rest and all the same.
    pub fn verdict(&self) -> Result<(), String> {
        let lives: Vec<u64> = self
            .0
            .chunk_by(|a, b| a.pid == b.pid)
            .filter_map(|life| Some(life.first()?.anonymous_kib))
            .collect();
        let Some(few) = lives.len().checked_div(5).filter(|few| *few > 0) else {
            return Ok(());
        };
        let mean = |part: &[u64]| part.iter().sum::<u64>() / few as u64;
        let (first, last) = (mean(&lives[..few]), mean(&lives[lives.len() - few..]));
        match last > first + first / 4 {
            true => Err(format!(
                "agents begin with {last} KiB, and began with {first} KiB"
            )),
            false => Ok(()),
        }
    }
}
