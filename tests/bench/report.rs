//! The table that is printed: what was measured, beside what it is measured against and the goal.

use std::time::Duration;

use crate::world::program;

/// What was measured so far.
#[derive(Default)]
pub struct Report {
    rows: Vec<[String; 5]>,
    notes: Vec<String>,
}

impl Report {
    /// A figure with a goal that it must not exceed.
    pub fn goal(&mut self, what: &str, measured: f64, goal: f64, unit: &str) {
        let word = if measured <= goal { "met" } else { "short of goal" };
        let ratio = format!("{:.2}", measured / goal);
        self.row(
            what,
            format!("{measured:.1} {unit}"),
            format!("≤ {goal} {unit}"),
            ratio,
            word,
        );
    }

    /// A figure beside another of the same run.
    pub fn beside(&mut self, what: &str, measured: Duration, other: Duration) {
        let ratio = format!("{:.2}", measured.as_secs_f64() / other.as_secs_f64());
        self.row(what, ms(measured), ms(other), ratio, "");
    }

    /// A figure beside the kubelet's of the same sitting, whose ratio has a goal.
    pub fn against(&mut self, what: &str, measured: f64, other: f64, goal: f64, unit: &str) {
        let ratio = measured / other;
        let word = if ratio <= goal {
            format!("goal {goal} met")
        } else {
            format!("short of goal {goal}")
        };
        let text = |value: f64| format!("{value:.1} {unit}").trim_end().to_owned();
        self.row(what, text(measured), text(other), format!("{ratio:.2}"), &word);
    }

    /// A line below the table.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// The sizes of the programs as they are installed.
    pub fn sizes(&mut self) {
        for (name, goal) in [("gantry", 15.0), ("gantry-cni", 2.0)] {
            let size = std::fs::metadata(program(name))
                .expect("make bench has built it")
                .len();
            self.goal(&format!("{name}, stripped"), size as f64 / 1e6, goal, "MB");
        }
    }

    fn row(&mut self, what: &str, measured: String, other: String, ratio: String, word: &str) {
        self.rows
            .push([what.to_owned(), measured, other, ratio, word.to_owned()]);
    }

    /// Prints everything.
    pub fn print(&self) {
        println!(
            "\n{:<52} {:>12} {:>14} {:>7}",
            "", "measured", "goal or other", "ratio"
        );
        for [what, measured, other, ratio, word] in &self.rows {
            println!("{what:<52} {measured:>12} {other:>14} {ratio:>7}  {word}");
        }
        println!();
        self.notes.iter().for_each(|note| println!("{note}"));
    }
}

/// Milliseconds with one digit.
pub fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// The middle of some durations.
pub fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}
