//! A source file as tokens: comments and white space are gone, a string is one token, and test items can be left out.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a keyword.
    Word,
    /// A string, a character, a number or a lifetime: nothing that a rule looks into.
    Other,
    /// One sign.
    Sign,
}

/// A token and the lines that it is on.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) text: String,
    /// The line of its beginning, from 1.
    pub(super) line: usize,
    /// The line of its end: a string may have several.
    pub(super) last_line: usize,
}

impl Token {
    pub(super) fn is(&self, text: &str) -> bool {
        self.kind != Kind::Other && self.text == text
    }
}

/// The tokens of a text that `rustc` accepts.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let (kind, end) = next(&chars, at);
        let text: String = chars[at..end].iter().collect();
        let last_line = line + text.matches('\n').count();
        if let Some(kind) = kind {
            found.push(Token {
                kind,
                text: text.trim_start_matches("r#").to_owned(),
                line,
                last_line,
            });
        }
        (at, line) = (end, last_line);
    }
    found
}

/// What begins at `at`, nothing for white space and comments, and where it ends.
fn next(chars: &[char], at: usize) -> (Option<Kind>, usize) {
    let here = chars[at];
    let second = chars.get(at + 1).copied().unwrap_or(' ');
    match here {
        _ if here.is_whitespace() => (None, at + 1),
        '/' if second == '/' => (None, run(chars, at, |c| c != '\n')),
        '/' if second == '*' => (None, block_comment(chars, at)),
        '"' => (Some(Kind::Other), quoted(chars, at, '"')),
        '\'' if is_lifetime(chars, at) => (Some(Kind::Other), run(chars, at + 1, is_word)),
        '\'' => (Some(Kind::Other), quoted(chars, at, '\'')),
        _ if here.is_ascii_digit() => (Some(Kind::Other), run(chars, at, is_word)),
        _ if is_word(here) => match prefixed(chars, at) {
            Some(end) => (Some(Kind::Other), end),
            None if here == 'r' && second == '#' => (Some(Kind::Word), run(chars, at + 2, is_word)),
            None => (Some(Kind::Word), run(chars, at, is_word)),
        },
        _ => (Some(Kind::Sign), at + 1),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where what fits ends that begins at `at`.
fn run(chars: &[char], at: usize, fits: impl Fn(char) -> bool) -> usize {
    at + chars[at..].iter().take_while(|c| fits(**c)).count()
}

/// `'a` and no `'a'`.
fn is_lifetime(chars: &[char], at: usize) -> bool {
    let begins = chars.get(at + 1).is_some_and(|c| is_word(*c));
    begins && chars.get(at + 2) != Some(&'\'')
}

/// The end of a text in quotes, after whatever is escaped.
fn quoted(chars: &[char], at: usize, quote: char) -> usize {
    let mut at = at + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The end of a string or character with letters before it: `r"…"`, `br#"…"#`, `b'x'`, `c"…"`.
fn prefixed(chars: &[char], at: usize) -> Option<usize> {
    let letters = run(chars, at, |c| matches!(c, 'b' | 'r' | 'c'));
    if letters == at || letters - at > 2 {
        return None;
    }
    let is_raw = chars[at..letters].contains(&'r');
    match chars.get(letters)? {
        '\'' if chars[at] == 'b' && !is_raw => Some(quoted(chars, letters, '\'')),
        '"' if !is_raw => Some(quoted(chars, letters, '"')),
        '"' | '#' if is_raw => raw(chars, letters),
        _ => None,
    }
}

/// The end of a raw string whose signs begin at `at`; a raw name is none.
fn raw(chars: &[char], at: usize) -> Option<usize> {
    let opening = run(chars, at, |c| c == '#');
    if chars.get(opening) != Some(&'"') {
        return None;
    }
    let fence = opening - at;
    let closes = |end: usize| chars[end..].iter().take(fence).filter(|c| **c == '#').count() == fence;
    (opening + 1..chars.len())
        .find(|end| chars[*end] == '"' && closes(end + 1))
        .map(|end| end + 1 + fence)
}

fn block_comment(chars: &[char], at: usize) -> usize {
    let (mut at, mut depth) = (at + 2, 1);
    while at < chars.len() && depth > 0 {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (at, depth) = (at + 2, depth + 1),
            ('*', Some('/')) => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    at
}

/// The index of what closes the bracket at `open`; the last one where nothing does.
pub(super) fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        if token.kind == Kind::Sign {
            match token.text.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        if depth == 0 {
            return at;
        }
    }
    tokens.len().saturating_sub(1)
}

/// The tokens without what only tests are compiled with, and the lines that it takes.
pub(super) fn without_tests(tokens: &[Token]) -> (Vec<Token>, usize) {
    let (mut kept, mut lines, mut at) = (Vec::new(), 0, 0);
    while at < tokens.len() {
        match test_attribute(tokens, at) {
            Some(after) => {
                let end = item_end(tokens, after);
                lines += tokens[end].last_line - tokens[at].line + 1;
                at = end + 1;
            }
            None => {
                kept.push(tokens[at].clone());
                at += 1;
            }
        }
    }
    (kept, lines)
}

/// Where the tokens after `#[cfg(test)]`, `#[cfg(all(test, …))]` or `#[test]` begin, if one is at `at`. What is also
/// compiled without tests (`any(test, …)`, `not(test)`) is no test.
pub(super) fn test_attribute(tokens: &[Token], at: usize) -> Option<usize> {
    let is = |offset: usize, text: &str| tokens.get(at + offset).is_some_and(|token| token.is(text));
    if !is(0, "#") || !is(1, "[") {
        return None;
    }
    let end = closing(tokens, at + 1);
    let plain = is(2, "test") && is(3, "]");
    let direct = is(2, "cfg") && is(3, "(") && is(4, "test") && (is(5, ")") || is(5, ","));
    let all = is(2, "cfg") && is(3, "(") && is(4, "all") && is(5, "(") && {
        let within = &tokens[at + 6..end];
        let mut depth = 0usize;
        within.iter().any(|token| {
            match token.text.as_str() {
                "(" => depth += 1,
                ")" => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0 && token.is("test")
        })
    };
    (plain || direct || all).then_some(end + 1)
}

/// The last token of the item that begins at `at`: its `;`, or the brace that closes it.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    while tokens.get(at).is_some_and(|token| token.is("#")) {
        at = closing(tokens, at + 1) + 1;
    }
    let word = |at: usize, words: &[&str]| {
        tokens
            .get(at)
            .is_some_and(|token| words.iter().any(|w| token.is(w)))
    };
    if word(at, &["pub"]) {
        at = if word(at + 1, &["("]) {
            closing(tokens, at + 1) + 1
        } else {
            at + 1
        };
    }
    let is_value =
        word(at, &["static", "use", "type", "let"]) || word(at, &["const"]) && !word(at + 1, &["fn"]);
    let items = [
        "async",
        "const",
        "enum",
        "extern",
        "fn",
        "impl",
        "macro_rules",
        "mod",
        "struct",
        "trait",
        "union",
        "unsafe",
    ];
    let is_item = is_value || word(at, &items);
    while at < tokens.len() {
        let token = &tokens[at];
        if token.kind == Kind::Sign {
            match token.text.as_str() {
                ";" => return at,
                "," if !is_item => return at,
                "{" if !is_value => return closing(tokens, at),
                "{" | "(" | "[" => at = closing(tokens, at),
                _ => {}
            }
        }
        at += 1;
    }
    tokens.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<String> {
        tokens(text).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_go_and_strings_stay_whole() {
        for (text, want) in [
            ("a // b\nc", vec!["a", "c"]),
            ("a /* b /* c */ d */ e", vec!["a", "e"]),
            (
                r#"a "// no comment \" }" b"#,
                vec!["a", r#""// no comment \" }""#, "b"],
            ),
            (r##"r#"one " two"# x"##, vec![r##""one " two"#"##, "x"]),
            ("'a' 'b '{' b'}'", vec!["'a'", "'b", "'{'", "b'}'"]),
            (r"'\'' '\\' x", vec![r"'\''", r"'\\'", "x"]),
            ("r#type::b1", vec!["type", ":", ":", "b1"]),
        ] {
            assert_eq!(texts(text), want, "{text}");
        }
    }

    #[test]
    fn only_the_test_item_is_left_out_and_what_comes_after_it_stays() {
        for (text, want) in [
            (
                "#[cfg(test)] mod tests { fn a() { {} } } fn b() {}",
                "fn b ( ) { }",
            ),
            ("#[cfg(test)] mod tests; fn b() {}", "fn b ( ) { }"),
            ("#[cfg(test)] use a::{b, c}; fn b() {}", "fn b ( ) { }"),
            (
                "#[cfg(test)] pub(crate) const A: B = B { c: 1 }; fn b() {}",
                "fn b ( ) { }",
            ),
            ("#[cfg(test)] #[derive(A)] struct C { d: E } x", "x"),
            ("#[cfg(test)] impl<A, B> C { const D: E = F; } x", "x"),
            ("#[cfg(test)] a: B, c: D", "c : D"),
            ("#[cfg(all(unix, test))] fn a() {} x", "x"),
            ("#[cfg(not(test))] x", "# [ cfg ( not ( test ) ) ] x"),
            ("#[cfg(any(test, unix))] x", "# [ cfg ( any ( test , unix ) ) ] x"),
            (
                "#[cfg(all(not(test), unix))] x",
                "# [ cfg ( all ( not ( test ) , unix ) ) ] x",
            ),
        ] {
            let (kept, _) = without_tests(&tokens(text));
            let kept: Vec<String> = kept.into_iter().map(|token| token.text).collect();
            assert_eq!(kept.join(" "), want, "{text}");
        }
    }

    #[test]
    fn the_lines_of_tests_are_counted() {
        let (kept, lines) = without_tests(&tokens("fn a() {}\n#[cfg(test)]\nmod tests {\n}\nfn b() {}\n"));
        assert_eq!(lines, 3);
        assert_eq!(kept.last().unwrap().line, 5);
    }
}
