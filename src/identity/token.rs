//! A bootstrap token: the credential of a machine that has not joined the cluster yet.

use std::str::FromStr;

/// A bootstrap token, `id.secret`. Its Debug output is only its id.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    id: String,
    secret: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({}.…)", self.id)
    }
}

/// The text is not a valid token. It is not repeated: it may be almost one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the token must be 6 characters, a dot and 16 characters of a-z and 0-9; copy it from `kubeadm token list`, or \
     create one with `kubeadm token create --print-join-command` on the control plane"
)]
pub struct InvalidToken;

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Token, InvalidToken> {
        let is_made_of = |part: &str, length| {
            let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            part.len() == length && part.bytes().all(allowed)
        };
        let (id, secret) = text.split_once('.').ok_or(InvalidToken)?;
        if !is_made_of(id, 6) || !is_made_of(secret, 16) {
            return Err(InvalidToken);
        }
        Ok(Token {
            id: id.to_owned(),
            secret: secret.to_owned(),
        })
    }
}

impl Token {
    /// The part that is not secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The secret part.
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// The whole token, as in a kubeconfig: a secret.
    pub fn whole(&self) -> String {
        format!("{}.{}", self.id, self.secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let token: Token = "abcdef.0123456789abcdef".parse().unwrap();
        assert_eq!((token.id(), token.secret()), ("abcdef", "0123456789abcdef"));
        assert!(!format!("{token:?}").contains("0123"));
        for wrong in [
            "",
            "abcdef",
            "abcde.0123456789abcdef",
            "abcdef.0123456789abcdef0",
            "ABCDEF.0123456789abcdef",
            "abcdef.0123456789abcde.",
        ] {
            assert_eq!(wrong.parse::<Token>(), Err(InvalidToken), "{wrong}");
        }
        assert!(!InvalidToken.to_string().contains("0123456789abcdef"));
    }
}
