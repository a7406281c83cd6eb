//! Configuration errors, each in one line that includes the remedy.

use std::path::PathBuf;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or directory could not be read.
    #[error("cannot read {}; check that it exists and that this user may read it", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A file cannot be understood: a syntax error, an unknown key, a value of the wrong type.
    #[error("{}:{line}: {problem}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The configuration of credential providers is invalid.
    #[error("{}: {problem}", path.display())]
    Providers {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A flag's value cannot be parsed.
    #[error("--{flag}: {problem}")]
    Flag {
        /// The flag, without its dashes.
        flag: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Values that parse but are invalid.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Problem>),
    /// The configuration cannot run on this machine.
    #[error("{0}")]
    Machine(String),
}

/// One invalid value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{key}: {problem}", origin.as_ref().map(|origin| format!("{origin}: ")).unwrap_or_default())]
pub struct Problem {
    /// The key of KubeletConfiguration or GantryConfiguration, or the flag.
    pub key: String,
    /// Where the value was set: `file:line` or a flag; `None` for a default.
    pub origin: Option<String>,
    /// What is wrong and what to do.
    pub problem: String,
}
