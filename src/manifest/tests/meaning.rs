//! The meaning of valid manifests.

use std::path::Path;
use std::time::Duration;

use super::{context, now, pod, problems, read_bytes};
use crate::manifest::read_with_content;
use crate::model::pod::{
    DnsPolicy, HostPathKind, Medium, Profile, Propagation, Protocol, PullPolicy, RestartPolicy, Source,
    VolumeSource,
};
use crate::model::resources::{Bytes, MilliCpu, Qos};
use crate::model::restart::{ExitCodes, RestartAction, RestartRule};
use crate::model::value::EnvValue;

const SMALL: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  containers:
  - name: c
    image: busybox
";

#[test]
fn a_small_pod_gets_every_default() {
    let pod = pod(SMALL);
    assert_eq!(pod.name.to_string(), "default/web-node-1");
    assert_eq!(pod.uid.0.len(), 32);
    assert_eq!(pod.seen, now());
    assert_eq!(pod.hostname, "web-node-1");
    assert_eq!(pod.restart_policy, RestartPolicy::Always);
    assert_eq!(pod.dns_policy, DnsPolicy::ClusterFirst);
    assert_eq!(pod.grace, Duration::from_secs(30));
    assert_eq!(pod.qos, Qos::BestEffort);
    assert_eq!(pod.annotations["kubernetes.io/config.hash"], pod.uid.0);
    assert_eq!(pod.annotations["kubernetes.io/config.source"], "file");
    assert_eq!(
        pod.annotations["kubernetes.io/config.seen"],
        "2026-01-31T12:00:00.500000000Z"
    );
    assert_eq!(
        pod.source,
        Source::File {
            path: "/m/a.yaml".into(),
            document: 1
        }
    );
    let container = &pod.containers[0];
    assert_eq!(container.pull, PullPolicy::Always);
    assert_eq!(container.termination_path, "/dev/termination-log");
    expect_test::expect![[r#"
        {
          "apiVersion": "v1",
          "kind": "Pod",
          "metadata": {
            "annotations": {
              "kubernetes.io/config.hash": "UID",
              "kubernetes.io/config.seen": "2026-01-31T12:00:00.500000000Z",
              "kubernetes.io/config.source": "file"
            },
            "name": "web-node-1",
            "namespace": "default",
            "uid": "UID"
          },
          "spec": {
            "containers": [
              {
                "image": "busybox",
                "imagePullPolicy": "Always",
                "name": "c",
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File"
              }
            ],
            "dnsPolicy": "ClusterFirst",
            "enableServiceLinks": true,
            "nodeName": "Node-1",
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
            "securityContext": {},
            "terminationGracePeriodSeconds": 30,
            "tolerations": [
              {
                "effect": "NoExecute",
                "operator": "Exists"
              }
            ]
          }
        }"#]]
    .assert_eq(
        &serde_json::to_string_pretty(&*pod.object)
            .unwrap()
            .replace(&pod.uid.0, "UID"),
    );
}

#[test]
fn every_shipped_manifest_is_right() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/static-pods");
    let mut names = Vec::new();
    for file in std::fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let (pods, problems) = read_bytes(&bytes);
        assert_eq!(problems, [], "{}", path.display());
        for pod in pods {
            assert!(
                pod.all_containers().all(|c| c.pull == PullPolicy::IfNotPresent),
                "{}",
                pod.name
            );
            assert!(
                pod.containers.iter().all(|c| c.resources.limits.memory.is_some()),
                "{}",
                pod.name
            );
            names.push(pod.name.name.clone());
        }
    }
    names.sort();
    assert_eq!(names, ["hostnet-node-1", "shared-node-1", "web-node-1"]);
}

