//! Label selectors (`labels.Parse` of `k8s.io/apimachinery`): `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b,c)`, `a`,
//! `!a`, `a>1`, `a<1`, separated by commas. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::str::CharIndices;

/// Conditions; all of them must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Labels(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    condition: Condition,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Exists,
    Missing,
    /// It exists with one of these values.
    In(BTreeSet<String>),
    /// It has none of these values, or does not exist.
    NotIn(BTreeSet<String>),
    Greater(i64),
    Less(i64),
}

/// Why a text is no label selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum LabelError {
    /// Something else belongs here.
    #[error("unable to parse requirement: found '{found}', expected: {expected}")]
    Unexpected {
        /// The text there.
        found: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// A key.
    #[error(
        "{0:?} is not a label's key: an optional DNS name and /, then up to 63 letters, digits, '-', '_' and '.'"
    )]
    Key(String),
    /// A value.
    #[error("{0:?} is not a label's value: up to 63 letters, digits, '-', '_' and '.'")]
    Value(String),
    /// A value to compare with.
    #[error("{0:?} is not a whole number, with which > and < compare")]
    Number(String),
}

impl Labels {
    /// Of its text; empty selects everything.
    pub(super) fn parse(text: &str) -> Result<Labels, LabelError> {
        let mut tokens = Tokens::of(text).peekable();
        let mut all = Vec::new();
        if tokens.peek().is_none() {
            return Ok(Labels(all));
        }
        loop {
            all.push(requirement(&mut tokens)?);
            match tokens.next() {
                None => return Ok(Labels(all)),
                Some(Token::Comma) => {}
                Some(other) => return Err(unexpected(Some(other), "',' or the end")),
            }
        }
    }

    /// Whether an object with these labels is selected.
    pub(super) fn select(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.0.iter().all(|one| {
            let value = labels.and_then(|labels| labels.get(&one.key));
            let number = || value.and_then(|value| value.parse::<i64>().ok());
            match &one.condition {
                Condition::Exists => value.is_some(),
                Condition::Missing => value.is_none(),
                Condition::In(values) => value.is_some_and(|value| values.contains(value)),
                Condition::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Condition::Greater(than) => number().is_some_and(|number| number > *than),
                Condition::Less(than) => number().is_some_and(|number| number < *than),
            }
        })
    }
}

fn unexpected(found: Option<Token<'_>>, expected: &'static str) -> LabelError {
    LabelError::Unexpected {
        found: found.map_or_else(String::new, |token| token.text().to_owned()),
        expected,
    }
}

fn requirement(tokens: &mut Peekable<Tokens<'_>>) -> Result<Requirement, LabelError> {
    if tokens.next_if_eq(&Token::Not).is_some() {
        return Ok(Requirement {
            key: key(tokens)?,
            condition: Condition::Missing,
        });
    }
    let key = key(tokens)?;
    let condition = match tokens.peek() {
        None | Some(Token::Comma) => Condition::Exists,
        Some(_) => match tokens.next() {
            Some(Token::Equals) => Condition::In([value(tokens)?].into()),
            Some(Token::NotEquals) => Condition::NotIn([value(tokens)?].into()),
            Some(Token::Word("in")) => Condition::In(values(tokens)?),
            Some(Token::Word("notin")) => Condition::NotIn(values(tokens)?),
            Some(Token::Greater) => Condition::Greater(number(tokens)?),
            Some(Token::Less) => Condition::Less(number(tokens)?),
            other => return Err(unexpected(other, "'=', '==', '!=', 'in', 'notin', '>' or '<'")),
        },
    };
    Ok(Requirement { key, condition })
}

fn key(tokens: &mut Peekable<Tokens<'_>>) -> Result<String, LabelError> {
    match tokens.next() {
        // The two words are operators where a key belongs.
        Some(Token::Word(word)) if !["in", "notin"].contains(&word) => match is_key(word) {
            true => Ok(word.to_owned()),
            false => Err(LabelError::Key(word.to_owned())),
        },
        other => Err(unexpected(other, "a key, or '!' and a key")),
    }
}

/// One value, which may be missing: then it is empty.
fn value(tokens: &mut Peekable<Tokens<'_>>) -> Result<String, LabelError> {
    match tokens.next_if(|token| matches!(token, Token::Word(_))) {
        Some(Token::Word(word)) if !is_value(word) => Err(LabelError::Value(word.to_owned())),
        Some(Token::Word(word)) => Ok(word.to_owned()),
        _ => Ok(String::new()),
    }
}

fn values(tokens: &mut Peekable<Tokens<'_>>) -> Result<BTreeSet<String>, LabelError> {
    match tokens.next() {
        Some(Token::Open) => {}
        other => return Err(unexpected(other, "'('")),
    }
    let mut values = BTreeSet::new();
    loop {
        values.insert(value(tokens)?);
        match tokens.next() {
            Some(Token::Close) => return Ok(values),
            Some(Token::Comma) => {}
            other => return Err(unexpected(other, "',' or ')'")),
        }
    }
}

fn number(tokens: &mut Peekable<Tokens<'_>>) -> Result<i64, LabelError> {
    let value = value(tokens)?;
    value.parse().map_err(|_| LabelError::Number(value))
}

