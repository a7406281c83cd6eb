//! What is fed, each reader with what holds of its answer whatever it is fed. A target answers whether the input was
//! understood: one that never is tests nothing.

mod archives;
mod bodies;
mod plugins;
mod streams;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gantry::config::layers::{Layers, Text};
use gantry::config::resolve::resolve;
use gantry::config::surroundings::ConfigContext;
use gantry::config::{Role, raw};
use gantry::cri::log_line::parse;
use gantry::identity::kubeconfig;
use gantry::manifest;
use gantry::manifest::ManifestContext;
use gantry::model::bounds;
use gantry::model::csi::{AttachedVolume, Attachment, CsiDriver, Lifecycle};
use gantry::model::node::{CgroupDriver, CgroupLayout, CgroupVersion, NodePolicy};
use gantry::model::object::kinds;
use gantry::model::object::{Known, Object, ObjectKind, Objects, Reference};
use gantry::model::persistent::{Claim, PersistentSource, PersistentVolume};
use gantry::model::pod::{DnsConfig, Pod};
use gantry::model::reference::references;
use gantry::model::registry::Keyring;
use gantry::model::request::VolumeKind;
use gantry::model::resources::{Amounts, Bytes};
use gantry::model::runtime::{ObservedName, ObservedPod, Sandbox};
use gantry::model::service::Services;
use gantry::model::step::{Plan, Step};
use gantry::plan::{PlanView, pod as plan, restart};
use gantry::serve::logs::line::{Printer, Show};
use gantry::source::api::objects;
use gantry::status::pod::pod_status;
use jiff::Timestamp;
use serde_json::{Value, json};

/// One reader of other people's bytes.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Inputs that it understands, and some that it must not.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
    /// Reads one; whether it was understood.
    pub(crate) run: fn(&[u8]) -> bool,
}

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "manifest",
        seeds: manifests,
        run: manifest,
    },
    Target {
        name: "api-pod",
        seeds: pods,
        run: api_pod,
    },
    Target {
        name: "api-object",
        seeds: api_objects,
        run: api_object,
    },
    Target {
        name: "docker",
        seeds: docker_configs,
        run: docker_config,
    },
    Target {
        name: "log",
        seeds: logs,
        run: log,
    },
    Target {
        name: "spdy",
        seeds: streams::spdy_seeds,
        run: streams::spdy,
    },
    Target {
        name: "websocket",
        seeds: streams::websocket_seeds,
        run: streams::websocket,
    },
    Target {
        name: "cni",
        seeds: plugins::networks,
        run: plugins::network,
    },
    Target {
        name: "subnet-env",
        seeds: plugins::subnet_files,
        run: plugins::subnet_file,
    },
    Target {
        name: "leases",
        seeds: plugins::lease_stores,
        run: plugins::lease_store,
    },
    Target {
        name: "kubelet",
        seeds: configurations,
        run: configuration,
    },
    Target {
        name: "kubeconfig",
        seeds: kubeconfigs,
        run: kubeconfig,
    },
    Target {
        name: "archive",
        seeds: archives::seeds,
        run: archives::run,
    },
    Target {
        name: "kubectl-body",
        seeds: bodies::seeds,
        run: bodies::run,
    },
];

