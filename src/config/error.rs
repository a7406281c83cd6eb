//! What can be wrong with a configuration, each in one line that says what to do.

use std::path::PathBuf;

/// Why there is no configuration to run with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or directory could not be read.
    #[error("cannot read {}; check that it exists and that this user may read it", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// A file says something that is not understood: syntax, an unknown key, a value of the wrong type.
    #[error("{}:{line}: {problem}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The configuration of credential providers cannot be run with.
    #[error("{}: {problem}", path.display())]
    Providers {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A flag's value is not understood.
    #[error("--{flag}: {problem}")]
    Flag {
        /// The flag, without its dashes.
        flag: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Values that are understood but cannot be run with.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Problem>),
    /// The machine is not one that this configuration runs on.
    #[error("{0}")]
    Machine(String),
}

/// One value that cannot be run with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{key}: {problem}", origin.as_ref().map(|origin| format!("{origin}: ")).unwrap_or_default())]
pub struct Problem {
    /// The key of KubeletConfiguration or GantryConfiguration, or the flag.
    pub key: String,
    /// Where it was said: `file:line` or a flag; `None` for a default.
    pub origin: Option<String>,
    /// What is wrong and what to do.
    pub problem: String,
}
