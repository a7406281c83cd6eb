//! The parts of an API pod that become a path, a line of a file or a part of a request. They are checked here as
//! strictly as a manifest's, because the API server may be foreign, faulty or compromised. [`super::unsupported`]
//! reports what is valid but not supported.

use k8s_openapi::api::core::v1::{Container, KeyToPath, Pod, PodSpec, SeccompProfile, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{network_disk, pod};
use crate::manifest::convert::ephemeral;
use crate::manifest::names;
use crate::manifest::path::{Faults, FieldPath};
use crate::model::bounds;

/// Notes what is wrong with a pod's identity. A pod with a wrong identity is left alone entirely, even its removal: the
/// identity names the directories that would be removed.
pub(crate) fn identity(metadata: &ObjectMeta, faults: &mut Faults) {
    let at = FieldPath::default().field("metadata");
    let text = |text: &Option<String>| bounds::shortened(text.clone().unwrap_or_default(), SHOWN);
    for (field, own, complaint) in [
        (
            "namespace",
            &metadata.namespace,
            names::dns_label as fn(&str) -> names::Complaint,
        ),
        ("name", &metadata.name, names::dns_subdomain),
        ("uid", &metadata.uid, names::uid),
    ] {
        let complaint = complaint(own.as_deref().unwrap_or_default());
        faults.complain(&at.field(field), &text(own), complaint);
    }
}

/// The longest part of a broken text that is quoted.
const SHOWN: usize = 256;

/// Notes what no node could run: lists that are too long to be examined further.
pub(crate) fn size(spec: &PodSpec, faults: &mut Faults) {
    let at = FieldPath::default().field("spec");
    let count = |list: Option<usize>| list.unwrap_or(0);
    for (field, many) in [
        ("containers", spec.containers.len()),
        (
            "initContainers",
            count(spec.init_containers.as_ref().map(Vec::len)),
        ),
        (
            "ephemeralContainers",
            count(spec.ephemeral_containers.as_ref().map(Vec::len)),
        ),
        ("volumes", count(spec.volumes.as_ref().map(Vec::len))),
        // Each is searched for among the conditions, and others may write as many of those.
        (
            "readinessGates",
            count(spec.readiness_gates.as_ref().map(Vec::len)),
        ),
    ] {
        if many > bounds::OF_EACH {
            faults.add(&at.field(field), bounds::of_each_exceeded());
        }
    }
}

/// Cuts the lists of a pod that only has to be ended to the examined length.
pub(crate) fn cut(pod: &mut Pod) {
    let Some(spec) = &mut pod.spec else { return };
    spec.containers.truncate(bounds::OF_EACH);
    spec.init_containers
        .iter_mut()
        .for_each(|list| list.truncate(bounds::OF_EACH));
    spec.ephemeral_containers
        .iter_mut()
        .for_each(|list| list.truncate(bounds::OF_EACH));
    spec.volumes
        .iter_mut()
        .for_each(|list| list.truncate(bounds::OF_EACH));
    spec.readiness_gates
        .iter_mut()
        .for_each(|list| list.truncate(bounds::OF_EACH));
}

/// Notes what is wrong with a pod's names and paths.
pub(crate) fn spec(pod: &Pod, faults: &mut Faults) {
    let Some(spec) = &pod.spec else { return };
    let at = FieldPath::default().field("spec");
    for (field, name, complaint) in [
        (
            "serviceAccountName",
            &spec.service_account_name,
            names::dns_subdomain as fn(&str) -> names::Complaint,
        ),
        ("runtimeClassName", &spec.runtime_class_name, names::dns_subdomain),
        ("hostname", &spec.hostname, names::dns_label),
        ("subdomain", &spec.subdomain, names::dns_label),
        ("hostnameOverride", &spec.hostname_override, names::dns_subdomain),
    ] {
        if let Some(name) = name.as_deref().filter(|name| !name.is_empty()) {
            faults.complain(&at.field(field), name, complaint(name));
        }
    }
    let aliases = spec.host_aliases.as_deref().unwrap_or_default();
    pod::host_aliases(aliases, &at.field("hostAliases"), faults);
    let security = spec.security_context.as_ref();
    let profile = security.and_then(|security| security.seccomp_profile.as_ref());
    seccomp(profile, &at.field("securityContext"), faults);
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        self::volume(volume, &at.field("volumes").index(index), faults);
    }
    for (field, list) in [
        ("containers", Some(&spec.containers)),
        ("initContainers", spec.init_containers.as_ref()),
    ] {
        for (index, container) in list.into_iter().flatten().enumerate() {
            self::container(container, &at.field(field).index(index), faults);
        }
    }
    let added = spec.ephemeral_containers.iter().flatten();
    for (index, container) in added.map(ephemeral::common).enumerate() {
        self::container(&container, &at.field("ephemeralContainers").index(index), faults);
    }
}

