//! The requests to the runtime, compared field by field with those recorded from a kubelet v1.36.2.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::model::object::content::Content;
use crate::model::object::kinds::{ConfigMap, Secret};
use crate::model::object::{Known, Object, ObjectKey, ObjectKind, Objects, Reference};
use crate::model::pod::*;
use crate::model::request::{POD_IP, SandboxRef};
use crate::model::resources::{Amounts, Bytes, MilliCpu, Resources};
use crate::model::sample;
use crate::model::value::{Bound, EnvFrom, EnvValue, Field, Projection, Resource, ResourceField, SubPath};
use crate::plan::container::{Home, request};
use crate::plan::content::Origin;
use crate::plan::environment::Room;
use crate::plan::sandbox;

/// The pod of a recording. Scrubbed values are replaced with the pod's name, and each container gets the recorded
/// command and hash.
fn pod(recorded: &Value, init: &[&str], containers: &[&str]) -> Pod {
    let mut pod = sample::pod(RestartPolicy::Always, init, containers);
    pod.name = PodName::new("<ns>", pod.name.name.clone());
    pod.uid = sample::uid("<uid>");
    pod.annotations
        .insert("kubernetes.io/config.seen".to_owned(), "<time>".to_owned());
    for container in pod.init_containers.iter_mut().chain(&mut pod.containers) {
        let of = &recorded["runtime"]["containers"][&container.name];
        container.command = serde_json::from_value(of["command"].clone()).unwrap();
        let hash = of["annotations"]["io.kubernetes.container.hash"]
            .as_str()
            .unwrap();
        container.hash = u32::from_str_radix(hash, 16).unwrap();
    }
    pod
}

fn check(name: &str, init: &[&str], containers: &[&str], change: impl FnOnce(&mut Pod)) {
    check_restarted(name, init, containers, 0, change);
}

fn check_restarted(
    name: &str,
    init: &[&str],
    containers: &[&str],
    restarts: u32,
    change: impl FnOnce(&mut Pod),
) {
    let recorded = sample::recording(name);
    let mut pod = pod(&recorded, init, containers);
    change(&mut pod);
    let policy = sample::policy();
    let config = sandbox::config(&pod, 0, &policy);
    assert_same(
        name,
        "sandbox",
        &recorded["runtime"]["sandbox"],
        scrubbed(json!(&config)),
    );
    let home = Home {
        sandbox: SandboxRef::Made,
        config: Arc::new(config.clone()),
        recursive_read_only: false,
    };
    for container in pod.all_containers() {
        let origin = Origin {
            policy: &policy,
            objects: &objects(),
            ..Origin::sample(&pod)
        };
        let request = request(origin, container, restarts, &home, &mut Room::of_plan());
        let mut config = json!(request.config);
        let envs = request
            .config
            .envs
            .iter()
            .map(|env| format!("{}={}", env.key, env.value.replace(POD_IP, "<podip>")));
        // The kubelet's environment is unordered.
        config["envs"] = json!(envs.collect::<std::collections::BTreeSet<_>>());
        let recorded = &recorded["runtime"]["containers"][&container.name];
        assert_same(name, &container.name, recorded, scrubbed(config));
    }
}

fn assert_same(name: &str, what: &str, recorded: &Value, ours: Value) {
    let text = |value: Value| serde_json::to_string_pretty(&value).unwrap();
    let recorded = text(scrubbed(recorded.clone()));
    let ours = text(ours);
    for (line, (a, b)) in recorded.lines().zip(ours.lines()).enumerate() {
        assert_eq!(a, b, "{name}, {what}, line {line}:\n{recorded}\n{ours}");
    }
    assert_eq!(recorded, ours, "{name}, {what}");
}

/// Without empty fields, which do not exist on the wire, without fields that the recordings omit, and with unordered
/// lists sorted.
fn scrubbed(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.remove("metadata");
        map.remove("image");
        if let Some(mounts) = map.get_mut("mounts").and_then(Value::as_array_mut) {
            // The API server gives each pod a token; these pods do not come from it.
            mounts.retain(|mount| mount["container_path"] != "/var/run/secrets/kubernetes.io/serviceaccount");
            mounts.sort_by_key(|mount| mount["container_path"].to_string());
        }
    }
    prune(value).unwrap_or(Value::Null)
}

