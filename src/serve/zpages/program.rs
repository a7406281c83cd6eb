//! The running program: since when it runs, and what it is. Pure.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;

use super::metadata::Metadata;
use super::negotiation::Version;

/// The endpoints for people that look for a fault, of those that the kubelet lists.
const PATHS: [&str; 5] = ["/configz", "/flagz", "/healthz", "/metrics", "/statusz"];

/// The running program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Program {
    /// When it was started.
    pub started: Timestamp,
    /// The Kubernetes version that the node reports, like v1.36.2.
    pub kubernetes_version: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Statusz {
    kind: &'static str,
    api_version: &'static str,
    metadata: Metadata,
    start_time: Time,
    uptime_seconds: i64,
    /// Required by the API; there is none.
    go_version: &'static str,
    binary_version: String,
    emulation_version: String,
    paths: [&'static str; 5],
}

impl Program {
    pub(super) fn object(&self, version: Version, now: Timestamp) -> Statusz {
        Statusz {
            kind: "Statusz",
            api_version: version.api_version(),
            metadata: Metadata::OF_COMPONENT,
            // Kubernetes' `Time` has whole seconds.
            start_time: Time(Timestamp::from_second(self.started.as_second()).unwrap_or(self.started)),
            uptime_seconds: self.seconds(now),
            go_version: "",
            binary_version: self.binary_version(),
            emulation_version: self.emulation_version(),
            paths: PATHS,
        }
    }

    pub(super) fn text(&self, now: Timestamp) -> String {
        let up = self.seconds(now);
        let started = self
            .started
            .to_zoned(TimeZone::UTC)
            .strftime("%a %b %e %H:%M:%S UTC %Y");
        format!(
            "\nStarted: {started}\nUp: {} hr {:02} min {:02} sec\nBinary version: {}\nEmulation version: {}\nPaths: \
             {}\n",
            up / 3600,
            up / 60 % 60,
            up % 60,
            self.binary_version(),
            self.emulation_version(),
            PATHS.join(" ")
        )
    }

    fn seconds(&self, now: Timestamp) -> i64 {
        now.duration_since(self.started).as_secs().max(0)
    }

    /// The Kubernetes version, with gantry's own as build metadata.
    fn binary_version(&self) -> String {
        format!("{}+gantry.{}", self.plain_version(), env!("CARGO_PKG_VERSION"))
    }

    /// Major and minor number.
    fn emulation_version(&self) -> String {
        self.plain_version()
            .split('.')
            .take(2)
            .collect::<Vec<_>>()
            .join(".")
    }

    fn plain_version(&self) -> &str {
        self.kubernetes_version.trim_start_matches('v')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_and_since_when_is_shown() {
        let program = Program {
            started: "2026-11-28T20:51:05.7Z".parse().unwrap(),
            kubernetes_version: "v1.36.2".to_owned(),
        };
        let now = "2026-11-29T22:52:08.9Z".parse().unwrap();
        let version = concat!("1.36.2+gantry.", env!("CARGO_PKG_VERSION"));
        let expected = serde_json::json!({
            "kind": "Statusz", "apiVersion": "config.k8s.io/v1beta1", "metadata": {"name": "kubelet"},
            "startTime": "2026-11-28T20:51:05Z", "uptimeSeconds": 93663, "goVersion": "", "binaryVersion": version,
            "emulationVersion": "1.36", "paths": PATHS,
        });
        let object = program.object(Version::V1beta1, now);
        assert_eq!(serde_json::to_value(object).unwrap(), expected);
        let text = format!(
            "\nStarted: Sat Nov 28 20:51:05 UTC 2026\nUp: 26 hr 01 min 03 sec\nBinary version: {version}\nEmulation \
             version: 1.36\nPaths: /configz /flagz /healthz /metrics /statusz\n"
        );
        assert_eq!(program.text(now), text);
        // The clock was set back.
        assert_eq!(program.seconds("2026-11-28T20:00:00Z".parse().unwrap()), 0);
    }
}
