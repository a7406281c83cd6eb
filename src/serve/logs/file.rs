//! A container's log files: the current one and the rotated ones, opened beneath the pods' log directory and never
//! through a symbolic link.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{Mode, fstatat};

use crate::cri::log_line::{HEAD, is_end};
use crate::disk::beneath::{self, Links, MountPoints};

/// How much is read at once.
pub(crate) const CHUNK: usize = 64 * 1024;

/// The directory of one container's logs, and the name of the current one (`0.log`).
#[derive(Debug)]
pub(crate) struct LogDir {
    dir: OwnedFd,
    path: PathBuf,
    name: String,
}

/// A log file open for reading.
pub(crate) enum LogFile {
    Plain(File),
    Compressed(Box<MultiGzDecoder<File>>),
}

impl Read for LogFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            LogFile::Plain(file) => file.read(buffer),
            LogFile::Compressed(file) => file.read(buffer),
        }
    }
}

/// Opens beneath `dir`, following no links. Log directories may be mount points: an administrator may have put a pod's
/// logs on a disk of their own.
fn open_beneath(dir: impl AsFd, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    Ok(beneath::open(
        dir,
        path,
        flags,
        Links::Refused,
        MountPoints::Crossed,
    )?)
}

impl LogDir {
    /// The directory of the log file `log`, which must be beneath `root`. The root itself may be a symbolic link, for
    /// example if /var/log is on another disk.
    pub(crate) fn open(root: &Path, log: &Path) -> io::Result<Self> {
        let outside = || {
            let text = format!("log {} is outside {}", log.display(), root.display());
            io::Error::new(io::ErrorKind::PermissionDenied, text)
        };
        let relative = log.strip_prefix(root).map_err(|_| outside())?;
        if !relative
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
        {
            return Err(outside());
        }
        let name = relative
            .file_name()
            .and_then(OsStr::to_str)
            .ok_or_else(outside)?
            .to_owned();
        let parent = relative
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .ok_or_else(outside)?;
        let root = beneath::root(root)?;
        let dir = open_beneath(&root, parent, OFlag::O_DIRECTORY | OFlag::O_RDONLY)?;
        let path = log.parent().ok_or_else(outside)?.to_owned();
        Ok(LogDir { dir, path, name })
    }

