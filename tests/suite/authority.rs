//! A certificate authority of a test's own, which signs what is asked of it.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
};

/// From when to when a certificate is valid, in seconds from now.
pub(crate) type Life = (i64, i64);

pub(crate) struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn at(seconds: i64) -> SystemTime {
    let away = Duration::from_secs(seconds.unsigned_abs());
    match seconds < 0 {
        true => SystemTime::now() - away,
        false => SystemTime::now() + away,
    }
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate and its key, as PEM.
    pub(crate) fn issue(&self, name: &str, alternatives: &[&str], life: Life) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let alternatives: Vec<String> = alternatives.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(alternatives).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (at(life.0).into(), at(life.1).into());
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        (pem, key.serialize_pem())
    }

    /// Signs a request that says nothing, as DER, for a name. The certificate as PEM.
    pub(crate) fn sign_der(&self, request: &[u8], name: &str) -> String {
        let mut request = CertificateSigningRequestParams::from_der(&request.to_vec().into()).unwrap();
        request.params.distinguished_name.push(DnType::CommonName, name);
        request.signed_by(&self.issuer).unwrap().pem()
    }

    /// Signs a request, PEM for PEM.
    pub(crate) fn sign(&self, request: &str, life: Life) -> String {
        let mut request = CertificateSigningRequestParams::from_pem(request).unwrap();
        (request.params.not_before, request.params.not_after) = (at(life.0).into(), at(life.1).into());
        request.signed_by(&self.issuer).unwrap().pem()
    }
}
