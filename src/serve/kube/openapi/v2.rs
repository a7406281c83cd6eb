//! The older document as protobuf (`gnostic-models/openapiv2/OpenAPIv2.proto`): that each kind's patch takes some parameters,
//! and no definitions. Clients that find no definition of a kind check nothing and leave it to the server. Pure.

/// A kind, as clients look for it: the path of its objects, and its name.
pub(super) struct Described {
    pub(super) path: String,
    pub(super) kind: &'static str,
}

/// The document.
pub(super) fn document(kinds: impl Iterator<Item = Described>, parameters: &[&str]) -> Vec<u8> {
    let info = [text(1, "gantry"), text(2, "v1")].concat();
    let paths: Vec<Vec<u8>> = kinds.map(|kind| field(2, &path(&kind, parameters))).collect();
    [text(1, "2.0"), field(2, &info), field(8, &paths.concat())].concat()
}

/// `NamedPathItem`: a path with its `patch`.
fn path(described: &Described, parameters: &[&str]) -> Vec<u8> {
    let parameters: Vec<Vec<u8>> = parameters.iter().map(|name| field(8, &parameter(name))).collect();
    let kind = format!("group: \"\"\nversion: v1\nkind: {}\n", described.kind);
    let extension = [
        text(1, "x-kubernetes-group-version-kind"),
        field(2, &text(2, &kind)),
    ];
    let patch = [parameters.concat(), field(13, &extension.concat())].concat();
    [text(1, &described.path), field(2, &field(8, &patch))].concat()
}

/// `ParametersItem`: within it a `Parameter`, a `NonBodyParameter` and a `QueryParameterSubSchema`.
fn parameter(name: &str) -> Vec<u8> {
    let query = [text(2, "query"), text(4, name), text(6, "string")].concat();
    field(1, &field(2, &field(3, &query)))
}

fn text(number: u8, text: &str) -> Vec<u8> {
    field(number, text.as_bytes())
}

/// A field with its length before its content. Numbers are below 16, so that the key is one byte.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let length = u64::try_from(content.len()).expect("a length in memory has 64 bits");
    prost::encoding::encode_varint(length, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_has_its_length_before_it() {
        assert_eq!(text(1, "2.0"), b"\x0a\x032.0");
        let long = field(2, &[b'x'; 300]);
        assert_eq!((&long[..3], long.len()), (&b"\x12\xac\x02"[..], 303));
        assert_eq!(
            parameter("a"),
            b"\x0a\x16\x12\x14\x1a\x12\x12\x05query\x22\x01a\x32\x06string"
        );
    }
}
