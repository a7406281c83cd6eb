//! Reads a container's log across the files that rotation made of it, a step at a time. Blocking; whoever
//! drives it ([`super::endpoint`]) knows when to read on.

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use bytes::{Bytes, BytesMut};

use super::file::{CHUNK, LogDir, LogFile, Tail, count_ends, tail_of};
use super::line::{Printer, Show};
use crate::cri::log_line::is_end;

/// Longer lines of the file are ignored: runtimes cut lines at 16 KiB, but can be configured not to.
const LONGEST: usize = 16 << 20;

/// What is requested of a log.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted {
    /// Which lines are printed, and how.
    pub(crate) show: Show,
    /// Only this many last lines.
    pub(crate) tail: Option<u64>,
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More can be read now.
    More,
    /// Everything that exists now has been read.
    UpToDate,
    /// The requested amount has been printed.
    Done,
}

/// A part of the log that is still to be read.
enum Piece {
    /// A rotated file, from this line end on.
    Rotated { mark: String, skip: Skip },
    /// The current file.
    Current { from: u64 },
}

enum Skip {
    Bytes(u64),
    Ends(u64),
}

/// A log being read.
pub(crate) struct Reader {
    dir: LogDir,
    pieces: VecDeque<Piece>,
    /// The file being read, and the number of line ends in it to skip.
    file: Option<(Open, u64)>,
    /// The rotated logs that existed when the current one was opened: later ones were the current one after it.
    known: BTreeSet<String>,
    line: BytesMut,
    printer: Printer,
    buffer: Vec<u8>,
}

enum Open {
    Rotated(LogFile),
    Current(File),
}

impl Reader {
    /// Finds the starting position. Reads no more of the files than necessary.
    pub(crate) fn new(dir: LogDir, wanted: Wanted) -> io::Result<Self> {
        let known = dir.rotated()?;
        let pieces = match wanted.tail {
            None => {
                let skip = || Skip::Bytes(0);
                let rotated = known.iter().map(|mark| Piece::Rotated {
                    mark: mark.clone(),
                    skip: skip(),
                });
                rotated.chain([Piece::Current { from: 0 }]).collect()
            }
            Some(lines) => last_pieces(&dir, &known, lines)?,
        };
        Ok(Reader {
            dir,
            pieces,
            file: None,
            known,
            line: BytesMut::new(),
            printer: Printer::new(wanted.show),
            buffer: vec![0; CHUNK],
        })
    }