fn files(directory: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn texts(values: &[Value]) -> Vec<Vec<u8>> {
    values
        .iter()
        .map(|value| value.to_string().into_bytes())
        .collect()
}

fn manifests() -> Vec<Vec<u8>> {
    let mut seeds = files("static-pods");
    seeds.extend(files("tests/fixtures/static-pod-uids"));
    let mut all = pods();
    all.push(br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"v"}}"#.to_vec());
    all.push(br#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"stringData":{"k":"v"},"data":{"b":"AP8="}}"#.to_vec());
    seeds.extend(all.clone());
    seeds.push(all.join(&b"\n---\n"[..]));
    seeds
}

/// Pods as a manifest and as an API server have them, with a field of every kind that a plan looks at.
fn pods() -> Vec<Vec<u8>> {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "p", "namespace": "ns", "uid": "25b0d2a4-5f1c-4f6e-9c5a-1e6a1f1f2b11",
            "labels": {"app": "a", "b": "c"}, "annotations": {"k": "x \"y\"\n"},
        },
        "spec": {
            "hostname": "h", "subdomain": "s", "terminationGracePeriodSeconds": 30, "activeDeadlineSeconds": 600,
            "dnsConfig": {"nameservers": ["10.0.0.1"], "searches": ["a.b"], "options": [{"name": "ndots", "value": "2"}]},
            "hostAliases": [{"ip": "10.1.1.1", "hostnames": ["a", "b.c"]}],
            "securityContext": {"runAsUser": 1000, "fsGroup": 2000, "sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]},
            "imagePullSecrets": [{"name": "pull"}],
            "volumes": [
                {"name": "e", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
                {"name": "h", "hostPath": {"path": "/var/lib", "type": "Directory"}},
                {"name": "c", "configMap": {"name": "a", "items": [{"key": "k", "path": "d/k", "mode": 256}]}},
                {"name": "p", "projected": {"defaultMode": 420, "sources": [
                    {"secret": {"name": "s", "optional": true}},
                    {"downwardAPI": {"items": [
                        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                        {"path": "cpu", "resourceFieldRef": {"containerName": "m", "resource": "limits.cpu", "divisor": "1m"}},
                    ]}},
                ]}},
            ],
            "initContainers": [
                {"name": "i", "image": "i:1", "command": ["a"]},
                {"name": "s", "image": "i:1", "restartPolicy": "Always",
                    "startupProbe": {"tcpSocket": {"port": 80}, "failureThreshold": 3}},
            ],
            "containers": [{
                "name": "m", "image": "registry.example:5000/a/b:c", "command": ["sh", "-c"], "args": ["$(A) $(B)", "$$x"],
                "workingDir": "/w", "stdin": true, "terminationMessagePolicy": "FallbackToLogsOnError",
                "envFrom": [{"prefix": "P_", "configMapRef": {"name": "a"}}],
                "env": [
                    {"name": "A", "value": "x$(P_k)"},
                    {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.annotations['k']"}}},
                    {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": true}}},
                    {"name": "D", "valueFrom": {"resourceFieldRef": {"resource": "requests.memory", "divisor": "1Mi"}}},
                ],
                "ports": [{"name": "http", "containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1", "protocol": "TCP"}],
                "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}, "requests": {"cpu": "0.1", "memory": "64Mi"}},
                "volumeMounts": [
                    {"name": "e", "mountPath": "/e"}, {"name": "c", "mountPath": "/c", "readOnly": true},
                    {"name": "p", "mountPath": "/p", "subPath": "labels"},
                    {"name": "h", "mountPath": "/h", "subPathExpr": "$(A)/b"},
                ],
                "securityContext": {"capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}, "privileged": false,
                    "seccompProfile": {"type": "Localhost", "localhostProfile": "a/b.json"}},
                "livenessProbe": {"exec": {"command": ["a", "$(A)"]}, "periodSeconds": 3, "terminationGracePeriodSeconds": 5},
                "readinessProbe": {"httpGet": {"port": "http", "path": "/x?y", "httpHeaders": [{"name": "X-A", "value": "b"}]}},
                "lifecycle": {"preStop": {"exec": {"command": ["b"]}}, "postStart": {"httpGet": {"port": 80, "path": "/"}}},
            }],
        },
    });
    let mut going = pod.clone();
    going["metadata"]["deletionTimestamp"] = json!("2026-11-28T00:00:30Z");
    going["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    going["status"] = json!({"phase": "Running", "startTime": "2026-11-28T00:00:00Z", "containerStatuses": [{
        "name": "m", "image": "a", "imageID": "b", "ready": true, "restartCount": 1,
        "state": {"running": {"startedAt": "2026-11-28T00:00:00Z"}},
    }]});
    let small = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "q", "namespace": "ns", "uid": "1"},
        "spec": {"hostNetwork": true, "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]},
    });
    texts(&[pod, going, small])
}