    /// The directory's path, for a watch.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn open_file(&self, name: &str) -> io::Result<File> {
        // If the path is a named pipe, do not wait for a writer.
        let file = File::from(open_beneath(
            &self.dir,
            Path::new(name),
            OFlag::O_RDONLY | OFlag::O_NONBLOCK,
        )?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other(format!(
                "{} is not a regular file",
                self.path.join(name).display()
            )));
        }
        Ok(file)
    }

    /// Opens the current log.
    pub(crate) fn open_current(&self) -> io::Result<File> {
        self.open_file(&self.name)
    }

    /// Whether the current log is another file than this one and has content. Until then the runtime may still write to
    /// the old one.
    pub(crate) fn is_replaced(&self, file: &File) -> io::Result<bool> {
        let now = match fstatat(&self.dir, self.name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(nix::errno::Errno::ENOENT) => return Ok(false),
            now => now?,
        };
        Ok(now.st_ino != file.metadata()?.ino() && now.st_size > 0)
    }

    /// The suffixes of the rotated logs (`20261121-010000`), the oldest first. Each exists uncompressed, compressed, or
    /// for a moment both.
    pub(crate) fn rotated(&self) -> io::Result<BTreeSet<String>> {
        let mut listing = Dir::openat(&self.dir, ".", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
        let mut marks = BTreeSet::new();
        for entry in listing.iter() {
            let entry = entry?;
            let Some(rest) = entry
                .file_name()
                .to_str()
                .ok()
                .and_then(|name| name.strip_prefix(&self.name))
            else {
                continue;
            };
            let Some(mark) = rest.strip_prefix('.').filter(|mark| !mark.ends_with(".tmp")) else {
                continue;
            };
            marks.insert(mark.trim_end_matches(".gz").to_owned());
        }
        Ok(marks)
    }

    /// Opens a rotated log; `None` if it has been removed in the meantime.
    pub(crate) fn open_rotated(&self, mark: &str) -> io::Result<Option<LogFile>> {
        // Compression removes the uncompressed file after the compressed one is complete.
        match self.open_file(&format!("{}.{mark}", self.name)) {
            Ok(file) => return Ok(Some(LogFile::Plain(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        match self.open_file(&format!("{}.{mark}.gz", self.name)) {
            Ok(file) => Ok(Some(LogFile::Compressed(Box::new(MultiGzDecoder::new(file))))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Where the last lines start within a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// At this offset; another line ends right before it.
    At(u64),
    /// Before this file, which has only this many line ends.
    Before(u64),
}

/// Searches an uncompressed file backwards for the `wanted`th line end, counted from its end: the text after it
/// consists of `wanted - 1` lines. `newest`: an unfinished last line counts as one.
pub(crate) fn tail_of(file: &mut (impl Read + Seek), wanted: u64, newest: bool) -> io::Result<Tail> {
    let mut block_end = file.seek(SeekFrom::End(0))?;
    let mut block = vec![0; CHUNK];
    // The first bytes after the block: a line's tags may span the boundary.
    let mut following: Vec<u8> = Vec::new();
    // The end of the line whose start is searched; `None` while in the text after the last `\n`.
    let mut line_end: Option<u64> = None;
    let mut ends = 0;
    let mut last = newest;
    while block_end > 0 {
        let size = block_end.min(CHUNK as u64);
        let start = block_end - size;
        let size = usize::try_from(size).expect("at most CHUNK");
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block[..size])?;
        let mut text = block[..size].to_vec();
        text.extend_from_slice(&following);
        let mut scan = size;
        loop {
            let newline = text[..scan].iter().rposition(|&byte| byte == b'\n');
            let at_start = newline.is_none() && start == 0;
            if newline.is_none() && !at_start {
                break;
            }
            if let Some(end) = line_end {
                let begin = newline.map_or(0, |at| at + 1);
                let head = &text[begin..text.len().min(begin + HEAD)];
                let head = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
                if is_end(head) || last {
                    ends += 1;
                    if ends == wanted {
                        return Ok(Tail::At(end));
                    }
                }
                last = false;
            }
            let Some(at) = newline else { break };
            line_end = Some(start + at as u64 + 1);
            scan = at;
        }
        following = text[..text.len().min(HEAD)].to_vec();
        block_end = start;
    }
    Ok(Tail::Before(ends))
}

/// The number of line ends in a log that can only be read forwards.
pub(crate) fn count_ends(file: impl Read) -> io::Result<u64> {
    let mut ends = 0;
    for_each_line(file, |head| ends += u64::from(is_end(head)))?;
    Ok(ends)
}

/// Calls `call` with the start of each complete line.
fn for_each_line(mut file: impl Read, mut call: impl FnMut(&[u8])) -> io::Result<()> {
    let mut block = vec![0; CHUNK];
    let mut head = Vec::with_capacity(HEAD);
    loop {
        let size = match file.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(size) => size,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for piece in block[..size].split_inclusive(|&byte| byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = HEAD - head.len();
            head.extend_from_slice(&text[..text.len().min(room)]);
            if text.len() < piece.len() {
                call(&head);
                head.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    fn line(ends: bool, text: usize) -> Vec<u8> {
        let tag = if ends { 'F' } else { 'P' };
        let mut line = format!("2026-11-21T01:00:00.5Z stdout {tag} ").into_bytes();
        line.resize(line.len() + text, b'x');
        line.push(b'\n');
        line
    }

    /// The same result by reading everything forwards.
    fn naive(lines: &[(bool, usize)], wanted: u64) -> Tail {
        let mut at = lines
            .iter()
            .map(|&(ends, text)| line(ends, text).len() as u64)
            .sum();
        let mut ends = 0;
        for (i, &(end, text)) in lines.iter().enumerate().rev() {
            if end || i + 1 == lines.len() {
                ends += 1;
                if ends == wanted {
                    return Tail::At(at);
                }
            }
            at -= line(end, text).len() as u64;
        }
        Tail::Before(ends)
    }

    proptest! {
        #[test]
        fn searching_backwards_finds_what_reading_forwards_does(
            // Some are longer than one read.
            lines in proptest::collection::vec((any::<bool>(), prop_oneof![0usize..40, Just(CHUNK - 36), 65_000usize..140_000]), 0..12),
            wanted in 1u64..14,
            rest in 0usize..60,
        ) {
            let mut bytes: Vec<u8> = lines.iter().flat_map(|&(ends, text)| line(ends, text)).collect();
            let ends = lines.iter().filter(|(ends, _)| *ends).count() as u64;
            prop_assert_eq!(count_ends(&bytes[..]).unwrap(), ends);
            // A line that is still being written.
            bytes.extend(std::iter::repeat_n(b'y', rest));
            prop_assert_eq!(tail_of(&mut Cursor::new(bytes), wanted, true).unwrap(), naive(&lines, wanted));
        }
    }

    #[test]
    fn no_link_and_no_dots_lead_out_of_the_log_directory() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("pods");
        std::fs::create_dir_all(root.join("a_b_c/web")).unwrap();
        std::fs::write(temp.path().join("secret"), "secret").unwrap();
        std::fs::write(root.join("a_b_c/web/0.log"), "x").unwrap();
        symlink("../../../secret", root.join("a_b_c/web/1.log")).unwrap();
        symlink("a_b_c", root.join("link")).unwrap();

        let open = |path: &str| LogDir::open(&root, &root.join(path)).and_then(|dir| dir.open_current());
        assert!(open("a_b_c/web/0.log").is_ok());
        assert!(open("a_b_c/web/1.log").is_err(), "a link");
        assert!(open("link/web/0.log").is_err(), "a link on the way");
        assert!(open("a_b_c/../../secret").is_err(), "dots");
        assert!(
            LogDir::open(&root, &temp.path().join("secret")).is_err(),
            "outside"
        );
        assert!(
            open("a_b_c/web")
                .and_then(|mut file| file.read(&mut [0]))
                .is_err(),
            "a directory"
        );
    }

    #[test]
    fn rotated_logs_are_listed_once_and_in_order() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path();
        std::fs::create_dir(root.join("web")).unwrap();
        for name in [
            "0.log",
            "0.log.20260102-000000",
            "0.log.20260101-000000.gz",
            "0.log.20260101-000000",
            "0.log.20260103-000000.tmp",
            "10.log.20250101-000000",
        ] {
            std::fs::write(root.join("web").join(name), "").unwrap();
        }
        let dir = LogDir::open(root, &root.join("web/0.log")).unwrap();
        assert_eq!(
            Vec::from_iter(dir.rotated().unwrap()),
            ["20260101-000000", "20260102-000000"]
        );
    }
}
