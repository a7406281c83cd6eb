//! `gantry pull IMAGE` and `gantry import ARCHIVE…`: the agent does the work, with its own credentials and limits, and says
//! how far it has come. Ctrl-C closes the connection, which cancels the work.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use form_urlencoded::Serializer;
use http_body_util::{Empty, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::client::{Chunks, Client, ClientError};
use super::json_lines::JsonLines;
use super::progress::{Progress, Reached};
use super::table::in_line;
use super::top::amounts;
use super::{CommandError, print, signals};
use crate::model::image_progress::{self, Phase};
use crate::serve::images::wire::{ArrivedImage, Line};

/// How much of an archive is read at once.
const CHUNK: usize = 256 * 1024;
/// How many such chunks wait to be sent.
const QUEUE: usize = 4;

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Where it is shown how far the work has come.
    pub progress: Progress,
    /// Whether the result is printed, too.
    pub result: bool,
}

/// Pulls an image. Returns the exit code; that of a signal if one ended it.
pub async fn pull(
    client: &Client,
    image: &str,
    shown: Shown,
    (out, err): (&mut impl Write, &mut impl Write),
) -> Result<u32, CommandError> {
    let mut query = Serializer::new(String::new());
    query.append_pair("image", image);
    let path = format!("/images/pull?{}", query.finish());
    let answer = client.work(&path, Empty::<Bytes>::new());
    match follow(answer, image, shown.progress, err).await? {
        Followed::Done(arrived) => report(&arrived, "pulled", "is up to date", shown, out),
        Followed::Canceled(code) => canceled(code, err),
    }
}

/// Imports archives, one after the other, until one fails. `-` is standard input. Returns the exit code. A thread that cannot
/// be stopped may read, so the caller must end the process with the code.
pub async fn import(
    client: &Client,
    archives: &[PathBuf],
    shown: Shown,
    (out, err): (&mut impl Write, &mut impl Write),
) -> Result<u32, CommandError> {
    for archive in archives {
        let name = match archive == Path::new("-") {
            true => "standard input".to_owned(),
            false => archive.display().to_string(),
        };
        let unreadable = |source| CommandError::File {
            what: format!("cannot read {name}"),
            source,
        };
        let (from, size) = open(archive).map_err(unreadable)?;
        let path = match size {
            Some(size) => format!("/images/import?size={size}"),
            None => "/images/import".to_owned(),
        };
        let failure: Failure = Arc::default();
        let parts = read_in_thread(from, failure.clone());
        let body = StreamBody::new(ReceiverStream::new(parts).map(|part| part.map(Frame::data)));
        let followed = follow(client.work(&path, body), &name, shown.progress, err).await;
        if let Some(error) = failure.lock().expect("no holder of this lock can panic").take() {
            return Err(unreadable(error));
        }
        let followed = followed.map_err(|error| match error {
            CommandError::Choice(why) => CommandError::Choice(format!("{}: {why}", in_line(&name))),
            error => error,
        });
        match followed? {
            Followed::Done(arrived) => report(&arrived, "imported", "was there already", shown, out)?,
            Followed::Canceled(code) => return canceled(code, err),
        };
    }
    Ok(0)
}

/// The archive, and its size if it is a file.
fn open(archive: &Path) -> io::Result<(Box<dyn Read + Send>, Option<u64>)> {
    if archive == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let file = File::open(archive)?;
    let metadata = file.metadata()?;
    let size = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(file), size))
}

/// Why the archive could not be read to its end, if that is so.
type Failure = Arc<Mutex<Option<io::Error>>>;

/// A separate thread, because a read from a pipe or a terminal cannot be canceled. After an error the body ends with one,
/// too, so that the agent does not take it for complete.
fn read_in_thread(
    mut from: impl Read + Send + 'static,
    failure: Failure,
) -> mpsc::Receiver<io::Result<Bytes>> {
    let (parts, receiver) = mpsc::channel(QUEUE);
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK];
        loop {
            let part = match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(size) => Ok(Bytes::copy_from_slice(&buffer[..size])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let kind = error.kind();
                    *failure.lock().expect("no holder of this lock can panic") = Some(error);
                    Err(kind.into())
                }
            };
            let is_last = part.is_err();
            if parts.blocking_send(part).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

/// What became of the work.
enum Followed {
    /// The images that it brought.
    Done(Vec<ArrivedImage>),
    /// A signal came, for which a program exits with this code.
    Canceled(u32),
}

