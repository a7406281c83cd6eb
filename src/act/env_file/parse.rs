//! The format of a file with environment variables: `NAME='value'`, a subset of POSIX shell (KEP-3721;
//! `pkg/kubelet/util/env`). Pure.
//!
//! The kubelet stops reading at the wanted key, so what is wrong behind it does not matter.

use std::collections::HashMap;

/// The longest line, its end included (`MaxScanTokenSize` of Go's bufio).
const LINE: usize = 64 * 1024;

/// What a file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Variables<'a> {
    /// The first value of each name, up to what is wrong.
    values: HashMap<&'a [u8], Vec<u8>>,
    /// Why the rest was not read.
    error: Option<String>,
}

impl Variables<'_> {
    /// The value; empty as in the kubelet where there is none.
    pub(super) fn get(&self, key: &str) -> Result<&[u8], &str> {
        match (self.values.get(key.as_bytes()), &self.error) {
            (Some(value), _) => Ok(value),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(b""),
        }
    }
}

/// Reads the variables of a file in one pass.
pub(super) fn variables(content: &[u8]) -> Variables<'_> {
    let mut lines = Lines {
        rest: Some(content),
        number: 0,
    };
    let mut values = HashMap::new();
    let error = loop {
        match variable(&mut lines) {
            Ok(Some((name, value))) => {
                values.entry(name).or_insert(value);
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    Variables { values, error }
}

/// A name and its value.
type Variable<'a> = (&'a [u8], Vec<u8>);

fn variable<'a>(lines: &mut Lines<'a>) -> Result<Option<Variable<'a>>, String> {
    while let Some(line) = lines.next()? {
        let line = trimmed(line);
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let number = lines.number;
        let wrong = |what: &str| format!("invalid environment variable format at line {number}: {what}");
        let equals = line.iter().position(|byte| *byte == b'=');
        let equals = equals.ok_or_else(|| wrong("missing '='"))?;
        let (name, value) = (&line[..equals], &line[equals + 1..]);
        match name.last() {
            None => return Err(wrong("empty variable name")),
            Some(b' ' | b'\t') => return Err(wrong("whitespace before '=' is not allowed")),
            Some(_) => {}
        }
        // As in a shell: the assignment is empty.
        if value.first().is_some_and(|byte| is_blank(*byte)) {
            return Ok(Some((name, Vec::new())));
        }
        let begin = value.strip_prefix(b"'");
        let begin = begin.ok_or_else(|| wrong("value must be enclosed in single quotes"))?;
        return Ok(Some((name, quoted(begin, lines)?)));
    }
    Ok(None)
}

/// What is between the quotes, the first of which has been read.
fn quoted<'a>(mut rest: &'a [u8], lines: &mut Lines<'a>) -> Result<Vec<u8>, String> {
    let first = lines.number;
    let mut value = Vec::new();
    loop {
        if let Some(end) = rest.iter().position(|byte| *byte == b'\'') {
            value.extend_from_slice(&rest[..end]);
            let after = trimmed(&rest[end + 1..]);
            if after.is_empty() || after.starts_with(b"#") {
                return Ok(value);
            }
            return Err(format!(
                "invalid environment variable format at line {}: unexpected content after closing quote",
                lines.number
            ));
        }
        value.extend_from_slice(rest);
        value.push(b'\n');
        // A line that is too long ends the file here, too.
        let Ok(Some(next)) = lines.next() else {
            return Err(format!(
                "invalid environment variable format starting at line {first}: unclosed single quote"
            ));
        };
        rest = next;
    }
}

struct Lines<'a> {
    rest: Option<&'a [u8]>,
    number: usize,
}

impl<'a> Lines<'a> {
    /// The next line without its end, which may be CR LF.
    fn next(&mut self) -> Result<Option<&'a [u8]>, String> {
        let Some(rest) = self.rest.filter(|rest| !rest.is_empty()) else {
            return Ok(None);
        };
        let end = rest.iter().take(LINE).position(|byte| *byte == b'\n');
        let line = match end {
            Some(end) => {
                self.rest = Some(&rest[end + 1..]);
                &rest[..end]
            }
            None if rest.len() >= LINE => {
                self.rest = None;
                return Err("a line is too long".to_owned());
            }
            None => {
                self.rest = None;
                rest
            }
        };
        self.number += 1;
        Ok(Some(line.strip_suffix(b"\r").unwrap_or(line)))
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trimmed(line: &[u8]) -> &[u8] {
    let begin = line.iter().position(|byte| !is_blank(*byte));
    begin.map_or(b"", |begin| &line[begin..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &str, key: &str, expected: Result<&str, &str>) {
        let variables = variables(content.as_bytes());
        let found = variables
            .get(key)
            .map(|value| std::str::from_utf8(value).unwrap());
        assert_eq!(found, expected, "{key} of {content:?}");
    }

    #[test]
    fn a_value_is_what_stands_between_single_quotes() {
        let file = "# a comment\n\n  \tA='1'\n\tB='a # $A \"x\" = \\n'\t# a comment\r\nC=''\nA='2'\nD='3'";
        check(file, "A", Ok("1"));
        check(file, "B", Ok("a # $A \"x\" = \\n"));
        check(file, "C", Ok(""));
        check(file, "D", Ok("3"));
        check(file, "E", Ok(""));
        check(
            "A='first\n  second\r\n\nlast' # end\nB='x'",
            "A",
            Ok("first\n  second\n\nlast"),
        );
        check("A='first\n  second\n\nlast' # end\nB='x'", "B", Ok("x"));
        check("A= 'x'\nB=\t'y'\n", "A", Ok(""));
        check("", "A", Ok(""));
    }

    #[test]
    fn what_is_wrong_before_the_key_is_an_error_and_behind_it_does_not_matter() {
        let at =
            |line: u32, what: &str| format!("invalid environment variable format at line {line}: {what}");
        for (line, expected) in [
            ("B", at(2, "missing '='")),
            ("='x'", at(2, "empty variable name")),
            (" ='x'", at(2, "empty variable name")),
            ("B ='x'", at(2, "whitespace before '=' is not allowed")),
            ("B=x", at(2, "value must be enclosed in single quotes")),
            ("B=\"x\"", at(2, "value must be enclosed in single quotes")),
            ("B=", at(2, "value must be enclosed in single quotes")),
            ("B='x'y", at(2, "unexpected content after closing quote")),
            ("B='x\ny'z", at(3, "unexpected content after closing quote")),
            (
                "B='x\ny",
                "invalid environment variable format starting at line 2: unclosed single quote".to_owned(),
            ),
        ] {
            let file = format!("A='1'\n{line}");
            check(&file, "A", Ok("1"));
            check(&file, "C", Err(&expected));
        }
    }

    #[test]
    fn a_line_has_less_than_64_kib() {
        let line = |length: usize| format!("A='{}'", "x".repeat(length - "A=''".len()));
        check(&line(LINE - 1), "A", Ok(&"x".repeat(LINE - 5)));
        check(&format!("{}\n", line(LINE - 1)), "A", Ok(&"x".repeat(LINE - 5)));
        check(&line(LINE), "A", Err("a line is too long"));
        check(&format!("{}\n", line(LINE)), "A", Err("a line is too long"));
    }
}
