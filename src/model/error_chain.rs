//! Errors in one line: what failed, and what it comes from.

use std::error::Error;

/// An error with what it comes from, the first cause last. A part that the text has already is left out: errors of other
/// crates repeat their source.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in causes(error) {
        let next = cause.to_string();
        if !text.contains(&next) {
            text = text + ": " + &next;
        }
    }
    text
}

/// The first cause of an error, itself where it has none.
pub fn first_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    causes(error).last().unwrap_or(error)
}

/// What an error comes from, the first cause last, without the error itself.
pub fn causes<'a>(error: &'a dyn Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause: &&(dyn Error + 'static)| (*cause).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn layers(texts: &[&'static str]) -> Layer {
        let (text, rest) = texts.split_first().unwrap();
        Layer {
            text,
            source: (!rest.is_empty()).then(|| Box::new(layers(rest))),
        }
    }

    #[test]
    fn an_error_is_followed_by_what_it_comes_from() {
        for (texts, line, first) in [
            (&["alone"][..], "alone", "alone"),
            (&["outer", "middle", "inner"], "outer: middle: inner", "inner"),
            (
                &["outer: inner", "inner", "cause"],
                "outer: inner: cause",
                "cause",
            ),
        ] {
            let error = layers(texts);
            assert_eq!(chain(&error), line);
            assert_eq!(first_cause(&error).to_string(), first);
        }
    }
}
