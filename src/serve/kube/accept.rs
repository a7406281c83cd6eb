//! The form of an answer that a client accepts: objects, or the rows of a table. Pure.

use axum::http::{HeaderMap, header};

use crate::serve::answer::Refusal;

/// The form of an answer; always JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Objects as they are.
    Objects,
    /// The columns that kubectl prints.
    Table(TableVersion),
}

/// The version of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TableVersion {
    V1,
    V1beta1,
}

impl TableVersion {
    pub(super) fn api_version(self) -> &'static str {
        match self {
            TableVersion::V1 => "meta.k8s.io/v1",
            TableVersion::V1beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// The first form in the client's list that there is.
pub(super) fn parse(headers: &HeaderMap) -> Result<Form, Refusal> {
    let mut wanted = headers.get_all(header::ACCEPT).iter().peekable();
    if wanted.peek().is_none() {
        return Ok(Form::Objects);
    }
    let texts = wanted.filter_map(|value| value.to_str().ok());
    let mut forms = texts.flat_map(|text| text.split(',')).filter_map(form);
    forms.next().ok_or_else(|| {
        let text = "only JSON is served: objects, and tables of meta.k8s.io/v1 and v1beta1";
        Refusal::NotAcceptable(text.to_owned())
    })
}

fn form(text: &str) -> Option<Form> {
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next()?;
    if !["application/json", "application/*", "*/*"].contains(&kind) {
        return None;
    }
    let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
    let value = |name: &str| {
        parameters
            .iter()
            .find(|(is, _)| *is == name)
            .map(|(_, value)| *value)
    };
    match (value("as"), value("g"), value("v")) {
        (None | Some(""), _, _) => Some(Form::Objects),
        (Some("Table"), Some("meta.k8s.io"), Some("v1")) => Some(Form::Table(TableVersion::V1)),
        (Some("Table"), Some("meta.k8s.io"), Some("v1beta1")) => Some(Form::Table(TableVersion::V1beta1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_there_is_is_chosen() {
        let check = |text: &str, expected: Option<Form>| {
            let headers: HeaderMap = [(header::ACCEPT, text.parse().unwrap())].into_iter().collect();
            assert_eq!(parse(&headers).ok(), expected, "{text}");
        };
        let table = |version| Some(Form::Table(version));
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            table(TableVersion::V1),
        );
        check(
            "application/json;as=Table;g=meta.k8s.io;v=v1beta1",
            table(TableVersion::V1beta1),
        );
        check(
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1, */*",
            Some(Form::Objects),
        );
        check(
            "application/vnd.kubernetes.protobuf, application/json",
            Some(Form::Objects),
        );
        check("application/json; stream=watch", Some(Form::Objects));
        check("application/json;as=Table;g=other;v=v1", None);
        check("application/yaml", None);
        check("", None);
        assert_eq!(parse(&HeaderMap::new()).unwrap(), Form::Objects);
    }
}
