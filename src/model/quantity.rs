//! Kubernetes quantities (`500m`, `64Mi`, `1e3`) as exact numbers (`k8s.io/apimachinery/pkg/api/resource`), of manifests
//! and of the configuration.

/// A quantity in billionths, the finest unit in Kubernetes; finer amounts are rounded up, away from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i128);

const NANO: i128 = 1_000_000_000;

impl Quantity {
    /// Whole units, rounded up.
    pub fn units(self) -> Option<i64> {
        self.in_units_of(NANO)
    }

    /// Thousandths, rounded up and capped at 64 bits.
    pub fn millis(self) -> Option<i64> {
        self.in_units_of(NANO / 1000).or((self.0 > 0).then_some(i64::MAX))
    }

    /// Whether it is a whole number.
    pub fn is_whole(self) -> bool {
        self.0 % NANO == 0
    }

    /// Whether it is a multiple of this many whole units.
    pub fn is_multiple_of(self, units: i64) -> bool {
        self.0 % (NANO * i128::from(units)) == 0
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// The sum; `None` where it overflows.
    pub fn plus(self, other: Quantity) -> Option<Quantity> {
        self.0.checked_add(other.0).map(Quantity)
    }

    fn in_units_of(self, nanos: i128) -> Option<i64> {
        i64::try_from(-(-self.0).div_euclid(nanos)).ok()
    }
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            nanos if nanos % NANO == 0 => write!(f, "{}", nanos / NANO),
            nanos if nanos % (NANO / 1000) == 0 => write!(f, "{}m", nanos / (NANO / 1000)),
            nanos => write!(f, "{nanos}n"),
        }
    }
}

/// The description of a valid quantity.
pub const FORM: &str = "must be a number with one of the suffixes m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei or an exponent (500m, 64Mi, 1e3)";

/// A quantity by the parts of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written<'a> {
    /// Whether it has a minus sign.
    pub is_negative: bool,
    /// The digits before the point, without leading zeros.
    pub whole: &'a str,
    /// The digits after the point.
    pub fraction: &'a str,
    /// What it is multiplied by.
    pub unit: Unit,
}

/// What a number is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// The base.
    pub base: Base,
    /// Its power.
    pub exponent: i32,
    /// How it is written.
    pub notation: Notation,
}

/// The base of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// 2
    Two,
    /// 10
    Ten,
}

/// How a unit is written, by Go's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// `Mi`
    BinarySI,
    /// `M`, or nothing
    DecimalSI,
    /// `e6`
    DecimalExponent,
}

impl Notation {
    /// Go's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Notation::BinarySI => "BinarySI",
            Notation::DecimalSI => "DecimalSI",
            Notation::DecimalExponent => "DecimalExponent",
        }
    }
}

/// Takes a text apart. The error says what is wrong.
pub fn written(text: &str) -> Result<Written<'_>, String> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let number_end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(number_end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // Missing digits count as zero (`.`, `m`), as in Kubernetes.
    if fraction.contains('.') || text.is_empty() {
        return Err(FORM.to_owned());
    }
    Ok(Written {
        is_negative: text.starts_with('-'),
        whole: whole.trim_start_matches('0'),
        fraction,
        unit: unit(suffix).ok_or_else(|| FORM.to_owned())?,
    })
}

/// Parses a quantity. The error says what is wrong.
pub fn parse(text: &str) -> Result<Quantity, String> {
    let Written {
        is_negative,
        whole,
        fraction,
        unit,
    } = written(text)?;
    // A number with more digits than this is not below 2^63, or its fraction is too small to count.
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 40 {
        return Err(format!("{text} has too many digits"));
    }
    // Larger amounts are capped at the largest one.
    let most = i128::from(i64::MAX) * NANO;
    let exact = (whole.len() <= 40)
        .then(|| exact(whole, fraction, unit))
        .flatten();
    let nanos = exact.map_or(most, |nanos| nanos.min(most));
    Ok(Quantity(if is_negative { -nanos } else { nanos }))
}

