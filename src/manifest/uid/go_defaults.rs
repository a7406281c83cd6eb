//! The defaults that the kubelet's decoder adds to a static pod before it hashes it (`SetDefaults_*` of
//! `pkg/apis/core/v1/defaults.go`).
//!
//! These are not the defaults that a pod runs with, which are in `defaults.rs`: those include more (the namespace, the
//! priority of a class) and may change. These may not, because the UID of every running pod depends on them.

use serde_json::{Map, Value, json};

use crate::model::image_ref::ImageRef;
use crate::model::iscsi::DEFAULT_INTERFACE;

type Object = Map<String, Value>;

/// Adds the defaults to the JSON of a pod, and moves the fields that Kubernetes' internal type has elsewhere.
pub(crate) fn apply(pod: &mut Value) {
    let Some(pod) = pod.as_object_mut() else {
        return;
    };
    // The internal type has no kind and no apiVersion.
    pod.remove("kind");
    pod.remove("apiVersion");
    if let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) {
        spec_defaults(spec);
    }
}

/// Gives a field its default where it is absent.
fn default(object: &mut Object, field: &str, value: Value) {
    let given = object.entry(field.to_owned()).or_insert(Value::Null);
    if given.is_null() {
        *given = value;
    }
}

/// Likewise for a text, which may also be empty.
fn default_text(object: &mut Object, field: &str, text: &str) {
    if object
        .get(field)
        .and_then(Value::as_str)
        .is_none_or(str::is_empty)
    {
        object.insert(field.to_owned(), text.into());
    }
}

/// Likewise for a number, which may also be 0.
fn default_number(object: &mut Object, field: &str, number: i64) {
    if object
        .get(field)
        .and_then(Value::as_i64)
        .is_none_or(|given| given == 0)
    {
        object.insert(field.to_owned(), number.into());
    }
}

/// Applies a function to each object of a list.
fn each(object: &mut Object, list: &str, mut with: impl FnMut(&mut Object)) {
    let items = object.get_mut(list).and_then(Value::as_array_mut);
    items
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
        .for_each(&mut with);
}

/// Applies a function to an object if it exists.
fn within(object: &mut Object, field: &str, with: impl FnOnce(&mut Object)) {
    if let Some(inner) = object.get_mut(field).and_then(Value::as_object_mut) {
        with(inner);
    }
}

fn spec_defaults(spec: &mut Object) {
    default_text(spec, "dnsPolicy", "ClusterFirst");
    default_text(spec, "restartPolicy", "Always");
    default_text(spec, "schedulerName", "default-scheduler");
    default(spec, "terminationGracePeriodSeconds", 30.into());
    default(spec, "enableServiceLinks", true.into());
    default(spec, "securityContext", json!({}));
    // The field's older name is used where the newer one is empty.
    let account = spec.remove("serviceAccount");
    if let Some(account) = account.as_ref().and_then(Value::as_str) {
        default_text(spec, "serviceAccountName", account);
    }
    let is_host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["initContainers", "containers"] {
        each(spec, list, |container| {
            container_defaults(container);
            if is_host_network {
                each(container, "ports", |port| {
                    let number = port.get("containerPort").and_then(Value::as_i64);
                    default_number(port, "hostPort", number.unwrap_or(0));
                });
            }
        });
    }
    each(spec, "volumes", volume_defaults);
    // Kubernetes' internal type has these in the security context, the API type beside it.
    for field in [
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "shareProcessNamespace",
        "hostUsers",
    ] {
        if let (Some(value), Some(Value::Object(context))) =
            (spec.remove(field), spec.get_mut("securityContext"))
        {
            context.insert(field.to_owned(), value);
        }
    }
}

fn container_defaults(container: &mut Object) {
    default_pull_policy(container, "image", "imagePullPolicy");
    default_text(container, "terminationMessagePath", "/dev/termination-log");
    default_text(container, "terminationMessagePolicy", "File");
    each(container, "ports", |port| default_text(port, "protocol", "TCP"));
    each(container, "env", |variable| {
        within(variable, "valueFrom", |from| {
            within(from, "fieldRef", of_version_1)
        });
    });
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        within(container, probe, probe_defaults);
    }
    within(container, "lifecycle", |lifecycle| {
        for hook in ["postStart", "preStop"] {
            within(lifecycle, hook, |hook| within(hook, "httpGet", http_defaults));
        }
    });
    within(container, "resources", requests_of_limits);
}

/// The pull policy of an image, which depends on its name.
fn default_pull_policy(object: &mut Object, image: &str, field: &str) {
    let image = object.get(image).and_then(Value::as_str).unwrap_or_default();
    let policy = match pulls_always(image) {
        true => "Always",
        false => "IfNotPresent",
    };
    default_text(object, field, policy);
}

/// Whether an image without a pull policy is always pulled: its tag is `latest`, or it has neither tag nor digest.
fn pulls_always(image: &str) -> bool {
    ImageRef::parse(image).is_ok_and(|reference| reference.is_latest())
}

/// A missing request defaults to the limit.
fn requests_of_limits(resources: &mut Object) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else {
        return;
    };
    default(resources, "requests", json!({}));
    within(resources, "requests", |requests| {
        for (name, limit) in limits {
            default(requests, &name, limit);
        }
    });
}

fn probe_defaults(probe: &mut Object) {
    for (field, number) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        default_number(probe, field, number);
    }
    within(probe, "httpGet", http_defaults);
    within(probe, "grpc", |grpc| default(grpc, "service", "".into()));
}

fn http_defaults(get: &mut Object) {
    default_text(get, "path", "/");
    default_text(get, "scheme", "HTTP");
}

fn of_version_1(reference: &mut Object) {
    default_text(reference, "apiVersion", "v1");
}

fn fields_of_files(volume: &mut Object) {
    each(volume, "items", |item| within(item, "fieldRef", of_version_1));
}

fn volume_defaults(volume: &mut Object) {
    let is_kind = |(field, value): (&String, &Value)| field != "name" && !value.is_null();
    if !volume.iter().any(is_kind) {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for kind in ["configMap", "secret", "downwardAPI", "projected"] {
        within(volume, kind, |volume| {
            default(volume, "defaultMode", 0o644.into())
        });
    }
    within(volume, "image", |image| {
        default_pull_policy(image, "reference", "pullPolicy");
    });
    within(volume, "iscsi", |volume| {
        default_text(volume, "iscsiInterface", DEFAULT_INTERFACE);
    });
    within(volume, "hostPath", |volume| default(volume, "type", "".into()));
    within(volume, "downwardAPI", fields_of_files);
    within(volume, "projected", |volume| {
        each(volume, "sources", |source| {
            within(source, "downwardAPI", fields_of_files);
            within(source, "serviceAccountToken", |token| {
                default(token, "expirationSeconds", 3600.into());
            });
        });
    });
}
