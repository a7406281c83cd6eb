//! Reads text into documents: the YAML parser's events become trees, within budgets that hostile input cannot exceed.
//! JSON takes the same path, because it is YAML, as in the kubelet.

use std::borrow::Cow;

use saphyr_parser::Parser;
use serde::de::IgnoredAny;

use super::composer::{Composer, Stop, Syntax};
use super::document::Document;
use crate::model::pod::ProblemKind;

/// All documents of a text. After an error, reading continues at the next `---`, so that one broken document does not
/// hide the others.
pub(crate) fn documents(text: &str) -> Vec<Document> {
    let syntax = syntax_of(text);
    let text = join_surrogates(text);
    let mut documents = Vec::new();
    let mut values = 0;
    let mut rest: &str = &text;
    let mut lines_before = 0;
    loop {
        let mut composer = Composer::after(documents.len(), lines_before, values, syntax);
        let failed_at = read(rest, lines_before, &mut composer);
        values = composer.values();
        documents.append(&mut composer.into_documents());
        let Some(line) = failed_at else { break };
        let Some((skipped_lines, offset)) = next_document(rest, line - lines_before) else {
            break;
        };
        lines_before += skipped_lines;
        rest = &rest[offset..];
    }
    documents
}

/// The kubelet reads text that starts with a brace as JSON, and rejects it if it is not; here it is then YAML.
fn syntax_of(text: &str) -> Syntax {
    let is_json = text.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok();
    match is_json {
        true => Syntax::Json,
        false => Syntax::Yaml,
    }
}

/// Reads documents until the end or the first error, and returns the line of the error in the file.
fn read(text: &str, lines_before: usize, composer: &mut Composer) -> Option<usize> {
    let mut parser = Parser::new_from_str(text);
    let mut last_line = 1;
    loop {
        let outcome = match parser.next_event() {
            None => return None,
            Some(Ok((event, span))) => {
                last_line = span.start.line().max(1);
                composer.event(event, last_line)
            }
            Some(Err(error)) => {
                let line = error.marker().line().max(last_line);
                let (line, message) = syntax_error(text, error.info(), line);
                Err(Stop {
                    line: lines_before + line,
                    message,
                    kind: ProblemKind::Invalid,
                })
            }
        };
        if let Err(stop) = outcome {
            composer.fail(&stop);
            return Some(stop.line);
        }
    }
}

/// The first line after `line` (from 1) that separates documents: the number of lines before it, and its offset.
fn next_document(text: &str, line: usize) -> Option<(usize, usize)> {
    let mut offset = 0;
    for (index, content) in text.split_inclusive('\n').enumerate() {
        let separator = content
            .strip_prefix("---")
            .is_some_and(|after| after.is_empty() || after.starts_with([' ', '\t', '\r', '\n']));
        // The line of the error itself may be the separator, but only where content precedes it.
        if index > 0 && index + 1 >= line && separator {
            return Some((index, offset));
        }
        offset += content.len();
    }
    None
}

/// JSON writes a character beyond U+FFFF as two escapes, which YAML does not support: they become YAML's single escape.
/// Only for JSON, where a backslash is always an escape.
fn join_surrogates(text: &str) -> Cow<'_, str> {
    let json = text.trim_start().starts_with(['{', '[']);
    if !json || !text.contains("\\u") {
        return Cow::Borrowed(text);
    }
    let unit = |s: &str| -> Option<u32> {
        let hex = s.strip_prefix("\\u")?.get(..4)?;
        u32::from_str_radix(hex, 16).ok()
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let pair = match (unit(rest), rest.get(6..).and_then(unit)) {
            (Some(high @ 0xD800..=0xDBFF), Some(low @ 0xDC00..=0xDFFF)) => {
                Some(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
            }
            _ => None,
        };
        match pair {
            Some(code) => {
                out.push_str(&format!("\\U{code:08x}"));
                rest = &rest[12..];
            }
            None => {
                // The escape and its target, so that an escaped backslash does not start another escape.
                let end = rest.chars().take(2).map(char::len_utf8).sum();
                out.push_str(&rest[..end]);
                rest = &rest[end..];
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The parser's error with its remedy for the author, and its line in the text, from 1.
fn syntax_error(text: &str, info: &str, line: usize) -> (usize, String) {
    let tab = |line: &str| line[..line.len() - line.trim_start().len()].contains('\t');
    let from = line.saturating_sub(1);
    // The parser reports the line where the value started that the tab interrupts.
    let tabbed = text
        .lines()
        .enumerate()
        .skip(from)
        .take(2)
        .find(|(_, line)| tab(line));
    if let Some((index, _)) = tabbed {
        return (
            index + 1,
            "is not valid YAML: the line is indented with a tab: use spaces".into(),
        );
    }
    let remedy = if info.contains("mapping values are not allowed") {
        ": put a value that contains ': ' in quotes, or indent the line like its neighbors"
    } else if info.contains("end of stream")
        || info.contains("end of file")
        || info.contains("unexpected eof")
    {
        ": a quote or a bracket is not closed, or the end of the file is missing"
    } else if info.contains("document indicator") {
        ": a quote or a bracket is not closed before the '---'"
    } else if info.contains("cannot start any token") {
        ": put the value in quotes"
    } else {
        ""
    };
    (line, format!("is not valid YAML: {info}{remedy}"))
}