/// Shows how far the work has come, until it is done, or a signal cancels it.
async fn follow(
    answer: impl Future<Output = Result<Chunks, ClientError>>,
    name: &str,
    progress: Progress,
    err: &mut impl Write,
) -> Result<Followed, CommandError> {
    let reached = Cell::new(image_progress::Progress::default());
    let work = async {
        let mut lines = JsonLines::new(answer.await?);
        while let Some(line) = lines.next().await? {
            match line {
                Line::Progress(now) => reached.set(now),
                Line::Done(arrived) => return Ok(Followed::Done(arrived)),
                Line::Failed(why) => return Err(CommandError::Choice(why)),
            }
        }
        Err(CommandError::Choice(
            "gantry stopped before the image was there".to_owned(),
        ))
    };
    let work = async {
        tokio::select! {
            done = work => done,
            // Dropping the work closes its connection, by which the agent cancels it.
            code = signals::first() => Ok(Followed::Canceled(u32::from(code))),
        }
    };
    progress
        .during(|| described(reached.get(), name), err, work)
        .await
}

fn described(progress: image_progress::Progress, name: &str) -> Reached {
    let doing = match progress.phase {
        Phase::Waiting => "waiting for other images before",
        Phase::Downloading => "pulling",
        Phase::Unpacking => "unpacking",
        Phase::Receiving => "sending",
        Phase::Reading => "reading",
        Phase::Storing => "importing",
    };
    Reached {
        doing: format!("{doing} {name}"),
        bytes: progress.bytes,
        layers: progress.layers,
    }
}

fn report(
    arrived: &[ArrivedImage],
    new: &str,
    old: &str,
    shown: Shown,
    out: &mut impl Write,
) -> Result<u32, CommandError> {
    if shown.result {
        for image in arrived {
            print(out, &(in_line(&sentence(image, new, old)) + "\n"))?;
        }
    }
    Ok(0)
}

fn sentence(image: &ArrivedImage, new: &str, old: &str) -> String {
    let names = image.names.join(", ");
    let size = match image.size {
        0 => String::new(),
        size => format!(" ({})", amounts::bytes(Some(size))),
    };
    match image.was_there {
        true => format!("{names} {old}{size}"),
        false => format!("{new} {names}{size}"),
    }
}

fn canceled(code: u32, err: &mut impl Write) -> Result<u32, CommandError> {
    print(err, "gantry: canceled\n")?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::image_progress::Share;

    #[test]
    fn each_phase_has_a_word() {
        let check = |phase: Phase, expected: &str| {
            let progress = image_progress::Progress::begin(phase);
            assert_eq!(described(progress, "demo:1").doing, expected);
        };
        check(Phase::Waiting, "waiting for other images before demo:1");
        check(Phase::Downloading, "pulling demo:1");
        check(Phase::Unpacking, "unpacking demo:1");
        check(Phase::Receiving, "sending demo:1");
        check(Phase::Reading, "reading demo:1");
        check(Phase::Storing, "importing demo:1");
        let counted = image_progress::Progress::of_bytes(Phase::Storing, 1, Some(2));
        let expected = Some(Share {
            done: 1,
            total: Some(2),
        });
        assert_eq!(described(counted, "x").bytes, expected);
    }

    #[test]
    fn the_result_says_whether_anything_was_new() {
        let image = |size, was_there| ArrivedImage {
            names: vec!["a:1".to_owned(), "b:1".to_owned()],
            reference: "sha256:1".to_owned(),
            size,
            was_there,
        };
        let check = |image: &ArrivedImage, expected: &str| {
            assert_eq!(sentence(image, "pulled", "is up to date"), expected);
        };
        check(&image(4_404_019, false), "pulled a:1, b:1 (4.2Mi)");
        check(&image(0, true), "a:1, b:1 is up to date");
    }

    #[tokio::test]
    async fn an_archive_that_cannot_be_read_does_not_end_like_one_that_can() {
        let failure: Failure = Arc::default();
        let mut parts = read_in_thread("whole".as_bytes(), failure.clone());
        assert_eq!(parts.recv().await.unwrap().unwrap(), "whole");
        assert!(parts.recv().await.is_none());
        assert!(failure.lock().unwrap().is_none());
        // A directory can be opened and not be read.
        let directory = tempfile::tempdir().unwrap();
        let (from, size) = open(directory.path()).unwrap();
        assert_eq!(size, None);
        let mut parts = read_in_thread(from, failure.clone());
        assert_eq!(
            parts.recv().await.unwrap().unwrap_err().kind(),
            io::ErrorKind::IsADirectory
        );
        assert!(parts.recv().await.is_none());
        assert!(failure.lock().unwrap().is_some());
    }
}
