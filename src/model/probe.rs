//! Probes and lifecycle hooks.

use std::time::Duration;

use k8s_openapi::api::core::v1 as k8s;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::pod::Port;
use super::stop_signal::StopSignal;

/// The kind of a probe (Kubernetes: *Liveness, Readiness, and Startup Probes*).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    /// Whether the container has started; until then the others wait.
    Startup,
    /// Whether the container works; if not, it is restarted.
    Liveness,
    /// Whether the container may receive traffic.
    Readiness,
}

impl ProbeKind {
    /// All of them; the first gates the others.
    pub const ALL: [ProbeKind; 3] = [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness];

    /// The first word of its events.
    pub fn title(self) -> &'static str {
        match self {
            ProbeKind::Startup => "Startup",
            ProbeKind::Liveness => "Liveness",
            ProbeKind::Readiness => "Readiness",
        }
    }
}

/// The probes of a container.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Probes {
    /// `startupProbe`
    pub startup: Option<Probe>,
    /// `livenessProbe`
    pub liveness: Option<Probe>,
    /// `readinessProbe`
    pub readiness: Option<Probe>,
}

impl Probes {
    /// The probe of that kind.
    pub fn get(&self, kind: ProbeKind) -> Option<&Probe> {
        match kind {
            ProbeKind::Startup => self.startup.as_ref(),
            ProbeKind::Liveness => self.liveness.as_ref(),
            ProbeKind::Readiness => self.readiness.as_ref(),
        }
    }

    /// Whether there is any.
    pub fn any(&self) -> bool {
        ProbeKind::ALL.iter().any(|kind| self.get(*kind).is_some())
    }
}

/// One probe, its defaults applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// What is requested.
    pub action: Action,
    /// `initialDelaySeconds`, counted from the start of the container.
    pub initial_delay: Duration,
    /// `timeoutSeconds`, 1 s by default.
    pub timeout: Duration,
    /// `periodSeconds`, 10 s by default.
    pub period: Duration,
    /// `successThreshold`, at least 1: how many consecutive successes turn a failed probe into a success.
    pub successes: u32,
    /// `failureThreshold`, 3 by default: how many consecutive failures make the probe fail.
    pub failures: u32,
    /// The probe's own `terminationGracePeriodSeconds`: the grace period when its failure stops the container.
    pub grace: Option<Duration>,
}

/// A check of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A command in the container must exit with 0.
    Exec(Vec<String>),
    /// A GET must be answered with 200 to 399.
    Http(HttpGet),
    /// A connection must be accepted.
    Tcp {
        /// `host`; `None`: the pod's address.
        host: Option<String>,
        /// `port`
        port: PortRef,
    },
    /// The service `grpc.health.v1.Health` at the pod's address must answer SERVING.
    Grpc {
        /// `port`
        port: u16,
        /// `service`, empty where unstated.
        service: String,
    },
}

/// A port by its number, or by the name of one of the container's ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortRef {
    /// The number, resolved if the manifest gives a name.
    Number(u16),
    /// A name that no port of the container has; using it fails with that message.
    Unknown(String),
}

impl PortRef {
    fn new(port: &IntOrString, ports: &[Port]) -> PortRef {
        match port {
            IntOrString::Int(number) => {
                u16::try_from(*number).map_or_else(|_| PortRef::Unknown(number.to_string()), PortRef::Number)
            }
            IntOrString::String(name) => {
                let named = ports
                    .iter()
                    .find(|port| port.name == *name)
                    .map(|port| port.container);
                // A number written as text counts as a number (`ResolveContainerPort`).
                let number = named.or_else(|| name.parse().ok());
                number.map_or_else(|| PortRef::Unknown(name.clone()), PortRef::Number)
            }
        }
    }

    /// The number, or the kubelet's error.
    pub fn number(&self) -> Result<u16, String> {
        match self {
            PortRef::Number(0) => Err("invalid port number: 0".to_owned()),
            PortRef::Number(number) => Ok(*number),
            PortRef::Unknown(name) => Err(format!("strconv.Atoi: parsing {name:?}: invalid syntax")),
        }
    }
}

/// `httpGet`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGet {
    /// `scheme: HTTPS`; the certificate is not verified.
    pub https: bool,
    /// `host`; `None`: the pod's address.
    pub host: Option<String>,
    /// `port`
    pub port: PortRef,
    /// `path` with its query, `/` by default.
    pub path: String,
    /// `httpHeaders`, in order.
    pub headers: Vec<(String, String)>,
}

impl HttpGet {
    /// Converts the API type; `ports` are the container's.
    fn new(own: &k8s::HTTPGetAction, ports: &[Port]) -> HttpGet {
        let stated = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let headers = own.http_headers.iter().flatten();
        HttpGet {
            https: own
                .scheme
                .as_deref()
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
            host: stated(&own.host),
            port: PortRef::new(&own.port, ports),
            path: stated(&own.path).unwrap_or_else(|| "/".to_owned()),
            headers: headers.map(|h| (h.name.clone(), h.value.clone())).collect(),
        }
    }
}

/// The action of a lifecycle hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// A command in the container.
    Exec(Vec<String>),
    /// A GET; any answer counts as success.
    Http(HttpGet),
    /// Nothing for so long.
    Sleep(Duration),
}

