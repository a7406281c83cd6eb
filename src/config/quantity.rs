//! Quantities (`100Mi`, `200m`, `1e3`) and the thresholds and reserved amounts written with them.

use std::collections::BTreeMap;

use crate::model::node::Threshold;
use crate::model::resources::{Amounts, Bytes, MilliCpu};

/// A quantity in thousandths, rounded up, or `None` if the text is invalid or the value too large (Kubernetes:
/// *Quantity*; a sign, decimal digits and one suffix).
pub fn thousandths(text: &str) -> Option<i128> {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (numerator, denominator): (i128, i128) = match suffix {
        "n" => (1, 1_000_000),
        "u" => (1, 1_000),
        "m" => (1, 1),
        "" => (1_000, 1),
        "k" => (1_000_000, 1),
        "M" => (1_000_000_000, 1),
        "G" => (1_000_000_000_000, 1),
        "T" => (1_000_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000_000, 1),
        "Ki" => (1_000 << 10, 1),
        "Mi" => (1_000 << 20, 1),
        "Gi" => (1_000 << 30, 1),
        "Ti" => (1_000 << 40, 1),
        "Pi" => (1_000 << 50, 1),
        "Ei" => (1_000 << 60, 1),
        _ => exponent(suffix)?,
    };
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    // 18 digits keep every product below within 128 bits.
    if all.is_empty() || all.len() > 18 || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value = sign * all.parse::<i128>().ok()?.checked_mul(numerator)?;
    let divisor = 10i128.pow(u32::try_from(fraction.len()).ok()?) * denominator;
    let rounded_up = value.div_euclid(divisor) + i128::from(value.rem_euclid(divisor) != 0);
    Some(rounded_up)
}

/// `e3`, `E-3`: a power of ten, as a fraction of thousandths.
fn exponent(suffix: &str) -> Option<(i128, i128)> {
    let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    match power {
        0..=18 => Some((1_000 * 10i128.pow(power.unsigned_abs()), 1)),
        -18..0 => Some((1_000, 10i128.pow(power.unsigned_abs()))),
        _ => None,
    }
}

/// A quantity in whole units, rounded up.
pub fn whole(text: &str) -> Option<i64> {
    let thousandths = thousandths(text)?;
    let up = thousandths.div_euclid(1_000) + i128::from(thousandths.rem_euclid(1_000) != 0);
    i64::try_from(up).ok()
}

/// A value of `evictionHard`, `evictionSoft` or `evictionMinimumReclaim`. `Ok(None)` is a disabled threshold (`0%` and
/// `100%`: `pkg/kubelet/eviction/helpers.go`).
pub fn threshold(text: &str) -> Result<Option<Threshold>, String> {
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent
            .parse()
            .map_err(|_| format!("{text:?} is not a percentage; write it like 10%"))?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(format!("{text:?} must be between 0% and 100%"));
        }
        let off = percent == 0.0 || percent == 100.0;
        return Ok((!off).then_some(Threshold::Fraction(percent / 100.0)));
    }
    match whole(text) {
        Some(quantity) if quantity >= 0 => Ok(Some(Threshold::Quantity(quantity))),
        Some(_) => Err(format!("{text:?} must not be negative")),
        None => Err(format!(
            "{text:?} is neither a quantity like 100Mi nor a percentage like 10%"
        )),
    }
}

/// `systemReserved` or `kubeReserved`. `pid` is represented as the extended resource `pid`.
pub fn reserved(map: &BTreeMap<String, String>) -> Result<Amounts, (String, String)> {
    let mut amounts = Amounts::default();
    for (name, text) in map {
        let wrong = |problem: &str| (name.clone(), format!("{text:?} {problem}"));
        let fine = thousandths(text).ok_or_else(|| wrong("is not a quantity like 500Mi or 200m"))?;
        let count = whole(text).ok_or_else(|| wrong("is too large"))?;
        if fine < 0 {
            return Err(wrong("must not be negative"));
        }
        match name.as_str() {
            "cpu" => amounts.cpu = Some(MilliCpu(i64::try_from(fine).map_err(|_| wrong("is too large"))?)),
            "memory" => amounts.memory = Some(Bytes(count)),
            "ephemeral-storage" => amounts.ephemeral_storage = Some(Bytes(count)),
            "pid" => {
                amounts.extended.insert("pid".to_owned(), count);
            }
            _ => {
                let problem = "cannot be reserved; cpu, memory, ephemeral-storage and pid can";
                return Err((name.clone(), problem.to_owned()));
            }
        }
    }
    Ok(amounts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        let table = [
            ("100Mi", Some(104_857_600)),
            ("1.5Gi", Some(1_610_612_736)),
            ("200m", Some(1)),
            ("1e3", Some(1_000)),
            ("2E", Some(2_000_000_000_000_000_000)),
            ("0", Some(0)),
            ("-5", Some(-5)),
            ("12", Some(12)),
            ("1500n", Some(1)),
            ("10%", None),
            ("", None),
            ("1Q", None),
            ("1.2.3", None),
            ("100E", None),
            ("--1", None),
        ];
        for (text, expected) in table {
            assert_eq!(whole(text), expected, "{text}");
        }
        assert_eq!(thousandths("200m"), Some(200));
        assert_eq!(thousandths("1.5"), Some(1_500));
    }

    #[test]
    fn thresholds() {
        assert_eq!(threshold("10%"), Ok(Some(Threshold::Fraction(0.1))));
        assert_eq!(threshold("100Mi"), Ok(Some(Threshold::Quantity(104_857_600))));
        assert_eq!(threshold("0%"), Ok(None));
        assert_eq!(threshold("100%"), Ok(None));
        for text in ["101%", "-1%", "x%", "NaN%", "-1Mi", "many", ""] {
            assert!(threshold(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reserved_amounts() {
        let map = |name: &str, text: &str| BTreeMap::from([(name.to_owned(), text.to_owned())]);
        assert_eq!(reserved(&map("cpu", "1.5")).unwrap().cpu, Some(MilliCpu(1_500)));
        assert_eq!(
            reserved(&map("memory", "1Ki")).unwrap().memory,
            Some(Bytes(1_024))
        );
        assert_eq!(reserved(&map("pid", "1k")).unwrap().extended["pid"], 1_000);
        assert_eq!(reserved(&map("cpu", "-1")).unwrap_err().0, "cpu");
        assert!(
            reserved(&map("hugepages-2Mi", "1Gi"))
                .unwrap_err()
                .1
                .contains("cannot be reserved")
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[-+0-9.eEnumkKMGTPi%]{0,24}") {
            let _ = (whole(&text), threshold(&text));
        }

        #[test]
        fn whole_numbers_are_exact(number in -999_999_999_999i64..999_999_999_999) {
            proptest::prop_assert_eq!(whole(&number.to_string()), Some(number));
        }
    }
}
