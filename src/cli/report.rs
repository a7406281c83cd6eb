//! The output formats of reports.

use clap::ValueEnum;

/// The output format of a report: text or JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Report {
    /// Human-readable text
    Text,
    /// JSON for programs
    Json,
}
