//! Short, stable names derived from longer ones.

/// A 64-bit hash that stays the same across versions and machines (FNV-1a; the standard library's hashes do not
/// guarantee that).
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// `name` itself if it has at most `limit` characters, otherwise its first characters and a hash of all of it. For
/// ASCII.
pub(crate) fn short_enough(name: &str, limit: usize) -> String {
    if name.len() <= limit {
        return name.to_string();
    }
    let beginning: String = name.chars().take(limit - 17).collect();
    format!("{beginning}-{:016x}", hash(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_and_stay_different() {
        assert_eq!(short_enough("net", 20), "net");
        let (one, two) = (format!("{}1", "n".repeat(40)), format!("{}2", "n".repeat(40)));
        assert_eq!(short_enough(&one, 30).len(), 30);
        assert_ne!(short_enough(&one, 30), short_enough(&two, 30));
        assert_eq!(hash(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
