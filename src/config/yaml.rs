//! YAML or JSON text as plain values, with the line of every key.
//!
//! Pure: text in, documents out. Limits bound the cost of a hostile or broken file.

use std::collections::{BTreeMap, HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};

/// The maximum number of nodes in one file after alias expansion.
const MAX_NODES: usize = 100_000;
/// How deep a file may nest.
const MAX_DEPTH: usize = 64;

/// The path to a value: keys, and indices in decimal.
pub type KeyPath = Vec<String>;

/// One document of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Why.
    pub value: Value,
    /// The line on which it starts, from 1.
    pub line: usize,
    /// The line of each key and list entry, from 1.
    pub lines: BTreeMap<KeyPath, usize>,
}

impl Document {
    /// The line of a value, or of its nearest parent that has one.
    pub fn line_of(&self, path: &[String]) -> usize {
        (0..=path.len())
            .rev()
            .find_map(|length| self.lines.get(&path[..length]))
            .copied()
            .unwrap_or(self.line)
    }
}

/// Why a text cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct SyntaxError {
    /// The line, from 1.
    pub line: usize,
    /// The problem.
    pub problem: String,
}

/// Reads all documents of a text; empty ones are skipped.
pub fn read(text: &str) -> Result<Vec<Document>, SyntaxError> {
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        anchors: HashMap::new(),
        nodes: 0,
        lines: BTreeMap::new(),
        path: Vec::new(),
    };
    let mut documents = Vec::new();
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(documents),
            (Event::DocumentStart(_), _) => {
                let (event, span) = reader.next()?;
                let line = span.start.line();
                let value = reader.value(event, span)?;
                let lines = std::mem::take(&mut reader.lines);
                reader.anchors.clear();
                if !value.is_null() {
                    documents.push(Document { value, line, lines });
                }
            }
            _ => {}
        }
    }
}

struct Reader<'a> {
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: HashMap<usize, (Value, usize)>,
    nodes: usize,
    lines: BTreeMap<KeyPath, usize>,
    path: KeyPath,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), SyntaxError> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(SyntaxError {
                line: error.marker().line(),
                problem: error.info().to_owned(),
            }),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// The value that starts with this event. Recursion is bounded by [`MAX_DEPTH`].
    fn value(&mut self, event: Event<'a>, span: Span) -> Result<Value, SyntaxError> {
        let line = span.start.line();
        if self.path.len() > MAX_DEPTH {
            return Err(problem(line, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let before = self.nodes;
        self.count(1, line)?;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_string = style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.suffix == "str");
                let value = if is_string {
                    Value::String(text.into_owned())
                } else {
                    plain_scalar(&text)
                };
                (value, anchor)
            }
            Event::SequenceStart(anchor, _) => (self.sequence()?, anchor),
            Event::MappingStart(anchor, _) => (self.mapping()?, anchor),
            Event::Alias(anchor) => {
                let (value, size) = self.anchors.get(&anchor).cloned().ok_or_else(|| {
                    problem(line, "an alias to an anchor that is not defined yet".to_owned())
                })?;
                self.count(size, line)?;
                (value, 0)
            }
            _ => (Value::Null, 0),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), self.nodes - before));
        }
        Ok(value)
    }

    fn count(&mut self, nodes: usize, line: usize) -> Result<(), SyntaxError> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(problem(line, format!("more than {MAX_NODES} values in one file")));
        }
        Ok(())
    }

    fn sequence(&mut self) -> Result<Value, SyntaxError> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::Array(items));
            }
            self.path.push(items.len().to_string());
            self.lines.insert(self.path.clone(), span.start.line());
            let item = self.value(event, span);
            self.path.pop();
            items.push(item?);
        }
    }

    fn mapping(&mut self) -> Result<Value, SyntaxError> {
        let mut map = Map::new();
        loop {
            let (event, span) = self.next()?;
            let line = span.start.line();
            let key = match event {
                Event::MappingEnd => return Ok(Value::Object(map)),
                Event::Scalar(key, ..) => key.into_owned(),
                _ => return Err(problem(line, "a key must be a scalar".to_owned())),
            };
            self.path.push(key);
            if let Some(first) = self.lines.insert(self.path.clone(), line) {
                let message = format!("key {} appears twice, first on line {first}", show(&self.path));
                return Err(problem(line, message));
            }
            let (event, span) = self.next()?;
            let value = self.value(event, span);
            let key = self.path.pop().expect("the key was pushed above");
            map.insert(key, value?);
        }
    }
}

