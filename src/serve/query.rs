//! The parameters of a request's query, which may be there several times. Pure.

use std::borrow::Cow;

/// The values of the parameter of this name, decoded, in their order.
pub(super) fn values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs.filter(move |(key, _)| key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_a_command_is_found() {
        let words = values("command=sh&command=-c&output=1&command=echo%20%26+x", "command");
        assert_eq!(words.collect::<Vec<_>>(), ["sh", "-c", "echo & x"]);
    }
}
