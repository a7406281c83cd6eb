//! A quantity as Go holds it in memory (`ParseQuantity` of `k8s.io/apimachinery/pkg/api/resource`): a number with a
//! decimal scale where it fits into 64 bits, else an arbitrary decimal, and its text where that is the canonical form.
//! It is needed for the print behind static pods' UIDs, and for the published pod.

use std::fmt::Write as _;

use crate::model::quantity::{Base, Notation, Written, written};

/// The largest amount (`maxAllowed`).
const MOST: u128 = i64::MAX as u128;
/// The smallest fraction of an amount: 10⁻⁹.
const NANO: i32 = -9;
/// The precision to which resource amounts are rounded up: 10⁻³.
const MILLI: i32 = -3;

/// Whether an amount is rounded when it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// As written.
    None,
    /// Up to thousandths (`SetDefaults_ResourceList`).
    UpToMilli,
}

/// The amount.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Amount {
    /// value · 10^scale
    Small { value: i64, scale: i32 },
    /// unscaled · 10^-scale
    Large {
        is_negative: bool,
        unscaled: u128,
        scale: i32,
    },
}

/// A quantity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Quantity {
    amount: Amount,
    text: String,
    /// `None`: Go's zero value, which was not read.
    notation: Option<Notation>,
}

impl Default for Quantity {
    fn default() -> Self {
        Quantity {
            amount: Amount::Small { value: 0, scale: 0 },
            text: String::new(),
            notation: None,
        }
    }
}

impl Quantity {
    /// Parses a text; `None` where it is not a quantity or is out of range.
    pub(crate) fn read(text: &str, rounding: Rounding) -> Option<Quantity> {
        if text == "0" {
            return Some(Quantity {
                text: text.to_owned(),
                notation: Some(Notation::DecimalSI),
                ..Quantity::default()
            });
        }
        let mut parts = written(text).ok()?;
        // A number without digits before the point has a zero there.
        if parts.whole.is_empty() {
            parts.whole = "0";
        }
        let mut read = match small(&parts, text) {
            Some(small) => small,
            None => large(&parts)?,
        };
        if rounding == Rounding::UpToMilli {
            read.round_up();
        }
        Some(read)
    }

    /// The canonical text (`CanonicalizeBytes`).
    pub(crate) fn canonical(&self) -> String {
        if !self.text.is_empty() {
            return self.text.clone();
        }
        let (is_negative, mut mantissa, mut exponent) = match self.amount {
            Amount::Small { value, scale } => (value < 0, u128::from(value.unsigned_abs()), scale),
            Amount::Large {
                is_negative,
                unscaled,
                scale,
            } => (is_negative, unscaled, -scale),
        };
        if mantissa == 0 {
            return "0".to_owned();
        }
        while mantissa.is_multiple_of(10) {
            (mantissa, exponent) = (mantissa / 10, exponent + 1);
        }
        let sign = if is_negative { "-" } else { "" };
        if let Some((number, suffix)) = self.in_powers_of_1024(mantissa, exponent) {
            return format!("{sign}{number}{suffix}");
        }
        let shift = exponent.rem_euclid(3);
        mantissa *= 10_u128.pow(shift.unsigned_abs());
        exponent -= shift;
        let suffixes = [
            (-9, "n"),
            (-6, "u"),
            (-3, "m"),
            (3, "k"),
            (6, "M"),
            (9, "G"),
            (12, "T"),
            (15, "P"),
            (18, "E"),
        ];
        let suffix = match suffixes.iter().find(|(own, _)| *own == exponent) {
            Some((_, suffix)) if self.notation != Some(Notation::DecimalExponent) => (*suffix).to_owned(),
            _ if exponent == 0 => String::new(),
            _ => format!("e{exponent}"),
        };
        format!("{sign}{mantissa}{suffix}")
    }

    /// The mantissa and suffix in powers of 1024, for integers from 1024 on.
    fn in_powers_of_1024(&self, mantissa: u128, exponent: i32) -> Option<(u128, &'static str)> {
        if self.notation != Some(Notation::BinarySI) || exponent < 0 {
            return None;
        }
        let mut number = mantissa.checked_mul(10_u128.checked_pow(exponent.unsigned_abs())?)?;
        if number < 1024 {
            return None;
        }
        let mut suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"].into_iter();
        let mut suffix = suffixes.next()?;
        while number.is_multiple_of(1024)
            && let Some(next) = suffixes.next()
        {
            (number, suffix) = (number / 1024, next);
        }
        Some((number, suffix))
    }

    fn round_up(&mut self) {
        match &mut self.amount {
            Amount::Small { value, scale } if *scale < MILLI => {
                let unit = 10_i64.saturating_pow((MILLI - *scale).unsigned_abs());
                let up = i64::from(*value % unit != 0) * value.signum();
                (*value, *scale) = (*value / unit + up, MILLI);
                self.text.clear();
            }
            Amount::Small { .. } => {}
            Amount::Large { unscaled, scale, .. } => {
                if let Some(rounded) = rescaled(*unscaled, *scale, -MILLI) {
                    (*unscaled, *scale) = (rounded, -MILLI);
                }
                self.text.clear();
            }
        }
    }

