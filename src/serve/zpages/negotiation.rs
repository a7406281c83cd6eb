//! Which form of a page a caller accepts. Text has no version; an object is sent only to a caller that names its kind,
//! group and version as parameters of the media type. Pure.

use std::cmp::Reverse;

/// The group of both objects.
pub(super) const GROUP: &str = "config.k8s.io";

/// The version of an object. Both have the same fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// Deprecated: the answer has a warning.
    V1alpha1,
    V1beta1,
}

impl Version {
    /// As in `apiVersion`.
    pub(super) fn api_version(self) -> &'static str {
        match self {
            Version::V1alpha1 => "config.k8s.io/v1alpha1",
            Version::V1beta1 => "config.k8s.io/v1beta1",
        }
    }
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json(Version),
    Yaml(Version),
}

/// The most media types of one header that are looked at.
const MOST: usize = 64;

/// A media type that the caller accepts.
struct Accepted<'a> {
    kind: &'a str,
    subkind: &'a str,
    /// In thousandths.
    quality: u16,
    parameters: Vec<(&'a str, &'a str)>,
}

/// The best form that an `Accept` header allows for an object of that kind; text if the header is empty; `None`: there is
/// none.
pub(super) fn negotiate(accept: &str, kind: &str) -> Option<Form> {
    if accept.trim().is_empty() {
        return Some(Form::Text);
    }
    let mut accepted: Vec<Accepted<'_>> = accept.split(',').take(MOST).filter_map(parse).collect();
    accepted.retain(|one| one.quality > 0);
    accepted.sort_by_key(|one| (Reverse(one.quality), one.kind == "*", one.subkind == "*"));
    accepted.iter().find_map(|one| form(one, kind))
}

fn parse(text: &str) -> Option<Accepted<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let (kind, subkind) = parts.next()?.split_once('/')?;
    let mut parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
    let quality = parameters.iter().find(|(name, _)| *name == "q");
    let quality = quality.map_or(1.0, |(_, value)| value.parse().unwrap_or(1.0));
    parameters.retain(|(name, _)| *name != "q");
    Some(Accepted {
        kind: kind.trim(),
        subkind: subkind.trim(),
        quality: thousandths(quality),
        parameters,
    })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within bounds
fn thousandths(quality: f64) -> u16 {
    (quality.clamp(0.0, 1.0) * 1000.0) as u16
}

/// The kubelet tries its media types in this order.
fn form(accepted: &Accepted<'_>, kind: &str) -> Option<Form> {
    let is = |top: &str, sub: &str| {
        [top, "*"].contains(&accepted.kind)
            && (accepted.subkind == sub || accepted.subkind == "*")
            && (accepted.kind != "*" || accepted.subkind == "*")
    };
    let value = |name: &str| {
        let mut parameters = accepted.parameters.iter();
        parameters.find(|(key, _)| *key == name).map(|(_, value)| *value)
    };
    // Streams and versions of the server do not exist here.
    if ["stream", "sv"]
        .iter()
        .any(|name| value(name).is_some_and(|value| !value.is_empty()))
    {
        return None;
    }
    let asked = (value("as"), value("g"), value("v"));
    let version = match asked {
        (Some(as_kind), Some(GROUP), Some("v1beta1")) if as_kind == kind => Some(Version::V1beta1),
        (Some(as_kind), Some(GROUP), Some("v1alpha1")) if as_kind == kind => Some(Version::V1alpha1),
        _ => None,
    };
    match version {
        Some(version) if is("application", "json") => Some(Form::Json(version)),
        Some(version) if is("application", "yaml") => Some(Form::Yaml(version)),
        None if asked == (None, None, None) && is("text", "plain") => Some(Form::Text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_sent_to_whom_names_it_and_text_to_everybody_else() {
        let check = |accept: &str, expected: Option<Form>| {
            assert_eq!(negotiate(accept, "Statusz"), expected, "{accept}");
        };
        let beta = "as=Statusz;g=config.k8s.io;v=v1beta1";
        check("", Some(Form::Text));
        check("  ", Some(Form::Text));
        check("*/*", Some(Form::Text));
        check("text/*", Some(Form::Text));
        check("text/plain", Some(Form::Text));
        check("text/plain;charset=utf-8", Some(Form::Text));
        check(
            &format!("application/json;{beta}"),
            Some(Form::Json(Version::V1beta1)),
        );
        check(
            &format!("application/json; {}", beta.replace(';', " ; ")),
            Some(Form::Json(Version::V1beta1)),
        );
        check(
            &format!("application/*;{beta}"),
            Some(Form::Json(Version::V1beta1)),
        );
        check(&format!("*/*;{beta}"), Some(Form::Json(Version::V1beta1)));
        check(
            &format!("application/yaml;{beta}"),
            Some(Form::Yaml(Version::V1beta1)),
        );
        let alpha = "application/json;v=v1alpha1;g=config.k8s.io;as=Statusz";
        check(alpha, Some(Form::Json(Version::V1alpha1)));
        check(
            &format!("application/json;{beta},text/plain"),
            Some(Form::Json(Version::V1beta1)),
        );
        check(
            &format!("application/json;{beta};q=0.5,text/plain"),
            Some(Form::Text),
        );
        check(
            &format!("text/plain;q=0,application/yaml;{beta}"),
            Some(Form::Yaml(Version::V1beta1)),
        );
        check("application/json,*/*;q=0.1", Some(Form::Text));
        // Without the parameters, or with those of another object, there is no JSON.
        check("application/json", None);
        check("text/html", None);
        check("application/json;as=Flagz;g=config.k8s.io;v=v1beta1", None);
        check("application/json;as=Statusz;g=config.k8s.io;v=v1", None);
        check(&format!("text/plain;{beta}"), None);
        check(&format!("application/json;{beta};stream=watch"), None);
        check(&format!("application/vnd.kubernetes.protobuf;{beta}"), None);
        check("json", None);
        check("*/plain", None);
        check("text/plain;q=0", None);
    }

    #[test]
    fn a_long_header_is_not_read_to_its_end() {
        let many = "application/json,".repeat(MOST);
        assert_eq!(negotiate(&format!("{many}text/plain"), "Flagz"), None);
    }
}
