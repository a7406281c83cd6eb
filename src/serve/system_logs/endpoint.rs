//! Answers `/logs/`.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use jiff::Timestamp;

use super::SystemLogs;
use super::conditions::{Part, date, part};
use super::journal::{self, Split};
use super::listing::{Entry, page};
use super::place::{Closed, Found, find};
use super::query::{self, Options, Query, Wrong};
use super::request::{self, LogPath, parse};
use crate::bulkhead::{Bulkhead, Limits};
use crate::serve::answer::not_found;
use crate::serve::world::Served;

/// The path of the directory itself.
const TOP: &str = "/logs/";
/// How much of a file is read at once: what a caller that does not read costs.
const CHUNK: u64 = 64 * 1024;
/// How long a file system may take for one call.
const PATIENCE: Duration = Duration::from_secs(10);
/// Calls at the same time: a part of the log directory may be on a file system whose server is gone.
const LIMITS: Limits = Limits {
    total: 8,
    per_owner: 4,
};

static CALLS: LazyLock<Bulkhead> = LazyLock::new(|| Bulkhead::new("files of /logs/", LIMITS));

pub(crate) async fn answer(
    State(served): State<Served>,
    uri: Uri,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let directory = match &served.world.offered.system_logs {
        SystemLogs::Disabled => {
            return (StatusCode::METHOD_NOT_ALLOWED, "logs endpoint is disabled.\n").into_response();
        }
        SystemLogs::Files(directory) => directory,
        SystemLogs::FilesAndQueries { files, journalctl } => {
            match query::parse(query.as_deref().unwrap_or_default()) {
                Ok(None) => files,
                Ok(Some(Query::File(file))) => return send_named(files, file, &headers).await,
                Ok(Some(Query::Services(services, options))) => {
                    return send_services(files, journalctl, services, &options).await;
                }
                Err(wrong) => return wrong.into_response(),
            }
        }
    };
    let Some(escaped) = uri.path().strip_prefix(TOP) else {
        return not_found();
    };
    let Ok(path) = parse(escaped) else {
        return (StatusCode::BAD_REQUEST, "invalid URL path\n").into_response();
    };
    match look_up(directory, &path.path).await {
        Ok((found, subject)) => respond(found, &path, escaped, query.as_deref(), &headers, subject),
        Err(refused) => refused,
    }
}

/// What a path names, and how calls about it are called.
async fn look_up(directory: &Path, path: &[u8]) -> Result<(Found, String), Response> {
    let subject = format!("/logs/{}", String::from_utf8_lossy(path));
    let (directory, path) = (directory.to_owned(), path.to_owned());
    let found = CALLS
        .run(&subject, &subject, PATIENCE, move || find(&directory, &path))
        .await;
    match found {
        Ok(Ok(found)) => Ok((found, subject)),
        Ok(Err(closed)) => Err(closed.into_response()),
        Err(stuck) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("{stuck}\n")).into_response()),
    }
}

/// The file that a query names.
async fn send_named(directory: &Path, file: String, headers: &HeaderMap) -> Response {
    // It is not escaped; as a path of a URL it would be.
    let Ok(path) = request::checked(file.into_bytes()) else {
        return (
            StatusCode::NOT_ACCEPTABLE,
            "query: Invalid value: not a path below /var/log\n",
        )
            .into_response();
    };
    match look_up(directory, &path.path).await {
        Ok((Found::File { file, size, modified }, subject)) => send(file, size, modified, headers, subject),
        Ok((Found::Directory { entries, is_whole }, _)) => show_directory(entries, is_whole),
        Err(refused) => refused,
    }
}

/// The logs of services: of the journal, or, if one of them is not in it, the files of those that are not.
async fn send_services(
    directory: &Path,
    journalctl: &Path,
    services: Vec<String>,
    options: &Options,
) -> Response {
    let Some(turn) = journal::turn() else {
        let why = "other queries are being made; try again later\n";
        return (StatusCode::TOO_MANY_REQUESTS, why).into_response();
    };
    let Split { journal, files } = journal::split(journalctl, services).await;
    if files.is_empty() {
        return journal::show(journalctl, &journal, options, turn);
    }
    let kind = [(header::CONTENT_TYPE, "text/plain;charset=UTF-8")];
    if !options.are_default() {
        let files = files.join(" ");
        let text = format!(
            "\noptions present and query resolved to log files for [{files}]\ntry without specifying options\n"
        );
        return (kind, text).into_response();
    }
    let mut logs = Vec::new();
    for service in files {
        logs.push(match file_of(directory, &service).await {
            Some(file) => file.chunks().boxed(),
            None => {
                let missing = Bytes::from(format!("\nlog not found for {service}\n"));
                futures::stream::iter([Ok(missing)]).boxed()
            }
        });
    }
    let logs = futures::stream::iter(logs).flatten();
    (kind, Body::from_stream(logs)).into_response()
}

