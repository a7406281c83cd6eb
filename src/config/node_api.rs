//! The kubelet's authentication and authorization for the node's port, and its serving certificate. Pure.

use std::path::PathBuf;
use std::time::Duration;

use super::checks::Checks;
use super::own::GantryConfiguration;
use super::raw::KubeletConfiguration;
use super::surroundings::{ConfigContext, span};
use crate::model::api::StreamVerb;

/// The feature gate of `serverTLSBootstrap`.
const ROTATE: &str = "RotateKubeletServerCertificate";

/// Authentication, authorization and the serving certificate.
#[derive(Debug, Clone)]
pub struct NodeApi {
    /// The source of the serving certificate.
    pub serving: Serving,
    /// `authentication.x509.clientCAFile`
    pub client_ca: Option<PathBuf>,
    /// `authentication.anonymous.enabled`
    pub anonymous: bool,
    /// Whether the API server verifies bearer tokens, and how long its answer is cached.
    pub tokens: Option<Duration>,
    /// How requests are authorized.
    pub authorization: Authorization,
    /// `streamVerb`
    pub stream_verb: StreamVerb,
}

/// The source of the serving certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serving {
    /// A self-signed certificate that the agent creates.
    Own,
    /// `tlsCertFile` and `tlsPrivateKeyFile`.
    Files(PathBuf, PathBuf),
    /// A certificate signed by the cluster (`serverTLSBootstrap`); until it is issued, those files if they are set.
    Signed(Option<(PathBuf, PathBuf)>),
}

/// `authorization.mode`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorization {
    /// Every authenticated caller may do everything.
    AlwaysAllow,
    /// The API server decides; its answers are cached for these times.
    Webhook {
        /// `authorization.webhook.cacheAuthorizedTTL`
        yes: Duration,
        /// `authorization.webhook.cacheUnauthorizedTTL`
        no: Duration,
    },
}

/// The configuration section of this name.
pub(super) fn node_api(
    written: &KubeletConfiguration,
    own: &GantryConfiguration,
    context: &ConfigContext,
    (checks, own_checks): (&mut Checks<'_>, &mut Checks<'_>),
) -> NodeApi {
    let file = |text: Option<&String>| {
        text.filter(|text| !text.is_empty())
            .map(|text| context.directory.join(text))
    };
    let authentication = written.authentication.clone().unwrap_or_default();
    let authorization = written.authorization.clone().unwrap_or_default();
    let webhook = authentication.webhook.unwrap_or_default();
    let asked = authorization.webhook.unwrap_or_default();
    let pair = pair(
        file(written.tls_cert_file.as_ref()),
        file(written.tls_private_key_file.as_ref()),
        checks,
    );
    let gates = written.feature_gates.as_ref();
    let may_rotate = gates.and_then(|gates| gates.get(ROTATE)) != Some(&false);
    let is_signed = written.server_tls_bootstrap == Some(true);
    if is_signed && !may_rotate {
        let problem = format!("needs the feature gate {ROTATE}; remove it from featureGates");
        checks.wrong("serverTLSBootstrap", problem);
    }
    let x509 = authentication.x509.unwrap_or_default();
    NodeApi {
        serving: match pair {
            pair if is_signed => Serving::Signed(pair),
            Some((certificate, key)) => Serving::Files(certificate, key),
            None => Serving::Own,
        },
        client_ca: file(x509.client_ca_file.as_ref()),
        anonymous: authentication.anonymous.unwrap_or_default().enabled == Some(true),
        tokens: (webhook.enabled == Some(true)).then(|| span(webhook.cache_ttl)),
        authorization: match authorization.mode.as_deref() {
            Some("AlwaysAllow") => Authorization::AlwaysAllow,
            // Validation has rejected other values.
            _ => Authorization::Webhook {
                yes: span(asked.cache_authorized_ttl),
                no: span(asked.cache_unauthorized_ttl),
            },
        },
        stream_verb: stream_verb(own, own_checks),
    }
}

fn stream_verb(own: &GantryConfiguration, own_checks: &mut Checks<'_>) -> StreamVerb {
    match own.stream_verb.as_deref().unwrap_or_default() {
        "" | "Create" => StreamVerb::Create,
        "ByMethod" => StreamVerb::ByMethod,
        other => {
            own_checks.wrong("streamVerb", format!("{other:?} must be Create or ByMethod"));
            StreamVerb::Create
        }
    }
}