    /// Prints it as the value of a field or of a map.
    pub(crate) fn print(&self, out: &mut String) {
        let (value, scale) = match self.amount {
            Amount::Small { value, scale } => (value, scale),
            Amount::Large { .. } => (0, 0),
        };
        let _ = write!(
            out,
            "{{i:(resource.int64Amount){{value:(int64){value} scale:(resource.Scale){scale}}} \
             d:(resource.infDecAmount){{Dec:(*inf.Dec)"
        );
        match self.amount {
            Amount::Small { .. } => out.push_str("<nil>"),
            Amount::Large {
                is_negative,
                unscaled,
                scale,
            } => {
                let _ = write!(
                    out,
                    "{{unscaled:(big.Int){{neg:(bool){is_negative} abs:(big.nat){}}} scale:(inf.Scale){scale}}}",
                    words(unscaled)
                );
            }
        }
        let _ = write!(
            out,
            "}} s:(string){} Format:(resource.Format){}}}",
            self.text,
            self.notation.map_or("", Notation::as_str)
        );
    }
}

/// The 64-bit words of a number, the lowest first, without leading zeros; Go's zero has none.
fn words(number: u128) -> String {
    #[allow(clippy::cast_possible_truncation)] // the low half is what is meant
    let (low, high) = (number as u64, (number >> 64) as u64);
    match (low, high) {
        (0, 0) => "<nil>".to_owned(),
        (low, 0) => format!("[{low}]"),
        (low, high) => format!("[{low} {high}]"),
    }
}

/// The fast path for amounts whose digits fit into 64 bits.
fn small(parts: &Written<'_>, text: &str) -> Option<Quantity> {
    let digits = i32::try_from(parts.whole.len() + parts.fraction.len()).ok()?;
    let exponent = parts.unit.exponent;
    let (scale, mantissa, room) = match parts.unit.base {
        Base::Ten => (exponent, 1, 18 - digits),
        _ if parts.fraction.is_empty() => (0, 1_i64 << exponent, 15 - digits - exponent * 3 / 10 - 1),
        _ => return None,
    };
    let scale = scale - i32::try_from(parts.fraction.len()).ok()?;
    if room < 0 || scale < NANO {
        return None;
    }
    let shifted = format!("{}{}", parts.whole, parts.fraction);
    let value: i64 = shifted.parse().ok()?;
    let amount = value.checked_mul(mantissa)?;
    // The text is preserved where it is the canonical form of the amount.
    let is_canonical = match parts.unit.base {
        Base::Ten => scale % 3 == 0 && !shifted.ends_with("000") && !shifted.starts_with('0'),
        Base::Two => exponent % 10 == 0 && value & 0x07 != 0,
    };
    Some(Quantity {
        amount: Amount::Small {
            value: if parts.is_negative { -amount } else { amount },
            scale,
        },
        text: if is_canonical {
            text.to_owned()
        } else {
            String::new()
        },
        notation: Some(parts.unit.notation),
    })
}

/// The general path: exact, then rounded up to 10⁻⁹; with a binary suffix, cut to the largest amount.
fn large(parts: &Written<'_>) -> Option<Quantity> {
    let mut unscaled: u128 = format!("{}{}", parts.whole, parts.fraction).parse().ok()?;
    let mut scale = i32::try_from(parts.fraction.len()).ok()?;
    match parts.unit.base {
        Base::Ten => scale -= parts.unit.exponent,
        Base::Two => unscaled = unscaled.checked_mul(1 << parts.unit.exponent)?,
    }
    if unscaled != 0 {
        let nano = rescaled(unscaled, scale, -NANO)?;
        (unscaled, scale) = (nano, -NANO);
        if parts.unit.base == Base::Two && unscaled > MOST * 1_000_000_000 {
            (unscaled, scale) = (MOST, 0);
        }
    }
    let is_below_one = unscaled != 0 && scale == -NANO && unscaled < 1_000_000_000;
    let notation = match parts.unit.notation {
        Notation::BinarySI if is_below_one => Notation::DecimalSI,
        notation => notation,
    };
    Some(Quantity {
        amount: Amount::Large {
            is_negative: parts.is_negative,
            unscaled,
            scale,
        },
        text: String::new(),
        notation: Some(notation),
    })
}

/// The unscaled number at another scale, rounded up.
fn rescaled(unscaled: u128, from: i32, to: i32) -> Option<u128> {
    let power = |exponent: i32| 10_u128.checked_pow(exponent.unsigned_abs());
    if to >= from {
        unscaled.checked_mul(power(to - from)?)
    } else {
        Some(unscaled.div_ceil(power(from - to)?))
    }
}
