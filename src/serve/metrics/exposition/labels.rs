//! The labels of a value, written once for all values that have them.

/// Labels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Labels {
    pub(super) pairs: Vec<(&'static str, String)>,
    /// `a="1",b="2"`
    pub(super) text: Vec<u8>,
}

impl Labels {
    pub(crate) fn of(pairs: &[(&'static str, &str)]) -> Labels {
        let mut text = Vec::new();
        write(&mut text, pairs.iter().copied());
        Labels {
            pairs: pairs
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
            text,
        }
    }
}

/// Adds labels to those that are there.
pub(super) fn write<'a>(text: &mut Vec<u8>, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    for (name, value) in pairs {
        if !matches!(text.last(), None | Some(b'{')) {
            text.push(b',');
        }
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b"=\"");
        escape(text, value.as_bytes());
        text.push(b'"');
    }
}

fn escape(text: &mut Vec<u8>, value: &[u8]) {
    let is_special = |byte: &u8| matches!(byte, b'\\' | b'"' | b'\n');
    let mut rest = value;
    while let Some(at) = rest.iter().position(is_special) {
        text.extend_from_slice(&rest[..at]);
        text.extend_from_slice(match rest[at] {
            b'\n' => b"\\n",
            b'"' => b"\\\"",
            _ => b"\\\\",
        });
        rest = &rest[at + 1..];
    }
    text.extend_from_slice(rest);
}