fn container(container: &Container, at: &FieldPath, faults: &mut Faults) {
    faults.complain(
        &at.field("name"),
        &container.name,
        names::dns_label(&container.name),
    );
    let security = container.security_context.as_ref();
    let profile = security.and_then(|security| security.seccomp_profile.as_ref());
    seccomp(profile, &at.field("securityContext"), faults);
}

fn seccomp(profile: Option<&SeccompProfile>, at: &FieldPath, faults: &mut Faults) {
    let path = profile.and_then(|profile| profile.localhost_profile.as_deref());
    if let Some(path) = path.filter(|path| !path.is_empty()) {
        let at = at.field("seccompProfile").field("localhostProfile");
        faults.complain(&at, path, relative(path, "the node's seccomp directory"));
    }
}

/// What is on the node, of a driver, or of a storage network.
fn place(volume: &Volume, at: &FieldPath, faults: &mut Faults) {
    if let Some(host) = &volume.host_path {
        let is_right = host.path.starts_with('/') && !has_backsteps(&host.path);
        let complaint = (!is_right).then(|| "must be an absolute path without '..'".to_owned());
        faults.complain(&at.field("hostPath").field("path"), &host.path, complaint);
    }
    if let Some(own) = &volume.csi {
        let at = at.field("csi").field("driver");
        faults.complain(&at, &own.driver, names::csi_driver(&own.driver));
    }
    if let Some(own) = &volume.iscsi {
        network_disk::iscsi(own, &at.field("iscsi"), faults);
    }
    if let Some(own) = &volume.fc {
        network_disk::fc(own, &at.field("fc"), faults);
    }
}

fn volume(volume: &Volume, at: &FieldPath, faults: &mut Faults) {
    faults.complain(&at.field("name"), &volume.name, names::dns_label(&volume.name));
    place(volume, at, faults);
    if let Some(own) = &volume.config_map {
        items(&own.items, &at.field("configMap"), faults);
    }
    if let Some(own) = &volume.secret {
        items(&own.items, &at.field("secret"), faults);
    }
    let own = volume.downward_api.as_ref();
    for (index, item) in own.iter().flat_map(|own| own.items.iter().flatten()).enumerate() {
        file(
            &item.path,
            &at.field("downwardAPI").field("items").index(index),
            faults,
        );
    }
    projected(volume, at, faults);
}

/// The paths of the files of keys.
fn items(items: &Option<Vec<KeyToPath>>, at: &FieldPath, faults: &mut Faults) {
    for (index, item) in items.iter().flatten().enumerate() {
        file(&item.path, &at.field("items").index(index), faults);
    }
}

/// The paths of the files of a projected volume.
fn projected(volume: &Volume, at: &FieldPath, faults: &mut Faults) {
    let sources = volume
        .projected
        .iter()
        .flat_map(|own| own.sources.iter().flatten());
    for (index, source) in sources.enumerate() {
        let at = at.field("projected").field("sources").index(index);
        if let Some(own) = &source.config_map {
            items(&own.items, &at.field("configMap"), faults);
        }
        if let Some(own) = &source.secret {
            items(&own.items, &at.field("secret"), faults);
        }
        let own = source.downward_api.as_ref();
        for (index, item) in own.iter().flat_map(|own| own.items.iter().flatten()).enumerate() {
            file(
                &item.path,
                &at.field("downwardAPI").field("items").index(index),
                faults,
            );
        }
        if let Some(own) = &source.service_account_token {
            file(&own.path, &at.field("serviceAccountToken"), faults);
        }
        if let Some(own) = &source.cluster_trust_bundle {
            file(&own.path, &at.field("clusterTrustBundle"), faults);
        }
        if let Some(own) = &source.pod_certificate {
            let at = at.field("podCertificate");
            for (path, field) in [
                (&own.credential_bundle_path, "credentialBundlePath"),
                (&own.key_path, "keyPath"),
                (&own.certificate_chain_path, "certificateChainPath"),
            ] {
                if let Some(path) = path.as_deref().filter(|path| !path.is_empty()) {
                    file_at(path, &at.field(field), faults);
                }
            }
        }
    }
}

/// The path of a file of a volume.
fn file(path: &str, at: &FieldPath, faults: &mut Faults) {
    file_at(path, &at.field("path"), faults);
}

/// The same where the field has another name.
fn file_at(path: &str, at: &FieldPath, faults: &mut Faults) {
    let complaint = relative(path, "the volume").or_else(|| {
        let is_file = path.split('/').any(|part| !matches!(part, "" | "."));
        // The agent uses such names itself.
        let is_others = path.starts_with("..");
        (!is_file || is_others).then(|| "must name a file whose name does not start with '..'".to_owned())
    });
    let shown = bounds::shortened(path.to_owned(), SHOWN);
    faults.complain(at, &shown, complaint);
}

