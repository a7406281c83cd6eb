//! JSON as a value, with the fields that an object has twice. Pure.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The most fields that are named.
const MOST_NAMED: usize = 100;
/// The longest path that a field is named by, in bytes: keys may be as long as the body.
const LONGEST_PATH: usize = 1024;

/// A value, and the paths of the fields that are there more than once, of which the last one counts.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Read {
    pub(super) value: Value,
    pub(super) duplicates: Vec<String>,
}

/// Reads all of the bytes. How deep they may nest is bounded by the reader of JSON.
pub(super) fn read(bytes: &[u8]) -> Result<Read, serde_json::Error> {
    let (mut path, mut duplicates) = (String::new(), Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let seed = Seed {
        path: &mut path,
        duplicates: &mut duplicates,
    };
    let value = seed.deserialize(&mut reader)?;
    reader.end()?;
    Ok(Read { value, duplicates })
}

struct Seed<'a> {
    /// Where the value is: `spec.containers[0]`.
    path: &'a mut String,
    duplicates: &'a mut Vec<String>,
}

impl Seed<'_> {
    /// What reads a value below this one.
    fn below(&mut self, part: fmt::Arguments<'_>) -> (usize, Seed<'_>) {
        let length = self.path.len();
        // Writing to text cannot fail.
        let _ = fmt::Write::write_fmt(self.path, part);
        let seed = Seed {
            path: self.path,
            duplicates: self.duplicates,
        };
        (length, seed)
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("not a number of JSON"))?;
        Ok(number.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let (length, seed) = self.below(format_args!("[{}]", list.len()));
            let item = items.next_element_seed(seed)?;
            self.path.truncate(length);
            match item {
                Some(item) => list.push(item),
                None => return Ok(list.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let dot = if self.path.is_empty() { "" } else { "." };
            let (length, seed) = self.below(format_args!("{dot}{key}"));
            if map.contains_key(&key) && seed.duplicates.len() < MOST_NAMED {
                seed.duplicates.push(beginning(seed.path).to_owned());
            }
            let value = entries.next_value_seed(seed)?;
            self.path.truncate(length);
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

/// Only so much of it is copied.
fn beginning(path: &str) -> &str {
    path.get(..path.floor_char_boundary(LONGEST_PATH)).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_that_is_there_twice_is_named_and_the_last_one_counts() {
        let check = |text: &str, value: Value, duplicates: &[&str]| {
            let read = read(text.as_bytes()).unwrap();
            assert_eq!(
                (read.value, read.duplicates.as_slice()),
                (
                    value,
                    &duplicates.iter().map(ToString::to_string).collect::<Vec<_>>()[..]
                ),
                "{text}"
            );
        };
        check(r#"{"a": 1, "a": 2}"#, json!({"a": 2}), &["a"]);
        check(
            r#"{"spec": {"c": [{"x": 1}, {"x": 1, "y": null, "x": 2}], "d": {"c": -1, "e": 1.5}}}"#,
            json!({"spec": {"c": [{"x": 1}, {"x": 2, "y": null}], "d": {"c": -1, "e": 1.5}}}),
            &["spec.c[1].x"],
        );
        check(
            r#"["a", true, 18446744073709551615]"#,
            json!(["a", true, u64::MAX]),
            &[],
        );
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        let check = |text: &str| assert!(read(text.as_bytes()).is_err(), "{text:?}");
        check("");
        check("{");
        check("{} {}");
        check("{\"a\": nan}");
        check(&"[".repeat(100_000));
        let many = format!("{{{}}}", vec!["\"a\": 1"; 1000].join(","));
        assert_eq!(read(many.as_bytes()).unwrap().duplicates.len(), MOST_NAMED);
        let long = format!("{{{:?}: {many}}}", "ä".repeat(10_000));
        let longest = read(long.as_bytes())
            .unwrap()
            .duplicates
            .into_iter()
            .map(|path| path.len())
            .max();
        assert_eq!(longest, Some(LONGEST_PATH));
    }

    proptest::proptest! {
        #[test]
        fn everything_else_is_as_the_usual_reader_has_it(text in "[\\[\\]{}\",:a1. -]{0,40}") {
            let usual = serde_json::from_str::<Value>(&text).ok();
            proptest::prop_assert_eq!(read(text.as_bytes()).ok().map(|read| read.value), usual);
        }
    }
}