fn unit(suffix: &str) -> Option<Unit> {
    let (base, exponent, notation) = match suffix {
        "" => (Base::Ten, 0, Notation::DecimalSI),
        "n" => (Base::Ten, -9, Notation::DecimalSI),
        "u" => (Base::Ten, -6, Notation::DecimalSI),
        "m" => (Base::Ten, -3, Notation::DecimalSI),
        "k" => (Base::Ten, 3, Notation::DecimalSI),
        "M" => (Base::Ten, 6, Notation::DecimalSI),
        "G" => (Base::Ten, 9, Notation::DecimalSI),
        "T" => (Base::Ten, 12, Notation::DecimalSI),
        "P" => (Base::Ten, 15, Notation::DecimalSI),
        "E" => (Base::Ten, 18, Notation::DecimalSI),
        "Ki" => (Base::Two, 10, Notation::BinarySI),
        "Mi" => (Base::Two, 20, Notation::BinarySI),
        "Gi" => (Base::Two, 30, Notation::BinarySI),
        "Ti" => (Base::Two, 40, Notation::BinarySI),
        "Pi" => (Base::Two, 50, Notation::BinarySI),
        "Ei" => (Base::Two, 60, Notation::BinarySI),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            (Base::Ten, exponent.parse().ok()?, Notation::DecimalExponent)
        }
    };
    Some(Unit {
        base,
        exponent,
        notation,
    })
}

/// `whole.fraction` times the unit in billionths, rounded up; `None` where it is far too large.
fn exact(whole: &str, fraction: &str, unit: Unit) -> Option<i128> {
    let digits = format!("{whole}{fraction}");
    let mantissa: i128 = if digits.is_empty() {
        0
    } else {
        digits.parse().ok()?
    };
    if mantissa == 0 {
        return Some(0);
    }
    let behind = i32::try_from(fraction.len()).ok()?;
    let (mantissa, exponent) = match unit.base {
        Base::Ten => (mantissa, unit.exponent - behind + 9),
        Base::Two => (mantissa.checked_mul(1_i128 << unit.exponent)?, 9 - behind),
    };
    match u32::try_from(exponent) {
        Ok(up) => mantissa.checked_mul(10_i128.checked_pow(up)?),
        Err(_) => match 10_i128.checked_pow(exponent.unsigned_abs()) {
            Some(divisor) => Some(-(-mantissa).div_euclid(divisor)),
            // Smaller than a billionth, but not zero.
            None => Some(1),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, nanos: i128) {
        assert_eq!(parse(text), Ok(Quantity(nanos)), "{text}");
    }

    #[test]
    fn quantities_are_exact() {
        check("1", NANO);
        check("0", 0);
        check("500m", NANO / 2);
        check("0.1", NANO / 10);
        check(".5", NANO / 2);
        check("5.", 5 * NANO);
        check("-1", -NANO);
        check("+1", NANO);
        check("1k", 1000 * NANO);
        check("64Mi", 64 * 1024 * 1024 * NANO);
        check("1.5Gi", 1536 * 1024 * 1024 * NANO);
        check("1e3", 1000 * NANO);
        check("1E3", 1000 * NANO);
        check("1E", 10_i128.pow(18) * NANO);
        check("12e-1", 1200 * NANO / 1000);
        check("1e+09", 10_i128.pow(9) * NANO);
        check("0.0000000001", 1);
        check("1e-999", 1);
        check("0.1n", 1);
        check("9223372036854775807", i128::from(i64::MAX) * NANO);
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "", "1 ", " 1", "1mm", "1KiB", "1K", "ten", "1.2.3", "1e", "1e+", "0x10", "1_000", "1,5", "--1",
            "1Mi5", "١",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn digits_that_are_missing_are_a_zero_and_what_is_too_large_the_largest() {
        for text in ["m", ".", "-", "+", "e3", "Ki"] {
            assert_eq!(parse(text).map(Quantity::units), Ok(Some(0)), "{text:?}");
        }
        for text in ["9223372036854775808", "8Ei", "1e19", "1e9999", "9999999E"] {
            assert_eq!(parse(text).map(Quantity::units), Ok(Some(i64::MAX)), "{text:?}");
        }
    }

    #[test]
    fn units_are_rounded_up() {
        let units = |text: &str| (parse(text).unwrap().millis(), parse(text).unwrap().units());
        assert_eq!(units("1.5"), (Some(1500), Some(2)));
        assert_eq!(units("100u"), (Some(1), Some(1)));
        assert_eq!(units("-1500m"), (Some(-1500), Some(-1)));
        assert_eq!(units("8e18"), (Some(i64::MAX), Some(8_000_000_000_000_000_000)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[-+0-9.eEmKiMGn]{0,50}") {
            let _ = parse(&text);
        }

        #[test]
        fn whole_numbers_are_themselves(n in any::<i64>().prop_filter("no magnitude", |n| *n != i64::MIN)) {
            prop_assert_eq!(parse(&n.to_string()).unwrap().units(), Some(n));
        }
    }
}
