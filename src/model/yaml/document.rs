//! YAML or JSON text as plain values, with the line of every key.
//!
//! Pure: text in, documents out. Limits bound the cost of a hostile or broken file.

use std::collections::{BTreeMap, HashMap};

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::scalar::{self, Scalar};

/// The maximum number of nodes in one file after alias expansion.
const MAX_NODES: usize = 100_000;
/// How deep a file may nest.
const MAX_DEPTH: usize = 64;

/// The path to a value: keys, and indices in decimal.
pub type KeyPath = Vec<String>;

/// One document of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What it says.
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

    /// The document as a value of a type. A wrong one is named by its path, with the reason, which may repeat it.
    pub fn typed<T: DeserializeOwned>(&self) -> Result<T, (KeyPath, String)> {
        serde_path_to_error::deserialize(&self.value)
            .map_err(|error| (key_path(error.path()), error.inner().to_string()))
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
        events: Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)),
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

/// Reads a text that has one document at most; none is null.
pub fn read_one(text: &str) -> Result<Document, SyntaxError> {
    let mut documents = read(text)?.into_iter();
    let first = documents.next().unwrap_or_else(|| Document {
        value: Value::Null,
        line: 1,
        lines: BTreeMap::new(),
    });
    match documents.next() {
        None => Ok(first),
        Some(second) => Err(problem(
            second.line,
            "a second document: keep one of the two".to_owned(),
        )),
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
                let value = meaning(&text, style, tag.as_deref(), line)?.json();
                let value = value.ok_or_else(|| {
                    problem(
                        line,
                        format!(
                            "{text} is a number that JSON, and so Kubernetes, does not have: put it in quotes"
                        ),
                    )
                })?;
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
                Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<" => {
                    let (event, span) = self.next()?;
                    self.merge(&mut map, event, span)?;
                    continue;
                }
                Event::Scalar(text, style, _, tag) => meaning(&text, style, tag.as_deref(), line)?
                    .key()
                    .map_err(|what| problem(line, format!("the key is {what}: a key must be text")))?,
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

    /// Adds the entries of `<<: *alias` (YAML 1.1, merge). As in the kubelet's reader, they replace earlier entries, and
    /// later entries replace them; of several mappings the first takes precedence.
    fn merge(
        &mut self,
        map: &mut Map<String, Value>,
        event: Event<'a>,
        span: Span,
    ) -> Result<(), SyntaxError> {
        let line = span.start.line();
        self.path.push("<<".to_owned());
        let value = self.value(event, span);
        self.path.pop();
        let sources = match value? {
            Value::Array(sources) => sources,
            source => vec![source],
        };
        for source in sources.into_iter().rev() {
            let Value::Object(entries) = source else {
                return Err(problem(line, "`<<` merges only mappings".to_owned()));
            };
            map.extend(entries);
        }
        Ok(())
    }
}

/// What a scalar means.
fn meaning(text: &str, style: ScalarStyle, tag: Option<&Tag>, line: usize) -> Result<Scalar, SyntaxError> {
    scalar::tagged(text, style == ScalarStyle::Plain, tag).map_err(|message| problem(line, message))
}

fn problem(line: usize, problem: String) -> SyntaxError {
    SyntaxError { line, problem }
}

/// The path at which deserializing failed.
pub fn key_path(path: &serde_path_to_error::Path) -> KeyPath {
    use serde_path_to_error::Segment;
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Map { key } => Some(key.clone()),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
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
    fn one_document_at_most() {
        assert_eq!(read_one("a: 1\n---\n").unwrap().value, json!({"a": 1}));
        assert_eq!(read_one("").unwrap().value, Value::Null);
        assert_eq!(read_one("a: 1\n---\nb: 1\n").unwrap_err().line, 3);
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_by_its_path() {
        let document = read_one("a:\n  b: [1, x]\n").unwrap();
        let (at, problem) = document
            .typed::<BTreeMap<String, BTreeMap<String, Vec<i32>>>>()
            .unwrap_err();
        assert_eq!(at, path(&["a", "b", "1"]));
        assert!(problem.contains("invalid type"), "{problem}");
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

    #[test]
    fn scalars_mean_what_they_mean_in_a_manifest() {
        let check = |text: &str, expected: Value| {
            let documents = read(&format!("a: {text}\n")).unwrap();
            assert_eq!(documents[0].value["a"], expected, "{text}");
        };
        check("0644", json!(420));
        check("0x1F", json!(31));
        check("1_000", json!(1000));
        check("1e3", json!(1000));
        check("18446744073709551615", json!(u64::MAX));
        check("y", json!(true));
        check("N", json!(false));
        check("yEs", json!("yEs"));
        check("!!int \"5\"", json!(5));
        check("!!str 5", json!("5"));
        check("\"0644\"", json!("0644"));
    }

    #[test]
    fn keys_are_text_however_they_are_written() {
        let documents = read("y: 1\n0x10: 2\n\"on\": 3\n").unwrap();
        assert_eq!(documents[0].value, json!({"true": 1, "16": 2, "on": 3}));
    }

    #[test]
    fn mappings_are_merged() {
        let check = |text: &str, expected: Value| {
            let documents = read(&format!("x: &x {{a: 1, b: 2}}\ny: &z {{a: 3}}\nc: {text}\n")).unwrap();
            assert_eq!(documents[0].value["c"], expected, "{text}");
        };
        check("{<<: *x, a: 4}", json!({"a": 4, "b": 2}));
        check("{a: 4, <<: *x}", json!({"a": 1, "b": 2}));
        check("{<<: [*z, *x]}", json!({"a": 3, "b": 2}));
        check("{\"<<\": 1}", json!({"<<": 1}));
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
        check_error("a: .inf\n", 1, "JSON");
        check_error("a: !!int x\n", 1, "not a valid !!int");
        check_error("a: 1\n~: 2\n", 2, "the key is empty");
        check_error("<<: 1\n", 1, "merges only mappings");
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
