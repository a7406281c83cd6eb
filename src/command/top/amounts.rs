//! Amounts in few characters. Pure.

/// What is not known.
pub(in crate::command) const UNKNOWN: &str = "-";

/// Thousandths of a CPU, as `kubectl top` writes them: `250m`.
pub(super) fn cpu(nano_cores: Option<u64>) -> String {
    or_unknown(nano_cores, |nanos| format!("{}m", nanos.div_ceil(1_000_000)))
}

/// Bytes in at most six characters: `512`, `1.5Ki`, `200Mi`, `1023Gi`.
pub(in crate::command) fn bytes(bytes: Option<u64>) -> String {
    or_unknown(bytes, |bytes| {
        let units = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
        // The rounded number must have fewer than five digits.
        let (mut number, mut chosen) = (bytes as f64, "");
        for unit in units {
            if number < 1023.5 {
                break;
            }
            (number, chosen) = (number / 1024.0, unit);
        }
        match chosen {
            "" => format!("{number:.0}"),
            _ if number < 9.95 => format!("{number:.1}{chosen}"),
            _ => format!("{number:.0}{chosen}"),
        }
    })
}

/// Per cent in at most five characters: `0%`, `1.5%`, `93%`.
pub(super) fn percent(percent: Option<f64>) -> String {
    or_unknown(percent, |percent| match percent {
        none if none < 0.05 => "0%".to_owned(),
        small if small < 9.95 => format!("{small:.1}%"),
        large => format!("{large:.0}%"),
    })
}

/// A part of a whole in per cent; unknown if either is, or if there is no whole.
pub(super) fn share(part: Option<u64>, whole: Option<u64>) -> Option<f64> {
    let (part, whole) = (part?, whole?);
    (whole > 0).then(|| part as f64 * 100.0 / whole as f64)
}

fn or_unknown<T>(amount: Option<T>, text: impl FnOnce(T) -> String) -> String {
    amount.map_or_else(|| UNKNOWN.to_owned(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_in_thousandths_and_a_little_is_not_nothing() {
        let check = |nanos: Option<u64>, expected: &str| assert_eq!(cpu(nanos), expected);
        check(None, "-");
        check(Some(0), "0m");
        check(Some(1), "1m");
        check(Some(250_000_000), "250m");
        check(Some(64_000_000_000), "64000m");
    }

    #[test]
    fn bytes_have_at_most_six_characters() {
        let check = |amount: Option<u64>, expected: &str| assert_eq!(bytes(amount), expected, "{amount:?}");
        check(None, "-");
        check(Some(0), "0");
        check(Some(1023), "1023");
        check(Some(1024), "1.0Ki");
        check(Some(1536), "1.5Ki");
        check(Some(10_180), "9.9Ki");
        check(Some(10_220), "10Ki");
        check(Some(200 << 20), "200Mi");
        check(Some((1 << 30) - 1), "1.0Gi");
        check(Some(1023 << 30), "1023Gi");
        check(Some(u64::MAX), "16Ei");
    }

    #[test]
    fn shares() {
        let check = |part, whole, expected: &str| assert_eq!(percent(share(part, whole)), expected);
        check(None, Some(100), "-");
        check(Some(5), None, "-");
        check(Some(5), Some(0), "-");
        check(Some(0), Some(100), "0%");
        check(Some(15), Some(1000), "1.5%");
        check(Some(997), Some(10_000), "10%");
        check(Some(93), Some(100), "93%");
        check(Some(1234), Some(1000), "123%");
    }
}
