//! The meaning of a YAML scalar by the rules of the kubelet's reader (sigs.k8s.io/yaml on go-yaml v2): YAML 1.1 with
//! the old booleans and octal numbers, so that a file means the same in gantry and in the kubelet.

use base64::Engine as _;
use saphyr_parser::Tag;
use serde_json::{Number, Value};

/// A scalar, typed as in the kubelet's reader.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// Nothing.
    Null,
    /// true or false
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number too large for `Int`.
    Uint(u64),
    /// Any other number, with its text.
    Float(f64, String),
    /// A JSON number with a fraction or an exponent, with its text: it never counts as an integer, whatever its value.
    Decimal(f64, String),
    /// Text.
    Str(String),
}

impl Scalar {
    /// The text that it is as a key: the kubelet's reader turns numbers and booleans into text. The error says what it is
    /// instead.
    pub fn key(&self) -> Result<String, &'static str> {
        match self {
            Scalar::Str(text) => Ok(text.clone()),
            Scalar::Int(number) => Ok(number.to_string()),
            // Go's YAML reader makes a type of these that its JSON converter does not know.
            Scalar::Uint(_) => Err("a number that is too large"),
            Scalar::Bool(value) => Ok(value.to_string()),
            Scalar::Float(value, _) | Scalar::Decimal(value, _) => Ok(key_of_float(*value)),
            Scalar::Null => Err("empty"),
        }
    }

    /// The value as JSON, through which the kubelet's reader goes; `None` for a number that JSON does not have.
    pub fn json(self) -> Option<Value> {
        Some(match self {
            Scalar::Null => Value::Null,
            Scalar::Bool(value) => value.into(),
            Scalar::Int(number) => number.into(),
            Scalar::Uint(number) => number.into(),
            Scalar::Float(value, _) => match whole(value) {
                Some(whole) => whole.into(),
                None => Value::Number(Number::from_f64(value)?),
            },
            Scalar::Decimal(value, _) => Value::Number(Number::from_f64(value)?),
            Scalar::Str(text) => text.into(),
        })
    }
}

/// A number that is an integer however it is written (`1e3`): the kubelet goes through JSON, which does not distinguish
/// them.
pub(crate) fn whole(value: f64) -> Option<i64> {
    // From 10²¹ on Go writes an exponent, which an integer cannot have.
    match value.fract() == 0.0 && value.abs() < 1e21 {
        true => json_of_float(value).parse().ok(),
        false => None,
    }
}

/// The meaning of a scalar, by its tag, its quotes, or its text.
pub fn tagged(text: &str, plain: bool, tag: Option<&Tag>) -> Result<Scalar, String> {
    let own = || Scalar::Str(text.to_owned());
    let Some(tag) = tag else {
        return Ok(if plain { resolve(text) } else { own() });
    };
    if is_unknown(tag) {
        return Ok(own());
    }
    let read = resolve(text);
    let meaning = match (tag.is_yaml_core_schema(), tag.suffix.as_str(), read) {
        (false, _, read) => Some(read),
        (true, "str", _) => Some(own()),
        (true, "binary", _) => binary(text).map(Scalar::Str),
        (true, "timestamp", _) => is_timestamp(text).then(own),
        (true, "float", Scalar::Int(int)) => Some(Scalar::Float(int as f64, int.to_string())),
        (true, "int", read @ (Scalar::Int(_) | Scalar::Uint(_)))
        | (true, "float", read @ Scalar::Float(..))
        | (true, "bool", read @ Scalar::Bool(_))
        | (true, "null", read @ Scalar::Null) => Some(read),
        _ => None,
    };
    meaning.ok_or_else(|| format!("{text:?} is not a valid !!{}", tag.suffix))
}

/// Whether a tag has no meaning here: the value is taken as text. The tag `!` alone does not choose a type, nor do
/// quotes below it.
pub(crate) fn is_unknown(tag: &Tag) -> bool {
    let known = ["str", "int", "float", "bool", "null", "timestamp", "binary"];
    match tag.is_yaml_core_schema() {
        true => !known.contains(&tag.suffix.as_str()),
        false => !tag.suffix.is_empty(),
    }
}

