//! When a certificate is renewed. Pure.

use jiff::Timestamp;

use super::certificate::Certificate;

/// When to request the next certificate: after 70 to 90 % of this one's lifetime, as the kubelet does. The exact point
/// is derived from the certificate, so that nodes of one age do not all request at once and a restarted agent computes
/// the same time.
pub fn renewal(certificate: &Certificate) -> Timestamp {
    let digest = certificate.digest();
    let share = i32::from(u16::from_be_bytes([digest[0], digest[1]]));
    let permille = 700 + share * 200 / 65_535;
    let life = certificate.not_after.duration_since(certificate.not_before);
    certificate.not_before + life / 1000 * permille
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::certificate::certificates;
    use crate::identity::certificate::tests::Authority;

    #[test]
    fn between_seven_and_nine_tenths_and_not_all_at_once() {
        let authority = Authority::new("ca");
        let mut found = Vec::new();
        for _ in 0..20 {
            let (pem, _) = authority.issue("n", -1000, 9000);
            let certificate = certificates(pem.as_bytes()).unwrap().remove(0);
            let renewal_time = renewal(&certificate);
            assert_eq!(renewal_time, renewal(&certificate));
            let after = renewal_time.duration_since(certificate.not_before).as_secs();
            assert!((7000..=9000).contains(&after), "{after}");
            found.push(after);
        }
        found.sort_unstable();
        found.dedup();
        assert!(found.len() > 10, "{found:?}");
    }
}
