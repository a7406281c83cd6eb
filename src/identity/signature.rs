//! The signature of cluster-info: it proves to a holder of a bootstrap token that the other side knows the token too.
//! Pure.
//!
//! It is a JWS (RFC 7515) with the content left out (its appendix F), made with HMAC-SHA256 and the token's secret;
//! `kid` in its header is the token's id.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::Value;

use super::token::Token;

/// Why a signature proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    /// It has an unknown format.
    #[error("its signature has an unknown format")]
    Form,
    /// It was made with another algorithm, or for another token.
    #[error("its signature has another algorithm or belongs to another token")]
    Kind,
    /// It was made with another secret, or for other content.
    #[error("its signature was not made with this token")]
    Wrong,
}

/// Checks a signature of `content` in constant time.
pub fn verify(signature: &str, content: &str, token: &Token) -> Result<(), NotSigned> {
    let (header, rest) = signature.split_once('.').ok_or(NotSigned::Form)?;
    let mac = rest.strip_prefix('.').ok_or(NotSigned::Form)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| NotSigned::Form);
    let about: Value = serde_json::from_slice(&decode(header)?).map_err(|_| NotSigned::Form)?;
    if about["alg"] != "HS256" || about["kid"] != token.id() || !about["crit"].is_null() {
        return Err(NotSigned::Kind);
    }
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.secret().as_bytes());
    hmac::verify(&key, signed.as_bytes(), &decode(mac)?).map_err(|_| NotSigned::Wrong)
}

/// Makes one, as the control plane does.
#[cfg(test)]
pub(super) fn sign(content: &str, token: &Token) -> String {
    let header = format!(r#"{{"alg":"HS256","kid":"{}"}}"#, token.id());
    let header = URL_SAFE_NO_PAD.encode(header);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.secret().as_bytes());
    let mac = hmac::sign(&key, signed.as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(mac))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_holder_of_the_token_signs() {
        let token: Token = "abcdef.0123456789abcdef".parse().unwrap();
        let check = |signature: &str, content: &str, token: &str, expected: Result<(), NotSigned>| {
            assert_eq!(
                verify(signature, content, &token.parse().unwrap()),
                expected,
                "{signature}"
            );
        };
        let signature = sign("content", &token);
        check(&signature, "content", "abcdef.0123456789abcdef", Ok(()));
        check(
            &signature,
            "kontent",
            "abcdef.0123456789abcdef",
            Err(NotSigned::Wrong),
        );
        check(
            &signature,
            "content",
            "abcdef.0123456789abcdee",
            Err(NotSigned::Wrong),
        );
        check(
            &signature,
            "content",
            "abcdeg.0123456789abcdef",
            Err(NotSigned::Kind),
        );
        check("", "content", "abcdef.0123456789abcdef", Err(NotSigned::Form));
        check(
            "a.b.c",
            "content",
            "abcdef.0123456789abcdef",
            Err(NotSigned::Form),
        );
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"abcdef"}"#);
        check(
            &format!("{none}.."),
            "content",
            "abcdef.0123456789abcdef",
            Err(NotSigned::Kind),
        );
    }
}
