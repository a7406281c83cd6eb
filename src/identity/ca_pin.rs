//! A pin of a certificate authority: the digest of its public key, passed to the machine with the token. Pure.

use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::certificate::Certificate;

/// `sha256:` and the digest of a SubjectPublicKeyInfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaPin([u8; 32]);

/// The text is not a valid pin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a valid CA pin; copy the whole `sha256:…` from `kubeadm token create --print-join-command`"
)]
pub struct NotACaPin(String);

impl FromStr for CaPin {
    type Err = NotACaPin;

    fn from_str(text: &str) -> Result<CaPin, NotACaPin> {
        let wrong = || NotACaPin(text.to_owned());
        let (method, digits) = text.split_once(':').ok_or_else(wrong)?;
        if !method.eq_ignore_ascii_case("sha256")
            || digits.len() != 64
            || !digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            return Err(wrong());
        }
        let mut digest = [0; 32];
        for (byte, at) in digest.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&digits[at..at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(CaPin(digest))
    }
}

impl std::fmt::Display for CaPin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl CaPin {
    /// The pin of a certificate.
    pub fn of(certificate: &Certificate) -> CaPin {
        CaPin(Sha256::digest(certificate.public_key()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::certificate::certificates;
    use crate::identity::certificate::tests::Authority;

    #[test]
    fn pins() {
        let authority = certificates(Authority::new("ca").pem.as_bytes()).unwrap();
        let pin = CaPin::of(&authority[0]);
        assert_eq!(pin.to_string().parse::<CaPin>(), Ok(pin.clone()));
        assert_eq!(pin.to_string().to_uppercase().parse::<CaPin>(), Ok(pin));
        for wrong in [
            "",
            "sha256:",
            "sha256:zz",
            "md5:00",
            &"0".repeat(64),
            &format!("sha256:{}", "+1".repeat(32)),
        ] {
            assert!(wrong.parse::<CaPin>().is_err(), "{wrong}");
        }
    }
}
