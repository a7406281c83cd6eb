//! A request that changes something, parsed: its options, and its body within a bound.

use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;

use super::body::{self, Body, unsupported};
use crate::model::manifest_edit::{EditOptions, FieldValidation, Hidden, Mode, Patch, Preconditions};
use crate::serve::answer::Refusal;
use crate::serve::query::values;

/// The largest body that is read, in bytes, as an API server's (`MaxRequestBodyBytes`).
const MAX_BODY: usize = 3 * 1024 * 1024;

/// An object that was sent, or a patch, with how the request is carried out.
pub(super) struct Sent<T> {
    pub(super) content: T,
    pub(super) options: EditOptions,
}

/// How an object goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Deletion {
    /// The grace period; `None`: the pod's own.
    pub(super) grace: Option<Duration>,
    pub(super) preconditions: Preconditions,
    pub(super) mode: Mode,
}

/// The object in the body of a request.
pub(super) async fn object(request: Request) -> Result<Sent<Hidden>, Refusal> {
    sent(request, body::object).await
}

/// The patch in the body of a request.
pub(super) async fn patch(request: Request) -> Result<Sent<Patch>, Refusal> {
    sent(request, body::patch).await
}

async fn sent<T>(
    request: Request,
    read: impl FnOnce(&str, &[u8]) -> Result<Body<T>, Refusal>,
) -> Result<Sent<T>, Refusal> {
    let mut options = options(request.uri().query().unwrap_or_default())?;
    let kind = media_type(request.headers());
    let body = self::body(request).await?;
    let read = read(&kind, &body)?;
    options.duplicates = read.duplicates;
    Ok(Sent {
        content: read.content,
        options,
    })
}

/// The options of a deletion, in the body (`DeleteOptions`) or in the query.
pub(super) async fn deletion(request: Request) -> Result<Deletion, Refusal> {
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Options {
        grace_period_seconds: Option<i64>,
        preconditions: Option<Stated>,
        dry_run: Option<Vec<String>>,
    }
    #[derive(Deserialize, Default)]
    #[serde(rename_all = "camelCase", default)]
    struct Stated {
        uid: Option<String>,
        resource_version: Option<String>,
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    let kind = media_type(request.headers());
    let body = body(request).await?;
    let options: Options = match (body.is_empty(), kind.as_str()) {
        (true, _) => Options::default(),
        (false, "" | "application/json") => serde_json::from_slice(&body)
            .map_err(|error| Refusal::BadRequest(format!("the DeleteOptions cannot be read: {error}")))?,
        (false, other) => return Err(unsupported(other, "application/json")),
    };
    let mode = match options.dry_run.as_deref() {
        None | Some([]) => mode(&query)?,
        Some(stated) => dry_run(stated.iter().map(String::as_str))?,
    };
    let stated = values(&query, "gracePeriodSeconds").next();
    let stated = stated.map(|text| {
        let number = text.parse::<i64>();
        number.map_err(|_| Refusal::BadRequest("gracePeriodSeconds: must be a number".to_owned()))
    });
    let seconds = options.grace_period_seconds.or(stated.transpose()?);
    let preconditions = options.preconditions.unwrap_or_default();
    Ok(Deletion {
        // A negative one stands for 1, as with the API server.
        grace: seconds.map(|seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(1))),
        preconditions: Preconditions {
            uid: preconditions.uid,
            version: preconditions.resource_version,
        },
        mode,
    })
}

fn options(query: &str) -> Result<EditOptions, Refusal> {
    let fields = match values(query, "fieldValidation").next().as_deref() {
        // As an API server without the parameter.
        None | Some("" | "Warn") => FieldValidation::Warn,
        Some("Ignore") => FieldValidation::Ignore,
        Some("Strict") => FieldValidation::Strict,
        Some(_) => {
            let text = "fieldValidation: must be Ignore, Warn or Strict";
            return Err(Refusal::BadRequest(text.to_owned()));
        }
    };
    Ok(EditOptions {
        fields,
        ..mode(query)?.into()
    })
}

fn mode(query: &str) -> Result<Mode, Refusal> {
    let stated: Vec<_> = values(query, "dryRun").collect();
    dry_run(stated.iter().map(AsRef::as_ref))
}

fn dry_run<'a>(values: impl Iterator<Item = &'a str>) -> Result<Mode, Refusal> {
    let values: Vec<&str> = values.filter(|value| !value.is_empty()).collect();
    match values.as_slice() {
        [] => Ok(Mode::Write),
        ["All"] => Ok(Mode::DryRun),
        _ => Err(Refusal::BadRequest("dryRun: must be All".to_owned())),
    }
}

fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = text.split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

