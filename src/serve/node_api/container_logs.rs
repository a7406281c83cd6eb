//! `/containerLogs`: the output of a container, with the kubelet's errors (`getContainerLogs` in
//! `pkg/kubelet/server/server.go`), which are plain text that kubectl prints.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::serve::containers::container_names;
use crate::serve::logs;
use crate::serve::objects::find;
use crate::serve::world::Served;

/// The numbers of the query, which the kubelet reads first and compares with their least values then.
const NUMBERS: [&str; 3] = ["tailLines", "limitBytes", "sinceSeconds"];

pub(super) async fn answer(
    State(served): State<Served>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    RawQuery(raw): RawQuery,
    query: Result<Query<logs::LogQuery>, QueryRejection>,
) -> Response {
    let query = match query {
        Ok(query) => query,
        Err(_) if has_negative(raw.as_deref().unwrap_or_default()) => {
            let text = r#"{"message": "Invalid request."}"#;
            return (StatusCode::UNPROCESSABLE_ENTITY, text).into_response();
        }
        Err(_) => {
            let text = r#"{"message": "Unable to decode query."}"#;
            return (StatusCode::BAD_REQUEST, text).into_response();
        }
    };
    let missing = |text: String| (StatusCode::NOT_FOUND, text + "\n").into_response();
    let Ok((_, object)) = find(&served, namespace.clone(), pod.clone()) else {
        return missing(format!("pod {pod:?} does not exist"));
    };
    if !container_names(&object).contains(&container.as_str()) {
        return missing(format!("container {container:?} not found in pod {pod:?}"));
    }
    let answered = logs::answer(State(served), Path((namespace, pod, container)), Ok(query)).await;
    answered.unwrap_or_else(|refusal| (refusal.status(), refusal.to_string()).into_response())
}

fn has_negative(query: &str) -> bool {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.any(|(name, value)| {
        let number = value.parse::<i64>();
        NUMBERS.contains(&&*name) && number.is_ok_and(|number| number < 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_number_is_a_number() {
        let check = |query, expected| assert_eq!(has_negative(query), expected, "{query}");
        check("tailLines=-1", true);
        check("timestamps=true&limitBytes=-5", true);
        check("tailLines=1", false);
        check("tailLines=x", false);
        check("tailLines=-", false);
        check("other=-1", false);
        check("", false);
    }
}
