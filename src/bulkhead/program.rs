//! Credential programs chosen by the administrator: run with a deadline and a bound on their output, so that a program
//! can neither block its caller nor use up the agent's memory.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// The largest output: a hundred times the size of credentials.
const MOST_PRINTED: usize = 1 << 20;

/// Why a program printed nothing usable. Contains nothing of its output.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It cannot be started.
    #[error("it cannot be started")]
    Start(#[source] std::io::Error),
    /// It ended with an error.
    #[error("it ended with {0}")]
    Failed(ExitStatus),
    /// It takes too long.
    #[error("it did not answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// It prints too much.
    #[error("it printed more than {MOST_PRINTED} bytes")]
    TooMuch,
}

/// Runs a program to its end with the given standard input; returns its output. Its standard error goes where the
/// agent's goes. A program that takes too long is killed.
pub async fn run(program: &mut Command, told: &[u8], patience: Duration) -> Result<Vec<u8>, ProgramError> {
    program
        .stdin(match told.is_empty() {
            true => Stdio::null(),
            false => Stdio::piped(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    tokio::time::timeout(patience, ask(program, told))
        .await
        .map_err(|_late| ProgramError::Silent(patience))?
}

async fn ask(program: &mut Command, told: &[u8]) -> Result<Vec<u8>, ProgramError> {
    let mut running = program.spawn().map_err(ProgramError::Start)?;
    let (stdin, stdout) = (running.stdin.take(), running.stdout.take());
    let tell = async move {
        if let Some(mut stdin) = stdin {
            // A program that does not read its input may still answer.
            let _ = stdin.write_all(told).await;
        }
    };
    let hear = async {
        let mut printed = Vec::new();
        if let Some(stdout) = stdout {
            let most = u64::try_from(MOST_PRINTED).unwrap_or(u64::MAX) + 1;
            stdout.take(most).read_to_end(&mut printed).await?;
        }
        // Dropping the pipe ends a program that keeps printing.
        Ok(printed)
    };
    let (status, (), printed) = tokio::join!(running.wait(), tell, hear);
    let printed = printed.map_err(ProgramError::Start)?;
    if printed.len() > MOST_PRINTED {
        return Err(ProgramError::TooMuch);
    }
    let status = status.map_err(ProgramError::Start)?;
    match status.success() {
        true => Ok(printed),
        false => Err(ProgramError::Failed(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(script: &str, patience: Duration) -> Result<Vec<u8>, String> {
        let mut program = Command::new("/bin/sh");
        program.args(["-c", script]);
        let printed = run(&mut program, b"question", patience).await;
        printed.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_program_is_heard_and_neither_its_time_nor_its_words_are_without_end() {
        let long = Duration::from_secs(20);
        assert_eq!(check("cat; echo !", long).await, Ok(b"question!\n".to_vec()));
        assert_eq!(check("true", long).await, Ok(Vec::new()), "it need not read");
        let error = check("echo secret; exit 3", long).await.unwrap_err();
        assert_eq!(error, "it ended with exit status: 3");
        let error = check("exec yes", long).await.unwrap_err();
        assert_eq!(error, "it printed more than 1048576 bytes");
        let error = check("exec sleep 60", Duration::from_millis(50))
            .await
            .unwrap_err();
        assert_eq!(error, "it did not answer within 0 s");
    }
}