fn prune(value: Value) -> Option<Value> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Number(number) if number.as_i64() == Some(0) => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(json!(without_digits(&text))),
        Value::Array(items) => {
            let items: Vec<_> = items
                .into_iter()
                .map(|item| prune(item).unwrap_or(Value::Null))
                .collect();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        Value::Object(map) => {
            let map: Map<_, _> = map
                .into_iter()
                .filter_map(|(key, value)| Some((key, prune(value)?)))
                .collect();
            (!map.is_empty()).then_some(Value::Object(map))
        }
        other => Some(other),
    }
}

/// The kubelet picks a random name for the termination message file.
fn without_digits(text: &str) -> String {
    match text.rsplit_once('/') {
        Some((dir, name)) if dir.contains("/containers/") && name.len() == 8 => format!("{dir}/<x>"),
        _ => text.to_owned(),
    }
}

fn amounts(cpu: i64, memory: i64) -> Amounts {
    Amounts {
        cpu: (cpu > 0).then_some(MilliCpu(cpu)),
        memory: (memory > 0).then_some(Bytes(memory << 20)),
        ..Amounts::default()
    }
}

fn both(cpu: i64, memory: i64) -> Resources {
    Resources {
        requests: amounts(cpu, memory),
        limits: amounts(cpu, memory),
    }
}

#[test]
fn plain_pods() {
    check("running", &[], &["c"], |_| {});
    check("qos-best-effort", &[], &["c"], |_| {});
    check("two-containers", &[], &["a", "b"], |_| {});
    check("termination-message", &[], &["c"], |_| {});
    check("succeeds", &[], &["c"], |_| {});
    check_restarted("crash-loop", &[], &["c"], 3, |_| {});
}

#[test]
fn init_containers_and_sidecars() {
    check("init-ok", &["i1", "i2"], &["c"], |_| {});
    check("sidecar", &["+side", "i2"], &["c"], |_| {});
}

#[test]
fn resources() {
    check("qos-guaranteed", &[], &["a", "b"], |pod| {
        *pod = pod.clone().with_resources(&[both(500, 64), both(250, 32)]);
    });
    check("oom", &[], &["c"], |pod| {
        *pod = pod.clone().with_resources(&[both(0, 16)]);
    });
}

#[test]
fn network_and_ports() {
    check("host-network", &[], &["c"], |pod| {
        pod.namespaces.host_network = true;
        pod.dns_policy = DnsPolicy::ClusterFirstWithHostNet;
    });
    check("host-port", &[], &["c"], |pod| {
        pod.containers[0].ports.push(Port {
            name: String::new(),
            container: 8080,
            host: Some(18080),
            host_ip: None,
            protocol: Protocol::Tcp,
        });
    });
}

