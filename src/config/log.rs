//! How the agent logs. Pure.

/// How the agent logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// A filter of the `tracing` crate.
    pub filter: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The filter for a verbosity of the kubelet's (`-v`): with 3 or more the kubelet, too, says what it does, with 6 or more every call.
pub fn filter(verbosity: i64) -> &'static str {
    match verbosity {
        ..3 => "info",
        3..6 => "debug",
        6.. => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbosities_are_filters() {
        for (verbosity, expected) in [
            (-1, "info"),
            (0, "info"),
            (2, "info"),
            (3, "debug"),
            (5, "debug"),
            (6, "trace"),
        ] {
            assert_eq!(filter(verbosity), expected, "{verbosity}");
        }
    }
}
