//! What the descriptions of pods and of the node have in common.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::outline::Outline;
use super::table::Table;
use crate::model::age;

/// `Fri, 20 Nov 2026 07:10:46 +0000`, in UTC.
pub(super) fn date(time: Option<&Time>) -> String {
    let text = time.and_then(|time| rfc2822::DateTimePrinter::new().timestamp_to_string(&time.0).ok());
    text.unwrap_or_else(|| "<unset>".to_owned())
        .replace("-0000", "+0000")
}

/// `key=value` lines, or with annotations' `key: value`.
pub(super) fn pairs(map: Option<&BTreeMap<String, String>>, between: &str) -> impl Iterator<Item = String> {
    let map = map.cloned().unwrap_or_default();
    let between = between.to_owned();
    map.into_iter()
        .map(move |(key, value)| format!("{key}{between}{value}"))
}

/// The events' table, the oldest first.
pub(super) fn events(outline: &mut Outline, events: &[&Event], now: Timestamp) {
    let mut table = Table::new(&["Type", "Reason", "Age", "From", "Message"]);
    if !events.is_empty() {
        table.row(["----", "------", "----", "----", "-------"].map(str::to_owned));
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    for event in events {
        let ago = |time: &Option<Time>| {
            time.as_ref()
                .map_or("<unknown>".to_owned(), |time| age::since(time.0, now))
        };
        let when = match event.count {
            Some(count) if count > 1 => {
                format!(
                    "{} (x{count} over {})",
                    ago(&event.last_timestamp),
                    ago(&event.first_timestamp)
                )
            }
            _ => ago(&event.first_timestamp),
        };
        let from = event
            .source
            .as_ref()
            .and_then(|source| source.component.clone())
            .unwrap_or_default();
        let message = text(&event.message).trim().replace('\n', " ");
        table.row([text(&event.type_), text(&event.reason), when, from, message]);
    }
    outline.table("Events", &table);
}
