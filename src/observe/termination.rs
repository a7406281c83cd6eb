//! A container's termination message: its file, or the end of its log. Containers write to both directories, so no
//! symbolic link is followed and only regular files are read. The file may be in a volume on another file system, which
//! may hang: such a file is read in a bulkhead slot.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::snapshot::MessageSource;
use crate::bulkhead::{Bulkhead, Limits};
use crate::cri::log_line;
use crate::disk::beneath::{self, Links, MountPoints};
use crate::model::pod::PodUid;

/// `MaxContainerTerminationMessageLength`, bytes from the end of the file.
const MAX_FILE: u64 = 4096;
/// `MaxContainerTerminationMessageLogLength`, bytes, and `MaxContainerTerminationMessageLogLines`.
const MAX_LOG: (usize, usize) = (2048, 80);
/// How much of a log must be read to be sure of that: 80 lines of at most 50 bytes before their text, 2 KiB of text,
/// and the whole of a longest line (16 KiB) that begins before it.
const LOG_TAIL: u64 = 32 * 1024;

/// How long to wait for a message on another file system. The observer loop waits as long, once for all pods whose
/// containers have just ended.
const PATIENCE: Duration = Duration::from_secs(1);
/// One message of a pod at once: if its file system hangs, all do.
const LIMITS: Limits = Limits {
    total: 110,
    per_owner: 1,
};

/// The directories of all pods and their logs.
#[derive(Debug, Clone)]
pub(super) struct Directories {
    pub(super) pods: PathBuf,
    pub(super) logs: PathBuf,
}

/// The slots for messages on other file systems.
pub(super) fn places() -> Bulkhead {
    Bulkhead::new("termination messages", LIMITS)
}

/// Which file systems are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Only that of the directory, which is the agent's own.
    Own,
    /// Any that is mounted beneath it, too.
    Mounted,
}

/// The message, as `getTerminationMessage` and `readLastStringFromContainerLogs` of kuberuntime have it; `None` if it
/// would be on another file system.
pub(super) fn message(source: &MessageSource, directories: &Directories) -> Option<String> {
    read(source, directories, Reach::Own).ok()
}

/// The message on any file system, for the pod with that UID.
pub(super) async fn message_elsewhere(
    places: &Bulkhead,
    uid: &PodUid,
    source: MessageSource,
    directories: &Directories,
) -> String {
    let path = source.file.clone().unwrap_or_default();
    let directories = directories.clone();
    let reading = move || read(&source, &directories, Reach::Mounted);
    let result = places.run(&uid.0, &path, PATIENCE, reading).await;
    let why = match result {
        Ok(Ok(message)) => return message,
        Ok(Err(error)) => error.to_string(),
        Err(stuck) => stuck.to_string(),
    };
    format!("Error on reading termination log {path}: {why}")
}