#[test]
fn security() {
    check("privileged", &[], &["c"], |pod| {
        pod.containers[0].security.privileged = true
    });
    check("security-context", &[], &["c"], |pod| {
        pod.security = PodSecurity {
            fs_group: Some(2000),
            supplemental_groups: vec![4000],
            sysctls: vec![("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned())],
            ..PodSecurity::default()
        };
        with_volume(
            pod,
            "e",
            VolumeSource::EmptyDir {
                medium: Medium::Disk,
                size_limit: None,
            },
        );
        pod.containers[0].security = ContainerSecurity {
            run_as_user: Some(1000),
            run_as_group: Some(3000),
            read_only_root: true,
            no_new_privileges: true,
            capabilities_add: vec!["NET_BIND_SERVICE".to_owned()],
            capabilities_drop: vec!["ALL".to_owned()],
            seccomp: Profile::RuntimeDefault,
            ..ContainerSecurity::default()
        };
    });
}

#[test]
fn mounts() {
    check("host-path", &[], &["c"], |pod| {
        with_volume(
            pod,
            "h",
            VolumeSource::HostPath {
                path: "/tmp/parity-hp".into(),
                kind: HostPathKind::DirectoryOrCreate,
            },
        );
        let mount = &mut pod.containers[0].mounts[0];
        mount.read_only = true;
        mount.propagation = Propagation::HostToContainer;
    });
}

/// The objects that the recorded pods refer to.
fn objects() -> Objects {
    let data = |pairs: &[(&str, &str)]| -> BTreeMap<String, Content> {
        let content = |(key, text): &(&str, &str)| ((*key).to_owned(), (*text).into());
        pairs.iter().map(content).collect()
    };
    let key = |kind, name: &str| {
        Reference::Object(ObjectKey {
            kind,
            namespace: "<ns>".to_owned(),
            name: name.to_owned(),
        })
    };
    let map = ConfigMap {
        data: data(&[
            ("a", "1"),
            ("B_2", "two"),
            ("bad-key", "x"),
            ("file.txt", "hello\n"),
        ]),
        ..ConfigMap::default()
    };
    let secret = Secret {
        data: data(&[("user", "u"), ("pass", "p")]),
        ..Secret::default()
    };
    let found = |object: Object| Known::Found(object.into());
    Objects::from_iter([
        (key(ObjectKind::ConfigMap, "cm"), found(Object::ConfigMap(map))),
        (key(ObjectKind::Secret, "sec"), found(Object::Secret(secret))),
    ])
}

#[test]
fn environment() {
    check("env", &[], &["c"], |pod| {
        *pod = pod.clone().with_resources(&[both(200, 32)]);
        let container = &mut pod.containers[0];
        let from = |prefix: &str, kind, name: &str| EnvFrom {
            prefix: prefix.to_owned(),
            kind,
            name: name.to_owned(),
            optional: false,
        };
        container.env_from = vec![
            from("", ObjectKind::ConfigMap, "cm"),
            from("S_", ObjectKind::Secret, "sec"),
        ];
        let key = |kind, name: &str, key: &str, optional| EnvValue::Key {
            kind,
            name: name.to_owned(),
            key: key.to_owned(),
            optional,
        };
        let cpu = ResourceField {
            container: None,
            bound: Bound::Limits,
            resource: Resource::Cpu,
            divisor: 1,
        };
        let text = |text: &str| EnvValue::Text(text.to_owned());
        container.env = [
            ("A", text("x")),
            ("B", text("$(A)-$(NOPE)-$$(A)")),
            ("IP", EnvValue::Field(Field::PodIp)),
            ("N", EnvValue::Field(Field::Name)),
            ("CPU", EnvValue::Resource(cpu)),
            ("K", key(ObjectKind::Secret, "sec", "user", false)),
            ("O", key(ObjectKind::ConfigMap, "cm", "zz", true)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
    });
}

#[test]
fn projected_volumes() {
    check("volumes", &[], &["c"], |pod| {
        let requests = Resources {
            requests: amounts(0, 8),
            limits: amounts(0, 64),
        };
        *pod = pod.clone().with_resources(&[requests]);
        pod.labels.insert("l".to_owned(), "1".to_owned());
        pod.annotations.insert("an".to_owned(), "x y".to_owned());
        let files = |kind| VolumeSource::Projected {
            kind,
            mode: 0o644,
            sources: Vec::new(),
        };
        let empty = |medium| VolumeSource::EmptyDir {
            medium,
            size_limit: None,
        };
        with_volume(pod, "cm", files(Projection::ConfigMap));
        with_volume(pod, "sec", files(Projection::Secret));
        with_volume(pod, "dw", files(Projection::DownwardApi));
        with_volume(pod, "e", empty(Medium::Disk));
        with_volume(pod, "m", empty(Medium::Memory));
        with_volume(pod, "pr", files(Projection::Projected));
        let mut part = pod.containers[0].mounts[0].clone();
        part.sub_path = Some(SubPath::Plain("file.txt".to_owned()));
        part.path = "/sub/file.txt".to_owned();
        pod.containers[0].mounts.push(part);
    });
}

fn with_volume(pod: &mut Pod, name: &str, source: VolumeSource) {
    pod.volumes.push(Volume {
        name: name.to_owned(),
        source,
    });
    pod.containers[0].mounts.push(Mount {
        volume: name.to_owned(),
        sub_path: None,
        path: format!("/{name}"),
        read_only: false,
        recursive_read_only: Default::default(),
        propagation: Propagation::None,
    });
}
