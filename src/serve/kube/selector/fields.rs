//! Field selectors: `a=b`, `a==b`, `a!=b`, separated by commas, with `\` before a comma, an equals sign or a backslash of a
//! value (`fields.ParseSelector` of `k8s.io/apimachinery`). Which fields there are is the API server's choice
//! (`pkg/apis/core/v1/conversion.go`, `pkg/registry/core/*/strategy.go`). Pure.

use k8s_openapi::api::core::v1::{Event, Pod};

use crate::serve::kube::kind::{Kind, Scope};
use crate::serve::kube::object::Object;

/// Conditions; all of them must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Fields(Vec<Condition>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    field: &'static str,
    wanted: Wanted,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Equal,
    Different,
}

/// Why a text is no field selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FieldError {
    /// Nothing is compared.
    #[error("invalid selector: {0:?}; can't understand it: write field=value or field!=value")]
    NoOperator(String),
    /// A backslash before something that needs none.
    #[error("invalid field selector: invalid escape sequence: \\{0}")]
    Escape(String),
    /// A character that needs a backslash.
    #[error("invalid field selector: unescaped character in value: {0}")]
    Unescaped(char),
    /// Not a field of the kind that is selected by.
    #[error("field label not supported: {0}")]
    Unknown(String),
}

/// The fields of a kind, beside its name and namespace.
fn own_fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Pod => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        Kind::Event => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        Kind::Namespace => &["status.phase"],
        Kind::Node => &["spec.unschedulable"],
        Kind::Secret => &["type"],
        Kind::Service => &["spec.clusterIP", "spec.type"],
        Kind::ConfigMap => &[],
    }
}

/// The names of an event's fields in `events.k8s.io/v1`, and before `spec.nodeName` had its name, each with today's in the
/// core group.
const OTHER_NAMES: [(Kind, &str, &str); 9] = [
    (Kind::Pod, "spec.host", "spec.nodeName"),
    (Kind::Event, "regarding.kind", "involvedObject.kind"),
    (Kind::Event, "regarding.namespace", "involvedObject.namespace"),
    (Kind::Event, "regarding.name", "involvedObject.name"),
    (Kind::Event, "regarding.uid", "involvedObject.uid"),
    (Kind::Event, "regarding.apiVersion", "involvedObject.apiVersion"),
    (
        Kind::Event,
        "regarding.resourceVersion",
        "involvedObject.resourceVersion",
    ),
    (Kind::Event, "regarding.fieldPath", "involvedObject.fieldPath"),
    (Kind::Event, "reportingController", "reportingComponent"),
];

/// The field of that name.
fn field(kind: Kind, name: &str) -> Option<&'static str> {
    let other = OTHER_NAMES.iter().find(|(of, is, _)| *of == kind && *is == name);
    let name = other.map_or(name, |(_, _, name)| name);
    let usual: &[&str] = match kind.scope() {
        Scope::Cluster => &["metadata.name"],
        Scope::Namespaced => &["metadata.name", "metadata.namespace"],
    };
    let mut all = usual.iter().chain(own_fields(kind));
    all.find(|is| **is == name).copied()
}

impl Fields {
    /// Of its text; empty selects everything.
    pub(super) fn parse(kind: Kind, text: &str) -> Result<Fields, FieldError> {
        let parts = split(text).into_iter().filter(|part| !part.is_empty());
        let condition = |part: &str| {
            let (name, wanted, value) = operands(part)?;
            let field = field(kind, name).ok_or_else(|| FieldError::Unknown(name.to_owned()))?;
            Ok(Condition {
                field,
                wanted,
                value: unescaped(value)?,
            })
        };
        parts.map(condition).collect::<Result<_, _>>().map(Fields)
    }

    /// Whether it selects this object.
    pub(super) fn select(&self, object: &Object) -> bool {
        self.0.iter().all(|condition| {
            let is_equal = value(object, condition.field) == condition.value;
            is_equal == (condition.wanted == Wanted::Equal)
        })
    }
}

/// The parts between commas that no backslash precedes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut is_escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// What the first operator separates.
fn operands(part: &str) -> Result<(&str, Wanted, &str), FieldError> {
    let at = part.find(['=', '!']);
    let split = at.map(|at| part.split_at(at));
    let found = split.and_then(|(name, rest)| {
        let different = rest
            .strip_prefix("!=")
            .map(|value| (name, Wanted::Different, value));
        let equal = || rest.strip_prefix("==").or_else(|| rest.strip_prefix('='));
        different.or_else(|| equal().map(|value| (name, Wanted::Equal, value)))
    });
    found.ok_or_else(|| FieldError::NoOperator(part.to_owned()))
}

fn unescaped(text: &str) -> Result<String, FieldError> {
    let mut chars = text.chars();
    let mut value = String::with_capacity(text.len());
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => value.push(next),
                other => return Err(FieldError::Escape(other.map(String::from).unwrap_or_default())),
            },
            ',' | '=' => return Err(FieldError::Unescaped(c)),
            c => value.push(c),
        }
    }
    Ok(value)
}

/// The value of a field; one that is not set is empty.
fn value(object: &Object, field: &str) -> String {
    let metadata = object.metadata();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    match (field, object) {
        ("metadata.name", _) => text(&metadata.name),
        ("metadata.namespace", _) => text(&metadata.namespace),
        (_, Object::Pod(pod)) => of_pod(pod, field),
        (_, Object::Event(event)) => of_event(event, field),
        ("status.phase", Object::Namespace(namespace)) => {
            let status = namespace.status.as_ref();
            status.map(|status| text(&status.phase)).unwrap_or_default()
        }
        ("spec.unschedulable", Object::Node(node)) => {
            let spec = node.spec.as_ref();
            let is_closed = spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
            is_closed.to_string()
        }
        ("type", Object::Secret(secret)) => text(&secret.type_),
        _ => String::new(),
    }
}

