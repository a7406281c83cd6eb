//! The thresholds and reserved amounts of a configuration, which are written with quantities.

use std::collections::BTreeMap;

use crate::model::quantity::{self, Notation, Quantity};
use crate::model::resources::{Amounts, Bytes, MilliCpu};
use crate::model::threshold::Threshold;

/// A quantity in whole units, rounded up; `None` if the text is none, or the value too large.
pub fn whole(text: &str) -> Option<i64> {
    let units = quantity::parse(text).ok()?.units()?;
    (units.unsigned_abs() < LARGEST).then_some(units)
}

/// The amount at which larger ones are capped.
const LARGEST: u64 = i64::MAX.unsigned_abs();

/// A value of `evictionHard` or `evictionSoft`. `Ok(None)` is a disabled threshold (`0%` and `100%`:
/// `parseThresholdStatement` in `pkg/kubelet/eviction/helpers.go`).
pub fn threshold(text: &str) -> Result<Option<Threshold>, String> {
    if let Some(percent) = text.strip_suffix('%') {
        let percent = percentage(text, percent)?;
        if !(0.0..=100.0).contains(&percent) {
            return Err(format!("{text:?} must be between 0% and 100%"));
        }
        let off = percent == 0.0 || percent == 100.0;
        return Ok((!off).then_some(Threshold::Fraction(percent / 100.0)));
    }
    match quantity(text)? {
        Threshold::Quantity(0) | Threshold::Decimal(0) => {
            Err(format!("{text:?} must be positive; 0% disables the threshold"))
        }
        threshold => Ok(Some(threshold)),
    }
}

/// A value of `evictionMinimumReclaim` (`parseMinimumReclaims` in `pkg/kubelet/eviction/helpers.go`): a percentage is
/// positive, and may be all there is; a quantity may be 0.
pub fn reclaim(text: &str) -> Result<Threshold, String> {
    let Some(percent) = text.strip_suffix('%') else {
        return quantity(text);
    };
    let percent = percentage(text, percent)?;
    if percent > 0.0 && percent.is_finite() {
        return Ok(Threshold::Fraction(percent / 100.0));
    }
    Err(format!(
        "{text:?} must be more than 0%; remove the entry if nothing more has to be reclaimed"
    ))
}

fn percentage(text: &str, number: &str) -> Result<f64, String> {
    number
        .parse()
        .map_err(|_| format!("{text:?} is not a percentage; write it like 10%"))
}

fn quantity(text: &str) -> Result<Threshold, String> {
    if quantity::parse(text).is_ok_and(Quantity::is_negative) {
        return Err(format!("{text:?} must not be negative"));
    }
    match whole(text) {
        Some(quantity) => Ok(match quantity::written(text)?.unit.notation {
            Notation::BinarySI => Threshold::Quantity(quantity),
            Notation::DecimalSI | Notation::DecimalExponent => Threshold::Decimal(quantity),
        }),
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
        let quantity = quantity::parse(text).map_err(|_| wrong("is not a quantity like 500Mi or 200m"))?;
        if quantity.is_negative() {
            return Err(wrong("must not be negative"));
        }
        let fits = |amount: Option<i64>| {
            amount
                .filter(|amount| amount.unsigned_abs() < LARGEST)
                .ok_or_else(|| wrong("is too large"))
        };
        let count = fits(quantity.units())?;
        match name.as_str() {
            "cpu" => amounts.cpu = Some(MilliCpu(fits(quantity.millis())?)),
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
            // As in a manifest.
            ("1000000000000000000", Some(1_000_000_000_000_000_000)),
            ("1e-20", Some(1)),
            ("1e-999", Some(1)),
            ("1e+2", Some(100)),
            ("m", Some(0)),
            ("+-1", None),
            ("1-2", None),
            ("8Ei", None),
        ];
        for (text, expected) in table {
            assert_eq!(whole(text), expected, "{text}");
        }
    }

    #[test]
    fn thresholds() {
        assert_eq!(threshold("10%"), Ok(Some(Threshold::Fraction(0.1))));
        assert_eq!(threshold("100Mi"), Ok(Some(Threshold::Quantity(104_857_600))));
        assert_eq!(threshold("0%"), Ok(None));
        assert_eq!(threshold("100%"), Ok(None));
        for text in ["101%", "-1%", "x%", "NaN%", "-1Mi", "many", "", "0", "0Mi"] {
            assert!(threshold(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_reclaimed_at_least() {
        assert_eq!(reclaim("10%"), Ok(Threshold::Fraction(0.1)));
        assert_eq!(reclaim("100%"), Ok(Threshold::Fraction(1.0)));
        assert_eq!(reclaim("0"), Ok(Threshold::Decimal(0)));
        assert_eq!(reclaim("1Gi"), Ok(Threshold::Quantity(1 << 30)));
        for text in ["0%", "-1%", "NaN%", "inf%", "x%", "-1", "many"] {
            assert!(reclaim(text).is_err(), "{text}");
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
        assert_eq!(reserved(&map("cpu", "200m")).unwrap().cpu, Some(MilliCpu(200)));
        assert_eq!(reserved(&map("cpu", "-1")).unwrap_err().0, "cpu");
        for (text, problem) in [
            ("-0.1m", "negative"),
            ("1E", "too large"),
            ("many", "not a quantity"),
        ] {
            let error = reserved(&map("cpu", text)).unwrap_err().1;
            assert!(error.contains(problem), "{error}");
        }
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
            let _ = (whole(&text), threshold(&text), reclaim(&text));
        }

        #[test]
        fn whole_numbers_are_exact(number in -999_999_999_999i64..999_999_999_999) {
            proptest::prop_assert_eq!(whole(&number.to_string()), Some(number));
        }
    }
}