#[test]
fn what_a_manifest_says_is_what_the_pod_has() {
    let pod = pod("
apiVersion: v1
kind: Pod
metadata: {name: full, namespace: x, labels: {a: b}, annotations: {c: d}}
spec:
  hostPID: true
  restartPolicy: OnFailure
  priorityClassName: system-node-critical
  terminationGracePeriodSeconds: 1e1
  activeDeadlineSeconds: 0x10
  hostname: h
  subdomain: s
  dnsPolicy: None
  dnsConfig: {nameservers: [10.0.0.1], searches: [a_b.c, .], options: [{name: ndots, value: '2'}, {name: edns0}]}
  hostAliases: [{ip: 'fd00::1', hostnames: [a, b.c]}]
  securityContext:
    runAsUser: 7
    runAsNonRoot: true
    supplementalGroups: [1, 2]
    supplementalGroupsPolicy: Strict
    fsGroup: 9
    seccompProfile: {type: RuntimeDefault}
    sysctls: [{name: net/ipv4/tcp_syncookies, value: '1'}, {name: net.core.somaxconn, value: '5'}]
  volumes:
  - {name: e, emptyDir: {medium: Memory, sizeLimit: 1.5Mi}}
  - {name: none}
  - {name: h, hostPath: {path: /var/log, type: DirectoryOrCreate}}
  initContainers:
  - {name: i, image: 'x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'}
  - {name: side, image: 'x:latest', restartPolicy: Always}
  - {name: once, image: 'x:1', restartPolicy: Never}
  containers:
  - name: c
    image: x:1
    restartPolicy: Always
    restartPolicyRules:
    - {action: Restart, exitCodes: {operator: NotIn, values: [0, 3]}}
    - {action: Restart, exitCodes: {operator: In, values: [7]}}
    command: [a]
    args: ['$(B)']
    env: [{name: B, value: '1'}, {name: EMPTY}]
    ports: [{containerPort: 80}, {containerPort: 53, protocol: UDP, hostPort: 53, hostIP: 127.0.0.1, name: dns}]
    resources: {limits: {cpu: 1, memory: 1073741824}, requests: {cpu: 0.1}}
    securityContext:
      runAsUser: 8
      allowPrivilegeEscalation: false
      seccompProfile: {type: Localhost, localhostProfile: p/q.json}
      capabilities: {add: [NET_ADMIN], drop: [ALL]}
    volumeMounts: [{name: e, mountPath: data, mountPropagation: HostToContainer}, {name: h, mountPath: /h, readOnly: true}]
");
    assert_eq!(pod.name.to_string(), "x/full-node-1");
    assert_eq!(pod.priority, Some(2_000_001_000));
    assert_eq!(
        (pod.grace, pod.active_deadline),
        (Duration::from_secs(10), Some(Duration::from_secs(16)))
    );
    assert_eq!(
        (pod.hostname.as_str(), pod.subdomain.as_deref()),
        ("h", Some("s"))
    );
    assert_eq!(pod.dns_config.options, ["ndots:2", "edns0"]);
    assert_eq!(pod.host_aliases[0].ip.to_string(), "fd00::1");
    assert_eq!(pod.qos, Qos::Burstable);
    assert_eq!(pod.security.sysctls[0].0, "net/ipv4/tcp_syncookies");
    assert!(pod.security.supplemental_groups_strict && pod.namespaces.host_pid);
    let empty = |size_limit, medium| VolumeSource::EmptyDir { medium, size_limit };
    assert_eq!(
        pod.volumes[0].source,
        empty(Some(Bytes(1_572_864)), Medium::Memory)
    );
    assert_eq!(pod.volumes[1].source, empty(None, Medium::Disk));
    let path = VolumeSource::HostPath {
        path: "/var/log".into(),
        kind: HostPathKind::DirectoryOrCreate,
    };
    assert_eq!(pod.volumes[2].source, path);
    let init: Vec<_> = pod
        .init_containers
        .iter()
        .map(|c| (c.pull, c.restart, c.sidecar))
        .collect();
    assert_eq!(
        init,
        [
            (PullPolicy::IfNotPresent, RestartPolicy::OnFailure, false),
            (PullPolicy::Always, RestartPolicy::Always, true),
            (PullPolicy::IfNotPresent, RestartPolicy::Never, false)
        ]
    );
    let c = &pod.containers[0];
    assert_eq!((c.restart, c.sidecar), (RestartPolicy::Always, false));
    let rule = |codes, action| RestartRule { codes, action };
    let rules = [
        rule(ExitCodes::NotIn(vec![0, 3]), RestartAction::Restart),
        rule(ExitCodes::In(vec![7]), RestartAction::Restart),
    ];
    assert_eq!(c.restart_rules, rules);
    assert_eq!(
        c.env,
        [
            ("B".into(), EnvValue::Text("1".into())),
            ("EMPTY".into(), EnvValue::Text(String::new()))
        ]
    );
    assert_eq!((c.ports[0].host, c.ports[0].protocol), (None, Protocol::Tcp));
    assert_eq!((c.ports[1].host, c.ports[1].protocol), (Some(53), Protocol::Udp));
    assert_eq!(
        (c.resources.requests.cpu, c.resources.limits.cpu),
        (Some(MilliCpu(100)), Some(MilliCpu(1000)))
    );
    assert_eq!(c.resources.requests.memory, Some(Bytes(1_073_741_824)));
    assert_eq!(
        (c.security.run_as_user, c.security.run_as_non_root),
        (Some(8), true)
    );
    assert_eq!(c.security.seccomp, Profile::Localhost("p/q.json".into()));
    assert!(c.security.no_new_privileges);
    assert_eq!(pod.init_containers[0].security.seccomp, Profile::RuntimeDefault);
    assert_eq!(
        (c.mounts[0].path.as_str(), c.mounts[0].propagation),
        ("/data", Propagation::HostToContainer)
    );
    assert!(c.mounts[1].read_only);
}

#[test]
fn json_is_read_as_well() {
    let json = "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Pod\",\n\t\"metadata\": {\"name\": \"j\", \"annotations\": {\"e\": \"\\ud83d\\ude00 \\\\ud83d \\/ \\u00e9\"}},\n\t\"spec\": {\"containers\": [{\"name\": \"c\", \"image\": \"x\", \"env\": [{\"name\": \"A\", \"value\": \"1\"}]}]}\n}\n";
    assert_eq!(pod(json).annotations["e"], "\u{1F600} \\ud83d / \u{e9}");
    assert_eq!(
        problems(json.replace("\"x\"", "7").as_bytes()),
        ":5: spec.containers[0].image: must be text, not the number 7: put it in quotes\n"
    );
}

#[test]
fn several_documents_and_lists_are_read() {
    let names = |text: &str| {
        let (pods, problems) = read_bytes(text.as_bytes());
        assert_eq!(problems, []);
        pods.iter().map(|pod| pod.name.name.clone()).collect::<Vec<_>>()
    };
    let item = |name: &str| SMALL.trim().replace("name: web", &format!("name: {name}"));
    let indented = |name: &str| item(name).replace('\n', "\n  ");
    assert_eq!(names(""), [""; 0]);
    assert_eq!(names("# nothing\n"), [""; 0]);
    assert_eq!(names("---\n---\n# nothing\n---\nnull\n...\n"), [""; 0]);
    assert_eq!(
        names(&format!("{}\n---\n\n---\n{}\n", item("a"), item("b"))),
        ["a-node-1", "b-node-1"]
    );
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {}\n- {}\n",
        indented("a"),
        indented("b")
    );
    assert_eq!(names(&list), ["a-node-1", "b-node-1"]);
    let item = |name: &str| {
        format!("- {{metadata: {{name: {name}}}, spec: {{containers: [{{name: c, image: x}}]}}}}")
    };
    let untyped = format!(
        "apiVersion: v1\nkind: PodList\nitems:\n{}\n{}\n",
        item("a"),
        item("b")
    );
    assert_eq!(names(&untyped), ["a-node-1", "b-node-1"]);
    assert_eq!(names("apiVersion: v1\nkind: List\nitems: []\n"), [""; 0]);
    assert_eq!(names("apiVersion: v1\nkind: List\n"), [""; 0]);
}