fn problem(line: usize, problem: String) -> SyntaxError {
    SyntaxError { line, problem }
}

/// A path as people write it: `authentication.x509`, `clusterDNS[0]`, `evictionHard["memory.available"]`.
pub fn show(path: &[String]) -> String {
    let mut shown = String::new();
    for part in path {
        if part.parse::<usize>().is_ok() {
            shown.push_str(&format!("[{part}]"));
        } else if part.contains(['.', '/', ' ']) {
            shown.push_str(&format!("[{part:?}]"));
        } else {
            if !shown.is_empty() {
                shown.push('.');
            }
            shown.push_str(part);
        }
    }
    shown
}

/// Resolves an unquoted scalar: the core schema, plus YAML 1.1's yes/no/on/off, which the kubelet's parser treats as
/// booleans too.
fn plain_scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    let numeric = text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.'));
    if numeric {
        if let Ok(number) = text.parse::<i64>() {
            return Value::from(number);
        }
        if let Some(number) = text.parse::<f64>().ok().and_then(Number::from_f64) {
            return Value::Number(number);
        }
    }
    Value::String(text.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(parts: &[&str]) -> KeyPath {
        parts.iter().map(|&part| part.to_owned()).collect()
    }

    #[test]
    fn values_and_their_lines() {
        let text = "a: 1\nb:\n  c.d: \"yes\"\n  e: yes\n---\n# nothing\n---\n- x\n- ~\n- 1.5\n- 10.0.0.1\n";
        let documents = read(text).unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(
            documents[0].value,
            json!({"a": 1, "b": {"c.d": "yes", "e": true}})
        );
        assert_eq!(documents[0].line_of(&path(&["b", "c.d"])), 3);
        assert_eq!(documents[0].line_of(&path(&["b", "absent"])), 2);
        assert_eq!(documents[1].value, json!(["x", null, 1.5, "10.0.0.1"]));
        assert_eq!(documents[1].line_of(&path(&["3"])), 11);
    }

    #[test]
    fn json_is_read_as_well() {
        let documents = read("{\n\t\"a\": [1, true],\n\t\"b\": {\"c\": null}\n}\n").unwrap();
        assert_eq!(documents[0].value, json!({"a": [1, true], "b": {"c": null}}));
        assert_eq!(documents[0].line_of(&path(&["b"])), 3);
    }

    #[test]
    fn anchors_are_expanded() {
        let documents = read("a: &x {b: 1}\nc: *x\n").unwrap();
        assert_eq!(documents[0].value, json!({"a": {"b": 1}, "c": {"b": 1}}));
    }

    fn check_error(text: &str, line: usize, words: &str) {
        let error = read(text).unwrap_err();
        assert_eq!(error.line, line, "{error}");
        assert!(error.problem.contains(words), "{error}");
    }

    #[test]
    fn broken_texts() {
        check_error("a: 1\nb: 2\na: 3\n", 3, "a appears twice, first on line 1");
        check_error("a:\n  b: 1\n  b: 2\n", 3, "a.b appears twice, first on line 2");
        check_error("? [x]\n: 1\n", 1, "a key must be a scalar");
        check_error("a: *x\n", 1, "");
        check_error(&"[".repeat(100), 1, "nested deeper");
        check_error("a: [1, 2\nb: 3\n", 2, "");
    }

    #[test]
    fn an_alias_bomb_is_stopped() {
        let mut text = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n".to_owned();
        for level in 1..9 {
            let list = vec![format!("*a{}", level - 1); 10].join(",");
            text.push_str(&format!("a{level}: &a{level} [{list}]\n"));
        }
        assert!(
            read(&text)
                .unwrap_err()
                .problem
                .contains("more than 100000 values")
        );
    }

    #[test]
    fn paths_as_people_write_them() {
        assert_eq!(show(&path(&["a", "b", "0"])), "a.b[0]");
        assert_eq!(
            show(&path(&["evictionHard", "memory.available"])),
            "evictionHard[\"memory.available\"]"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn what_json_says_is_read_back(keys in proptest::collection::btree_map("[a-z]{1,6}", -1000i64..1000, 0..8)) {
            let value = serde_json::to_value(&keys).unwrap();
            let documents = read(&value.to_string()).unwrap();
            proptest::prop_assert_eq!(&documents[0].value, &value);
        }
    }
}