fn of_pod(pod: &Pod, field: &str) -> String {
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    let found = match field {
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.restartPolicy" => spec.and_then(|spec| spec.restart_policy.clone()),
        "spec.schedulerName" => spec.and_then(|spec| spec.scheduler_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()),
        "spec.hostNetwork" => {
            let is_host = spec.and_then(|spec| spec.host_network).unwrap_or(false);
            Some(is_host.to_string())
        }
        "status.phase" => status.and_then(|status| status.phase.clone()),
        "status.podIP" => status.and_then(|status| status.pod_ip.clone()),
        "status.podIPs" => status.and_then(|status| {
            let all = status.pod_ips.as_ref()?.iter();
            Some(all.map(|one| one.ip.as_str()).collect::<Vec<_>>().join(","))
        }),
        "status.nominatedNodeName" => status.and_then(|status| status.nominated_node_name.clone()),
        _ => None,
    };
    found.unwrap_or_default()
}

fn of_event(event: &Event, field: &str) -> String {
    let about = &event.involved_object;
    let reporter = event.reporting_component.clone().filter(|name| !name.is_empty());
    let found = match field {
        "involvedObject.kind" => about.kind.clone(),
        "involvedObject.namespace" => about.namespace.clone(),
        "involvedObject.name" => about.name.clone(),
        "involvedObject.uid" => about.uid.clone(),
        "involvedObject.apiVersion" => about.api_version.clone(),
        "involvedObject.resourceVersion" => about.resource_version.clone(),
        "involvedObject.fieldPath" => about.field_path.clone(),
        "reason" => event.reason.clone(),
        "reportingComponent" => reporter,
        // As the API server: the reporter where an event has no source.
        "source" => {
            let component = event.source.as_ref().and_then(|source| source.component.clone());
            component.filter(|name| !name.is_empty()).or(reporter)
        }
        "type" => event.type_.clone(),
        _ => None,
    };
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn pod() -> Object {
        let pod = json!({
            "metadata": {"name": "web-vm", "namespace": "ns"},
            "spec": {"nodeName": "vm", "restartPolicy": "Always", "hostNetwork": true, "containers": []},
            "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]},
        });
        Object::Pod(Arc::new(serde_json::from_value(pod).unwrap()))
    }

    fn event() -> Object {
        let event = json!({
            "metadata": {"name": "e", "namespace": "ns"},
            "involvedObject": {"kind": "Pod", "name": "web-vm", "uid": "a=b,c"},
            "reason": "Started", "type": "Normal", "reportingComponent": "kubelet",
        });
        Object::Event(Arc::new(serde_json::from_value(event).unwrap()))
    }

    #[test]
    fn fields_select_as_those_of_the_api_server() {
        let check = |object: &Object, text: &str, expected: bool| {
            let fields = Fields::parse(object.kind(), text).unwrap();
            assert_eq!(fields.select(object), expected, "{text}");
        };
        for selects in [
            "",
            ",",
            "metadata.name=web-vm",
            "metadata.namespace==ns",
            "spec.nodeName=vm,status.phase!=Failed",
            "spec.host=vm",
            "spec.restartPolicy=Always",
            "spec.hostNetwork=true",
            "spec.schedulerName=",
            "status.podIP=10.0.0.1",
            "status.podIPs=10.0.0.1",
            "status.nominatedNodeName!=x",
        ] {
            check(&pod(), selects, true);
        }
        for rejects in [
            "metadata.name=web",
            "spec.nodeName!=vm",
            "spec.hostNetwork=false",
            "status.phase=",
        ] {
            check(&pod(), rejects, false);
        }
        for selects in [
            "involvedObject.name=web-vm,involvedObject.uid=a\\=b\\,c",
            "involvedObject.kind!=Node",
            "source=kubelet",
            "regarding.name=web-vm",
            "reportingController=kubelet",
            "reason=Started",
            "type!=Warning",
        ] {
            check(&event(), selects, true);
        }
        check(&event(), "involvedObject.namespace=ns", false);
    }

    #[test]
    fn what_is_no_field_or_no_selector_is_refused() {
        let check = |kind, text: &str, expected: &str| {
            let error = Fields::parse(kind, text).unwrap_err().to_string();
            assert_eq!(error, expected, "{text}");
        };
        check(Kind::Pod, "a=b", "field label not supported: a");
        check(
            Kind::Pod,
            "status.phase=x,spec.unschedulable=true",
            "field label not supported: spec.unschedulable",
        );
        check(
            Kind::Node,
            "metadata.namespace=x",
            "field label not supported: metadata.namespace",
        );
        check(
            Kind::Pod,
            "regarding.name=x",
            "field label not supported: regarding.name",
        );
        let text = "invalid selector: \"a\"; can't understand it: write field=value or field!=value";
        check(Kind::Pod, "a", text);
        check(
            Kind::Pod,
            "metadata.name=a\\b",
            "invalid field selector: invalid escape sequence: \\b",
        );
        check(
            Kind::Pod,
            "metadata.name=a=b",
            "invalid field selector: unescaped character in value: =",
        );
        check(
            Kind::Pod,
            "metadata.name=a\\",
            "invalid field selector: invalid escape sequence: \\",
        );
    }
}