impl Hook {
    /// Converts the API type, from a manifest or from a container's annotation. `None` if it names no action:
    /// `tcpSocket` never did anything.
    pub fn new(handler: &k8s::LifecycleHandler, ports: &[Port]) -> Option<Hook> {
        if let Some(exec) = &handler.exec {
            return Some(Hook::Exec(exec.command.clone().unwrap_or_default()));
        }
        if let Some(get) = &handler.http_get {
            return Some(Hook::Http(HttpGet::new(get, ports)));
        }
        let sleep = handler.sleep.as_ref()?;
        Some(Hook::Sleep(seconds(sleep.seconds)))
    }
}

/// `lifecycle`
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lifecycle {
    /// `postStart`: runs after the container has started and before anything else starts; its failure stops the
    /// container.
    pub post_start: Option<Hook>,
    /// `preStop` as written, for the container's annotation, where any agent finds it again.
    pub pre_stop: Option<k8s::LifecycleHandler>,
    /// `stopSignal`: sent instead of the image's.
    pub stop_signal: Option<StopSignal>,
}

impl Probe {
    /// Converts the API type; `None` if it names no action. `expand` is applied to the words of a command.
    pub fn new(own: &k8s::Probe, ports: &[Port], expand: impl Fn(&str) -> String) -> Option<Probe> {
        // Zero is the default, as in the API server.
        let count = |value: Option<i32>, default: u32| {
            let stated = value.and_then(|value| u32::try_from(value).ok());
            stated.filter(|value| *value > 0).unwrap_or(default)
        };
        let second = |value: Option<i32>, default: u32| Duration::from_secs(count(value, default).into());
        Some(Probe {
            action: action(own, ports, expand)?,
            initial_delay: second(own.initial_delay_seconds, 0),
            timeout: second(own.timeout_seconds, 1),
            period: second(own.period_seconds, 10),
            successes: count(own.success_threshold, 1),
            failures: count(own.failure_threshold, 3),
            grace: own.termination_grace_period_seconds.map(seconds),
        })
    }
}

fn action(own: &k8s::Probe, ports: &[Port], expand: impl Fn(&str) -> String) -> Option<Action> {
    if let Some(exec) = &own.exec {
        let words = exec.command.iter().flatten();
        return Some(Action::Exec(words.map(|word| expand(word)).collect()));
    }
    if let Some(get) = &own.http_get {
        return Some(Action::Http(HttpGet::new(get, ports)));
    }
    if let Some(tcp) = &own.tcp_socket {
        return Some(Action::Tcp {
            host: tcp.host.clone().filter(|host| !host.is_empty()),
            port: PortRef::new(&tcp.port, ports),
        });
    }
    let grpc = own.grpc.as_ref()?;
    Some(Action::Grpc {
        port: u16::try_from(grpc.port).unwrap_or(0),
        service: grpc.service.clone().unwrap_or_default(),
    })
}

/// A number of seconds; a negative one counts as 0.
fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pod::Protocol;

    fn probe(text: &str) -> Probe {
        let port = Port {
            name: "web".to_owned(),
            container: 8080,
            host: None,
            host_ip: None,
            protocol: Protocol::Tcp,
        };
        let own: k8s::Probe = serde_json::from_str(text).unwrap();
        Probe::new(&own, &[port], |word| word.replace("$(A)", "a")).unwrap()
    }

    #[test]
    fn every_field_has_the_default_of_the_api() {
        let small = probe(r#"{"httpGet": {"port": "web"}}"#);
        assert_eq!(
            (small.initial_delay, small.timeout, small.period),
            (Duration::ZERO, Duration::from_secs(1), Duration::from_secs(10))
        );
        assert_eq!((small.successes, small.failures, small.grace), (1, 3, None));
        let Action::Http(get) = small.action else {
            panic!("an HTTP probe")
        };
        assert_eq!(
            (get.https, get.host.as_deref(), get.path.as_str()),
            (false, None, "/")
        );
        assert_eq!(get.port, PortRef::Number(8080));
        let zero = probe(
            r#"{"exec": {"command": ["x", "$(A)"]}, "periodSeconds": 0, "timeoutSeconds": 0, "failureThreshold": 0}"#,
        );
        assert_eq!(
            (zero.period.as_secs(), zero.timeout.as_secs(), zero.failures),
            (10, 1, 3)
        );
        assert_eq!(zero.action, Action::Exec(vec!["x".to_owned(), "a".to_owned()]));
    }

    #[test]
    fn ports_by_number_by_name_and_by_no_name_at_all() {
        let port = |text: &str| match probe(&format!(r#"{{"tcpSocket": {{"port": {text}}}}}"#)).action {
            Action::Tcp { port, .. } => port.number(),
            other => panic!("{other:?}"),
        };
        assert_eq!(port("80"), Ok(80));
        assert_eq!(port("\"web\""), Ok(8080));
        assert_eq!(port("\"81\""), Ok(81));
        assert_eq!(
            port("\"nope\""),
            Err("strconv.Atoi: parsing \"nope\": invalid syntax".to_owned())
        );
    }
}
