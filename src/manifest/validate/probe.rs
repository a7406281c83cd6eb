//! Validates probes, hooks and readiness gates.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    Container, ExecAction, HTTPGetAction, LifecycleHandler, PodSpec, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::manifest::names;
use crate::manifest::path::{Faults, FieldPath};
use crate::model::stop_signal::StopSignal;

/// The action of a probe or a hook.
struct Handler<'a> {
    container: &'a Container,
    exec: Option<&'a ExecAction>,
    http: Option<&'a HTTPGetAction>,
    tcp: Option<&'a TCPSocketAction>,
    /// The other actions that are set, by their fields.
    others: Vec<&'static str>,
    /// All allowed actions, for the remedy.
    kinds: &'static str,
}

/// Notes what is wrong with a container's probes and hooks.
pub(crate) fn container(
    container: &Container,
    spec: &PodSpec,
    init: bool,
    at: &FieldPath,
    faults: &mut Faults,
) {
    let sidecar = container.restart_policy.as_deref() == Some("Always");
    let probes = [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ];
    if init && !sidecar {
        let stated = probes
            .iter()
            .filter(|(_, probe)| probe.is_some())
            .map(|(field, _)| *field);
        for field in stated.chain(container.lifecycle.is_some().then_some("lifecycle")) {
            let message = "is not supported for init containers that run to completion: remove it, or set \
             restartPolicy to Always";
            faults.add(&at.field(field), message);
        }
        return;
    }
    for (field, probe) in probes {
        if let Some(probe) = probe {
            self::probe(probe, field, container, &at.field(field), faults);
        }
    }
    let Some(lifecycle) = &container.lifecycle else {
        return;
    };
    let at = at.field("lifecycle");
    for (field, hook) in [
        ("postStart", &lifecycle.post_start),
        ("preStop", &lifecycle.pre_stop),
    ] {
        if let Some(hook) = hook {
            self::hook(hook, spec, container, &at.field(field), faults);
        }
    }
    if let Some(signal) = &lifecycle.stop_signal {
        stop_signal(signal, spec, &at.field("stopSignal"), faults);
    }
}

fn stop_signal(signal: &str, spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    if spec.os.is_none() {
        let message = "may not be set for containers with empty `spec.os.name`: set it to linux";
        faults.add(at, message);
    } else if StopSignal::named(signal).is_none() {
        let message = format!("{signal:?} is not a signal: use a name such as SIGTERM or SIGRTMIN+3");
        faults.add(at, message);
    }
}

/// Notes what is wrong with the readiness gates.
pub(crate) fn readiness_gates(spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    let at = at.field("readinessGates");
    for (index, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        let kind = &gate.condition_type;
        faults.complain(
            &at.index(index).field("conditionType"),
            kind,
            names::qualified_name(kind),
        );
    }
}

fn probe(probe: &Probe, field: &str, container: &Container, at: &FieldPath, faults: &mut Faults) {
    let handler = Handler {
        container,
        exec: probe.exec.as_ref(),
        http: probe.http_get.as_ref(),
        tcp: probe.tcp_socket.as_ref(),
        others: probe.grpc.is_some().then_some("grpc").into_iter().collect(),
        kinds: "exec, httpGet, tcpSocket, grpc",
    };
    self::handler(&handler, at, faults);
    if let Some(grpc) = &probe.grpc {
        number(grpc.port, &at.field("grpc").field("port"), faults);
    }
    for (field, value) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        if let Some(value) = value.filter(|value| *value < 0) {
            faults.add(
                &at.field(field),
                format!("{value} is negative: it must be 0 or more"),
            );
        }
    }
    let restarts = field != "readinessProbe";
    if restarts && probe.success_threshold.is_some_and(|value| value > 1) {
        let message = format!("must be 1 for a {field}: remove it");
        faults.add(&at.field("successThreshold"), message);
    }
    let grace = at.field("terminationGracePeriodSeconds");
    match probe.termination_grace_period_seconds {
        Some(_) if !restarts => {
            faults.add(
                &grace,
                "is not allowed for a readinessProbe, which stops nothing: remove it",
            );
        }
        Some(seconds) if seconds <= 0 => {
            faults.add(
                &grace,
                format!("{seconds} is not a valid grace period here: it must be 1 or more"),
            );
        }
        _ => {}
    }
}