    /// Reads a chunk. Returns what is to be printed, and whether more follows.
    pub(crate) fn step(&mut self) -> io::Result<(Bytes, Progress)> {
        if self.printer.is_done() {
            return Ok((Bytes::new(), Progress::Done));
        }
        if self.file.is_none() && !self.open_next()? {
            return Ok((Bytes::new(), Progress::UpToDate));
        }
        let (file, _) = self.file.as_mut().expect("opened above");
        let read = match file {
            Open::Rotated(file) => file.read(&mut self.buffer),
            Open::Current(file) => file.read(&mut self.buffer),
        };
        let progress = match read {
            Ok(0) => self.at_end()?,
            Ok(size) => {
                self.take_lines(size);
                Progress::More
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Progress::More,
            Err(error) => return Err(error),
        };
        let chunk = self.printer.take();
        Ok((
            chunk,
            if self.printer.is_done() {
                Progress::Done
            } else {
                progress
            },
        ))
    }

    /// Ends the log: returns the buffered part of an unfinished line.
    pub(crate) fn finish(&mut self) -> Bytes {
        self.printer.finish();
        self.printer.take()
    }

    /// Opens the next part; `false` if there is none.
    fn open_next(&mut self) -> io::Result<bool> {
        while let Some(piece) = self.pieces.pop_front() {
            let opened = match piece {
                Piece::Current { from } => match self.dir.open_current() {
                    Ok(mut file) => {
                        file.seek(SeekFrom::Start(from))?;
                        Some((Open::Current(file), 0))
                    }
                    // A rotation is in progress, or the container's log has been removed.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        self.pieces.push_front(Piece::Current { from: 0 });
                        return Ok(false);
                    }
                    Err(error) => return Err(error),
                },
                Piece::Rotated { mark, skip } => match (self.dir.open_rotated(&mark)?, skip) {
                    // It was the oldest, and has been removed in the meantime.
                    (None, _) => None,
                    (Some(mut file), Skip::Bytes(from)) => {
                        pass_over(&mut file, from)?;
                        Some((Open::Rotated(file), 0))
                    }
                    (Some(file), Skip::Ends(ends)) => Some((Open::Rotated(file), ends)),
                },
            };
            if opened.is_some() {
                self.file = opened;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// At the end of a file: continues with the next one, if any.
    fn at_end(&mut self) -> io::Result<Progress> {
        match &self.file {
            Some((Open::Current(file), _)) if self.dir.is_replaced(file)? => {
                // The oldest of the new ones is the file that has just been read.
                let now = self.dir.rotated()?;
                let between = now
                    .iter()
                    .filter(|mark| self.known.last().is_none_or(|known| *mark > known))
                    .skip(1);
                self.pieces = between
                    .map(|mark| Piece::Rotated {
                        mark: mark.clone(),
                        skip: Skip::Bytes(0),
                    })
                    .chain([Piece::Current { from: 0 }])
                    .collect();
                self.known = now;
                self.file = None;
                Ok(Progress::More)
            }
            Some((Open::Current(_), _)) => Ok(Progress::UpToDate),
            _ => {
                self.file = None;
                Ok(Progress::More)
            }
        }
    }

    fn take_lines(&mut self, size: usize) {
        let (_, skip) = self.file.as_mut().expect("a chunk was read of it");
        for piece in self.buffer[..size].split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(piece);
            let Some(line) = self.line.strip_suffix(b"\n") else {
                if self.line.len() > LONGEST {
                    self.line.clear();
                }
                continue;
            };
            if *skip == 0 {
                self.printer.push(line);
            } else {
                *skip -= u64::from(is_end(line));
            }
            self.line.clear();
        }
    }
}

/// The parts that contain the last lines.
fn last_pieces(dir: &LogDir, known: &BTreeSet<String>, lines: u64) -> io::Result<VecDeque<Piece>> {
    let mut wanted = lines.saturating_add(1);
    let mut pieces = VecDeque::new();
    match dir.open_current() {
        Ok(mut file) => match tail_of(&mut file, wanted, true)? {
            Tail::At(from) => return Ok([Piece::Current { from }].into()),
            Tail::Before(ends) => wanted -= ends,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    pieces.push_front(Piece::Current { from: 0 });
    for mark in known.iter().rev() {
        let mark = mark.clone();
        let skip = match dir.open_rotated(&mark)? {
            None => break,
            Some(LogFile::Plain(mut file)) => match tail_of(&mut file, wanted, false)? {
                Tail::At(from) => Some(Skip::Bytes(from)),
                Tail::Before(ends) => {
                    wanted -= ends;
                    None
                }
            },
            Some(LogFile::Compressed(file)) => match count_ends(file)? {
                ends if ends >= wanted => Some(Skip::Ends(ends - wanted + 1)),
                ends => {
                    wanted -= ends;
                    None
                }
            },
        };
        let last = skip.is_some();
        pieces.push_front(Piece::Rotated {
            mark,
            skip: skip.unwrap_or(Skip::Bytes(0)),
        });
        if last {
            break;
        }
    }
    Ok(pieces)
}

fn pass_over(file: &mut LogFile, bytes: u64) -> io::Result<()> {
    match file {
        LogFile::Plain(file) => file.seek(SeekFrom::Start(bytes)).map(drop),
        // Compressed since its size was read.
        LogFile::Compressed(file) => io::copy(&mut file.take(bytes), &mut io::sink()).map(drop),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::PathBuf;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    struct Logs {
        temp: tempfile::TempDir,
    }

    impl Logs {
        fn new() -> Self {
            let temp = tempfile::tempdir().unwrap();
            std::fs::create_dir(temp.path().join("web")).unwrap();
            Logs { temp }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.temp.path().join("web").join(name)
        }

        fn append(&self, name: &str, words: &[&str]) {
            let mut file = File::options()
                .create(true)
                .append(true)
                .open(self.path(name))
                .unwrap();
            for word in words {
                let (tag, word) = word.strip_suffix('…').map_or(("F", *word), |part| ("P", part));
                writeln!(file, "2026-11-21T01:00:00.5Z stdout {tag} {word}").unwrap();
            }
        }

        fn compress(&self, name: &str) {
            let mut to = GzEncoder::new(
                File::create(self.path(&format!("{name}.gz"))).unwrap(),
                Compression::fast(),
            );
            to.write_all(&std::fs::read(self.path(name)).unwrap()).unwrap();
            to.finish().unwrap();
            std::fs::remove_file(self.path(name)).unwrap();
        }

        fn rename(&self, from: &str, to: &str) {
            std::fs::rename(self.path(from), self.path(to)).unwrap();
        }

        fn reader(&self, tail: Option<u64>) -> Reader {
            let dir = LogDir::open(self.temp.path(), &self.path("0.log")).unwrap();
            Reader::new(
                dir,
                Wanted {
                    tail,
                    ..Wanted::default()
                },
            )
            .unwrap()
        }

        fn check(&self, tail: Option<u64>, expected: &str) {
            let mut reader = self.reader(tail);
            let text = drain(&mut reader) + std::str::from_utf8(&reader.finish()).unwrap();
            assert_eq!(text.replace('\n', " "), expected, "tail {tail:?}");
        }
    }

    fn drain(reader: &mut Reader) -> String {
        let mut text = String::new();
        loop {
            let (chunk, progress) = reader.step().unwrap();
            text += std::str::from_utf8(&chunk).unwrap();
            if progress != Progress::More {
                return text;
            }
        }
    }

    #[test]
    fn a_tail_reaches_back_over_rotated_and_compressed_files() {
        let logs = Logs::new();
        logs.append("0.log.20260101-000000", &["a", "b", "c"]);
        logs.compress("0.log.20260101-000000");
        logs.append("0.log.20260102-000000", &["d", "e…"]);
        logs.append("0.log", &["f", "g", "h…"]);
        logs.check(None, "a b c d ef g h");
        logs.check(Some(0), "");
        logs.check(Some(1), "h");
        logs.check(Some(2), "g h");
        logs.check(Some(4), "d ef g h");
        logs.check(Some(5), "c d ef g h");
        logs.check(Some(7), "a b c d ef g h");
        logs.check(Some(u64::MAX), "a b c d ef g h");
    }

    #[test]
    fn nothing_is_lost_or_doubled_over_rotations() {
        let logs = Logs::new();
        logs.append("0.log.20260101-000000", &["old"]);
        logs.append("0.log", &["a", "b"]);
        let mut reader = logs.reader(Some(1));
        assert_eq!(drain(&mut reader), "b\n");

        // Renamed; the runtime keeps writing to the old file until it has opened the new one.
        logs.rename("0.log", "0.log.20260102-000000");
        logs.append("0.log.20260102-000000", &["c"]);
        assert_eq!(drain(&mut reader), "c\n");
        logs.append("0.log", &[]);
        assert_eq!(
            drain(&mut reader),
            "",
            "the new file is empty: the old one may still grow"
        );
        logs.append("0.log.20260102-000000", &["d"]);
        logs.append("0.log", &["e"]);
        assert_eq!(drain(&mut reader), "d\ne\n");

        // Two rotations between two reads; the first rotated file is compressed.
        logs.append("0.log", &["f"]);
        logs.rename("0.log", "0.log.20260103-000000");
        logs.compress("0.log.20260103-000000");
        logs.append("0.log", &["g"]);
        logs.rename("0.log", "0.log.20260104-000000");
        logs.append("0.log", &["h"]);
        assert_eq!(drain(&mut reader), "f\ng\nh\n");
        logs.append("0.log", &["i"]);
        assert_eq!(drain(&mut reader), "i\n");
    }

    #[test]
    fn a_log_that_is_not_there_yet_is_read_once_it_is() {
        let logs = Logs::new();
        let mut reader = logs.reader(None);
        assert_eq!(drain(&mut reader), "");
        logs.append("0.log", &["first"]);
        assert_eq!(drain(&mut reader), "first\n");
    }

    #[test]
    fn a_line_being_written_is_shown_when_it_is_complete() {
        let logs = Logs::new();
        std::fs::write(logs.path("0.log"), "2026-11-21T01:00:00.5Z stdout F ha").unwrap();
        let mut reader = logs.reader(Some(3));
        assert_eq!(drain(&mut reader), "");
        File::options()
            .append(true)
            .open(logs.path("0.log"))
            .unwrap()
            .write_all(b"lf\n")
            .unwrap();
        assert_eq!(drain(&mut reader), "half\n");
    }
}
