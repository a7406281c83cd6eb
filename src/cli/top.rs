//! The arguments of `gantry top`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::time::duration;

/// `gantry top`
#[derive(Debug, Clone, Args)]
pub struct Top {
    /// Only pods in this namespace
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// What the pods are sorted by
    #[arg(long, value_enum, default_value = "cpu", value_name = "COLUMN")]
    pub sort: SortKey,
    /// Show the containers of every pod
    #[arg(long)]
    pub containers: bool,
    /// Measure for an interval, print and exit
    #[arg(long)]
    pub once: bool,
    /// The output format of --once
    #[arg(short, long, value_enum, requires = "once")]
    pub output: Option<Output>,
    /// How often to measure, like 2s; rates are of this time [default: 2s; 1s with --once]
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    pub interval: Option<Duration>,
}

/// What pods are sorted by: names upwards, the rest downwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SortKey {
    /// CPU in use
    Cpu,
    /// Memory in use
    Memory,
    /// Time held back by a CPU limit
    Throttling,
    /// Restarts
    Restarts,
    /// Pressure: time lost for lack of CPU, memory or I/O
    Pressure,
    /// Network traffic
    Network,
    /// Namespace and name
    Name,
}

/// The output format of `gantry top --once`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table with more columns
    Wide,
    /// JSON
    Json,
}

/// The agent does not measure more often than twice a second.
const SHORTEST: Duration = Duration::from_secs(1);
/// More is a typing error.
const LONGEST: Duration = Duration::from_secs(3600);

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    match (SHORTEST..=LONGEST).contains(&interval) {
        true => Ok(interval),
        false => Err("must be between 1s and 1h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_between_a_second_and_an_hour() {
        let check = |text: &str, expected: Option<u64>| {
            let seconds = interval(text).ok().map(|interval| interval.as_secs());
            assert_eq!(seconds, expected, "{text}");
        };
        check("1s", Some(1));
        check("5m", Some(300));
        check("1h", Some(3600));
        check("999ms", None);
        check("0s", None);
        check("-2s", None);
        check("2h", None);
        check("two", None);
    }
}