/// The files of a certificate and its key, which need each other.
fn pair(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    checks: &mut Checks<'_>,
) -> Option<(PathBuf, PathBuf)> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => {
            checks.wrong("tlsPrivateKeyFile", "tlsCertFile needs it; set the key file too");
            None
        }
        (None, Some(_)) => {
            checks.wrong(
                "tlsCertFile",
                "tlsPrivateKeyFile needs it; set the certificate file too",
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers::Layer;
    use serde_json::json;

    fn read(value: serde_json::Value) -> (NodeApi, Vec<String>) {
        read_with_own(value, GantryConfiguration::default())
    }

    fn read_with_own(value: serde_json::Value, own: GantryConfiguration) -> (NodeApi, Vec<String>) {
        let written: KubeletConfiguration = serde_json::from_value(value.clone()).unwrap();
        let layer = Layer {
            value,
            ..Layer::default()
        };
        let mut checks = Checks::new(&layer);
        let context = ConfigContext {
            directory: "/here".into(),
            hostname: "vm".into(),
            version: String::new(),
        };
        let own_layer = Layer::default();
        let mut own_checks = Checks::new(&own_layer);
        let node_api = node_api(&written, &own, &context, (&mut checks, &mut own_checks));
        let problems = checks.problems.iter().chain(&own_checks.problems);
        (node_api, problems.map(ToString::to_string).collect())
    }

    #[test]
    fn a_get_starts_nothing_unless_that_is_written() {
        let check = |written: Option<&str>, verb: StreamVerb, wrong: &[&str]| {
            let own = GantryConfiguration {
                stream_verb: written.map(str::to_owned),
                ..GantryConfiguration::default()
            };
            let (node_api, problems) = read_with_own(json!({}), own);
            assert_eq!(node_api.stream_verb, verb, "{written:?}");
            assert_eq!(problems, wrong, "{written:?}");
        };
        check(None, StreamVerb::Create, &[]);
        check(Some(""), StreamVerb::Create, &[]);
        check(Some("Create"), StreamVerb::Create, &[]);
        check(Some("ByMethod"), StreamVerb::ByMethod, &[]);
        let wrong = "streamVerb: \"get\" must be Create or ByMethod";
        check(Some("get"), StreamVerb::Create, &[wrong]);
    }

    #[test]
    fn what_is_written_is_what_holds() {
        let (node_api, problems) = read(json!({
            "tlsCertFile": "tls.crt", "tlsPrivateKeyFile": "/k/tls.key",
            "authentication": {
                "x509": {"clientCAFile": "/k/ca.crt"}, "webhook": {"enabled": true, "cacheTTL": "2m0s"},
                "anonymous": {"enabled": false},
            },
            "authorization": {"mode": "Webhook", "webhook": {"cacheAuthorizedTTL": "5m", "cacheUnauthorizedTTL": "30s"}},
        }));
        assert_eq!(problems, [""; 0]);
        assert_eq!(
            node_api.serving,
            Serving::Files("/here/tls.crt".into(), "/k/tls.key".into())
        );
        assert_eq!(node_api.client_ca, Some("/k/ca.crt".into()));
        assert_eq!(
            (node_api.anonymous, node_api.tokens),
            (false, Some(Duration::from_secs(120)))
        );
        let (yes, no) = (Duration::from_secs(300), Duration::from_secs(30));
        assert_eq!(node_api.authorization, Authorization::Webhook { yes, no });
    }

    #[test]
    fn nobody_is_let_in_by_silence() {
        let (node_api, _) = read(json!({}));
        assert!(!node_api.anonymous && node_api.client_ca.is_none());
        assert!(matches!(node_api.authorization, Authorization::Webhook { .. }));
    }

    #[test]
    fn a_certificate_that_the_cluster_signs() {
        let (node_api, problems) = read(json!({"serverTLSBootstrap": true}));
        assert_eq!((node_api.serving, problems.len()), (Serving::Signed(None), 0));
        let (node_api, _) = read(
            json!({"serverTLSBootstrap": true, "tlsCertFile": "/k/tls.crt", "tlsPrivateKeyFile": "/k/tls.key"}),
        );
        let pair = ("/k/tls.crt".into(), "/k/tls.key".into());
        assert_eq!(node_api.serving, Serving::Signed(Some(pair)));
        let gates = json!({"RotateKubeletServerCertificate": false});
        let (_, problems) = read(json!({"serverTLSBootstrap": true, "featureGates": gates}));
        assert!(
            problems[0].contains("serverTLSBootstrap: needs the feature gate"),
            "{problems:?}"
        );
        let (node_api, problems) = read(json!({"featureGates": gates}));
        assert_eq!((node_api.serving, problems.len()), (Serving::Own, 0));
    }

    #[test]
    fn a_certificate_without_its_key_is_told() {
        let (_, problems) = read(json!({"tlsCertFile": "tls.crt"}));
        assert!(
            problems[0].contains("tlsPrivateKeyFile: tlsCertFile needs it"),
            "{problems:?}"
        );
    }
}
