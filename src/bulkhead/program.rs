//! Programs that the agent runs: credential programs chosen by the administrator, systemctl, mount(8). With a deadline and a
//! bound on their output, so that a program can neither block its caller nor use up the agent's memory.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::time::Instant;

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

/// Where a program's standard error goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaints {
    /// Where the agent's goes: it may repeat a secret, and must not become part of an error.
    Inherited,
    /// To the caller, who shows them to a person.
    Returned,
}

/// What becomes of a program whose caller goes away, or for which it takes too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is killed with all that it has started.
    Killed,
    /// It goes on: half of its work would be worse than none. What it prints after the agent has ended ends it, too.
    GoesOn,
}

/// What a program has left.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub printed: Vec<u8>,
    /// Its standard error, where it is returned.
    pub complained: Vec<u8>,
}

/// Runs a program to its end with the given standard input; returns its output if it succeeded. Its standard error goes
/// where the agent's goes.
pub async fn run(program: &mut Command, input: &[u8], patience: Duration) -> Result<Vec<u8>, ProgramError> {
    let ended = end(program, input, Complaints::Inherited, patience).await?;
    match ended.status.success() {
        true => Ok(ended.printed),
        false => Err(ProgramError::Failed(ended.status)),
    }
}

/// Runs a program to its end, whatever that is, with the given standard input. One that takes too long or prints too
/// much is killed with all that it has started, and so is one whose caller goes away.
pub async fn end(
    program: &mut Command,
    input: &[u8],
    complaints: Complaints,
    patience: Duration,
) -> Result<Ended, ProgramError> {
    program
        .stdin(match input.is_empty() {
            true => Stdio::null(),
            false => Stdio::piped(),
        })
        .stdout(Stdio::piped())
        .stderr(match complaints {
            Complaints::Inherited => Stdio::inherit(),
            Complaints::Returned => Stdio::piped(),
        })
        .process_group(0)
        .kill_on_drop(true);
    let mut running = Group::of(program, Fate::Killed)?;
    tokio::time::timeout(patience, talk(&mut running, input))
        .await
        .map_err(|_late| ProgramError::Silent(patience))?
}

/// A program that runs without input, and what waits for its end.
pub(super) struct Attended(Group);

impl Attended {
    pub(super) fn start(mut program: Command, fate: Fate) -> Result<Attended, ProgramError> {
        program
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(fate == Fate::Killed);
        Group::of(&mut program, fate).map(Attended)
    }

    /// Answers how it has ended, and returns once it has: one that is killed may be in the kernel's hands for long.
    pub(super) async fn attend(
        mut self,
        deadline: Instant,
        mut answer: oneshot::Sender<Result<Ended, ProgramError>>,
    ) {
        let fate = self.0.fate;
        let is_given_up = async {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => {}
                () = answer.closed() => {}
            }
        };
        // Both may be dropped: what a killed program has said is of no use.
        let ended = tokio::select! {
            ended = talk(&mut self.0, b"") => Some(ended),
            () = is_given_up, if fate == Fate::Killed => None,
        };
        if let Some(ended) = ended {
            // Its caller may have gone.
            let _ = answer.send(ended);
        }
        if fate == Fate::Killed {
            self.0.kill();
        }
        // The error is that it has been waited for.
        let _ = self.0.child.wait().await;
    }
}

/// A program whose output is read while it runs. It is killed, with all that it has started, when this is dropped.
pub struct Running {
    _group: Group,
    output: pipe::Receiver,
}

/// Starts a program without input; its output and its errors are one.
pub fn start(mut program: Command) -> Result<Running, ProgramError> {
    let (reader, writer) = std::io::pipe().map_err(ProgramError::Start)?;
    let errors = writer.try_clone().map_err(ProgramError::Start)?;
    program
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(errors)
        .process_group(0)
        .kill_on_drop(true);
    let group = Group::of(&mut program, Fate::Killed)?;
    // The command has the other end: as long as that is open, the output has no end.
    drop(program);
    let output = pipe::Receiver::from_owned_fd(reader.into()).map_err(ProgramError::Start)?;
    Ok(Running {
        _group: group,
        output,
    })
}

impl Running {
    /// The next part of the output, at most 64 KiB; empty at its end.
    pub async fn read(&mut self) -> std::io::Result<Vec<u8>> {
        let mut part = Vec::with_capacity(64 << 10);
        self.output.read_buf(&mut part).await?;
        Ok(part)
    }
}