fn binary(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether go-yaml accepts it as a time: a date whose month and day have one or two digits, alone or with a time of the
/// same form.
fn is_timestamp(text: &str) -> bool {
    let numbers = |text: &str, between: char, most: [u32; 3]| {
        let parts: Vec<&str> = text.split(between).collect();
        parts.len() == 3
            && parts.iter().zip(most).all(|(part, most)| {
                let whole = part.split('.').next().unwrap_or_default();
                whole.parse().is_ok_and(|number: u32| number <= most)
            })
    };
    let date = |text: &str| text.as_bytes().get(4) == Some(&b'-') && numbers(text, '-', [9999, 12, 31]);
    let time = |text: &str| numbers(text, ':', [23, 59, 59]);
    match text.split_once([' ', 'T', 't']) {
        None => date(text),
        Some((day, rest)) if text.as_bytes().get(day.len()) == Some(&b' ') => date(day) && time(rest),
        Some((day, rest)) => {
            let end = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
            let zone = &rest[end..];
            let is_zone = zone == "Z" || (zone.len() == 6 && zone.as_bytes()[3] == b':');
            date(day) && time(&rest[..end]) && is_zone
        }
    }
}

/// The number as a key, as go-yaml writes it: with the digits of a 32-bit float.
fn key_of_float(value: f64) -> String {
    // A number that does not fit becomes infinite, as in go-yaml.
    #[allow(clippy::cast_possible_truncation)]
    let short = value as f32;
    match short {
        short if short.is_nan() => ".nan".to_owned(),
        f32::INFINITY => ".inf".to_owned(),
        f32::NEG_INFINITY => "-.inf".to_owned(),
        short => {
            let text = format!("{short:e}");
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or_default();
            // `%g` with the shortest digits: it shows an exponent below -4 and from 6 on.
            match exponent {
                -4..=5 => short.to_string(),
                exponent => format!(
                    "{digits}e{}{:02}",
                    if exponent < 0 { '-' } else { '+' },
                    exponent.abs()
                ),
            }
        }
    }
}

/// A number as Go writes it into JSON.
pub(crate) fn json_of_float(value: f64) -> String {
    if value != 0.0 && !(1e-6..1e21).contains(&value.abs()) {
        let text = format!("{value:e}");
        return match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
            _ => text,
        };
    }
    value.to_string()
}

/// The meaning of a plain (unquoted) scalar without a tag.
fn resolve(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Scalar::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN, text.to_owned()),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Scalar::Float(f64::INFINITY, text.to_owned());
        }
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY, text.to_owned()),
        _ => {}
    }
    let number = match text.as_bytes()[0] {
        b'.' => float(text),
        b'+' | b'-' | b'0'..=b'9' => {
            let plain = text.replace('_', "");
            integer(&plain).or_else(|| float(&plain))
        }
        _ => None,
    };
    number.unwrap_or_else(|| Scalar::Str(text.to_owned()))
}

/// An integer as Go reads it with base 0: `0x`, `0o`, `0b`, and a leading 0 for octal.
fn integer(plain: &str) -> Option<Scalar> {
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, plain),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    // A second sign is not allowed, although from_str_radix would accept it.
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    let value = if negative { -value } else { value };
    match i64::try_from(value) {
        Ok(int) => Some(Scalar::Int(int)),
        // Only a number without a sign gets a second try as an unsigned one.
        Err(_) => u64::try_from(value)
            .ok()
            .filter(|_| !plain.starts_with('+'))
            .map(Scalar::Uint),
    }
}

