//! Runs stories one by one, says how each went, and ends with the same line as cargo's own tests.

use std::process::ExitCode;
use std::time::Instant;

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

    /// Whether the stories are to be listed, not told.
    pub fn lists(&self) -> bool {
        self.list
    }

    /// Whether a story of this name was asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }
}

/// Runs the chosen stories in their order. A story that fails says why in its `Err`.
pub fn run<S>(
    choice: &Choice,
    stories: &[S],
    name: impl Fn(&S) -> &str,
    mut tell: impl FnMut(&S) -> Result<(), String>,
) -> ExitCode {
    let chosen: Vec<&S> = stories.iter().filter(|story| choice.wants(name(story))).collect();
    if choice.list {
        chosen.iter().for_each(|story| println!("{}: test", name(story)));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} stories", chosen.len());
    let start = Instant::now();
    let mut failed: Vec<(&str, String)> = Vec::new();
    for story in &chosen {
        let begun = Instant::now();
        let outcome = tell(story);
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!(
            "story {} ... {word} ({:.1} s)",
            name(story),
            begun.elapsed().as_secs_f64()
        );
        if let Err(why) = outcome {
            println!("{why}");
            failed.push((name(story), why));
        }
    }
    for (name, why) in &failed {
        println!(
            "\n---- {name} ----\n{}",
            why.lines().next().unwrap_or("no reason given")
        );
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; {} filtered out; finished in {:.2}s\n",
        if failed.is_empty() { "ok" } else { "FAILED" },
        chosen.len() - failed.len(),
        failed.len(),
        stories.len() - chosen.len(),
        start.elapsed().as_secs_f64(),
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