fn hook(hook: &LifecycleHandler, spec: &PodSpec, container: &Container, at: &FieldPath, faults: &mut Faults) {
    let handler = Handler {
        container,
        exec: hook.exec.as_ref(),
        http: hook.http_get.as_ref(),
        tcp: None,
        others: hook.sleep.is_some().then_some("sleep").into_iter().collect(),
        kinds: "exec, httpGet, sleep",
    };
    if hook.tcp_socket.is_some() {
        let message = "does nothing in a hook, in Kubernetes too: use exec, httpGet or sleep";
        faults.unsupported(&at.field("tcpSocket"), message);
        return;
    }
    self::handler(&handler, at, faults);
    let grace = spec.termination_grace_period_seconds.unwrap_or(30);
    if let Some(sleep) = &hook.sleep
        && !(0..=grace).contains(&sleep.seconds)
    {
        let message = format!(
            "{} is not a valid sleep time: it must be from 0 to terminationGracePeriodSeconds ({grace})",
            sleep.seconds
        );
        faults.add(&at.field("sleep").field("seconds"), message);
    }
}

fn handler(handler: &Handler<'_>, at: &FieldPath, faults: &mut Faults) {
    let Handler {
        exec,
        http,
        tcp,
        others,
        kinds,
        ..
    } = handler;
    let mut stated: Vec<&str> = Vec::new();
    stated.extend(exec.map(|_| "exec"));
    stated.extend(http.map(|_| "httpGet"));
    stated.extend(tcp.map(|_| "tcpSocket"));
    stated.extend(others);
    match stated.as_slice() {
        [] => faults.add(at, format!("has no action: set one of {kinds}")),
        [_] => {}
        [first, more @ ..] => {
            for field in more {
                let message = format!("cannot be set together with {first}: keep one of {kinds}");
                faults.add(&at.field((*field).to_owned()), message);
            }
        }
    }
    if exec.is_some_and(|exec| exec.command.as_ref().is_none_or(Vec::is_empty)) {
        let message = "is missing: it is the command and its arguments, the program first";
        faults.add(&at.field("exec").field("command"), message);
    }
    if let Some(get) = http {
        http_get(get, handler.container, &at.field("httpGet"), faults);
    }
    if let Some(tcp) = tcp {
        port(
            &tcp.port,
            handler.container,
            &at.field("tcpSocket").field("port"),
            faults,
        );
    }
}

fn http_get(get: &HTTPGetAction, container: &Container, at: &FieldPath, faults: &mut Faults) {
    port(&get.port, container, &at.field("port"), faults);
    let scheme = get.scheme.as_deref().unwrap_or("");
    faults.one_of(&at.field("scheme"), scheme, &["", "HTTP", "HTTPS"]);
    for (index, header) in get.http_headers.iter().flatten().enumerate() {
        let at = at.field("httpHeaders").index(index);
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if header.name.is_empty() || !header.name.chars().all(allowed) {
            let message = format!(
                "{:?} is not a valid header name: use letters, digits and '-' (X-Name)",
                header.name
            );
            faults.add(&at.field("name"), message);
        }
        if header.value.contains(['\r', '\n', '\0']) {
            faults.warn(&at.field("value"), "has more than one line: write it on one");
        }
    }
}

fn port(port: &IntOrString, container: &Container, at: &FieldPath, faults: &mut Faults) {
    match port {
        IntOrString::Int(port) => number(*port, at, faults),
        IntOrString::String(name) => {
            let names: BTreeSet<&str> = container
                .ports
                .iter()
                .flatten()
                .filter_map(|port| port.name.as_deref())
                .collect();
            if let Some(complaint) = names::port_name(name) {
                faults.add(at, format!("{name:?} {complaint}"));
            } else if !names.contains(name.as_str()) {
                let message = format!(
                    "{name:?} is not the name of any of the container's ports: add it to its ports, or use the number"
                );
                faults.warn(at, message);
            }
        }
    }
}

fn number(port: i32, at: &FieldPath, faults: &mut Faults) {
    if !(1..=65535).contains(&port) {
        faults.add(
            at,
            format!("{port} is not a valid port: it must be from 1 to 65535"),
        );
    }
}