#[test]
fn anchors_and_merges_are_read() {
    let pod = pod("
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  containers:
  - &c
    name: one
    image: x
    env: &env [{name: A, value: '1'}]
  - <<: *c
    name: two
  - {<<: [*c], name: three, env: *env}
");
    let names: Vec<_> = pod
        .containers
        .iter()
        .map(|c| (c.name.as_str(), c.image.as_str(), c.env.len()))
        .collect();
    assert_eq!(names, [("one", "x", 1), ("two", "x", 1), ("three", "x", 1)]);
}

#[test]
fn the_uid_follows_the_content_and_nothing_else() {
    let uid = |manifest: &str| pod(manifest).uid.0;
    let own = uid(SMALL);
    assert_eq!(uid(&format!("# a comment\n---\n{SMALL}")), own);
    assert_eq!(
        uid(&SMALL
            .replace("name: web", "{\"name\": web, creationTimestamp: null}")
            .replace("metadata:\n  ", "metadata: ")),
        own
    );
    assert_eq!(uid(&format!("{SMALL}status: {{phase: Running}}\n")), own);
    assert_ne!(uid(&SMALL.replace("busybox", "busybox:1")), own);
    assert_eq!(uid(&SMALL.replace("name: web", "name: web\n  uid: 0a-1")), "0a-1");
    assert!(
        problems(SMALL.replace("name: web", "name: web\n  uid: ../x").as_bytes()).contains("metadata.uid")
    );
}

#[test]
fn a_host_name_is_cut_to_what_the_kernel_takes() {
    let name = format!("{}.b", "a".repeat(62));
    assert_eq!(
        pod(&SMALL.replace("name: web", &format!("name: {name}"))).hostname,
        "a".repeat(62)
    );
}

#[test]
fn with_the_hosts_network_ports_are_the_hosts() {
    let manifest =
        SMALL.replace("spec:", "spec:\n  hostNetwork: true") + "    ports: [{containerPort: 80}]\n";
    assert_eq!(pod(&manifest).containers[0].ports[0].host, Some(80));
}

#[test]
fn the_class_is_decided_from_the_resources() {
    let class = |resources: &str| {
        let manifest = format!("{SMALL}    resources: {resources}\n");
        pod(&manifest).qos
    };
    assert_eq!(class("{}"), Qos::BestEffort);
    assert_eq!(class("{limits: {ephemeral-storage: 1Gi}}"), Qos::BestEffort);
    assert_eq!(class("{requests: {cpu: 0}}"), Qos::BestEffort);
    assert_eq!(class("{limits: {cpu: 1}}"), Qos::Burstable);
    assert_eq!(class("{limits: {cpu: 1, memory: 1Mi}}"), Qos::Guaranteed);
    assert_eq!(
        class("{limits: {cpu: 1, memory: 1Mi}, requests: {cpu: 1, memory: 1Ki}}"),
        Qos::Burstable
    );
}

#[test]
fn resources_of_the_pod_get_their_defaults_from_the_containers() {
    let manifest = SMALL.replace("spec:", "spec:\n  resources: {limits: {cpu: 1, memory: 64Mi}}")
        + "    resources: {requests: {cpu: 250m}}\n";
    let pod = pod(&manifest);
    let resources = pod.resources.unwrap();
    assert_eq!(resources.requests.cpu, Some(MilliCpu(250)));
    assert_eq!(resources.requests.memory, Some(Bytes(64 << 20)));
    assert_eq!(pod.qos, Qos::Burstable);
}

/// The value at a path of a manifest's object.
fn object_at(manifest: &str, pointer: &str) -> serde_json::Value {
    let content = read_with_content(manifest.as_bytes(), Path::new("/m/a"), &context(), now());
    assert_eq!(content.problems, []);
    let object = serde_json::to_value(&*content.pods[0].pod.object).unwrap();
    object.pointer(pointer).cloned().unwrap_or_default()
}

#[test]
fn of_keys_that_stand_twice_the_kubelets_reader_decides() {
    let check = |metadata: &str, pointer: &str, want: serde_json::Value| {
        let manifest = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {metadata}\nspec: {{containers: [{{name: c, image: x}}]}}\n"
        );
        assert_eq!(
            object_at(&manifest, &format!("/metadata/{pointer}")),
            want,
            "{metadata}"
        );
    };
    check("{name: a, labels: {x: '1', x: '2'}}", "labels/x", "2".into());
    check(
        "{name: a, labels: {x: '1', y: '1'}, labels: {x: '2'}}",
        "labels",
        serde_json::json!({"x": "2"}),
    );
    // Booleans and numbers become text as Go writes them.
    check(
        "{name: a, labels: {on: '1', 017: '2', 1.50: '3'}}",
        "labels",
        serde_json::json!({"true": "1", "15": "2", "1.5": "3"}),
    );
    // A merge replaces earlier entries; of several mappings the first takes precedence.
    check(
        "{name: a, labels: &l {x: '1'}, annotations: {x: '2', <<: *l}}",
        "annotations/x",
        "1".into(),
    );
    check(
        "{name: a, labels: &l {x: '1'}, annotations: {<<: *l, x: '2'}}",
        "annotations/x",
        "2".into(),
    );
    check(
        "{name: a, labels: &l {x: '1'}, annotations: {<<: [{x: '3'}, *l]}}",
        "annotations/x",
        "3".into(),
    );
    // Null is the zero value, also where no field is omitted for it.
    check("{name: a, labels: {x: }, annotations: }", "labels/x", "".into());
}

