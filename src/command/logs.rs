//! `gantry logs`.

use std::io::Write;
use std::time::Duration;

use form_urlencoded::Serializer;
use jiff::Timestamp;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::client::Client;
use super::table::in_line;
use super::{CommandError, pod_selection, print};

/// The options.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The pod's name, full or short.
    pub pod: String,
    /// Its namespace, if the name is ambiguous.
    pub namespace: Option<String>,
    /// The container; `None`: the pod's default or first one.
    pub container: Option<String>,
    /// Follow the log until the container ends.
    pub follow: bool,
    /// Print the log of the previous instance.
    pub previous: bool,
    /// Only this many last lines.
    pub tail: Option<u64>,
    /// Only lines that are not older; whole seconds.
    pub since: Option<Duration>,
    /// Only from this moment on.
    pub since_time: Option<Timestamp>,
    /// Whether each line is prefixed with its time.
    pub timestamps: bool,
    /// At most this many bytes.
    pub limit_bytes: Option<u64>,
}

/// Writes the log to `out`, notes to `err`.
pub async fn run(
    client: &Client,
    options: &Options,
    out: &mut (impl AsyncWrite + Unpin),
    err: &mut impl Write,
) -> Result<(), CommandError> {
    let pods = pod_selection::pods(client).await?;
    let pod = pod_selection::pod(&pods, &options.pod, options.namespace.as_deref())?;
    let container = pod_selection::container(pod, options.container.as_deref())?;
    if let Some(note) = &container.note {
        print(err, &format!("{}\n", in_line(note)))?;
    }
    let path = format!(
        "/logs/{}/{}/{}?{}",
        pod_selection::namespace(pod),
        pod_selection::name(pod),
        container.name,
        query(options)
    );
    let mut chunks = client.stream(&path).await?;
    while let Some(chunk) = chunks.next().await? {
        let written = match out.write_all(&chunk).await {
            Ok(()) => out.flush().await,
            error => error,
        };
        if let Err(error) = written {
            return CommandError::output(error).map_or(Ok(()), Err);
        }
    }
    Ok(())
}

fn query(options: &Options) -> String {
    let mut query = Serializer::new(String::new());
    for (name, wanted) in [
        ("follow", options.follow),
        ("previous", options.previous),
        ("timestamps", options.timestamps),
    ] {
        if wanted {
            query.append_pair(name, "true");
        }
    }
    for (name, value) in [
        ("tailLines", options.tail.map(|lines| lines.to_string())),
        (
            "sinceSeconds",
            options.since.map(|since| since.as_secs().to_string()),
        ),
        ("sinceTime", options.since_time.map(|time| time.to_string())),
        ("limitBytes", options.limit_bytes.map(|bytes| bytes.to_string())),
    ] {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    query.finish()
}
