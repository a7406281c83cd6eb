//! The command line's verbs. Only this room, `cli` and main speak to a terminal.
//!
//! A verb takes plain options, a [`client::Client`] where it asks the agent, and the streams it writes to: the
//! definitions of the flags are elsewhere, and tests look at what is written.

use std::io;

pub mod start;
pub mod cleanup;
pub mod join;
pub mod reset;
pub mod doctor;
pub mod check;
pub mod version;
pub mod completions;
pub mod age;
pub mod pod_selection;
pub mod client;
pub mod describe;
mod description;
mod describe_node;
mod describe_pod;
pub mod exec;
pub mod get;
pub mod logs;
mod outline;
mod pod_row;
mod table;
mod terminal;
mod yaml;

/// Why a verb did not do what it should: one line for the person.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The agent did not answer, or refused.
    #[error(transparent)]
    Client(#[from] client::ClientError),
    /// What was asked about is not there, or the question is not clear.
    #[error("{0}")]
    Choice(String),
    /// The command could not be run in the container.
    #[error("{message}")]
    Exec {
        /// The exit code that shells use for such a failure.
        code: u32,
        /// Why.
        message: String,
    },
    /// The terminal or the file that is written to.
    #[error("writing failed")]
    Output(#[source] io::Error),
    /// The agent's answer is not what this version understands.
    #[error("the answer of the agent cannot be shown")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl CommandError {
    /// The exit code of the program.
    pub fn exit_code(&self) -> u32 {
        match self {
            CommandError::Exec { code, .. } => *code,
            _ => 1,
        }
    }

    /// Writing failed: `None` where the reader has gone (`gantry logs … | head`), which is no failure of ours.
    pub(crate) fn output(error: io::Error) -> Option<Self> {
        (error.kind() != io::ErrorKind::BrokenPipe).then_some(CommandError::Output(error))
    }
}

/// Writes all of a text; a reader who has gone is no error.
pub(crate) fn print(out: &mut impl io::Write, text: &str) -> Result<(), CommandError> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.or_else(|error| CommandError::output(error).map_or(Ok(()), Err))
}

mod dispatch;
pub use dispatch::run;
pub use table::printable;

#[cfg(test)]
mod tests;
