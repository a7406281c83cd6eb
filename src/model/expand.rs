//! `$(VAR)` in command, args and env (`third_party/forked/golang/expansion` of Kubernetes).

use super::bounds;

/// The text would exceed its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Replaces each `$(NAME)` that `lookup` resolves; an unknown one stays as it is, and `$$` is a dollar sign. The work
/// and the result are bounded by the text plus `most` bytes, whatever the variables hold.
pub(crate) fn expand<'a>(
    text: &str,
    mut lookup: impl FnMut(&str) -> Option<&'a str>,
    most: usize,
) -> Result<String, TooLong> {
    let mut out = String::with_capacity(text.len().min(most));
    let mut push = |part: &str| {
        bounds::step();
        if part.len() > most.saturating_sub(out.len()) {
            return Err(TooLong);
        }
        out.push_str(part);
        Ok(())
    };
    let mut rest = text;
    // If there is no closing bracket, the search is not repeated.
    let last_close = text.rfind(')');
    while let Some(dollar) = rest.find('$') {
        push(&rest[..dollar])?;
        rest = &rest[dollar + 1..];
        let closes = last_close.is_some_and(|at| at >= text.len() - rest.len());
        if let Some(after) = rest.strip_prefix('$') {
            push("$")?;
            rest = after;
        } else if closes
            && let Some((name, after)) = rest.strip_prefix('(').and_then(|body| body.split_once(')'))
        {
            match lookup(name) {
                Some(value) => push(value)?,
                None => {
                    push("$(")?;
                    push(name)?;
                    push(")")?;
                }
            }
            rest = after;
        } else {
            push("$")?;
        }
    }
    push(rest)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::bounds::steps;

    fn expanded(text: &str, most: usize) -> Result<String, TooLong> {
        let value = |name: &str| match name {
            "A" => Some("1"),
            "EMPTY" => Some(""),
            "LONG" => Some("0123456789"),
            _ => None,
        };
        expand(text, value, most)
    }

    #[test]
    fn expands_as_the_kubelet_does() {
        let check = |text: &str, want: &str| assert_eq!(expanded(text, 100).unwrap(), want, "{text}");
        check("$(A)", "1");
        check("$(A)-$(NOPE)-$$(A)", "1-$(NOPE)-$(A)");
        check("a$(EMPTY)b", "ab");
        check("$", "$");
        check("$$", "$");
        check("$$$(A)", "$1");
        check("$(A", "$(A");
        check(")$(A", ")$(A");
        check("$A", "$A");
        check("$()", "$()");
        check("$($(A))", "$($(A))");
        check("ü$(A)ß", "ü1ß");
    }

    #[test]
    fn a_result_is_no_longer_than_is_allowed() {
        let check = |text: &str, most: usize, want: Result<&str, TooLong>| {
            assert_eq!(
                expanded(text, most),
                want.map(str::to_owned),
                "{text} within {most}"
            );
        };
        check("$(LONG)", 10, Ok("0123456789"));
        check("$(LONG)", 9, Err(TooLong));
        check("$(LONG)$(LONG)", 19, Err(TooLong));
        check("abc", 3, Ok("abc"));
        check("abc", 2, Err(TooLong));
        check("$(NONE)", 6, Err(TooLong));
        check("", 0, Ok(""));
    }

    #[test]
    fn a_megabyte_named_three_hundred_thousand_times_is_given_up_at_the_bound() {
        let (value, text) = ("x".repeat(1 << 20), "$(BIG)".repeat(300_000));
        let (steps, result) = steps::of(|| expand(&text, |_| Some(value.as_str()), 6 << 20));
        assert_eq!(result, Err(TooLong));
        assert!(steps < 20, "{steps} steps");
    }

    #[test]
    fn brackets_that_never_close_are_looked_for_once() {
        // If each opening bracket searched for its closing one, each would read the whole rest.
        let text = "$(".repeat(500_000);
        let (steps, result) = steps::of(|| expand(&text, |_| None, usize::MAX));
        assert_eq!(result, Ok(text));
        assert!(steps <= 1_000_001, "{steps} steps");
    }

    proptest! {
        #[test]
        fn text_without_a_dollar_is_left_alone(text in "[^$]*") {
            prop_assert_eq!(expand(&text, |_| Some("never"), usize::MAX), Ok(text));
        }

        #[test]
        fn an_empty_environment_only_halves_dollars(text in "[$()a-z]*") {
            let out = expand(&text, |_| None, usize::MAX).unwrap();
            prop_assert!(out.len() <= text.len());
            prop_assert_eq!(out.replace('$', ""), text.replace('$', ""));
        }

        #[test]
        fn work_and_result_are_bounded(
            text in "[$()A-C ]{0,200}", value in "x{0,40}", most in 0_usize..400
        ) {
            let (steps, result) = steps::of(|| expand(&text, |name| (name == "A").then_some(&value), most));
            prop_assert!(steps <= 2 * text.len() + 4, "{} steps for {} bytes", steps, text.len());
            if let Ok(result) = result {
                prop_assert!(result.len() <= most);
            }
        }
    }
}
