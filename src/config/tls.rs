//! The TLS settings of the node's port: `tlsMinVersion`, `tlsCipherSuites` and `tlsCurvePreferences`, with Go's names
//! and numbers (`staging/src/k8s.io/component-base/cli/flag` of Kubernetes). Pure.

use std::collections::BTreeSet;

use super::checks::Checks;
use super::raw::KubeletConfiguration;
use crate::model::tls::{CipherSuite, Curve, TlsOffer, TlsVersion};

/// How a cipher suite known to the kubelet is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Suite {
    /// It is offered.
    Offered(CipherSuite),
    /// A TLS 1.3 suite; these are always offered, all of them.
    OfTls13,
    /// Insecure (Go's `InsecureCipherSuites`, and suites without forward secrecy); never offered.
    Weak,
}

use CipherSuite::{
    EcdheEcdsaAes128Gcm, EcdheEcdsaAes256Gcm, EcdheEcdsaChacha20, EcdheRsaAes128Gcm, EcdheRsaAes256Gcm,
    EcdheRsaChacha20,
};
use Suite::{OfTls13, Offered, Weak};

/// The names of `crypto/tls` of Go 1.26, and two older ones that Kubernetes keeps.
const SUITES: &[(&str, Suite)] = &[
    ("TLS_AES_128_GCM_SHA256", OfTls13),
    ("TLS_AES_256_GCM_SHA384", OfTls13),
    ("TLS_CHACHA20_POLY1305_SHA256", OfTls13),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        Offered(EcdheEcdsaAes128Gcm),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        Offered(EcdheEcdsaAes256Gcm),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        Offered(EcdheEcdsaChacha20),
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        Offered(EcdheEcdsaChacha20),
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        Offered(EcdheRsaAes128Gcm),
    ),
    (
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        Offered(EcdheRsaAes256Gcm),
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        Offered(EcdheRsaChacha20),
    ),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", Offered(EcdheRsaChacha20)),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", Weak),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", Weak),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA", Weak),
    ("TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", Weak),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", Weak),
    ("TLS_ECDHE_ECDSA_WITH_RC4_128_SHA", Weak),
    ("TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", Weak),
    ("TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256", Weak),
    ("TLS_ECDHE_RSA_WITH_RC4_128_SHA", Weak),
    ("TLS_RSA_WITH_3DES_EDE_CBC_SHA", Weak),
    ("TLS_RSA_WITH_AES_128_CBC_SHA", Weak),
    ("TLS_RSA_WITH_AES_128_CBC_SHA256", Weak),
    ("TLS_RSA_WITH_AES_128_GCM_SHA256", Weak),
    ("TLS_RSA_WITH_AES_256_CBC_SHA", Weak),
    ("TLS_RSA_WITH_AES_256_GCM_SHA384", Weak),
    ("TLS_RSA_WITH_RC4_128_SHA", Weak),
];

/// Groups by Go's `CurveID`; `None`: not supported.
const CURVES: &[(i32, &str, Option<Curve>)] = &[
    (23, "P-256", Some(Curve::P256)),
    (24, "P-384", Some(Curve::P384)),
    (25, "P-521", None),
    (29, "X25519", Some(Curve::X25519)),
    (4587, "SecP256r1MLKEM768", None),
    (4588, "X25519MLKEM768", None),
    (4589, "SecP384r1MLKEM1024", None),
];

/// The configuration section of this name.
pub(super) fn offer(written: &KubeletConfiguration, checks: &mut Checks<'_>) -> TlsOffer {
    let minimum = minimum(written.tls_min_version.as_deref(), checks);
    TlsOffer {
        minimum,
        suites: suites(written.tls_cipher_suites.as_deref(), minimum, checks),
        curves: curves(written.tls_curve_preferences.as_deref(), checks),
    }
}