#[test]
fn objects_of_json_that_stand_twice_are_put_together() {
    let manifest = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"x": "1", "y": "1"}},
        "metadata": {"labels": {"x": "2"}}, "spec": {"containers": [{"name": "c", "image": "x"}],
        "containers": [{"name": "d"}]}}"#;
    assert_eq!(
        object_at(manifest, "/metadata/labels"),
        serde_json::json!({"x": "2", "y": "1"})
    );
    assert_eq!(object_at(manifest, "/metadata/name"), "a-node-1");
    assert_eq!(object_at(manifest, "/spec/containers/0/name"), "d");
    assert_eq!(object_at(manifest, "/spec/containers/0/image"), "x");
}

#[test]
fn a_variable_given_twice_is_taken_and_dubious() {
    let manifest = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: x, env: [{name: A, value: '1'}, {name: A, value: '2$(A)'}]}]}\n";
    let content = read_with_content(manifest.as_bytes(), Path::new("/m/a"), &context(), now());
    assert_eq!((content.pods.len(), content.problems.len()), (1, 0));
    let reported: Vec<_> = content.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        reported,
        [
            "/m/a:4: spec.containers[0].env[1].name: \"A\" is already set, and the later one is used: keep one of \
             the two"
        ]
    );
}

#[test]
fn quantities_are_shown_as_kubernetes_writes_them() {
    let check = |written: &str, shown: &str| {
        let manifest = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\nspec: {{containers: [{{name: c, image: x, resources: {{requests: {{memory: {written}}}}}}}]}}\n"
        );
        let at = "/spec/containers/0/resources/requests/memory";
        assert_eq!(object_at(&manifest, at), shown, "{written}");
    };
    check("1000m", "1");
    check("1024Mi", "1Gi");
    check("12Mi", "12Mi");
    check("0.5Gi", "512Mi");
    check("0.1Gi", "107374182400m");
    check("1e3", "1k");
    check("'1e3'", "1e3");
    check("1500", "1500");
    check("0.0001", "1m");
    check("-0", "0");
    check("8Ei", "9223372036854775807");
}
