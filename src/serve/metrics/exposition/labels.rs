//! The labels of a value, written once for all values that have them.

/// Labels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Labels {
    pub(super) pairs: Vec<(&'static str, String)>,
    /// `a="1",b="2"`
    pub(super) text: String,
}

impl Labels {
    pub(crate) fn of(pairs: &[(&'static str, &str)]) -> Labels {
        let mut text = String::new();
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
pub(super) fn write<'a>(text: &mut String, pairs: impl Iterator<Item = (&'a str, &'a str)>) {
    for (name, value) in pairs {
        if !text.is_empty() && !text.ends_with('{') {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        escape(text, value);
        text.push('"');
    }
}

fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            plain => text.push(plain),
        }
    }
}
