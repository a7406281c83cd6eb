//! Durations as Kubernetes writes them (Go's `time.Duration`): `1m0s`, `100ms`, `4h0m0s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// A duration in nanoseconds. Negative ones can be written, and a few keys give them a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub i64);

const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl Span {
    /// So many seconds.
    pub const fn seconds(seconds: i64) -> Self {
        Span(seconds * 1_000_000_000)
    }

    /// A duration of the given number of milliseconds.
    pub const fn milliseconds(milliseconds: i64) -> Self {
        Span(milliseconds * 1_000_000)
    }

    /// Converts it to the standard library's type; a negative duration becomes zero.
    pub fn unsigned(self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

/// What is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration; write it like 30s, 5m or 1h30m")]
pub struct NotADuration(String);

impl FromStr for Span {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, NotADuration> {
        let wrong = || NotADuration(text.to_owned());
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        if unsigned == "0" {
            return Ok(Span(0));
        }
        if unsigned.is_empty() {
            return Err(wrong());
        }
        let (mut rest, mut total) = (unsigned, 0i64);
        while !rest.is_empty() {
            let (number, after) = split(rest, |c| c.is_ascii_digit() || c == '.');
            let (unit, after) = split(after, |c| !c.is_ascii_digit() && c != '.');
            let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            let nanos = scaled(number, *scale).ok_or_else(wrong)?;
            total = total.checked_add(nanos).ok_or_else(wrong)?;
            rest = after;
        }
        Ok(Span(if text.starts_with('-') { -total } else { total }))
    }
}

fn split(text: &str, is_first: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !is_first(c)).unwrap_or(text.len()))
}

/// A decimal number times a unit, exactly, in whole nanoseconds.
fn scaled(number: &str, unit: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |text: &str| {
        if text.is_empty() {
            Some(0)
        } else {
            text.parse::<i64>().ok()
        }
    };
    let mut total = digits(whole)?.checked_mul(unit)?;
    let mut weight = unit;
    for digit in fraction.chars() {
        weight /= 10;
        total = total.checked_add(i64::from(digit.to_digit(10)?) * weight)?;
    }
    Some(total)
}

impl fmt::Display for Span {
    /// Go's form: hours, minutes and seconds from one second on, else the largest unit below it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let nanos = self.0.unsigned_abs();
        let decimal = |f: &mut fmt::Formatter<'_>, value: u64, unit: u64| {
            let fraction = format!("{:0width$}", value % unit, width = unit.ilog10() as usize);
            match fraction.trim_end_matches('0') {
                "" => write!(f, "{}", value / unit),
                fraction => write!(f, "{}.{fraction}", value / unit),
            }
        };
        match nanos {
            0 => return f.write_str("0s"),
            1..1_000 => return write!(f, "{nanos}ns"),
            1_000..1_000_000 => {
                decimal(f, nanos, 1_000)?;
                return f.write_str("µs");
            }
            1_000_000..1_000_000_000 => {
                decimal(f, nanos, 1_000_000)?;
                return f.write_str("ms");
            }
            _ => {}
        }
        let minutes = nanos / 60_000_000_000;
        if minutes >= 60 {
            write!(f, "{}h", minutes / 60)?;
        }
        if minutes >= 1 {
            write!(f, "{}m", minutes % 60)?;
        }
        decimal(f, nanos % 60_000_000_000, 1_000_000_000)?;
        f.write_str("s")
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FromText;
        impl Visitor<'_> for FromText {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration like 30s, 5m or 1h30m")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }

            // A bare 0 is unambiguous; any other bare number lacks its unit.
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Span, E> {
                match number {
                    0 => Ok(Span(0)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(number), &self)),
                }
            }
        }
        deserializer.deserialize_any(FromText)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_written_and_as_shown() {
        let table = [
            ("0", "0s"),
            ("0s", "0s"),
            ("1m0s", "1m0s"),
            ("100ms", "100ms"),
            ("1.5s", "1.5s"),
            ("4h", "4h0m0s"),
            ("90s", "1m30s"),
            ("-1m", "-1m0s"),
            ("1h0.25s", "1h0m0.25s"),
            ("1500us", "1.5ms"),
            ("7ns", "7ns"),
            (".5h", "30m0s"),
        ];
        for (written, shown) in table {
            assert_eq!(written.parse::<Span>().unwrap().to_string(), shown, "{written}");
        }
    }

    #[test]
    fn what_is_no_duration() {
        for text in [
            "",
            "-",
            "5",
            "5 s",
            "s",
            "1m5",
            "1d",
            ".s",
            "1.2.3s",
            "99999999999h",
        ] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert!(
            serde_json::from_str::<Span>("5")
                .unwrap_err()
                .to_string()
                .contains("duration like 30s")
        );
        assert_eq!(serde_json::from_str::<Span>("0").unwrap(), Span(0));
    }

    proptest::proptest! {
        #[test]
        fn what_is_shown_reads_back(nanos in -9_000_000_000_000_000_000i64..9_000_000_000_000_000_000) {
            proptest::prop_assert_eq!(Span(nanos).to_string().parse::<Span>().unwrap(), Span(nanos));
        }

        #[test]
        fn no_text_panics(text in "[-+0-9.nuµmsh]{0,20}") {
            let _ = text.parse::<Span>();
        }
    }
}