fn relative(path: &str, below: &str) -> names::Complaint {
    let is_right =
        !path.starts_with('/') && !has_backsteps(path) && !path.contains('\0') && path.len() < bounds::PATH;
    (!is_right).then(|| {
        format!(
            "must be a path below {below}, without '..' and shorter than {} bytes",
            bounds::PATH
        )
    })
}

fn has_backsteps(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn faults(object: Value) -> Vec<String> {
        let pod: Pod = serde_json::from_value(object).unwrap();
        let mut faults = Faults::default();
        identity(&pod.metadata, &mut faults);
        spec(&pod, &mut faults);
        faults
            .into_vec()
            .into_iter()
            .map(|fault| fault.path.to_string())
            .collect()
    }

    fn with(field: &str, value: Value) -> Value {
        let mut object = json!({
            "metadata": {"namespace": "ns", "name": "p", "uid": "25b0d2a4-5f1c-4f6e-9c5a-1e6a1f1f2b11"},
            "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": [{"name": "v"}]},
        });
        *object.pointer_mut(field).unwrap_or_else(|| panic!("{field}")) = value;
        object
    }

    #[test]
    fn what_an_api_server_accepts_passes() {
        assert_eq!(
            faults(with(
                "/spec/volumes/0",
                json!({
                    "name": "v",
                    "projected": {"sources": [
                        {"serviceAccountToken": {"path": "token"}},
                        {"configMap": {"name": "a", "items": [{"key": "k", "path": "./a//b/"}]}},
                        {"downwardAPI": {"items": [{"path": "...a", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                    ]},
                })
            )),
            ["spec.volumes[0].projected.sources[2].downwardAPI.items[0].path"]
        );
        assert_eq!(
            faults(with(
                "/spec",
                json!({
                    "serviceAccountName": "default", "hostname": "h", "subdomain": "s", "runtimeClassName": "kata.v1",
                    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a.example"]}],
                    "securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "profiles/a.json"}},
                    "volumes": [{"name": "v", "hostPath": {"path": "/var/lib"}}],
                    "containers": [{"name": "c"}], "initContainers": [{"name": "i"}], "ephemeralContainers": [{"name": "e"}],
                })
            )),
            Vec::<String>::new()
        );
    }

    #[test]
    fn cve_2021_25735_and_kin_a_name_that_is_a_path_is_a_fault_wherever_it_stands() {
        let check = |field: &str, value: Value, at: &str| {
            assert_eq!(faults(with(field, value.clone())), [at], "{field} {value}");
        };
        for uid in [
            "..",
            ".",
            "",
            "a/b",
            "../../etc",
            "-a",
            "a\u{1b}[2J",
            &"a".repeat(64),
        ] {
            check("/metadata/uid", json!(uid), "metadata.uid");
        }
        for name in ["..", "../x", "a/b", "", "A", "a\n", &"a".repeat(254)] {
            check("/metadata/name", json!(name), "metadata.name");
        }
        for name in ["..", "a/b", "", "a.b", &"a".repeat(64)] {
            check("/metadata/namespace", json!(name), "metadata.namespace");
            check("/spec/containers/0/name", json!(name), "spec.containers[0].name");
            check("/spec/volumes/0/name", json!(name), "spec.volumes[0].name");
        }
        for path in [
            "/etc/passwd",
            "../x",
            "a/../../b",
            "..data/x",
            "..",
            ".",
            "",
            "/",
            "a\0b",
            &"a/".repeat(3000),
        ] {
            let volume =
                json!({"name": "v", "configMap": {"name": "a", "items": [{"key": "k", "path": path}]}});
            check(
                "/spec/volumes/0",
                volume,
                "spec.volumes[0].configMap.items[0].path",
            );
            let volume =
                json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": path}}]}});
            let at = "spec.volumes[0].projected.sources[0].serviceAccountToken.path";
            check("/spec/volumes/0", volume, at);
        }
        for path in ["relative", "/a/../etc", ""] {
            let volume = json!({"name": "v", "hostPath": {"path": path}});
            check("/spec/volumes/0", volume, "spec.volumes[0].hostPath.path");
        }
        let containers = |more: Value| {
            let mut spec = json!({"containers": [{"name": "c"}]});
            spec.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            spec
        };
        check(
            "/spec",
            containers(json!({"serviceAccountName": "../../pods/x"})),
            "spec.serviceAccountName",
        );
        check(
            "/spec",
            containers(json!({"runtimeClassName": "a/b"})),
            "spec.runtimeClassName",
        );
        check("/spec", containers(json!({"hostname": "a\nb"})), "spec.hostname");
        let aliases = json!({"hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a\n127.0.0.1 bank"]}]});
        check("/spec", containers(aliases), "spec.hostAliases[0].hostnames[0]");
        let profile =
            json!({"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "../x"}}});
        check(
            "/spec",
            containers(profile),
            "spec.securityContext.seccompProfile.localhostProfile",
        );
    }
}
