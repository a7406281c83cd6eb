//! Serializes an object as YAML that every parser reads alike, including YAML 1.1 parsers, for which `yes`, `0644` and
//! `12:30` are not strings.

use serde_json::Value;
use serde_saphyr::{SerializerOptions, ser_options, to_string_with_options};

/// The text, with a final line break.
///
/// # Errors
///
/// None is known for a JSON value.
pub fn text(value: &Value) -> Result<String, serde_saphyr::SerializeError> {
    let options: SerializerOptions = ser_options! {
        // Lines are never wrapped, so that commands can be copied.
        folded_wrap_chars: usize::MAX,
    };
    to_string_with_options(value, options)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_could_be_taken_for_something_else_is_quoted() {
        let value = json!({
            "args": ["yes", "0644", "1e3", "null", "", "12:30", "- x", "a: b", "10Mi", "1", "on", "~"],
            "env": [{"name": "A", "value": "true"}],
            "long": "word ".repeat(40).trim_end(),
            "lines": "one\ntwo\n",
            "empty": {}, "none": [], "number": 7, "truth": true, "nothing": null,
        });
        let expected = format!(
            r#"args:
- "yes"
- "0644"
- "1e3"
- "null"
- ""
- "12:30"
- "- x"
- "a: b"
- 10Mi
- "1"
- "on"
- "~"
empty: {{}}
env:
- name: A
  value: "true"
lines: |
  one
  two
long: {}
none: []
nothing: null
number: 7
truth: true
"#,
            "word ".repeat(40).trim_end()
        );
        assert_eq!(text(&value).unwrap(), expected);
    }

    #[test]
    fn cve_2021_25743_yaml_commands_no_terminal() {
        let value = json!({"a": "x\u{1b}[2J\u{7f}\u{9b}2J", "lines": "one\u{1b}[2J\ntwo\n", "b\u{1b}": "c"});
        let text = text(&value).unwrap();
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
}
