//! `gantry events`: what happened to the pods, and with `-w` what happens, as `kubectl events` shows it.

use std::io::Write;

use jiff::Timestamp;
use k8s_openapi::List;
use k8s_openapi::api::core::v1::Event;

use super::client::Client;
use super::json_lines::JsonLines;
use super::table::{Table, in_line};
use super::{CommandError, pod_selection, print};
use crate::cli::Report;
use crate::cli::events::EventKind;
use crate::model::age;

/// The columns of a table that has no end, so that their widths cannot follow from the content.
const WIDTHS: [usize; 5] = [16, 12, 9, 18, 24];
const HEADINGS: [&str; 6] = ["NAMESPACE", "LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];

/// The options.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only those of this pod, by its full or short name.
    pub pod: Option<String>,
    /// Only those in this namespace.
    pub namespace: Option<String>,
    /// Whether to wait for more.
    pub watch: bool,
    /// Only those of this type.
    pub kind: Option<EventKind>,
    /// Text, or JSON objects, one a line.
    pub output: Report,
}

/// Prints the events, the oldest first.
pub async fn run(client: &Client, options: &Options, out: &mut impl Write) -> Result<(), CommandError> {
    let filter = Filter::new(client, options).await?;
    if options.watch {
        return watch(client, &filter, options.output, out).await;
    }
    let mut events = client.object::<List<Event>>("/events").await?.items;
    events.retain(|event| filter.wants(event));
    events.sort_by_key(seen);
    match options.output {
        Report::Json => events.iter().try_for_each(|event| print(out, &json(event))),
        Report::Text if events.is_empty() => print(out, "No events found.\n"),
        Report::Text => {
            let mut table = Table::new(&HEADINGS);
            let now = Timestamp::now();
            events.iter().for_each(|event| table.row(row(event, now)));
            print(out, &table.text(""))
        }
    }
}

/// Which events are shown.
struct Filter {
    /// The pod's namespace and name.
    pod: Option<(String, String)>,
    namespace: Option<String>,
    kind: Option<EventKind>,
}

impl Filter {
    async fn new(client: &Client, options: &Options) -> Result<Filter, CommandError> {
        let namespace = options.namespace.clone();
        let pod = match &options.pod {
            None => None,
            Some(name) => {
                let pods = pod_selection::pods(client).await?;
                let pod = pod_selection::pod(&pods, name, namespace.as_deref())?;
                let both = (pod_selection::namespace(pod), pod_selection::name(pod));
                Some((both.0.to_owned(), both.1.to_owned()))
            }
        };
        Ok(Filter {
            pod,
            namespace,
            kind: options.kind,
        })
    }

    fn wants(&self, event: &Event) -> bool {
        let object = &event.involved_object;
        let namespace = object.namespace.as_deref().unwrap_or_default();
        let name = object.name.as_deref().unwrap_or_default();
        let kind = match self.kind {
            None => true,
            Some(EventKind::Normal) => event.type_.as_deref() == Some("Normal"),
            Some(EventKind::Warning) => event.type_.as_deref() == Some("Warning"),
        };
        let is_of_pod = self
            .pod
            .as_ref()
            .is_none_or(|pod| (pod.0.as_str(), pod.1.as_str()) == (namespace, name));
        kind && is_of_pod && self.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
    }
}

async fn watch(
    client: &Client,
    filter: &Filter,
    output: Report,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let mut events = JsonLines::new(client.stream("/events?watch=true").await?);
    if output == Report::Text {
        print(out, &line(HEADINGS.map(str::to_owned)))?;
    }
    while let Some(event) = events.next::<Event>().await? {
        if !filter.wants(&event) {
            continue;
        }
        let text = match output {
            Report::Json => json(&event),
            Report::Text => line(row(&event, Timestamp::now())),
        };
        print_while_read(out, &text)?;
    }
    Err(CommandError::Choice("gantry has stopped".to_owned()))
}

/// A reader that has gone ends the watch.
fn print_while_read(out: &mut impl Write, text: &str) -> Result<(), CommandError> {
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(CommandError::Output)
}

fn json(event: &Event) -> String {
    let text = serde_json::to_string(event).expect("Kubernetes objects serialize to JSON");
    text + "\n"
}

fn seen(event: &Event) -> Option<Timestamp> {
    event.last_timestamp.as_ref().map(|time| time.0)
}

fn row(event: &Event, now: Timestamp) -> [String; 6] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let ago = |time: Option<Timestamp>| time.map_or("<unknown>".to_owned(), |time| age::since(time, now));
    let last = ago(seen(event));
    let first = event.first_timestamp.as_ref().map(|time| time.0);
    let when = match event.count {
        Some(count) if count > 1 => format!("{last} (x{count} over {})", ago(first)),
        _ => last,
    };
    let object = &event.involved_object;
    let kind = text(&object.kind).to_lowercase();
    [
        text(&object.namespace),
        when,
        text(&event.type_),
        text(&event.reason),
        format!("{kind}/{}", text(&object.name)),
        text(&event.message).trim().replace('\n', " "),
    ]
}

/// A row whose columns are as wide as most of their cells.
fn line(cells: [String; 6]) -> String {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(WIDTHS.into_iter().chain([0])) {
        text += &format!("{:width$}   ", in_line(cell), width = width - width.min(3));
    }
    text.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn event(name: &str, kind: &str, count: i32) -> Event {
        let object = json!({
            "metadata": {}, "type": kind, "reason": "BackOff", "message": "Back-off\nrestarting", "count": count,
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": name},
            "firstTimestamp": "2026-11-29T00:00:00Z", "lastTimestamp": "2026-11-29T00:01:00Z",
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_row_says_when_what_and_how_often() {
        let now = "2026-11-29T00:01:30Z".parse().unwrap();
        let text = line(HEADINGS.map(str::to_owned))
            + &line(row(&event("web-vm", "Normal", 1), now))
            + &line(row(&event("a-pod-with-a-rather-long-name-vm", "Warning", 3), now));
        expect![[r#"
            NAMESPACE       LAST SEEN   TYPE     REASON            OBJECT                  MESSAGE
            default         30s         Normal   BackOff           pod/web-vm              Back-off restarting
            default         30s (x3 over 90s)   Warning   BackOff           pod/a-pod-with-a-rather-long-name-vm   Back-off restarting
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn only_what_was_asked_for() {
        let filter = |pod: Option<&str>, namespace: Option<&str>, kind| Filter {
            pod: pod.map(|pod| ("default".to_owned(), pod.to_owned())),
            namespace: namespace.map(str::to_owned),
            kind,
        };
        let warning = event("web-vm", "Warning", 1);
        assert!(filter(None, None, None).wants(&warning));
        assert!(filter(Some("web-vm"), Some("default"), Some(EventKind::Warning)).wants(&warning));
        assert!(!filter(Some("db-vm"), None, None).wants(&warning));
        assert!(!filter(None, Some("kube-system"), None).wants(&warning));
        assert!(!filter(None, None, Some(EventKind::Normal)).wants(&warning));
    }
}
