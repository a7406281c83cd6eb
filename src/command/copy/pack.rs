//! Local files and directories as a `tar` archive.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use nix::fcntl::OFlag;
use tar::{Builder, Header, HeaderMode};
use tokio::sync::mpsc;

use super::counter::Counter;
use super::skipped::Skipped;
use crate::command::CommandError;

/// How much is sent at once.
const CHUNK: usize = 32 * 1024;

/// Why files could not be packed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PackError {
    /// A file or directory cannot be read.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// It became shorter meanwhile, and the archive has announced its size.
    #[error("{} became shorter while it was copied: copy it again", .0.display())]
    Shrank(PathBuf),
    /// `/`, which has no name to be given in the container.
    #[error("{} has no name: write what it shall be called, as in POD:DIRECTORY/NAME", .0.display())]
    NoName(PathBuf),
    /// The archive is not read to its end.
    #[error("the archive was not taken")]
    Closed,
}

impl From<PackError> for CommandError {
    fn from(error: PackError) -> CommandError {
        match error {
            PackError::Read { path, source } => CommandError::File {
                what: format!("cannot read {}", path.display()),
                source,
            },
            error => CommandError::Choice(error.to_string()),
        }
    }
}

/// What is copied: exists.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    metadata: Metadata,
}

impl Source {
    /// A link that is named itself is followed, as by `cp`; those within a directory are copied as links.
    pub(super) fn open(path: &Path) -> Result<Source, PackError> {
        let metadata = fs::metadata(path).map_err(|source| read_error(path, source))?;
        Ok(Source {
            path: path.to_owned(),
            metadata,
        })
    }

    /// Its own name.
    pub(super) fn name(&self) -> Result<String, PackError> {
        if let Some(name) = self.path.file_name() {
            return Ok(name.to_string_lossy().into_owned());
        }
        // `.` and `..` are called what their directory is called.
        let whole = fs::canonicalize(&self.path).map_err(|source| read_error(&self.path, source))?;
        let name = whole
            .file_name()
            .ok_or_else(|| PackError::NoName(self.path.clone()))?;
        Ok(name.to_string_lossy().into_owned())
    }

    /// Writes the archive, in which it is called `name`. Returns what cannot be in it.
    pub(super) fn pack(&self, name: &str, to: &mut ChunkWriter) -> Result<Skipped, PackError> {
        let mut packing = Packing {
            archive: Builder::new(to),
            skipped: Skipped::default(),
        };
        packing.member(&self.path, &self.metadata, Path::new(name))?;
        if self.metadata.is_dir() {
            packing.content(&self.path, Path::new(name))?;
        }
        let Packing { archive, skipped } = packing;
        let to = archive.into_inner().map_err(|_| PackError::Closed)?;
        to.flush().map_err(|_| PackError::Closed)?;
        Ok(skipped)
    }
}

fn read_error(path: &Path, source: io::Error) -> PackError {
    PackError::Read {
        path: path.to_owned(),
        source,
    }
}

struct Packing<'a> {
    archive: Builder<&'a mut ChunkWriter>,
    skipped: Skipped,
}

impl Packing<'_> {
    /// Everything beneath a directory, without recursion: a deep tree must not exhaust the stack.
    fn content(&mut self, top: &Path, name: &Path) -> Result<(), PackError> {
        let mut waiting = vec![(top.to_owned(), name.to_owned())];
        while let Some((directory, name)) = waiting.pop() {
            let mut entries: Vec<_> = fs::read_dir(&directory)
                .and_then(Iterator::collect)
                .map_err(|source| read_error(&directory, source))?;
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                let (path, name) = (entry.path(), name.join(entry.file_name()));
                let metadata = entry.metadata().map_err(|source| read_error(&path, source))?;
                self.member(&path, &metadata, &name)?;
                if metadata.is_dir() {
                    waiting.push((path, name));
                }
            }
        }
        Ok(())
    }

    fn member(&mut self, path: &Path, metadata: &Metadata, name: &Path) -> Result<(), PackError> {
        let kind = metadata.file_type();
        let mut header = Header::new_gnu();
        header.set_metadata_in_mode(metadata, HeaderMode::Complete);
        let written = if kind.is_dir() {
            header.set_size(0);
            self.archive.append_data(&mut header, name, io::empty())
        } else if kind.is_symlink() {
            let target = fs::read_link(path).map_err(|source| read_error(path, source))?;
            header.set_size(0);
            self.archive.append_link(&mut header, name, target)
        } else if kind.is_file() {
            return self.file(path, header, name);
        } else {
            self.skipped
                .add(path, "it is neither a file nor a directory nor a link");
            return Ok(());
        };
        written.map_err(|_| PackError::Closed)
    }

    fn file(&mut self, path: &Path, mut header: Header, name: &Path) -> Result<(), PackError> {
        // Something else may stand in its place by now: a link is not followed, and nobody waits for a pipe's writer.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        let file = File::options()
            .read(true)
            .custom_flags(flags.bits())
            .open(path)
            // The link that was named itself, which `Source::open` has followed.
            .or_else(|error| match error.raw_os_error() {
                Some(nix::libc::ELOOP) => File::open(path),
                _ => Err(error),
            })
            .map_err(|source| read_error(path, source))?;
        let size = file.metadata().map_err(|source| read_error(path, source))?.len();
        header.set_size(size);
        let mut content = Exactly {
            left: size,
            failed: None,
            file,
        };
        let written = self.archive.append_data(&mut header, name, &mut content);
        match content.failed {
            Some(Failed::Shrank) => Err(PackError::Shrank(path.to_owned())),
            Some(Failed::Read(source)) => Err(read_error(path, source)),
            None => written.map_err(|_| PackError::Closed),
        }
    }
}