/// The file of a service that does not log to the journal, where the kubelet looks for it.
async fn file_of(directory: &Path, service: &str) -> Option<Rest> {
    for name in [
        service.to_owned(),
        format!("{service}.log"),
        format!("{service}/{service}.log"),
    ] {
        if let Ok((Found::File { file, size, .. }, subject)) = look_up(directory, name.as_bytes()).await {
            return Some(Rest {
                file,
                at: 0,
                end: size,
                subject,
            });
        }
    }
    None
}

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        match self {
            Wrong::Unreadable(why) => (StatusCode::BAD_REQUEST, why + "\n").into_response(),
            Wrong::Unacceptable(why) => (StatusCode::NOT_ACCEPTABLE, why + "\n").into_response(),
        }
    }
}

fn show_directory(entries: Vec<Entry>, is_whole: bool) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (kind, page(entries, is_whole)).into_response()
}

impl IntoResponse for Closed {
    fn into_response(self) -> Response {
        match self {
            Closed::Missing => not_found(),
            Closed::Outside => {
                let why = "a link on the path leads out of the log directory\n";
                (StatusCode::FORBIDDEN, why).into_response()
            }
            Closed::Special => {
                (StatusCode::FORBIDDEN, "neither a regular file nor a directory\n").into_response()
            }
            Closed::Failed(errno) => {
                let why = format!("cannot open it: {}\n", errno.desc());
                (StatusCode::INTERNAL_SERVER_ERROR, why).into_response()
            }
        }
    }
}

/// A relative URL, so that it holds behind the API server's proxy, too.
fn redirect(to: &str, query: Option<&str>) -> Response {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let location = [(header::LOCATION, format!("{to}{query}"))];
    (StatusCode::MOVED_PERMANENTLY, location).into_response()
}

fn respond(
    found: Found,
    path: &LogPath,
    escaped: &str,
    query: Option<&str>,
    headers: &HeaderMap,
    subject: String,
) -> Response {
    // The last part as it was sent, so that its escapes are right.
    let last = || {
        escaped
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or_default()
    };
    match found {
        // The links of the page are relative to the directory.
        Found::Directory { .. } if !path.as_directory => redirect(&format!("{}/", last()), query),
        Found::Directory { entries, is_whole } => show_directory(entries, is_whole),
        Found::File { .. } if path.as_directory => redirect(&format!("../{}", last()), query),
        Found::File { file, size, modified } => send(file, size, modified, headers, subject),
    }
}

fn send(file: File, size: u64, modified: Timestamp, headers: &HeaderMap, subject: String) -> Response {
    let (code, from, to) = match part(headers, size, modified) {
        Part::Whole => (StatusCode::OK, 0, size),
        Part::Range(from, to) => (StatusCode::PARTIAL_CONTENT, from, to),
        Part::NotModified => return StatusCode::NOT_MODIFIED.into_response(),
        Part::Failed => return StatusCode::PRECONDITION_FAILED.into_response(),
        Part::Unsatisfiable => {
            let range = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, range, "invalid range\n").into_response();
        }
    };
    let rest = Rest {
        file,
        at: from,
        end: to,
        subject,
    };
    let mut response = Response::builder()
        .status(code)
        // Pods choose the content: no browser may take it for a page.
        .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CONTENT_LENGTH, to - from)
        .header(header::LAST_MODIFIED, date(modified));
    if code == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {from}-{}/{size}", to - 1);
        response = response.header(header::CONTENT_RANGE, range);
    }
    let response = response.body(Body::from_stream(rest.chunks()));
    response.expect("the headers are printable text")
}

/// What is still to be sent of a file.
struct Rest {
    file: File,
    at: u64,
    end: u64,
    subject: String,
}

impl Rest {
    /// The chunks up to the end. It reads only when a chunk is wanted.
    fn chunks(self) -> impl Stream<Item = io::Result<Bytes>> {
        futures::stream::unfold(Some(self), async |rest| {
            let rest = rest.filter(|rest| rest.at < rest.end)?;
            match rest.next().await {
                Ok((chunk, rest)) => Some((Ok(chunk), Some(rest))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    async fn next(mut self) -> io::Result<(Bytes, Rest)> {
        let subject = self.subject.clone();
        let read = CALLS.run(&subject, &subject, PATIENCE, move || {
            let wanted = usize::try_from(CHUNK.min(self.end - self.at)).unwrap_or(usize::MAX);
            let mut chunk = vec![0; wanted];
            let count = self.file.read_at(&mut chunk, self.at)?;
            if count == 0 {
                // The length was announced: the response is cut off.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            chunk.truncate(count);
            self.at += count as u64;
            Ok((Bytes::from(chunk), self))
        });
        read.await.map_err(io::Error::other)?
    }
}