/// The middle of a name or value.
fn is_word(text: &str) -> bool {
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let mut chars = text.chars();
    text.len() <= 63
        && is_end(chars.next())
        && is_end(text.chars().next_back())
        && chars.all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn is_value(text: &str) -> bool {
    text.is_empty() || is_word(text)
}

fn is_key(text: &str) -> bool {
    let is_dns = |text: &str| {
        text.len() <= 253
            && text.split('.').all(|part| {
                let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                !part.is_empty()
                    && part.chars().all(is_inner)
                    && !part.starts_with('-')
                    && !part.ends_with('-')
            })
    };
    match text.split_once('/') {
        Some((prefix, name)) => is_dns(prefix) && is_word(name),
        None => is_word(text),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Comma,
    Open,
    Close,
    Not,
    Equals,
    NotEquals,
    Greater,
    Less,
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Token::Word(word) => word,
            Token::Comma => ",",
            Token::Open => "(",
            Token::Close => ")",
            Token::Not => "!",
            Token::Equals => "=",
            Token::NotEquals => "!=",
            Token::Greater => ">",
            Token::Less => "<",
        }
    }
}

/// The tokens of a text; blanks separate words.
struct Tokens<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

impl<'a> Tokens<'a> {
    fn of(text: &'a str) -> Tokens<'a> {
        Tokens {
            text,
            chars: text.char_indices().peekable(),
        }
    }

    fn is_followed_by_equals(&mut self) -> bool {
        self.chars.next_if(|(_, c)| *c == '=').is_some()
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        while self.chars.next_if(|(_, c)| c.is_ascii_whitespace()).is_some() {}
        let (start, first) = self.chars.next()?;
        Some(match first {
            ',' => Token::Comma,
            '(' => Token::Open,
            ')' => Token::Close,
            '>' => Token::Greater,
            '<' => Token::Less,
            '!' if self.is_followed_by_equals() => Token::NotEquals,
            '!' => Token::Not,
            '=' => {
                self.is_followed_by_equals();
                Token::Equals
            }
            _ => {
                let is_inner = |c: char| !c.is_ascii_whitespace() && !",()!=<>".contains(c);
                let mut end = start + first.len_utf8();
                while let Some((at, c)) = self.chars.next_if(|(_, c)| is_inner(*c)) {
                    end = at + c.len_utf8();
                }
                Token::Word(&self.text[start..end])
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn selectors_select_as_those_of_the_api_server() {
        let object = labels(&[("app", "web"), ("tier", ""), ("n", "5"), ("k8s.io/x", "in")]);
        let check = |text: &str, expected: bool| {
            let selector = Labels::parse(text).unwrap();
            assert_eq!(selector.select(Some(&object)), expected, "{text}");
        };
        for selects in [
            "",
            " ",
            "app=web",
            "app==web",
            "app = web ",
            "app!=x",
            "other!=x",
            "app",
            "!other",
            "! other",
            "tier=",
            "tier",
            "app in (web)",
            "app in ( x , web )",
            "app notin (x,y)",
            "other notin (x)",
            "tier in ()",
            "tier in (,x)",
            "n>4",
            "n<6",
            "n > 4, n < 6",
            "app=web,tier",
            "k8s.io/x in (in, notin)",
            "k8s.io/x=in",
        ] {
            check(selects, true);
        }
        for rejects in [
            "app=x",
            "app!=web",
            "other",
            "!app",
            "app=",
            "app in (x)",
            "app notin (web)",
            "other in (web)",
            "n>5",
            "n<5",
            "app>1",
            "other<1",
            "app=web,other",
        ] {
            check(rejects, false);
        }
        let none = |text: &str| Labels::parse(text).unwrap().select(None);
        assert!(none("!a") && none("a!=b") && none("a notin (b)") && !none("a") && !none("a=b"));
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for wrong in [
            ",",
            "a,",
            ",a",
            "=b",
            "!",
            "a b",
            "a=b c",
            "a in",
            "a in b",
            "a in (b",
            "a in (b c)",
            "in",
            "in (a)",
            "a(b)",
            "a>b",
            "a<",
            "a=-",
            "-a",
            "a/b/c",
            "A!/b",
            "/b",
            "a=ä",
            "a!",
            "!a=b",
            "a=(b)",
        ] {
            assert!(Labels::parse(wrong).is_err(), "{wrong}");
        }
        let long = "a".repeat(64);
        assert_eq!(Labels::parse(&long), Err(LabelError::Key(long.clone())));
        let text = Labels::parse("a b").unwrap_err().to_string();
        assert_eq!(
            text,
            "unable to parse requirement: found 'b', expected: '=', '==', '!=', 'in', 'notin', '>' or '<'"
        );
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "[ a-c,()!=<>in/.-]{0,40}") {
            let _ = Labels::parse(&text);
        }

        /// Each pair of operators excludes one another, and covers everything.
        #[test]
        fn opposites_are_opposites(key in "[a-c]", value in "[a-c]{0,2}", has in proptest::option::of("[a-c]{0,2}")) {
            let object: BTreeMap<String, String> = has.into_iter().map(|has| ("a".to_owned(), has)).collect();
            let selects = |text: String| Labels::parse(&text).unwrap().select(Some(&object));
            prop_assert_ne!(selects(format!("{key}={value}")), selects(format!("{key}!={value}")));
            prop_assert_ne!(selects(format!("{key} in ({value})")), selects(format!("{key} notin ({value})")));
            prop_assert_ne!(selects(key.clone()), selects(format!("!{key}")));
            prop_assert_eq!(selects(format!("{key}={value}")), selects(format!("{key} in ({value})")));
        }
    }
}
