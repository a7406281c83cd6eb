//! `gantry timeline POD`: the steps of the pod's last start and end, with their times.
//!
//! - `picture` (pure): the spans as bars.

mod picture;

use std::io::Write;

use super::client::{Client, ClientError};
use super::{CommandError, get, pod_selection, print, terminal};
use crate::serve::timeline::wire::PodTimeline;

/// The width of what is not printed on a terminal.
const WIDTH: usize = 80;

/// The options.
#[derive(Debug, Clone)]
pub struct Options {
    /// The pod's name, full or short.
    pub pod: String,
    /// Its namespace, if the name is ambiguous.
    pub namespace: Option<String>,
    /// How it is written.
    pub form: Form,
}

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A picture.
    Picture,
    /// JSON.
    Json,
}

/// Writes the timeline.
pub async fn run(client: &Client, options: &Options, out: &mut impl Write) -> Result<(), CommandError> {
    let timeline = ask(client, options).await?;
    let text = match options.form {
        Form::Picture => picture::text(&timeline, terminal::output_width().unwrap_or(WIDTH)),
        Form::Json => {
            let spans = serde_json::to_value(&timeline.spans);
            get::json_text(&spans.map_err(|error| CommandError::Answer(error.into()))?)?
        }
    };
    print(out, &text)
}

/// A pod that has ended is not listed any more, but its timeline may still be there.
async fn ask(client: &Client, options: &Options) -> Result<PodTimeline, CommandError> {
    let pods = pod_selection::pods(client).await?;
    let namespace = options.namespace.as_deref();
    match pod_selection::pod(&pods, &options.pod, namespace) {
        Ok(pod) => {
            let (namespace, name) = (pod_selection::namespace(pod), pod_selection::name(pod));
            Ok(client.object(&format!("/timeline/{namespace}/{name}")).await?)
        }
        Err(error) => {
            let namespace = namespace.unwrap_or("default");
            // What can be no name would be another path.
            let is_name = |text: &str| {
                let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
                !text.is_empty() && text.chars().all(is_plain)
            };
            if !is_name(namespace) || !is_name(&options.pod) {
                return Err(error);
            }
            let path = format!("/timeline/{namespace}/{}", options.pod);
            let answer: Result<PodTimeline, ClientError> = client.object(&path).await;
            answer.map_err(|_| error)
        }
    }
}