fn context() -> ManifestContext {
    ManifestContext {
        node_name: "node".to_owned(),
        privileged_allowed: true,
        ..ManifestContext::default()
    }
}

fn manifest(input: &[u8]) -> bool {
    let path = Path::new("/etc/kubernetes/manifests/a.yaml");
    let (pods, problems) = manifest::read(input, path, &context(), Timestamp::UNIX_EPOCH);
    assert!(problems.len() <= 100, "{} problems", problems.len());
    for pod in &pods {
        check_pod(pod);
    }
    !pods.is_empty()
}

fn api_pod(input: &[u8]) -> bool {
    let Ok(object) = serde_json::from_slice::<k8s_openapi::api::core::v1::Pod>(input) else {
        return false;
    };
    if manifest::check_identity(&object.metadata).is_err() {
        return false;
    }
    let read = manifest::read_api_pod(object, &context(), Timestamp::UNIX_EPOCH);
    read.is_ok_and(|pod| {
        check_pod(&pod);
        true
    })
}

/// What holds of every pod that was accepted, of its plans and of its status.
fn check_pod(pod: &Pod) {
    let is_part = |text: &str| {
        !text.is_empty() && text != "." && text != ".." && !text.contains(['/', '\0', '\n', '\x1b'])
    };
    for text in [&pod.name.name, &pod.name.namespace, &pod.uid.0] {
        assert!(is_part(text), "{text:?} becomes a part of a path");
    }
    let own = |list: &[gantry::model::pod::Container]| {
        assert!(list.len() <= bounds::OF_EACH, "{} containers", list.len())
    };
    own(&pod.containers);
    own(&pod.init_containers);
    let policy = policy();
    let observed = |ready: bool| {
        let sandbox = Sandbox {
            handler: String::new(),
            id: "s".to_owned(),
            attempt: u32::MAX,
            ready,
            created: Timestamp::UNIX_EPOCH,
            ips: vec!["10.0.0.7".parse().unwrap()],
            host_network: pod.namespaces.host_network,
            annotations: BTreeMap::new(),
            labels: BTreeMap::new(),
        };
        let seen = ObservedPod {
            sandboxes: vec![sandbox],
            ..ObservedPod::default()
        };
        ObservedName {
            uids: [(pod.uid.clone(), seen)].into(),
        }
    };
    for observed in [ObservedName::default(), observed(true), observed(false)] {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let view_objects = objects_for(pod);
        let view = PlanView {
            runtime_handlers: &[],
            logs: None,
            name: &pod.name,
            runtime_ready: true,
            network_ready: true,
            desired_complete: true,
            unsupported: None,
            images: &[],
            leftovers: &Default::default(),
            objects: &view_objects,
            services: &Services::NoCluster,
            allocatable: &Amounts::default(),
            node: None,
        };
        check_plan(&plan::plan(Some(pod), &observed, None, &policy, &view, now));
        let memory = restart::remembered(None, pod, &observed, now);
        let _status = pod_status(
            pod,
            &observed,
            Some(&memory),
            pod.object.status.as_ref(),
            &policy,
            &[],
            now,
        );
    }
}