fn minimum(name: Option<&str>, checks: &mut Checks<'_>) -> TlsVersion {
    let key = "tlsMinVersion";
    match name {
        None | Some("" | "VersionTLS12") => TlsVersion::Tls12,
        Some("VersionTLS13") => TlsVersion::Tls13,
        Some(old @ ("VersionTLS10" | "VersionTLS11")) => {
            checks.warn(
                key,
                format!("{old} is not supported; the node's port accepts TLS 1.2 and 1.3"),
            );
            TlsVersion::Tls12
        }
        Some(other) => {
            let known = "VersionTLS12, VersionTLS13";
            checks.wrong(key, format!("{other:?} is not a TLS version; use one of {known}"));
            TlsVersion::Tls13
        }
    }
}

fn suites(
    names: Option<&[String]>,
    minimum: TlsVersion,
    checks: &mut Checks<'_>,
) -> Option<Vec<CipherSuite>> {
    let key = "tlsCipherSuites";
    let names = names.filter(|names| !names.is_empty())?;
    let (mut offered, mut of_tls13, mut weak, mut is_wrong) = (Vec::new(), false, Vec::new(), false);
    for name in names {
        match SUITES.iter().find(|(known, _)| known == name) {
            Some((_, Offered(suite))) => offered.push(*suite),
            Some((_, OfTls13)) => of_tls13 = true,
            Some((known, Weak)) => weak.push(*known),
            None => {
                checks.wrong(
                    key,
                    format!("{name:?} is not a cipher suite; use one of {}", offerable()),
                );
                is_wrong = true;
            }
        }
    }
    if minimum == TlsVersion::Tls13 {
        checks.warn(
            key,
            "the cipher suites of TLS 1.3 cannot be configured: with tlsMinVersion VersionTLS13 they \
         have no effect",
        );
    } else if offered.is_empty() && !of_tls13 && !is_wrong {
        let remedy = format!("use one of {}, or tlsMinVersion: VersionTLS13", offerable());
        checks.wrong(key, format!("none of {} is supported; {remedy}", weak.join(", ")));
    } else if !weak.is_empty() {
        checks.warn(
            key,
            format!("not supported because they are insecure: {}", weak.join(", ")),
        );
    }
    Some(offered)
}

/// The names that can be configured; the newer one of two synonyms.
fn offerable() -> String {
    let is_offered = |(name, suite): &&(&str, Suite)| matches!(suite, Offered(_)) && name.contains("_SHA");
    let names = SUITES.iter().filter(is_offered).map(|(name, _)| *name);
    names.collect::<Vec<_>>().join(", ")
}

