//! Suggests the intended name for an unknown one.

/// The known name that was most likely meant: equal except for case, or at most two letters different.
pub(crate) fn nearest(name: &str, known: &'static [&'static str]) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    known
        .iter()
        .map(|candidate| (distance(&lower, &candidate.to_ascii_lowercase()), *candidate))
        .filter(|(distance, candidate)| *distance <= 2 && distance * 3 <= candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// The edit distance of two names.
fn distance(a: &str, b: &str) -> usize {
    // No field is that long, nor is a misspelled one.
    if a.len().abs_diff(b.len()) > 2 || a.len() > 64 {
        return usize::MAX;
    }
    let b: Vec<u8> = b.bytes().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognized_and_another_word_is_not() {
        let known = &["command", "image", "hostNetwork", "args"];
        let check = |name: &str, meant: Option<&str>| assert_eq!(nearest(name, known), meant, "{name}");
        check("comand", Some("command"));
        check("hostnetwork", Some("hostNetwork"));
        check("images", Some("image"));
        check("arg", Some("args"));
        check("arrgss", None);
        check("port", None);
        check(&"x".repeat(10_000), None);
    }
}
