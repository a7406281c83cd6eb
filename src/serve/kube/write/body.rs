//! The body of a request that changes something, by its media type: an object, or a patch. Pure.

use serde_json::Value;

use super::json;
use super::protobuf::{self, Unread};
use crate::model::manifest_edit::{Hidden, Patch};
use crate::model::yaml::document;
use crate::serve::answer::Refusal;

/// What a body has.
#[derive(Debug, Clone, PartialEq)]
pub struct Body<T> {
    /// The object, or the patch.
    pub content: T,
    /// The paths of the fields that are there twice, of which the last one counts.
    pub duplicates: Vec<String>,
}

/// Reads an object.
///
/// # Errors
///
/// The body is not what the media type says, or that is another one than an object is sent in. Nothing of it is repeated.
pub fn object(media_type: &str, body: &[u8]) -> Result<Body<Hidden>, Refusal> {
    let alone = |content| Body {
        content: Hidden(content),
        duplicates: Vec::new(),
    };
    match media_type {
        "" | "application/json" => json(body),
        "application/yaml" => yaml(body).map(alone),
        "application/vnd.kubernetes.protobuf" => {
            let read = protobuf::read(body).map_err(|unread| match unread {
                Unread::Kind(object) => unsupported(
                    media_type,
                    &format!("application/json and application/yaml for a {object}"),
                ),
                Unread::Damaged => Refusal::BadRequest("the body is not Kubernetes' protobuf".to_owned()),
            });
            read.map(alone)
        }
        other => Err(unsupported(other, "application/json and application/yaml")),
    }
}

/// Reads a patch.
///
/// # Errors
///
/// As for an object.
pub fn patch(media_type: &str, body: &[u8]) -> Result<Body<Patch>, Refusal> {
    let make: fn(Hidden) -> Patch = match media_type {
        "application/strategic-merge-patch+json" => Patch::Strategic,
        "application/merge-patch+json" => Patch::Merge,
        "application/json-patch+json" => Patch::Json,
        other if other.starts_with("application/apply-patch") => {
            let text = "server-side apply is not served here: use kubectl apply without --server-side";
            return Err(Refusal::UnsupportedMediaType(text.to_owned()));
        }
        other => {
            return Err(unsupported(
                other,
                "application/strategic-merge-patch+json, application/merge-patch+json and application/json-patch+json",
            ));
        }
    };
    let read = json(body)?;
    Ok(Body {
        content: make(read.content),
        duplicates: read.duplicates,
    })
}

/// The refusal of a media type.
pub(super) fn unsupported(kind: &str, supported: &str) -> Refusal {
    Refusal::UnsupportedMediaType(format!(
        "the body of the request was in an unknown format ({kind:?}): accepted are {supported}"
    ))
}

/// The error of a reader may repeat what it read, which may be secret: only its place is shown.
fn json(body: &[u8]) -> Result<Body<Hidden>, Refusal> {
    let read = json::read(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Refusal::BadRequest(format!("the body is not JSON: line {line}, column {column}"))
    })?;
    Ok(Body {
        content: Hidden(read.value),
        duplicates: read.duplicates,
    })
}

fn yaml(body: &[u8]) -> Result<Value, Refusal> {
    let wrong = |line: usize| Refusal::BadRequest(format!("the body is not one YAML document: line {line}"));
    let text = std::str::from_utf8(body).map_err(|_| wrong(1))?;
    let document = document::read_one(text).map_err(|error| wrong(error.line))?;
    Ok(document.value)
}
