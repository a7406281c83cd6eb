//! The pipes of a process, and what a killed agent leaves of them.

use std::io;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use tokio::net::unix::pipe::{OpenOptions, Sender};

use super::process::ExecRequest;
use crate::disk::tree::{self, Mounts};
use crate::serve::socket::make_private_dir;

/// The file beside the pipes that names the container, for an agent that finds them.
const CONTAINER: &str = "container";

/// The named pipes of one process, in a directory that is removed together with this value, unless there may be a process left.
pub(super) struct Pipes {
    pub(super) dir: PathBuf,
    is_kept: bool,
}

impl Pipes {
    /// Makes those that the request needs.
    pub(super) fn make(dir: PathBuf, container: &str, request: &ExecRequest) -> io::Result<Self> {
        make_private_dir(&dir)?;
        let pipes = Pipes { dir, is_kept: false };
        std::fs::write(pipes.dir.join(CONTAINER), container)?;
        for (name, wanted) in [
            ("stdin", request.stdin),
            ("stdout", true),
            ("stderr", !request.tty),
        ] {
            if wanted {
                nix::unistd::mkfifo(&pipes.dir.join(name), Mode::S_IRUSR | Mode::S_IWUSR)?;
            }
        }
        Ok(pipes)
    }

    /// They have a process now: what ends without having ended it leaves them to the next agent.
    pub(super) fn keep(&mut self) {
        self.is_kept = true;
    }

    /// The process is gone.
    pub(super) fn discard(&mut self) {
        self.is_kept = false;
    }

    /// The path as containerd expects it: empty if there is no such pipe.
    pub(super) fn path(&self, name: &str, wanted: bool) -> String {
        if wanted {
            self.dir.join(name).display().to_string()
        } else {
            String::new()
        }
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        if !self.is_kept {
            // What cannot be removed is found at the next start of the agent.
            let _ = tree::remove(&self.dir, Mounts::Emptied);
        }
    }
}

/// A process that an earlier agent left behind, when it was killed.
pub(crate) struct Leftover {
    pub(super) container: String,
    pub(super) id: String,
    /// Kept until it has been ended.
    pub(super) pipes: Pipes,
}

/// What an earlier agent left behind in the directory of all pipes.
pub(crate) fn leftovers(dir: &Path) -> io::Result<Vec<Leftover>> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut left = Vec::new();
    for entry in entries {
        let entry = entry?;
        let mut pipes = Pipes {
            dir: entry.path(),
            is_kept: false,
        };
        // An agent that was killed before it had written the name had not started the process: the pipes go here.
        if let Ok(container) = std::fs::read_to_string(pipes.dir.join(CONTAINER)) {
            pipes.keep();
            let id = entry.file_name().to_string_lossy().into_owned();
            left.push(Leftover { container, id, pipes });
        }
    }
    Ok(left)
}

/// The writing end of the process's input. The shim opens its end at any time, even after it has reported the start,
/// and input written before that would be lost if the pipe were closed: opening waits for the shim, in a thread of its
/// own.
pub(crate) struct Input {
    path: PathBuf,
    state: InputState,
}

enum InputState {
    Opening(tokio::task::JoinHandle<io::Result<std::fs::File>>),
    Open(Sender),
    Closed,
}

impl Input {
    /// Waits for the shim in a thread.
    pub(super) fn open(path: PathBuf) -> Self {
        let to_open = path.clone();
        let opening =
            tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().write(true).open(to_open));
        Input {
            path,
            state: InputState::Opening(opening),
        }
    }

    /// The pipe, once the shim reads from it.
    pub(crate) async fn ready(&mut self) -> io::Result<&mut Sender> {
        if let InputState::Opening(opening) = &mut self.state {
            let file = opening.await.map_err(io::Error::other)??;
            self.state = InputState::Open(Sender::from_file(file)?);
        }
        match &mut self.state {
            InputState::Open(sender) => Ok(sender),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let InputState::Opening(_) = std::mem::replace(&mut self.state, InputState::Closed) {
            // Nothing will read this pipe. Open it for reading for a moment, so that the thread waiting for a reader
            // ends.
            let _ = OpenOptions::new().read_write(true).open_receiver(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_agent_leaves_names_its_processes_until_they_are_ended() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("exec");
        assert!(leftovers(&dir).unwrap().is_empty());
        let request = ExecRequest {
            command: vec!["true".to_owned()],
            stdin: true,
            tty: false,
        };
        for (id, container) in [("gantry-1", "c1"), ("gantry-2", "c2")] {
            Pipes::make(dir.join(id), container, &request).unwrap().keep();
        }
        std::fs::create_dir(dir.join("gantry-3")).unwrap();
        let found = || {
            let mut left = leftovers(&dir).unwrap();
            left.sort_by(|a, b| a.id.cmp(&b.id));
            left
        };
        let names = |left: &[Leftover]| {
            let name = |left: &Leftover| format!("{} {}", left.container, left.id);
            left.iter().map(name).collect::<Vec<_>>()
        };
        // An agent that ends before it has ended them leaves them to the next one.
        assert_eq!(names(&found()), ["c1 gantry-1", "c2 gantry-2"]);
        let mut left = found();
        assert_eq!(names(&left), ["c1 gantry-1", "c2 gantry-2"]);
        left[0].pipes.discard();
        drop(left);
        assert_eq!(names(&found()), ["c2 gantry-2"]);
        assert!(!dir.join("gantry-3").exists());
    }

    #[test]
    fn pipes_go_with_their_process() {
        let temp = tempfile::tempdir().unwrap();
        let request = ExecRequest {
            command: vec!["true".to_owned()],
            stdin: false,
            tty: true,
        };
        let pipes = Pipes::make(temp.path().join("gantry-1"), "c1", &request).unwrap();
        let mut names: Vec<_> = std::fs::read_dir(&pipes.dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["container", "stdout"]);
        drop(pipes);
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