async fn body(request: Request) -> Result<Bytes, Refusal> {
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    match body {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge(format!(
            "Request entity too large: limit is {MAX_BODY}"
        ))),
        Err(error) => Err(Refusal::BadRequest(format!("the body cannot be read: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde_json::{Value, json};

    use super::*;

    fn request(query: &str, kind: &str, body: impl Into<Body>) -> Request {
        let request = Request::builder().uri(format!("/x?{query}"));
        request.header("content-type", kind).body(body.into()).unwrap()
    }

    #[tokio::test]
    async fn a_body_is_json_or_yaml_within_a_bound() {
        let check = async |kind: &str, body: String, expected: Result<Value, u16>| {
            let read = object(request("", kind, body)).await;
            let read = read.map(|sent| sent.content.0);
            assert_eq!(
                read.map_err(|refusal| refusal.status().as_u16()),
                expected,
                "{kind}"
            );
        };
        check("application/json", r#"{"a": 1}"#.to_owned(), Ok(json!({"a": 1}))).await;
        check("", r#"{"a": 1}"#.to_owned(), Ok(json!({"a": 1}))).await;
        check(
            "application/yaml; charset=utf-8",
            "a: 1".to_owned(),
            Ok(json!({"a": 1})),
        )
        .await;
        check("application/json", "{".to_owned(), Err(400)).await;
        check("application/yaml", "a: 1\n---\nb: 1".to_owned(), Err(400)).await;
        check(
            "application/vnd.kubernetes.protobuf",
            "k8s\0\n\x09\n\x02v1\x12\x03Pod".to_owned(),
            Err(415),
        )
        .await;
        check("application/vnd.kubernetes.protobuf", "{}".to_owned(), Err(400)).await;
        check("application/json", " ".repeat(MAX_BODY + 1), Err(413)).await;
        let deep = "[".repeat(100_000);
        check("application/json", deep.clone(), Err(400)).await;
        check("application/yaml", deep, Err(400)).await;
    }

    #[tokio::test]
    async fn the_query_says_what_becomes_of_fields_that_are_wrong() {
        let check = async |query: &str, expected: Option<FieldValidation>| {
            let read = object(request(query, "", r#"{"a": 1, "a": 2}"#)).await.ok();
            let read = read.map(|sent| {
                assert_eq!(
                    (sent.content.0, sent.options.duplicates),
                    (json!({"a": 2}), vec!["a".to_owned()])
                );
                sent.options.fields
            });
            assert_eq!(read, expected, "{query}");
        };
        check("", Some(FieldValidation::Warn)).await;
        check("fieldValidation=Warn", Some(FieldValidation::Warn)).await;
        check("fieldValidation=Ignore&dryRun=All", Some(FieldValidation::Ignore)).await;
        check(
            "fieldManager=x&fieldValidation=Strict",
            Some(FieldValidation::Strict),
        )
        .await;
        check("fieldValidation=strict", None).await;
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_not_repeated() {
        let secret = r#"{"stringData": {"word": "hunter2"#;
        let refused = object(request("", "application/json", secret))
            .await
            .err()
            .unwrap();
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
    }

    #[tokio::test]
    async fn a_patch_has_one_of_three_kinds() {
        let check = async |kind: &str, expected: Option<Patch>| {
            let read = patch(request("dryRun=All", kind, "{}")).await.ok();
            assert!(read.as_ref().is_none_or(|sent| sent.options.mode == Mode::DryRun));
            assert_eq!(read.map(|sent| sent.content), expected, "{kind}");
        };
        let empty = || Hidden(json!({}));
        check(
            "application/strategic-merge-patch+json",
            Some(Patch::Strategic(empty())),
        )
        .await;
        check("application/merge-patch+json", Some(Patch::Merge(empty()))).await;
        check("application/json-patch+json", Some(Patch::Json(empty()))).await;
        check("application/apply-patch+yaml", None).await;
        check("application/json", None).await;
    }

    #[tokio::test]
    async fn a_deletion_has_options_in_its_body_or_its_query() {
        let check = async |query: &str, body: Value, expected: Option<(Option<u64>, Mode)>| {
            let body = if body.is_null() {
                String::new()
            } else {
                body.to_string()
            };
            let read = deletion(request(query, "application/json", body)).await.ok();
            let read = read.map(|read| (read.grace.map(|grace| grace.as_secs()), read.mode));
            assert_eq!(read, expected, "{query}");
        };
        check("", Value::Null, Some((None, Mode::Write))).await;
        check("gracePeriodSeconds=3", Value::Null, Some((Some(3), Mode::Write))).await;
        let body =
            json!({"kind": "DeleteOptions", "gracePeriodSeconds": 0, "propagationPolicy": "Background"});
        check("", body, Some((Some(0), Mode::Write))).await;
        check("", json!({"dryRun": ["All"]}), Some((None, Mode::DryRun))).await;
        check("dryRun=All", json!({}), Some((None, Mode::DryRun))).await;
        check("dryRun=Some", json!({}), None).await;
        check("gracePeriodSeconds=x", Value::Null, None).await;
        check("", json!(7), None).await;
    }
}
