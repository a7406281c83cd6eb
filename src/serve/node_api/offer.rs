//! The cipher suites and versions that the port offers, in the form the TLS library expects.

use rustls::SupportedProtocolVersion;
use rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{SupportedCipherSuite, SupportedCipherSuite::Tls13};

use crate::model::tls::{CipherSuite, Curve, TlsOffer, TlsVersion};

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const NEWEST: &[&SupportedProtocolVersion] = &[&TLS13];

/// The cryptography that the configuration allows.
pub(super) fn provider(offer: &TlsOffer) -> CryptoProvider {
    let mut provider = default_provider();
    if let Some(suites) = &offer.suites {
        let chosen: Vec<_> = suites.iter().map(|own| suite(*own)).collect();
        provider
            .cipher_suites
            .retain(|suite| matches!(suite, Tls13(_)) || chosen.contains(suite));
    }
    if let Some(curves) = &offer.curves {
        provider.kx_groups = curves.iter().map(|own| group(*own)).collect();
    }
    provider
}

/// The TLS versions that the configuration allows. Without a cipher suite for TLS 1.2, only TLS 1.3.
pub(super) fn versions(offer: &TlsOffer) -> &'static [&'static SupportedProtocolVersion] {
    let has_suites = offer.suites.as_ref().is_none_or(|suites| !suites.is_empty());
    match offer.minimum {
        TlsVersion::Tls12 if has_suites => BOTH,
        TlsVersion::Tls12 | TlsVersion::Tls13 => NEWEST,
    }
}

fn suite(own: CipherSuite) -> SupportedCipherSuite {
    match own {
        CipherSuite::EcdheEcdsaAes128Gcm => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdheEcdsaAes256Gcm => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdheEcdsaChacha20 => cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        CipherSuite::EcdheRsaAes128Gcm => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::EcdheRsaAes256Gcm => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::EcdheRsaChacha20 => cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    }
}

fn group(own: Curve) -> &'static dyn SupportedKxGroup {
    match own {
        Curve::X25519 => kx_group::X25519,
        Curve::P256 => kx_group::SECP256R1,
        Curve::P384 => kx_group::SECP384R1,
    }
}

#[cfg(test)]
mod tests {
    use rustls::NamedGroup;

    use super::*;

    #[test]
    fn what_is_chosen_alone_is_offered() {
        let check = |offer: &TlsOffer, versions_are: usize, suites: usize, groups: &[NamedGroup]| {
            let provider = provider(offer);
            assert_eq!(versions(offer).len(), versions_are, "{offer:?}");
            assert_eq!(provider.cipher_suites.len(), suites, "{offer:?}");
            let own: Vec<_> = provider.kx_groups.iter().map(|group| group.name()).collect();
            assert_eq!(own, groups, "{offer:?}");
        };
        let all = [NamedGroup::X25519, NamedGroup::secp256r1, NamedGroup::secp384r1];
        check(&TlsOffer::default(), 2, 9, &all);
        let newest = TlsOffer {
            minimum: TlsVersion::Tls13,
            ..TlsOffer::default()
        };
        check(&newest, 1, 9, &all);
        let two = TlsOffer {
            suites: Some(vec![
                CipherSuite::EcdheRsaAes256Gcm,
                CipherSuite::EcdheEcdsaAes256Gcm,
            ]),
            curves: Some(vec![Curve::P384]),
            ..TlsOffer::default()
        };
        check(&two, 2, 5, &[NamedGroup::secp384r1]);
        let none = TlsOffer {
            suites: Some(Vec::new()),
            ..TlsOffer::default()
        };
        check(&none, 1, 3, &all);
    }
}
