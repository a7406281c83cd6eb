//! The subcommands. Only this module, `cli` and main access a terminal.
//!
//! A subcommand takes plain options, a [`client::Client`] if it talks to the agent, and the streams that it writes to:
//! the flags are defined elsewhere, and tests check the output.

use std::io;

use crate::serve::exec::process::start_failure;
use crate::serve::exec::session::NOT_RUN;

mod log;
pub mod start;
mod service_manager;
pub mod cleanup;
pub mod join;
pub mod reset;
pub mod doctor;
pub mod check;
pub mod version;
pub mod completions;
pub mod pod_selection;
pub mod client;
pub mod describe;
mod description;
mod describe_node;
mod describe_pod;
mod describe_volumes;
pub mod streams;
pub mod beside;
pub mod attach;
pub mod exec;
pub mod copy;
pub mod debug;
pub mod events;
pub mod kubeconfig;
pub mod get;
pub mod get_volumes;
pub mod images;
pub mod image_work;
mod json_lines;
pub mod logs;
pub mod peer;
pub mod port_forward;
mod outline;
pub mod progress;
pub mod prune;
mod signals;
mod table;
mod terminal;
pub mod timeline;
pub mod top;

/// Why a subcommand failed, in one line for the user.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The agent did not answer, or answered with an error.
    #[error(transparent)]
    Client(#[from] client::ClientError),
    /// The requested object does not exist, or the request is ambiguous.
    #[error("{0}")]
    Choice(String),
    /// The command could not be started in the container.
    #[error("{message}")]
    Exec {
        /// The exit code that shells use for such a failure.
        code: u32,
        /// Why.
        message: String,
    },
    /// A local file cannot be read or written.
    #[error("{what}")]
    File {
        /// Which, and what could not be done with it.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The output cannot be written.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// The agent's answer cannot be parsed by this version.
    #[error("cannot display the agent's answer")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl CommandError {
    /// The agent's message about a command that could not be run, as a shell would put it.
    pub(crate) fn exec(message: &str) -> CommandError {
        let message = message.strip_prefix(NOT_RUN).unwrap_or(message);
        let (code, message) = start_failure(message);
        CommandError::Exec { code, message }
    }

    /// The exit code of the program.
    pub fn exit_code(&self) -> u32 {
        match self {
            CommandError::Exec { code, .. } => *code,
            _ => 1,
        }
    }

    /// A failed write: `None` if the reader has gone (`gantry logs … | head`), which is not an error.
    pub(crate) fn output(error: io::Error) -> Option<Self> {
        (error.kind() != io::ErrorKind::BrokenPipe).then_some(CommandError::Output(error))
    }
}

/// Writes all of a text; a closed pipe is not an error.
pub(crate) fn print(out: &mut impl io::Write, text: &str) -> Result<(), CommandError> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.or_else(|error| CommandError::output(error).map_or(Ok(()), Err))
}

mod options;
mod dispatch;
pub use dispatch::run;
pub use table::printable;

#[cfg(test)]
mod tests;
