//! Parameters of a request's query that may be there several times. Pure.

/// The values of the parameter of this name, decoded, in their order.
pub(in crate::serve) fn values(query: &str, name: &str) -> Vec<String> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs
        .filter(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_every_word_of_the_query() {
        let words = values("command=sh&command=-c&output=1&command=echo%20%26+x", "command");
        assert_eq!(words, ["sh", "-c", "echo & x"]);
    }
}