/// The error: the file was not reached.
fn read(source: &MessageSource, directories: &Directories, reach: Reach) -> io::Result<String> {
    let Directories { pods, logs } = directories;
    if let Some(path) = &source.file {
        match end_of(pods, Path::new(path), MAX_FILE, reach) {
            Ok(end) if !end.bytes.is_empty() => return Ok(String::from_utf8_lossy(&end.bytes).into_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices && reach == Reach::Own => {
                return Err(error);
            }
            Err(error) => return Ok(format!("Error on reading termination log {path}: {error}")),
        }
    }
    let Some(path) = &source.log else {
        return Ok(String::new());
    };
    Ok(match end_of(logs, Path::new(path), LOG_TAIL, Reach::Mounted) {
        Ok(end) => String::from_utf8_lossy(&last_lines(&end)).into_owned(),
        Err(error) => format!("Error on reading termination message from logs: {error}"),
    })
}

/// The end of a file, and whether that is all of it.
struct End {
    bytes: Vec<u8>,
    whole: bool,
}

fn end_of(root: &Path, path: &Path, most: u64, reach: Reach) -> io::Result<End> {
    let mut file = open_beneath(root, path, reach)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let skipped = found.len().saturating_sub(most);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(End {
        bytes,
        whole: skipped == 0,
    })
}

/// Opens a file for reading by a path that must be beneath the root and contain no symbolic link. A FIFO in its place
/// does not block.
fn open_beneath(root: &Path, path: &Path, reach: Reach) -> io::Result<File> {
    let relative = path
        .strip_prefix(root)
        .map_err(|_| io::Error::other(format!("it is not beneath {}", root.display())))?;
    let root = beneath::root(root)?;
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mounts = match reach {
        Reach::Own => MountPoints::Refused,
        Reach::Mounted => MountPoints::Crossed,
    };
    match beneath::open(root, relative, flags, Links::Refused, mounts) {
        Ok(file) => Ok(File::from(file)),
        Err(Errno::ELOOP) => Err(io::Error::other("a link is on its path")),
        Err(errno) => Err(errno.into()),
    }
}

/// The text of the last lines of a log, as it comes, of both streams.
fn last_lines(end: &End) -> Vec<u8> {
    let mut lines: Vec<&[u8]> = end.bytes.split_inclusive(|byte| *byte == b'\n').collect();
    if !end.whole && !lines.is_empty() {
        lines.remove(0); // it may begin in the middle
    }
    let first = lines.len().saturating_sub(MAX_LOG.1);
    let mut text = Vec::new();
    for line in &lines[first..] {
        let (line, is_whole) = match line.strip_suffix(b"\n") {
            Some(line) => (line, true),
            None => (*line, false),
        };
        // What was not written by a runtime is skipped, as in the kubelet.
        let Some(line) = log_line::parse(line) else {
            continue;
        };
        text.extend_from_slice(line.text);
        if line.ends && is_whole {
            text.push(b'\n');
        }
    }
    let surplus = text.len().saturating_sub(MAX_LOG.0);
    text.drain(..surplus);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use proptest::prelude::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Node {
        dir: tempfile::TempDir,
    }

    impl Node {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir_all(dir.path().join("pods/u1/containers/c")).unwrap();
            fs::create_dir_all(dir.path().join("logs/default_web_u1/c")).unwrap();
            Node { dir }
        }

        fn path(&self, path: &str) -> String {
            self.dir.path().join(path).to_str().unwrap().to_owned()
        }

        fn message(&self, file: Option<&str>, log: Option<&str>) -> String {
            let source = MessageSource {
                file: file.map(|p| self.path(p)),
                log: log.map(|p| self.path(p)),
            };
            let directories = Directories {
                pods: self.dir.path().join("pods"),
                logs: self.dir.path().join("logs"),
            };
            read(&source, &directories, Reach::Mounted).unwrap()
        }
    }

    const FILE: &str = "pods/u1/containers/c/0a1b2c3d";
    const LOG: &str = "logs/default_web_u1/c/0.log";

    #[test]
    fn the_file_is_asked_first_and_the_log_where_it_says_nothing() {
        let node = Node::new();
        fs::write(
            node.path(LOG),
            "2026-11-21T00:00:00.000000001Z stderr F it broke\n",
        )
        .unwrap();
        assert_eq!(node.message(Some(FILE), None), "", "no file");
        assert_eq!(node.message(Some(FILE), Some(LOG)), "it broke\n");
        fs::write(node.path(FILE), "").unwrap();
        assert_eq!(node.message(Some(FILE), Some(LOG)), "it broke\n");
        fs::write(node.path(FILE), "done-well\n").unwrap();
        assert_eq!(node.message(Some(FILE), Some(LOG)), "done-well\n");
        assert_eq!(node.message(None, None), "");
    }

    #[test]
    fn of_a_long_file_the_end_is_told() {
        let node = Node::new();
        fs::write(node.path(FILE), format!("{}end", "x".repeat(10_000))).unwrap();
        let message = node.message(Some(FILE), None);
        assert_eq!(message.len(), 4096);
        assert!(message.ends_with("xend"));
        fs::write(node.path(FILE), b"\xff\xfe").unwrap();
        assert_eq!(node.message(Some(FILE), None), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn no_path_leads_out_and_nothing_but_files_is_read() {
        let node = Node::new();
        let refused = |file: &str, why: &str| {
            let message = node.message(Some(file), None);
            assert!(
                message.starts_with("Error on reading termination log /"),
                "{file}: {message}"
            );
            assert!(message.ends_with(why), "{file}: {message}");
        };
        fs::write(node.path("secret"), "secret").unwrap();
        symlink(node.path("secret"), node.path(FILE)).unwrap();
        refused(FILE, "a link is on its path");
        symlink(node.path("pods/u1"), node.path("pods/u2")).unwrap();
        refused("pods/u2/containers/c/0a1b2c3d", "a link is on its path");
        refused("secret", "pods");
        refused("pods/../secret", "link (os error 18)");
        refused("pods/u1/containers", "not a regular file");
        let fifo = node.path("pods/u1/containers/c/fifo");
        nix::unistd::mkfifo(&*fifo, Mode::S_IRWXU).unwrap();
        refused("pods/u1/containers/c/fifo", "not a regular file");
    }

    #[test]
    fn lines_of_a_log() {
        let check = |log: &str, want: &str| {
            let end = End {
                bytes: log.as_bytes().to_vec(),
                whole: true,
            };
            assert_eq!(String::from_utf8(last_lines(&end)).unwrap(), want, "{log:?}");
        };
        let at = "2026-11-21T00:00:00.000000001Z";
        check("", "");
        check(&format!("{at} stdout F one\n{at} stderr F two\n"), "one\ntwo\n");
        check(&format!("{at} stdout P one \n{at} stdout F two\n"), "one two\n");
        check(
            &format!("{at} stdout F \n{at} stdout F  indented\n"),
            "\n indented\n",
        );
        check("not a log\n\n", "");
        // As the log is shown: without what no runtime wrote, with a line whose tags are all of it.
        check(
            &format!("{at} stdin F no\nhalf of a line\n{at} stdout X no\n{at} stdout F\n{at} stderr F end"),
            "\nend",
        );
        let many: String = (0..200).map(|n| format!("{at} stdout F {n}\n")).collect();
        let want: String = (120..200).map(|n| format!("{n}\n")).collect();
        check(&many, &want);
        let long = format!("{at} stdout P {}\n{at} stdout F end\n", "x".repeat(16_384));
        check(&long, &format!("{}end\n", "x".repeat(2044)));
    }

    #[test]
    fn a_log_that_is_read_from_its_middle() {
        let node = Node::new();
        let line = "2026-11-21T00:00:00.000000001Z stdout F ";
        let log = format!("{line}{}\n{line}last\n", "x".repeat(40_000));
        fs::write(node.path(LOG), log).unwrap();
        assert_eq!(node.message(None, Some(LOG)), "last\n");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_log(bytes in prop::collection::vec(any::<u8>(), 0..500), whole in any::<bool>()) {
            let text = last_lines(&End { bytes, whole });
            prop_assert!(text.len() <= MAX_LOG.0);
        }
    }
}
