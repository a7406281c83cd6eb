//! Feeds the parsers of foreign input with what no one would write: every target in a process of its own, for
//! FUZZ_SECONDS (2 where it is not set), from FUZZ_SEED (a new one where it is not set, which is printed).
//!
//! A process that panics, overflows its stack, takes more memory or more of the processor for one input than it may, or
//! finds a property broken, ends; the input it was at is kept and named. `fuzz TARGET FILE` repeats it; `fuzz TARGET`
//! runs one target alone.

#![allow(clippy::unwrap_used)] // clippy.toml allows it in test functions; their helpers are tests too
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program that prints its report

#[path = "../support/seeded_random.rs"]
#[allow(dead_code, unreachable_pub)] // other tests use what this one does not
mod seeded_random;
mod mutate;
mod targets;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};
use nix::time::{ClockId, clock_gettime};
use seeded_random::SeededRandom;
use targets::{TARGETS, Target};

/// Inputs are no longer: what is read has its own bound about here, and mutations make much of little.
const LONGEST: usize = 1 << 20;
/// The most memory that a process may map. A target that needs more for a megabyte is not bounded.
const MOST_MEMORY: u64 = 2 << 30;
/// The most time of the processor for one input, in a build without optimisation on a machine that others use, too. What
/// is linear takes a fraction of it.
const MOST_CPU: Duration = Duration::from_secs(20);
/// The stack of the agent's own threads.
const STACK: usize = 2 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let named = arguments.first().map(|name| {
        let found = TARGETS.iter().find(|target| target.name == *name);
        found.unwrap_or_else(|| panic!("no target {name:?}; there are: {}", names().join(" ")))
    });
    match (named, arguments.get(1)) {
        (Some(target), Some(file)) => {
            let input = std::fs::read(file).unwrap();
            in_thread(move || (target.run)(&input));
            println!("{}: {file} passes", target.name);
            ExitCode::SUCCESS
        }
        (Some(target), None) if std::env::var_os("FUZZ_CHILD").is_some() => {
            fuzz(target);
            ExitCode::SUCCESS
        }
        (Some(target), None) => all(&[target]),
        (None, _) => all(&TARGETS.iter().collect::<Vec<_>>()),
    }
}

fn names() -> Vec<&'static str> {
    TARGETS.iter().map(|target| target.name).collect()
}

fn seconds() -> Duration {
    let given = std::env::var("FUZZ_SECONDS").ok();
    Duration::from_secs(given.map_or(2, |text| {
        text.parse().expect("FUZZ_SECONDS is a number of seconds")
    }))
}

/// Runs targets beside each other, and prints for each that failed where its input is.
fn all(targets: &[&'static Target]) -> ExitCode {
    let given = std::env::var("FUZZ_SEED").ok();
    let seed = given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        (u64::from(now.unwrap().subsec_nanos()) | 1).to_string()
    });
    println!(
        "fuzz: {} targets for {:?} each, FUZZ_SEED={seed}",
        targets.len(),
        seconds()
    );
    let directory = directory();
    let start = |target: &'static Target| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .arg(target.name)
            .env("FUZZ_CHILD", "1")
            .env("FUZZ_SEED", &seed);
        child.env("FUZZ_CURRENT", current(&directory, target));
        (target, child.spawn().unwrap())
    };
    let running: Vec<(&Target, Child)> = targets.iter().copied().map(start).collect();
    let mut failed = 0;
    for (target, mut child) in running {
        let ended = child.wait().unwrap();
        let input = current(&directory, target);
        if !ended.success() {
            failed += 1;
            let kept = directory.join(format!("failed-{}-{seed}", target.name));
            std::fs::copy(&input, &kept).unwrap();
            println!(
                "fuzz: {} FAILED ({ended}); repeat with: fuzz {} {}",
                target.name,
                target.name,
                kept.display()
            );
        }
        // A target that failed before its first input has none.
        let _ = std::fs::remove_file(input);
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test result: {word}. {} passed; {failed} failed",
        targets.len() - failed
    );
    ExitCode::from(u8::from(failed > 0))
}

/// Where inputs are kept: beside what cargo built, which `git` does not see.
fn directory() -> PathBuf {
    let directory = std::env::current_exe()
        .unwrap()
        .ancestors()
        .nth(3)
        .unwrap()
        .join("fuzz");
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

fn current(directory: &Path, target: &Target) -> PathBuf {
    directory.join(format!("current-{}-{}", target.name, std::process::id()))
}

/// Feeds one target, until the time is over or this process ends by what it found.
fn fuzz(target: &'static Target) {
    setrlimit(Resource::RLIMIT_AS, MOST_MEMORY, MOST_MEMORY).unwrap();
    let current = PathBuf::from(std::env::var_os("FUZZ_CURRENT").unwrap());
    let runs = Arc::new(AtomicU64::new(0));
    guard(runs.clone());
    in_thread(move || {
        // The mutations need a seed of their own, or targets with like seeds would be fed alike.
        let given: u64 = std::env::var("FUZZ_SEED")
            .unwrap()
            .parse()
            .expect("FUZZ_SEED is a number");
        let salt = target
            .name
            .bytes()
            .fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let mut dice = SeededRandom::of(given.wrapping_add(salt) | 1);
        let seeds = (target.seeds)();
        for seed in &seeds {
            run(target, seed, &current, &runs);
        }
        let began = Instant::now();
        let mut accepted = 0_u64;
        while began.elapsed() < seconds() {
            let mut input = mutate::input(&seeds, &mut dice);
            input.truncate(LONGEST);
            accepted += u64::from(run(target, &input, &current, &runs));
        }
        let runs = runs.load(Ordering::Relaxed);
        println!(
            "fuzz: {:<12} {runs} inputs, {accepted} of them understood",
            target.name
        );
        assert!(runs > seeds.len() as u64, "not one input was made of the seeds");
    });
}

fn run(target: &Target, input: &[u8], current: &Path, runs: &AtomicU64) -> bool {
    std::fs::write(current, input).unwrap();
    runs.fetch_add(1, Ordering::Relaxed);
    (target.run)(input)
}

/// Ends the process when one input takes more of the processor than any may.
fn guard(runs: Arc<AtomicU64>) {
    let cpu = || Duration::from(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap());
    std::thread::spawn(move || {
        let (mut seen, mut since) = (0, cpu());
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let run = runs.load(Ordering::Relaxed);
            if run != seen {
                (seen, since) = (run, cpu());
            } else if cpu().saturating_sub(since) > MOST_CPU {
                eprintln!("one input takes more than {MOST_CPU:?} of the processor");
                std::process::abort();
            }
        }
    });
}

/// Runs with the stack that the agent's threads have; a panic ends the process.
fn in_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work).unwrap();
    thread.join().unwrap_or_else(|_| std::process::exit(101))
}