/// What a plan does is bounded, and stays where the pod's things are.
fn check_plan(plan: &Plan) {
    let (mut passed, mut files) = (0, 0);
    for step in plan.stages.iter().flatten() {
        match step {
            Step::CreateContainer(request) => {
                let config = &request.config;
                let words = config.command.iter().chain(&config.args).map(String::len);
                let variables = config.envs.iter().map(|own| own.key.len() + own.value.len());
                passed += words.chain(variables).sum::<usize>();
                for part in &request.sub_paths {
                    check_beneath(Path::new(&part.path), "/");
                    check_beneath(&part.target, "/var/lib/kubelet/pods");
                }
                for mount in &request.image_mounts {
                    check_beneath(Path::new(&mount.sub_path), "");
                }
            }
            Step::EnsureVolume(request) => {
                if let VolumeKind::Csi(request) = &request.kind {
                    let (places, name) = (&request.places, &request.name);
                    check_beneath(&places.target(name), "/var/lib/kubelet/pods");
                    check_beneath(&places.device_link(name), "/var/lib/kubelet/pods");
                }
                if let VolumeKind::Files {
                    path, files: made, ..
                } = &request.kind
                {
                    check_beneath(path, "/var/lib/kubelet/pods");
                    files += made.0.len();
                    for path in made.0.keys() {
                        assert!(!path.starts_with('/') && !path.starts_with(".."), "{path:?}");
                        check_beneath(Path::new(path), "");
                    }
                }
            }
            Step::RemovePodDir { dir } => check_beneath(dir, "/var/lib/kubelet/pods"),
            Step::RemoveLogDir { dir, .. } => check_beneath(dir, "/var/log/pods"),
            _ => {}
        }
    }
    assert!(
        passed <= bounds::POD_EXEC_TOTAL,
        "{passed} bytes are passed to programs"
    );
    assert!(files <= bounds::POD_FILES, "{files} files");
}

fn check_beneath(path: &Path, below: &str) {
    let goes_up = path.components().any(|part| part == Component::ParentDir);
    let is_within = below == "/" || path.starts_with(below);
    assert!(!goes_up && is_within, "{path:?} is not below {below:?}");
}

/// The PersistentVolume that every claim is bound to.
const VOLUME: &str = "pv";