/// A number with a fraction or an exponent: `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn float(plain: &str) -> Option<Scalar> {
    let unsigned = plain.strip_prefix(['-', '+']).unwrap_or(plain);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let shaped = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    let exponent_shaped = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    if !shaped || !exponent_shaped {
        return None;
    }
    let value: f64 = plain.parse().ok()?;
    value.is_finite().then(|| Scalar::Float(value, plain.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, meaning: Scalar) {
        assert_eq!(resolve(text), meaning, "{text:?}");
    }

    #[test]
    fn plain_scalars_mean_what_the_kubelet_reads() {
        for text in ["", "~", "null", "Null", "NULL"] {
            check(text, Scalar::Null);
        }
        for text in ["y", "yes", "Yes", "on", "ON", "true", "True"] {
            check(text, Scalar::Bool(true));
        }
        for text in ["n", "no", "NO", "off", "false", "FALSE"] {
            check(text, Scalar::Bool(false));
        }
        check("0644", Scalar::Int(420));
        check("0o17", Scalar::Int(15));
        check("0x1F", Scalar::Int(31));
        check("0b101", Scalar::Int(5));
        check("-0b101", Scalar::Int(-5));
        check("1_000", Scalar::Int(1000));
        check("+5", Scalar::Int(5));
        check("-7", Scalar::Int(-7));
        check("0", Scalar::Int(0));
        check("9223372036854775807", Scalar::Int(i64::MAX));
        check("18446744073709551615", Scalar::Uint(u64::MAX));
        check("0.5", Scalar::Float(0.5, "0.5".into()));
        check(".5", Scalar::Float(0.5, ".5".into()));
        check("1e9", Scalar::Float(1e9, "1e9".into()));
        // It is not octal: go-yaml then reads it as a float.
        check("0899", Scalar::Float(899.0, "0899".into()));
        check(
            "99999999999999999999",
            Scalar::Float(1e20, "99999999999999999999".into()),
        );
    }

    #[test]
    fn floats_are_written_as_go_writes_them() {
        for (value, json, key) in [
            (0.1, "0.1", "0.1"),
            (1000.0, "1000", "1000"),
            (1e20, "100000000000000000000", "1e+20"),
            (1e21, "1e+21", "1e+21"),
            (1e-7, "1e-7", "1e-07"),
            (1.5e-10, "1.5e-10", "1.5e-10"),
            (123_456_789.123_456_79, "123456789.12345679", "1.2345679e+08"),
            (-0.5, "-0.5", "-0.5"),
        ] {
            assert_eq!(json_of_float(value), json);
            assert_eq!(key_of_float(value), key);
        }
    }

    #[test]
    fn tags_say_what_a_scalar_is_or_nothing() {
        let tagged = |tag: &str, text: &str, plain: bool| {
            let tag = match tag {
                "" => Tag {
                    handle: "!".into(),
                    suffix: String::new(),
                },
                tag => Tag {
                    handle: "tag:yaml.org,2002:".into(),
                    suffix: tag.into(),
                },
            };
            super::tagged(text, plain, Some(&tag))
        };
        let text = |text: &str| Ok(Scalar::Str(text.into()));
        assert_eq!(tagged("str", "5", true), text("5"));
        assert_eq!(tagged("int", "5", false), Ok(Scalar::Int(5)));
        assert!(tagged("int", "x", true).is_err() && tagged("int", "1.0", true).is_err());
        assert_eq!(tagged("float", "1", true), Ok(Scalar::Float(1.0, "1".into())));
        assert_eq!(tagged("bool", "yes", true), Ok(Scalar::Bool(true)));
        assert!(tagged("null", "x", true).is_err());
        assert_eq!(tagged("binary", "aGk=", true), text("hi"));
        assert!(tagged("binary", "a", true).is_err());
        for time in [
            "2001-12-14",
            "2001-1-4 1:2:3",
            "2001-12-14T21:59:43.10-05:00",
            "2001-12-14t21:59:43Z",
        ] {
            assert_eq!(tagged("timestamp", time, true), text(time));
        }
        for other in ["x", "2001-13-14", "20011-12-14", "2001-12-14T21:59", "12:30:45"] {
            assert!(tagged("timestamp", other, true).is_err(), "{other}");
        }
        // An unknown tag makes text; `!` alone does not choose a type, nor do quotes below it.
        assert_eq!(tagged("set", "5", true), text("5"));
        assert_eq!(tagged("", "5", false), Ok(Scalar::Int(5)));
    }

    #[test]
    fn what_is_no_number_is_text() {
        for text in [
            "yEs",
            "nUll",
            "1.2.3.4",
            "10.0.0.1",
            "100m",
            "2Gi",
            "1e",
            "--1",
            "-",
            "+",
            ".",
            "..",
            "0x",
            "0xg",
            "2001-12-14",
            "12:30:45",
            "1e400",
            "0x-1",
            "_1",
            "é",
        ] {
            check(text, Scalar::Str(text.into()));
        }
    }
}
