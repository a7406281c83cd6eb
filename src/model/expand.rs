//! `$(VAR)` in command, args and env (`third_party/forked/golang/expansion` of Kubernetes).

/// Replaces each `$(NAME)` that `lookup` knows; one it does not know stays as it is, `$$` is a dollar sign.
pub(crate) fn expand<'a>(text: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|body| body.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

/// The value of a variable.
pub(crate) fn value_of<'a>(env: &'a [(String, String)], wanted: &str) -> Option<&'a str> {
    env.iter()
        .find(|(name, _)| name == wanted)
        .map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: &str) {
        let env = [("A".to_owned(), "x".to_owned()), ("E".to_owned(), String::new())];
        assert_eq!(expand(text, |name| value_of(&env, name)), expected, "{text}");
    }

    #[test]
    fn expands_as_the_kubelet_does() {
        check("$(A)", "x");
        check("$(A)-$(NOPE)-$$(A)", "x-$(NOPE)-$(A)");
        check("a$(E)b", "ab");
        check("$", "$");
        check("$$", "$");
        check("$$$(A)", "$x");
        check("$(A", "$(A");
        check("$A", "$A");
        check("$()", "$()");
        check("$($(A))", "$($(A))");
        check("ü$(A)ß", "üxß");
    }

    proptest! {
        #[test]
        fn text_without_a_dollar_is_left_alone(text in "[^$]*") {
            prop_assert_eq!(expand(&text, |_| Some("never")), text);
        }

        #[test]
        fn an_empty_environment_only_halves_dollars(text in "[$()a-z]*") {
            let out = expand(&text, |_| None);
            prop_assert!(out.len() <= text.len());
            prop_assert_eq!(out.replace('$', ""), text.replace('$', ""));
        }
    }
}