/// Something of each name that a pod refers to, in turn: there, not there, unread.
fn objects_for(pod: &Pod) -> Objects {
    let data = || {
        [
            ("k", "v$(A)"),
            ("long", "0123456789"),
            (".dockerconfigjson", r#"{"auths":{"*.x":{"auth":"YTpi"}}}"#),
        ]
        .map(|(key, value)| (key.to_owned(), value.into()))
        .into()
    };
    let object = |key: &Reference| match key {
        Reference::Object(key) if key.kind == ObjectKind::ConfigMap => Object::ConfigMap(kinds::ConfigMap {
            data: data(),
            ..kinds::ConfigMap::default()
        }),
        Reference::Object(_) => Object::Secret(kinds::Secret {
            data: data(),
            secret_type: "kubernetes.io/dockerconfigjson".to_owned(),
            ..kinds::Secret::default()
        }),
        Reference::Token(_) => Object::Token(kinds::Token {
            content: "t".into(),
            expires: jiff::Timestamp::MAX,
        }),
        Reference::Certificate(_) => Object::Certificate(kinds::PodCertificate {
            key: "key".into(),
            chain: "chain".into(),
        }),
        Reference::RuntimeClass(_) => Object::RuntimeClass(kinds::RuntimeClass {
            handler: "runsc".to_owned(),
        }),
        Reference::TrustAnchors(_) => Object::TrustBundle(kinds::TrustBundle { pem: "pem".into() }),
        Reference::Claim(_) => Object::Claim(Claim {
            is_bound: true,
            volume: VOLUME.to_owned(),
            ..Claim::default()
        }),
        Reference::PersistentVolume(_) => Object::PersistentVolume(PersistentVolume {
            claim: Some(String::new()),
            is_block: false,
            affinity: None,
            capacity: "1Gi".to_owned(),
            access: Vec::new(),
            mount_options: Vec::new(),
            source: PersistentSource::Local {
                path: "/srv/data".into(),
                fs_type: None,
            },
        }),
        Reference::CsiDriver(_) => Object::CsiDriver(CsiDriver {
            tells_of_pods: true,
            lifecycles: vec![Lifecycle::Ephemeral],
            ..CsiDriver::default()
        }),
        Reference::Driver(_) => Object::Driver(Arc::default()),
        Reference::Attachment(_) => Object::Attachment(Attachment::Attached(AttachedVolume::default())),
    };
    let volume = Reference::PersistentVolume(VOLUME.to_owned());
    let brought = Known::Found(Arc::new(object(&volume)));
    let known = references(pod)
        .into_iter()
        .enumerate()
        .filter_map(|(index, key)| match index % 4 {
            0..=1 => {
                let found = Known::Found(Arc::new(object(&key)));
                Some((key, found))
            }
            2 => Some((key, Known::Unread("it is forbidden".into()))),
            _ => None,
        });
    known.chain([(volume, brought)]).collect()
}

fn policy() -> NodePolicy {
    NodePolicy {
        apparmor: true,
        stop_signals: true,
        pod_level_resize: true,
        masked_paths: Vec::new(),
        republish: Duration::from_secs(60),
        shutdown: Default::default(),
        eviction: Default::default(),
        images: Default::default(),
        name: "node".to_owned(),
        root_dir: "/var/lib/kubelet".into(),
        pod_logs_dir: "/var/log/pods".into(),
        container_logs_dir: "/var/log/containers".into(),
        cgroup: CgroupLayout {
            version: CgroupVersion::V2,
            driver: CgroupDriver::Systemd,
            root: Vec::new(),
            per_qos: true,
            cfs_quota: true,
            cfs_period: Duration::from_millis(100),
            pod_pids: Some(1000),
            enforce_pods: true,
            hugepage_sizes: vec![Bytes(2 << 20)],
            cores: 2,
            swap: Some(Bytes(1 << 30)),
            memory: Default::default(),
            reserved: Vec::new(),
        },
        host_dns: DnsConfig::default(),
        cluster_dns: vec!["10.96.0.10".parse().unwrap()],
        cluster_domain: "cluster.local".to_owned(),
        host_ips: vec!["192.0.2.7".parse().unwrap()],
        memory: Bytes(1 << 30),
        seccomp_default: true,
        seccomp_dir: "/var/lib/kubelet/seccomp".into(),
        max_restart_backoff: Duration::from_secs(300),
        limited_swap: true,
    }
}

fn api_objects() -> Vec<Vec<u8>> {
    texts(&[
        json!({"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}, "binaryData": {"b": "AP8="}, "immutable": true}),
        json!({"kind": "Secret", "metadata": {"name": "a"}, "data": {"k": "dg=="}, "type": "Opaque"}),
        json!({"kind": "RuntimeClass", "metadata": {"name": "a"}, "handler": "kata"}),
    ])
}

fn api_object(input: &[u8]) -> bool {
    let kinds = [
        serde_json::from_slice(input).ok().map(objects::of_config_map),
        serde_json::from_slice(input).ok().map(objects::of_secret),
        serde_json::from_slice(input).ok().map(objects::of_class),
    ];
    let read: Vec<Object> = kinds.into_iter().flatten().filter_map(Result::ok).collect();
    for object in &read {
        for (key, _) in object.values().into_iter().flat_map(kinds::Values::files) {
            assert!(
                !key.contains(['/', '\0', '\n']) && !matches!(key.as_str(), "" | "." | ".."),
                "{key:?} becomes a file"
            );
        }
    }
    !read.is_empty()
}

fn docker_configs() -> Vec<Vec<u8>> {
    texts(&[
        json!({"auths": {"https://index.docker.io/v1/": {"auth": "YTpi"}, "*.example.com:5000/team": {"username": "u", "password": "p"}}}),
        json!({"registry.example.com": {"auth": "YTpi"}, "*a*a*a*a*a*b.x": {"username": "u"}}),
    ])
}

fn docker_config(input: &[u8]) -> bool {
    let (mut keyring, mut older) = (Keyring::default(), Keyring::default());
    let is_config = keyring.add_config_json(input).is_ok();
    let is_older = older.add_dockercfg(input).is_ok();
    let host = "a".repeat(200);
    for image in [
        "busybox",
        "a.example.com:5000/team/x:1",
        "registry.example.com/a@sha256:0",
        &format!("{host}.x/a"),
        "",
    ] {
        let _found = (keyring.lookup(image), older.lookup(image));
    }
    is_config || is_older
}

fn logs() -> Vec<Vec<u8>> {
    [
        "2026-11-28T00:00:00.123456789Z stdout F hello\n2026-11-28T00:00:01Z stderr P part\n2026-11-28T00:00:02Z stderr F end\n",
        "2026-11-28T00:00:00.1+01:00 stdout P:x \n2026-11-28T00:00:00Z stdout F\n\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

fn log(input: &[u8]) -> bool {
    let since = Timestamp::from_second(1_700_000_000).ok();
    let mut understood = false;
    for show in [
        Show::default(),
        Show {
            since,
            timestamps: true,
            limit: Some(100),
            output: None,
        },
    ] {
        let (mut printer, mut shown) = (Printer::new(show), 0);
        for line in input.split(|byte| *byte == b'\n') {
            understood |= parse(line).is_some();
            printer.push(line);
            shown += printer.take().len();
        }
        printer.finish();
        shown += printer.take().len();
        // Each line may have its time once more and an end.
        assert!(
            shown <= 2 * input.len() + 64,
            "{shown} bytes are shown of {}",
            input.len()
        );
        assert!(
            show.limit.is_none_or(|most| shown as u64 <= most),
            "{shown} bytes are shown"
        );
    }
    understood
}

fn configurations() -> Vec<Vec<u8>> {
    let mut seeds = files("src/config/fixtures");
    let whole = serde_json::to_value(raw::skeleton()).unwrap();
    seeds.extend(texts(&[
        whole,
        json!({"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "clusterDNS": ["10.0.0.1"],
            "evictionHard": {"memory.available": "5%"}, "systemReserved": {"cpu": "100m"}, "syncFrequency": "1m0s"}),
    ]));
    seeds
}

fn configuration(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else {
        return false;
    };
    let text = Text {
        path: "/var/lib/kubelet/config.yaml".into(),
        text: text.to_owned(),
    };
    let context = ConfigContext {
        hostname: "node".to_owned(),
        directory: "/".into(),
        version: String::new(),
    };
    let mut understood = false;
    for role in [Role::Run, Role::Kubelet] {
        let layers = Layers::merge(Some(&text), std::slice::from_ref(&text), &[]);
        understood |= layers.and_then(|layers| resolve(layers, role, &context)).is_ok();
    }
    understood
}

fn kubeconfigs() -> Vec<Vec<u8>> {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "k", "cluster": {"server": "https://10.0.0.1:6443", "certificate-authority-data": "YQ==", "tls-server-name": "a"}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "n"}}],
        "users": [{"name": "u", "user": {"client-certificate": "/a.pem", "client-key": "b.pem", "token": "t",
            "exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "x", "args": ["y"], "env": [{"name": "A", "value": "b"}]}}}],
    });
    let yaml = "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: k\n  cluster: &k {server: 'https://a'}\n\
                contexts:\n- {name: c, context: {cluster: k, user: u}}\nusers:\n- name: u\n  user: {token: t}\n";
    let mut seeds = texts(&[config]);
    seeds.push(yaml.as_bytes().to_vec());
    seeds
}

fn kubeconfig(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else {
        return false;
    };
    let Ok(stated) = kubeconfig::of_text(text, Path::new("/etc/kubernetes/kubelet.conf")) else {
        return false;
    };
    let _found = (
        stated.authorities(),
        stated.pair(),
        stated.certificate(),
        stated.files(),
    );
    let _written = kubeconfig::text(&stated.for_node(Path::new("/pki/a.pem")));
    true
}
