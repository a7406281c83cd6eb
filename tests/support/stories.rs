//! Runs stories one by one or beside each other, says how each went and how long it took, and ends with the same line
//! as cargo's own tests.

// No binary uses all of it.
#![allow(dead_code)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What the command line asks for: parts of names, of which one must match, and whether to list only.
pub struct Choice {
    filters: Vec<String>,
    list: bool,
}

impl Choice {
    /// Reads the arguments as cargo's own tests take them: `--list`, `--nocapture` and the like, parts of names.
    pub fn from_args(args: impl Iterator<Item = String>) -> Choice {
        let (flags, filters): (Vec<String>, Vec<String>) = args.partition(|arg| arg.starts_with('-'));
        let filters = filters.into_iter().filter(|filter| !filter.is_empty()).collect();
        Choice {
            filters,
            list: flags.iter().any(|flag| flag == "--list"),
        }
    }

    /// Whether the stories are to be listed, not run.
    pub fn lists(&self) -> bool {
        self.list
    }

    /// Whether a story of this name was asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }
}

/// Runs the chosen stories in their order, one after the other. A story that fails says why in its `Err`.
pub fn run<S>(
    choice: &Choice,
    stories: &[S],
    name: impl Fn(&S) -> &str,
    mut tell: impl FnMut(&S) -> Result<(), String>,
) -> ExitCode {
    let Some(mut report) = Report::begin(choice, stories, &name) else {
        return ExitCode::SUCCESS;
    };
    for story in stories.iter().filter(|story| choice.wants(name(story))) {
        let begun = Instant::now();
        let outcome = tell(story);
        report.add(name(story), begun.elapsed(), outcome);
    }
    report.end()
}

/// How a story bears company.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Company {
    /// It mostly waits, and may run beside others.
    Any,
    /// It measures the machine, or compares all of it, so nothing else runs meanwhile.
    None,
}

/// Runs the chosen stories with up to `places` of them at a time: first those that bear company, in their order, then
/// the others one by one. Each must be independent of the rest.
pub fn run_beside<S: Sync>(
    choice: &Choice,
    stories: &[S],
    places: usize,
    name: impl Fn(&S) -> &str + Sync,
    company: impl Fn(&S) -> Company,
    tell: impl Fn(&S) -> Result<(), String> + Sync,
) -> ExitCode {
    let Some(report) = Report::begin(choice, stories, &name) else {
        return ExitCode::SUCCESS;
    };
    let chosen = stories.iter().filter(|story| choice.wants(name(story)));
    let (beside, alone): (Vec<&S>, Vec<&S>) = chosen.partition(|story| company(story) == Company::Any);
    let (report, next) = (Mutex::new(report), AtomicUsize::new(0));
    let run_one = |story: &S| {
        let begun = Instant::now();
        let outcome = tell(story);
        let mut report = report.lock().expect("a report is added to without a panic");
        report.add(name(story), begun.elapsed(), outcome);
    };
    std::thread::scope(|scope| {
        for _ in 0..places {
            scope.spawn(|| {
                while let Some(story) = beside.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run_one(story);
                }
            });
        }
    });
    alone.into_iter().for_each(run_one);
    report
        .into_inner()
        .expect("a report is added to without a panic")
        .end()
}

/// What became of the stories so far.
struct Report {
    begun: Instant,
    passed: usize,
    left_out: usize,
    failed: Vec<(String, String)>,
}

impl Report {
    /// Says how many stories run. `None` where they were only to be listed, which is done.
    fn begin<S>(choice: &Choice, stories: &[S], name: impl Fn(&S) -> &str) -> Option<Report> {
        let chosen: Vec<&S> = stories.iter().filter(|story| choice.wants(name(story))).collect();
        if choice.list {
            chosen.iter().for_each(|story| println!("{}: test", name(story)));
            return None;
        }
        println!("\nrunning {} stories", chosen.len());
        Some(Report {
            begun: Instant::now(),
            passed: 0,
            left_out: stories.len() - chosen.len(),
            failed: Vec::new(),
        })
    }

    /// Prints how a story went. `tests/setup/test.sh` reads the times from these lines.
    fn add(&mut self, name: &str, took: Duration, outcome: Result<(), String>) {
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("story {name} ... {word} ({:.1} s)", took.as_secs_f64());
        match outcome {
            Ok(()) => self.passed += 1,
            Err(why) => {
                println!("{why}");
                self.failed.push((name.to_owned(), why));
            }
        }
    }

    /// Ends with the line that cargo's own tests end with.
    fn end(self) -> ExitCode {
        for (name, why) in &self.failed {
            println!(
                "\n---- {name} ----\n{}",
                why.lines().next().unwrap_or("no reason given")
            );
        }
        let all_passed = self.failed.is_empty();
        println!(
            "\ntest result: {}. {} passed; {} failed; {} filtered out; finished in {:.2}s\n",
            if all_passed { "ok" } else { "FAILED" },
            self.passed,
            self.failed.len(),
            self.left_out,
            self.begun.elapsed().as_secs_f64(),
        );
        match all_passed {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }
}
