//! `/flagz`: the flags of the command line.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;

use super::answer::answer as respond;
use super::metadata::Metadata;
use super::negotiation::Version;
use crate::serve::answer::not_found;
use crate::serve::world::Served;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Flagz<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Metadata,
    flags: &'a BTreeMap<String, String>,
}

pub(crate) async fn answer(State(served): State<Served>, headers: HeaderMap) -> Response {
    let Some(flags) = &served.world.offered.flags else {
        return not_found();
    };
    let object = |version: Version| Flagz {
        kind: "Flagz",
        api_version: version.api_version(),
        metadata: Metadata::OF_COMPONENT,
        flags,
    };
    respond(&headers, "Flagz", object, || text(flags))
}

fn text(flags: &BTreeMap<String, String>) -> String {
    flags.iter().fold(String::new(), |mut text, (name, value)| {
        writeln!(text, "{name}={value}").expect("writing to a String cannot fail");
        text
    })
}