enum Failed {
    Shrank,
    Read(io::Error),
}

/// As many bytes of a file as its header says, whatever becomes of the file.
struct Exactly {
    left: u64,
    failed: Option<Failed>,
    file: File,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        let failed = match self.file.read(&mut buffer[..most]) {
            Ok(0) => Failed::Shrank,
            Ok(size) => {
                self.left -= size as u64;
                return Ok(size);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => Failed::Read(error),
        };
        self.failed = Some(failed);
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Sends what is written in chunks. Dropped, it ends the stream; a rest that was not flushed is not sent.
pub(super) struct ChunkWriter {
    chunks: mpsc::Sender<Bytes>,
    filling: BytesMut,
    counter: Counter,
}

impl ChunkWriter {
    /// A writer that counts what is taken from it.
    pub(super) fn new(chunks: mpsc::Sender<Bytes>, counter: Counter) -> Self {
        ChunkWriter {
            chunks,
            counter,
            filling: BytesMut::with_capacity(CHUNK),
        }
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = data.len().min(CHUNK - self.filling.len());
        self.filling.extend_from_slice(&data[..taken]);
        if self.filling.len() == CHUNK {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.filling.is_empty() {
            return Ok(());
        }
        let chunk = self.filling.split().freeze();
        self.filling.reserve(CHUNK);
        let size = chunk.len();
        self.chunks
            .blocking_send(chunk)
            .map_err(|_| io::ErrorKind::BrokenPipe)?;
        self.counter.add(size);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// The archive's members, and what was skipped.
    fn packed(path: &Path, name: &str) -> (Vec<(String, Vec<u8>)>, Skipped) {
        let (chunks, mut received) = mpsc::channel(1000);
        let mut writer = ChunkWriter::new(chunks, Counter::default());
        let skipped = Source::open(path).unwrap().pack(name, &mut writer).unwrap();
        drop(writer);
        let mut archive = Vec::new();
        while let Some(chunk) = received.blocking_recv() {
            assert!(chunk.len() <= CHUNK);
            archive.extend_from_slice(&chunk);
        }
        let mut archive = tar::Archive::new(archive.as_slice());
        let members = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let link = entry
                .link_name()
                .unwrap()
                .map(|link| format!(" -> {}", link.display()));
            let name = format!("{}{}", entry.path().unwrap().display(), link.unwrap_or_default());
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (name, content)
        });
        (members.collect(), skipped)
    }

    #[test]
    fn a_directory_is_packed_with_its_links_and_without_its_pipes() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        fs::create_dir_all(top.join("sub")).unwrap();
        let long = "x".repeat(150);
        fs::write(top.join("sub").join(&long), vec![7; 3 * CHUNK]).unwrap();
        fs::write(top.join("a"), "A").unwrap();
        symlink("/etc/passwd", top.join("link")).unwrap();
        nix::unistd::mkfifo(&top.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (members, skipped) = packed(&top, "called");
        let expected = [
            ("called/".to_owned(), vec![]),
            ("called/a".to_owned(), b"A".to_vec()),
            ("called/link -> /etc/passwd".to_owned(), vec![]),
            ("called/sub/".to_owned(), vec![]),
            (format!("called/sub/{long}"), vec![7; 3 * CHUNK]),
        ];
        let trimmed: Vec<_> = members
            .iter()
            .map(|(name, content)| (name.trim_end_matches('/'), content))
            .collect();
        let wanted: Vec<_> = expected
            .iter()
            .map(|(name, content)| (name.trim_end_matches('/'), content))
            .collect();
        assert_eq!(trimmed, wanted);
        assert_eq!(skipped.listed().len(), 1);
        assert_eq!(skipped.listed()[0].path, top.join("pipe"));
    }

    #[test]
    fn a_link_that_is_named_itself_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "F").unwrap();
        symlink("file", dir.path().join("link")).unwrap();
        let (members, _) = packed(&dir.path().join("link"), "x");
        assert_eq!(members, [("x".to_owned(), b"F".to_vec())]);
    }

    #[test]
    fn a_file_that_became_shorter_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "12345").unwrap();
        let mut content = Exactly {
            left: 6,
            failed: None,
            file: File::open(dir.path().join("file")).unwrap(),
        };
        assert!(io::copy(&mut content, &mut io::sink()).is_err());
        assert!(matches!(content.failed, Some(Failed::Shrank)));
    }

    #[test]
    fn the_names_of_sources() {
        let dir = tempfile::tempdir().unwrap();
        let name = |path: &Path| {
            Source::open(path)
                .unwrap()
                .name()
                .map_err(|error| error.to_string())
        };
        fs::create_dir(dir.path().join("sub")).unwrap();
        assert_eq!(name(&dir.path().join("sub")), Ok("sub".to_owned()));
        assert_eq!(name(&dir.path().join("sub/.")), Ok("sub".to_owned()));
        assert_eq!(name(&dir.path().join("sub/../sub")), Ok("sub".to_owned()));
        assert!(name(Path::new("/")).is_err());
        let error = Source::open(&dir.path().join("missing")).unwrap_err();
        assert!(error.to_string().contains("missing"));
    }
}