fn curves(numbers: Option<&[i32]>, checks: &mut Checks<'_>) -> Option<Vec<Curve>> {
    let key = "tlsCurvePreferences";
    let numbers = numbers.filter(|numbers| !numbers.is_empty())?;
    let (mut seen, mut offered, mut others) = (BTreeSet::new(), Vec::new(), Vec::new());
    let known = "29 (X25519), 23 (P-256), 24 (P-384)";
    for number in numbers {
        if !seen.insert(*number) {
            checks.wrong(key, format!("{number} is listed twice; keep one"));
        }
        match CURVES.iter().find(|(curve, ..)| curve == number) {
            Some((_, _, Some(curve))) => offered.push(*curve),
            Some((_, name, None)) => others.push(*name),
            None => checks.wrong(key, format!("{number} is not a curve; use some of {known}")),
        }
    }
    if offered.is_empty() && !others.is_empty() {
        checks.wrong(
            key,
            format!("none of {} is supported; use some of {known}", others.join(", ")),
        );
    } else if !others.is_empty() {
        checks.warn(
            key,
            format!("not supported in this version: {}", others.join(", ")),
        );
    }
    Some(offered)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::layers::Layer;

    fn read(value: Value) -> (TlsOffer, Vec<String>, Vec<String>) {
        let written: KubeletConfiguration = serde_json::from_value(value.clone()).unwrap();
        let layer = Layer {
            value,
            ..Layer::default()
        };
        let mut checks = Checks::new(&layer);
        let offer = offer(&written, &mut checks);
        let problems = checks.problems.iter().map(ToString::to_string).collect();
        (offer, problems, checks.warnings)
    }

    #[test]
    fn what_is_offered() {
        let check = |value: Value,
                     minimum,
                     suites: Option<&[CipherSuite]>,
                     curves: Option<&[Curve]>,
                     warned: &str| {
            let (offer, problems, warnings) = read(value.clone());
            let expected = TlsOffer {
                minimum,
                suites: suites.map(<[_]>::to_vec),
                curves: curves.map(<[_]>::to_vec),
            };
            assert_eq!((offer, problems), (expected, vec![]), "{value}");
            assert_eq!(warnings.is_empty(), warned.is_empty(), "{value}: {warnings:?}");
            assert!(
                warnings.iter().all(|text| text.contains(warned)),
                "{value}: {warnings:?}"
            );
        };
        use TlsVersion::{Tls12, Tls13};
        check(json!({}), Tls12, None, None, "");
        check(
            json!({"tlsMinVersion": "", "tlsCipherSuites": []}),
            Tls12,
            None,
            None,
            "",
        );
        check(json!({"tlsMinVersion": "VersionTLS12"}), Tls12, None, None, "");
        check(json!({"tlsMinVersion": "VersionTLS13"}), Tls13, None, None, "");
        check(
            json!({"tlsMinVersion": "VersionTLS10"}),
            Tls12,
            None,
            None,
            "VersionTLS10 is not supported",
        );
        let suites = json!([
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305"
        ]);
        let both: &[CipherSuite] = &[EcdheRsaAes128Gcm, EcdheEcdsaChacha20];
        check(json!({"tlsCipherSuites": suites}), Tls12, Some(both), None, "");
        // As hardening guides recommend.
        let weak = json!([
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_RSA_WITH_AES_128_GCM_SHA256"
        ]);
        check(
            json!({"tlsCipherSuites": weak}),
            Tls12,
            Some(&both[..1]),
            None,
            "TLS_RSA_WITH_AES_128_GCM_SHA256",
        );
        let newer = json!({"tlsCipherSuites": ["TLS_AES_128_GCM_SHA256"]});
        check(newer, Tls12, Some(&[]), None, "");
        let without_effect = json!({"tlsMinVersion": "VersionTLS13", "tlsCipherSuites": suites});
        check(without_effect, Tls13, Some(both), None, "cannot be configured");
        check(
            json!({"tlsCurvePreferences": [29, 23]}),
            Tls12,
            None,
            Some(&[Curve::X25519, Curve::P256]),
            "",
        );
        check(
            json!({"tlsCurvePreferences": [4588, 29]}),
            Tls12,
            None,
            Some(&[Curve::X25519]),
            "X25519MLKEM768",
        );
    }

    #[test]
    fn what_leaves_nothing_or_is_unknown_is_refused() {
        let check = |value: Value, expected: &str| {
            let (_, problems, _) = read(value.clone());
            assert_eq!(problems.len(), 1, "{value}: {problems:?}");
            assert!(problems[0].contains(expected), "{problems:?}");
        };
        check(
            json!({"tlsMinVersion": "TLS1.3"}),
            "tlsMinVersion: \"TLS1.3\" is not a TLS version",
        );
        check(
            json!({"tlsCipherSuites": ["AES"]}),
            "tlsCipherSuites: \"AES\" is not a cipher suite; use one of TLS_ECDHE",
        );
        check(
            json!({"tlsCipherSuites": ["TLS_RSA_WITH_RC4_128_SHA"]}),
            "none of TLS_RSA_WITH_RC4_128_SHA is supported",
        );
        check(json!({"tlsCurvePreferences": [25]}), "none of P-521 is supported");
        check(json!({"tlsCurvePreferences": [29, 1]}), "1 is not a curve");
        check(json!({"tlsCurvePreferences": [29, 29]}), "29 is listed twice");
    }
}
