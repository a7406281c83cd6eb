//! The paths that a file names, written out: `use crate::{a, b::{self, c}}` is `crate::a`, `crate::b` and `crate::b::c`.

use super::tokens::{Kind, Token, closing};

/// A path as it is written, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    /// Its segments; those of a module written in the file itself (`mod a { … }`) stand before `super` and `self`.
    pub(super) segments: Vec<String>,
    /// What it is called here: its last segment, or what comes after `as`.
    pub(super) name: String,
    /// Whether it is of a `use`.
    pub(super) is_import: bool,
    /// Whether it only gives the name on (`pub use`).
    pub(super) is_passed_on: bool,
    /// How many modules written in the file are around it.
    pub(super) depth: usize,
    pub(super) line: usize,
}

/// All paths of a file's tokens, single words among them.
pub(super) fn paths(tokens: &[Token]) -> Vec<Path> {
    let (mut found, mut modules, mut at) = (Vec::new(), Vec::new(), 0);
    let (mut is_import, mut is_passed_on) = (false, false);
    while at < tokens.len() {
        modules.retain(|end| *end > at);
        let token = &tokens[at];
        let is_module = token.is("mod") && tokens.get(at + 2).is_some_and(|token| token.is("{"));
        if token.is("use") {
            let before = at.checked_sub(1).map(|before| tokens[before].text.as_str());
            is_import = true;
            is_passed_on = matches!(before, Some("pub" | ")"));
        } else if token.is(";") {
            (is_import, is_passed_on) = (false, false);
        }
        let is_visibility = token.is("pub") && tokens.get(at + 1).is_some_and(|token| token.is("("));
        if is_visibility {
            at = closing(tokens, at + 1) + 1;
        } else if is_module {
            modules.push(closing(tokens, at + 2));
            at += 3;
        } else if token.kind == Kind::Word {
            let first = found.len();
            at = tree(tokens, at, &[], &mut found);
            found[first..].iter_mut().for_each(|path: &mut Path| {
                path.depth = modules.len();
                path.is_import = is_import;
                path.is_passed_on = is_passed_on;
            });
        } else {
            at += 1;
        }
    }
    found
}

fn is_colons(tokens: &[Token], at: usize) -> bool {
    let is = |at: usize| tokens.get(at).is_some_and(|token| token.is(":"));
    is(at) && is(at + 1)
}

/// Reads the path or the tree of paths at `at`, and says what comes after it.
fn tree(tokens: &[Token], mut at: usize, before: &[String], found: &mut Vec<Path>) -> usize {
    let line = tokens[at].line;
    let mut segments = before.to_vec();
    while let Some(token) = tokens.get(at).filter(|token| token.kind == Kind::Word) {
        segments.push(token.text.clone());
        at += 1;
        if !is_colons(tokens, at) {
            break;
        }
        at += 2;
        match tokens.get(at) {
            Some(open) if open.is("{") => {
                let end = closing(tokens, at);
                branches(tokens, at + 1, end, &segments, found);
                return end + 1;
            }
            // All of it: the module itself is what is named.
            Some(star) if star.is("*") => {
                at += 1;
                break;
            }
            _ => {}
        }
    }
    if segments.last().is_some_and(|last| last == "self") && segments.len() > 1 {
        segments.pop();
    }
    let renamed = tokens.get(at).is_some_and(|token| token.is("as"));
    if let Some(name) = tokens.get(at + 1).filter(|_| renamed) {
        found.push(path(segments, name.text.clone(), line));
        return at + 2;
    }
    let name = segments.last().cloned().unwrap_or_default();
    found.push(path(segments, name, line));
    at
}

fn path(segments: Vec<String>, name: String, line: usize) -> Path {
    Path {
        segments,
        name,
        is_import: false,
        is_passed_on: false,
        depth: 0,
        line,
    }
}

fn branches(tokens: &[Token], mut at: usize, end: usize, before: &[String], found: &mut Vec<Path>) {
    while at < end {
        let token = &tokens[at];
        at = if token.kind == Kind::Word {
            tree(tokens, at, before, found)
        } else {
            if token.is("*") {
                found.push(path(before.to_vec(), "*".to_owned(), token.line));
            }
            at + 1
        };
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::*;

    #[test]
    fn trees_of_imports_are_written_out() {
        for (text, want) in [
            ("use a::b;", "use a::b"),
            (
                "use crate::{a, b::{self, c}};",
                "use crate::a crate::b crate::b::c",
            ),
            ("use a::{\n    b as c,\n    d::*,\n};", "use a::b a::d"),
            ("use super::*;", "use super"),
            ("use a::{*, b};", "use a a::b"),
            ("let x: a::B<c::D> = e::f(g);", "let x a::B c::D e::f g"),
        ] {
            let found = paths(&tokens(text));
            let found: Vec<String> = found.iter().map(|path| path.segments.join("::")).collect();
            assert_eq!(found.join(" "), want, "{text}");
        }
    }

    #[test]
    fn modules_in_the_file_are_counted() {
        let found = paths(&tokens("mod a { super::b } super::c"));
        let found: Vec<_> = found
            .iter()
            .map(|path| (path.segments.join("::"), path.depth))
            .collect();
        assert_eq!(found, [("super::b".to_owned(), 1), ("super::c".to_owned(), 0)]);
    }
}