/// A program that leads a process group of its own.
struct Group {
    child: Child,
    fate: Fate,
}

impl Group {
    fn of(program: &mut Command, fate: Fate) -> Result<Group, ProgramError> {
        let child = program.spawn().map_err(ProgramError::Start)?;
        Ok(Group { child, fate })
    }

    fn kill(&self) {
        // A number while the program has not been waited for: until then no other group can have it.
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            // A group that has just ended is as good.
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.fate == Fate::Killed {
            self.kill();
        }
    }
}

async fn talk(running: &mut Group, input: &[u8]) -> Result<Ended, ProgramError> {
    let program = &mut running.child;
    let (stdin, stdout, stderr) = (program.stdin.take(), program.stdout.take(), program.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A program that does not read its input may still answer.
            let _ = stdin.write_all(input).await;
        }
        Ok(())
    };
    // The output ends when all that the program has started have ended, or have closed it.
    let ((), printed, complained) = tokio::try_join!(write, read(stdout), read(stderr))?;
    let status = program.wait().await.map_err(ProgramError::Start)?;
    Ok(Ended {
        status,
        printed,
        complained,
    })
}

async fn read(pipe: Option<impl AsyncRead + Unpin>) -> Result<Vec<u8>, ProgramError> {
    let mut all = Vec::new();
    if let Some(pipe) = pipe {
        let most = u64::try_from(MOST_PRINTED).unwrap_or(u64::MAX) + 1;
        let read = pipe.take(most).read_to_end(&mut all).await;
        read.map_err(ProgramError::Start)?;
    }
    match all.len() > MOST_PRINTED {
        true => Err(ProgramError::TooMuch),
        false => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut program = Command::new("/bin/sh");
        program.args(["-c", script]);
        program
    }

    async fn check(script: &str, patience: Duration) -> Result<Vec<u8>, String> {
        let printed = run(&mut shell(script), b"question", patience).await;
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

    #[tokio::test]
    async fn complaints_are_returned_with_the_end_where_they_are_wanted() {
        let long = Duration::from_secs(20);
        let mut program = shell("echo out; echo err >&2; exit 4");
        let ended = end(&mut program, b"", Complaints::Returned, long).await.unwrap();
        assert_eq!(ended.status.code(), Some(4));
        assert_eq!(
            (&*ended.printed, &*ended.complained),
            (&b"out\n"[..], &b"err\n"[..])
        );
        let error = end(&mut shell("exec yes >&2"), b"", Complaints::Returned, long)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "it printed more than 1048576 bytes");
    }

    #[tokio::test]
    async fn output_and_errors_are_read_while_a_program_runs() {
        let mut running = start(shell("echo out; echo err >&2; read _; exec yes")).unwrap();
        let mut printed = Vec::new();
        while printed.len() < 1 << 20 {
            let part = running.read().await.unwrap();
            assert!(!part.is_empty() && part.len() <= 64 << 10);
            printed.extend(part);
        }
        assert!(printed.starts_with(b"out\nerr\ny\n"));
        let mut ended = start(shell("echo end")).unwrap();
        let mut printed = Vec::new();
        loop {
            match ended.read().await.unwrap() {
                part if part.is_empty() => break,
                part => printed.extend(part),
            }
        }
        assert_eq!(printed, b"end\n");
        assert!(start(Command::new("/no/such/program")).is_err());
    }

    #[tokio::test]
    async fn what_a_program_has_started_is_killed_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let note = dir.path().join("pid");
        let check = async |script: String| {
            let error = run(&mut shell(&script), b"", Duration::from_secs(1))
                .await
                .unwrap_err();
            assert!(matches!(error, ProgramError::Silent(_)), "{error}");
            let pid = std::fs::read_to_string(&note).unwrap();
            let stat = format!("/proc/{}/stat", pid.trim());
            let is_over = || match std::fs::read_to_string(&stat) {
                Ok(stat) => stat.contains(") Z "),
                Err(_) => true,
            };
            let begun = std::time::SystemTime::now();
            while !is_over() {
                assert!(
                    begun.elapsed().unwrap().as_secs() < 20,
                    "{script}: {stat} still runs"
                );
                tokio::task::yield_now().await;
            }
        };
        let note = note.display();
        check(format!("sleep 600 & echo $! > {note}; wait")).await;
        // It has itself ended; what it has started holds its output.
        check(format!("sleep 600 & echo $! > {note}")).await;
    }
}
