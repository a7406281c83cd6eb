//! What a scalar of YAML means, by the rules of the kubelet's reader (sigs.k8s.io/yaml on go-yaml v2): YAML 1.1
//! with the old booleans and octal numbers, so that a manifest means here what it means there.

use saphyr_parser::Tag;

use super::tree::Scalar;

/// What a scalar means by its tag, its quotes, or its text.
pub(super) fn tagged(text: &str, plain: bool, tag: Option<&Tag>) -> Result<Scalar, String> {
    let own = || Scalar::Str(text.to_owned());
    let Some(tag) = tag else {
        return Ok(if plain { resolve(text) } else { own() });
    };
    let number = text.replace('_', "");
    let meaning = match (tag.is_yaml_core_schema(), tag.suffix.as_str()) {
        (true, "str" | "timestamp") => Some(own()),
        (true, "int") => integer(&number),
        (true, "float") => float(&number),
        (true, "bool") => Some(resolve(text)).filter(|s| matches!(s, Scalar::Bool(_))),
        (true, "null") => Some(resolve(text)).filter(|s| *s == Scalar::Null),
        (false, "") => Some(own()),
        _ => return Err(unknown_tag(tag)),
    };
    meaning.ok_or_else(|| format!("{text:?} is no !!{}", tag.suffix))
}

/// What is said of a tag that has no meaning here.
pub(super) fn unknown_tag(tag: &Tag) -> String {
    format!("the tag {tag} has no meaning in a manifest: remove it")
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

/// A whole number as Go reads it with base 0: `0x`, `0o`, `0b`, and a leading 0 for octal.
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
    // A second sign is none that from_str_radix may accept.
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    let value = if negative { -value } else { value };
    match i64::try_from(value) {
        Ok(int) => Some(Scalar::Int(int)),
        Err(_) => u64::try_from(value).ok().map(Scalar::Uint),
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
        // No octal number: go-yaml goes on to read it as a float.
        check("0899", Scalar::Float(899.0, "0899".into()));
        check(
            "99999999999999999999",
            Scalar::Float(1e20, "99999999999999999999".into()),
        );
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
