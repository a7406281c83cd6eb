//! Manifests that are broken, each in its own way: more than 250, the same ones each time. For every test that
//! asks what the agent does about them.

/// A pod with a field of every kind, one a line, and nothing wrong.
pub(crate) const WHOLE: &str = r#"apiVersion: v1
kind: Pod
metadata:
  name: whole
  namespace: default
  labels:
    app: whole
  annotations:
    note: "text"
spec:
  restartPolicy: Always
  dnsPolicy: ClusterFirst
  hostNetwork: false
  hostname: whole
  subdomain: sub
  terminationGracePeriodSeconds: 5
  activeDeadlineSeconds: 600
  shareProcessNamespace: true
  securityContext:
    fsGroup: 1000
    runAsNonRoot: true
    sysctls:
    - name: net.ipv4.tcp_syncookies
      value: "1"
  dnsConfig:
    nameservers:
    - 10.0.0.1
    options:
    - name: ndots
      value: "5"
  hostAliases:
  - ip: 10.0.0.2
    hostnames:
    - other
  tolerations:
  - key: a
    operator: Exists
  volumes:
  - name: disk
    emptyDir:
      sizeLimit: 1Mi
  - name: host
    hostPath:
      path: /tmp
      type: Directory
  containers:
  - name: main
    image: gantry.local/busybox:1
    imagePullPolicy: IfNotPresent
    workingDir: /
    command:
    - sleep
    env:
    - name: KEY
      value: "value"
    ports:
    - name: http
      containerPort: 8080
      hostPort: 8080
      protocol: TCP
    resources:
      requests:
        cpu: 10m
      limits:
        memory: 16Mi
    volumeMounts:
    - name: disk
      mountPath: /disk
      readOnly: true
    securityContext:
      privileged: false
      runAsUser: 1000
      capabilities:
        drop:
        - ALL
    stdin: false
    terminationMessagePath: /dev/termination-log
"#;

/// Every broken manifest, with the name of a file.
pub(crate) fn all() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for (kind, made) in [
        ("type", wrong_types()),
        ("value", wrong_values()),
        ("field", unknown_fields()),
        ("feature", features()),
        ("cut", cut()),
        ("hostile", hostile()),
    ] {
        for (number, content) in made.into_iter().enumerate() {
            all.push((format!("{kind}-{number:03}.yaml"), content));
        }
    }
    all
}

/// Manifests that the kubelet takes, each with something that is hardly meant.
#[allow(dead_code)] // for the tests beside the code only
pub(crate) fn dubious() -> Vec<Vec<u8>> {
    [
        (
            "terminationGracePeriodSeconds: 5",
            "terminationGracePeriodSeconds: -1",
        ),
        ("net.ipv4.tcp_syncookies", "vm.swappiness"),
        ("net.ipv4.tcp_syncookies", "net.ipv4.ip_forward"),
        ("sizeLimit: 1Mi", "sizeLimit: 100m"),
        ("image: gantry.local/busybox:1", "image: a:b:c"),
        ("image: gantry.local/busybox:1", "image: a/B"),
        ("image: gantry.local/busybox:1", "image: a@sha256:1"),
        ("workingDir: /", "workingDir: tmp"),
        ("memory: 16Mi", "memory: 128m"),
        ("mountPath: /disk", "mountPath: /"),
        ("- ALL", "- CAP_ALL"),
        (
            "    - name: KEY",
            "    - name: KEY\n      value: x\n    - name: KEY",
        ),
        ("kind: Pod", "kind: Pod\nunknown: 1"),
        ("name: whole", "name: whole\n  unknown: 1"),
        ("spec:", "spec:\n  unknown: 1"),
        ("restartPolicy", "restartpolicy"),
        ("- name: main", "- name: main\n    comand: []"),
        ("emptyDir", "emptydir"),
        ("privileged", "priviledged"),
        ("requests:", "request:"),
        ("sysctls:", "sysctl:"),
        ("- key: a", "- name: a"),
        (
            "emptyDir:\n      sizeLimit: 1Mi",
            "secret: {secretName: a, items: [{key: k, path: a}, {key: l, path: a/b}]}",
        ),
        ("    stdin: false", "    startupProbe: {httpGet: {port: nope}}"),
        ("kind: Pod", "kind: Pod\nkind: Pod"),
        ("name: main", "name: main\n    name: main"),
        ("note:", "true:"),
        ("note:", "1.5:"),
        ("note: \"text\"", "note: !secret text"),
    ]
    .map(|(old, new)| with(old, new))
    .into()
}

fn with(old: &str, new: &str) -> Vec<u8> {
    assert!(WHOLE.contains(old), "{old} is in the manifest");
    WHOLE.replacen(old, new, 1).into_bytes()
}

/// Every single value replaced by a list, by a mapping, and by a value of another kind.
fn wrong_types() -> Vec<Vec<u8>> {
    let lines: Vec<&str> = WHOLE.lines().collect();
    let mut made = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some((key, value)) = line.split_once(": ") else {
            continue;
        };
        let quantity = matches!(key.trim(), "cpu" | "memory" | "sizeLimit");
        let other = match value {
            _ if quantity => "true",
            "true" | "false" => "7",
            number if number.parse::<u32>().is_ok() => "seven",
            _ => "7",
        };
        for wrong in [other, "[a, b]", "{a: b}"] {
            let mut changed: Vec<String> = lines.iter().map(ToString::to_string).collect();
            changed[index] = format!("{key}: {wrong}");
            made.push(changed.join("\n").into_bytes());
        }
    }
    made
}

/// Values of the right type that cannot be.
fn wrong_values() -> Vec<Vec<u8>> {
    let quoted = |old: &str, values: &[&str]| -> Vec<Vec<u8>> {
        let key = old.split_once(": ").expect("a key").0;
        values
            .iter()
            .map(|value| with(old, &format!("{key}: {value:?}")))
            .collect()
    };
    let plain = |old: &str, values: &[&str]| -> Vec<Vec<u8>> {
        let key = old.split_once(": ").expect("a key").0;
        values
            .iter()
            .map(|value| with(old, &format!("{key}: {value}")))
            .collect()
    };
    let long = "a".repeat(300);
    [
        quoted("name: whole", &["", "A", "a_b", "-a", "a..b", "a/b", &long]),
        quoted("namespace: default", &["A", "a.b", &long]),
        quoted("app: whole", &["-", "a b", &long]),
        quoted("restartPolicy: Always", &["always", "Sometimes"]),
        quoted("dnsPolicy: ClusterFirst", &["clusterfirst"]),
        quoted("hostname: whole", &["a.b", "A"]),
        plain("terminationGracePeriodSeconds: 5", &["99999999999", "1.5"]),
        plain("activeDeadlineSeconds: 600", &["0", "-5", "99999999999"]),
        plain("fsGroup: 1000", &["-1", "99999999999"]),
        quoted("name: net.ipv4.tcp_syncookies", &["", "A"]),
        quoted("ip: 10.0.0.2", &["10.0.0", "name", ""]),
        quoted("operator: Exists", &["Is"]),
        quoted("sizeLimit: 1Mi", &["1 Mi", "-1", "1Zi"]),
        quoted("path: /tmp", &["", "tmp", "/tmp/../etc"]),
        quoted("type: Directory", &["Dir"]),
        quoted("name: main", &["", "Main", "a.b"]),
        quoted("image: gantry.local/busybox:1", &["", " a"]),
        quoted("imagePullPolicy: IfNotPresent", &["Sometimes"]),
        quoted("name: KEY", &["", "A=B"]),
        quoted("name: http", &["HTTP", "80", "a-name-that-is-too-long"]),
        plain("containerPort: 8080", &["0", "-1", "65536", "4294967376"]),
        plain("hostPort: 8080", &["-1", "65536"]),
        quoted("protocol: TCP", &["tcp", "ICMP"]),
        quoted("cpu: 10m", &["ten", "-10m", "10mm", ""]),
        quoted("memory: 16Mi", &["16MiB", "-1", "16 Mi"]),
        quoted("- name: disk\n      mountPath: /disk", &["missing"]),
        quoted("mountPath: /disk", &[""]),
        plain("runAsUser: 1000", &["-1", "99999999999"]),
        vec![
            with("        cpu: 10m", "        memory: 32Mi"),
            with("        cpu: 10m", "        example.com/gpu: 1"),
            with("        cpu: 10m", "        gpu: 1"),
            with("        cpu: 10m", "        hugepages-2Mi: 4Mi"),
            with("hostNetwork: false", "hostPID: true"),
            with(
                "privileged: false",
                "privileged: true\n      allowPrivilegeEscalation: false",
            ),
            with("readOnly: true", "mountPropagation: Bidirectional"),
            with("  - name: host\n", "  - name: disk\n"),
            with(
                "    - name: http",
                "    - containerPort: 8080\n      hostPort: 8080\n    - name: http",
            ),
            with("- other", "- Other"),
            with(
                "    - 10.0.0.1",
                "    - 1.1.1.1\n    - 1.1.1.2\n    - 1.1.1.3\n    - 1.1.1.4",
            ),
        ],
    ]
    .concat()
}

fn unknown_fields() -> Vec<Vec<u8>> {
    let mut made: Vec<Vec<u8>> = [
        ("containers:\n", "container:\n"),
        ("containerPort", "port"),
        ("mountPath", "path"),
        ("- ip", "- address"),
        ("hostPath:\n      path", "hostPath:\n      file"),
    ]
    .iter()
    .map(|(old, new)| with(old, new))
    .collect();
    for kind in ["Deployment", "pod", "Service", "ConfigMap", "\"\""] {
        made.push(with("kind: Pod", &format!("kind: {kind}")));
    }
    for version in ["v2", "apps/v1", "\"\"", "null"] {
        made.push(with("apiVersion: v1", &format!("apiVersion: {version}")));
    }
    made.push(with("kind: Pod\n", ""));
    made.push(with("apiVersion: v1\n", ""));
    made
}

/// What Kubernetes has and a static pod cannot, or this node does not do.
fn features() -> Vec<Vec<u8>> {
    let volumes = [
        "configMap: {name: A_b}",
        "configMap: {name: a, items: [{key: k, path: ../k}]}",
        "configMap: {name: a, defaultMode: 512}",
        "secret: {name: a}",
        "secret: {secretName: a, items: [{key: ..k, path: k}]}",
        "projected: {sources: [{}]}",
        "projected: {sources: [{serviceAccountToken: {path: a}}]}",
        "projected: {sources: [{clusterTrustBundle: {path: a, name: b}}]}",
        "downwardAPI: {items: [{path: a, fieldRef: {fieldPath: status.podIP}}]}",
        "downwardAPI: {items: [{path: a, resourceFieldRef: {resource: limits.cpu}}]}",
        "downwardAPI: {items: [{path: /a, fieldRef: {fieldPath: metadata.name}}]}",
        "persistentVolumeClaim: {claimName: a}",
        "csi: {driver: a/b}",
        "nfs: {server: '-o', path: /}",
        "nfs: {server: a, path: b}",
        "nfs: {}",
        "iscsi: {targetPortal: a, iqn: b, lun: 0}",
        "iscsi: {targetPortal: '-p', iqn: 'iqn.2001-04.a:b', lun: 0}",
        "fc: {targetWWNs: [a]}",
        "fc: {wwids: [a/b]}",
        "image: {reference: 'demo:1', pullPolicy: Sometimes}",
        "ephemeral: {}",
        "gitRepo: {repository: a}",
    ];
    let container = [
        "livenessProbe: {exec: {command: []}}",
        "readinessProbe: {tcpSocket: {port: 80}, terminationGracePeriodSeconds: 5}",
        "lifecycle: {preStop: {tcpSocket: {port: 80}}}",
        "lifecycle: {stopSignal: SIGUSR1}",
        "envFrom: [{configMapRef: {name: a}, secretRef: {name: a}}]",
        "envFrom: [{secretRef: {name: A_b}}]",
        "envFrom: [{}]",
        "volumeDevices: [{name: disk, devicePath: /dev/a}]",
        "restartPolicy: Sometimes",
        "restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [1]}}]",
    ];
    let spec = [
        "ephemeralContainers: [{name: e, image: a}]",
        "serviceAccountName: a",
        "runtimeClassName: a",
        "hostUsers: false\n  hostPID: true",
        "nodeSelector: {a: b}",
        "resourceClaims: [{name: a}]",
        "schedulingGates: [{name: a}]",
        "readinessGates: [{conditionType: a b}]",
        "initContainers: [{name: i, image: a, restartPolicy: Sometimes}]",
        "os: {name: windows}",
    ];
    let from = [
        "configMapKeyRef: {name: a}",
        "secretKeyRef: {name: a, key: b/c}",
        "fieldRef: {fieldPath: b}",
        "resourceFieldRef: {resource: cpu}",
        "fieldRef: {fieldPath: metadata.name}, secretKeyRef: {name: a, key: b}",
    ];
    let mut made = Vec::new();
    made.extend(volumes.iter().map(|v| with("emptyDir:\n      sizeLimit: 1Mi", v)));
    made.extend(
        container
            .iter()
            .map(|c| with("    stdin: false", &format!("    {c}"))),
    );
    made.extend(
        spec.iter()
            .map(|s| with("  hostNetwork: false", &format!("  {s}"))),
    );
    made.extend(
        from.iter()
            .map(|f| with("      value: \"value\"", &format!("      valueFrom: {{{f}}}"))),
    );
    made.push(with("readOnly: true", "subPath: a/../../b"));
    made.push(with("readOnly: true", "subPath: /a"));
    made.push(with("readOnly: true", "subPathExpr: $(KEY)/.."));
    made
}

/// JSON, and YAML in braces, cut off at many places: whatever is cut off from these is missing something.
fn cut() -> Vec<Vec<u8>> {
    let json = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"cut","labels":{"a":"b"}},"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"gantry.local/busybox:1","command":["sleep","100"],"ports":[{"containerPort":80}]}]}}"#;
    let braces = "{apiVersion: v1, kind: Pod, metadata: {name: cut},\n spec: {restartPolicy: Never,\n  containers: [{name: c, image: \"gantry.local/busybox:1\",\n   command: [sleep, '100']}]}}";
    let mut made: Vec<Vec<u8>> = (1..json.len())
        .step_by(4)
        .map(|at| json.as_bytes()[..at].to_vec())
        .collect();
    made.extend(
        (1..braces.len())
            .step_by(4)
            .map(|at| braces.as_bytes()[..at].to_vec()),
    );
    made
}

/// What no person writes.
fn hostile() -> Vec<Vec<u8>> {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let alias = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![alias; 9].join(", ")));
    }
    let mut chain = String::from("a0: &a0 [x]\n");
    for level in 1..2000 {
        chain.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    let mut cut_in_half = WHOLE.as_bytes().to_vec();
    cut_in_half.insert(300, 0xff);
    let nul = |at: usize| [&WHOLE.as_bytes()[..at], b"\0", &WHOLE.as_bytes()[at..]].concat();
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        bomb.into_bytes(),
        chain.into_bytes(),
        text("a: &a [*a]"),
        text("*missing"),
        text("a: &a {b: *a}"),
        "[".repeat(100_000).into_bytes(),
        "{a: ".repeat(50_000).into_bytes(),
        "- ".repeat(100_000).into_bytes(),
        (0..2000)
            .map(|level| format!("{}a:\n", " ".repeat(level)))
            .collect::<String>()
            .into_bytes(),
        "? ".repeat(50_000).into_bytes(),
        "!!map ".repeat(10_000).into_bytes(),
        "&a ".repeat(10_000).into_bytes(),
        format!("a: \"{}", "x".repeat(900_000)).into_bytes(),
        format!("a: '{}", "x'' ".repeat(200_000)).into_bytes(),
        "- a\n".repeat(250_000).into_bytes(),
        "a: b\n".repeat(200_000).into_bytes(),
        vec![b'#'; 10 * 1024 * 1024],
        vec![0; 4096],
        vec![0xff; 4096],
        b"\x7fELF\x02\x01\x01\0".to_vec(),
        b"\xff\xfea\0p\0i\0".to_vec(),
        cut_in_half,
        nul(0),
        nul(20),
        nul(WHOLE.len()),
        with("name: main", "name: ma\u{7}in"),
        with("name: main", "\tname: main"),
        with("  restartPolicy: Always", "\trestartPolicy: Always"),
        with("spec:", " spec:"),
        with("note:", "~:"),
        with("note:", "[a]:"),
        with("note: \"text\"", "note: \"text"),
        with("note: \"text\"", "note: \"\\q\""),
        with("note: \"text\"", "note: 'text"),
        with("note: \"text\"", "note: @text"),
        with("note: \"text\"", "note: `text`"),
        with("note: \"text\"", "note: a: b"),
        with("note: \"text\"", "note: {a"),
        with("note: \"text\"", "note: *x"),
        with("note: \"text\"", &format!("note: {}", "x".repeat(300 * 1024))),
        with("apiVersion: v1", "%YAML 9.9\n---\napiVersion: 7"),
        with("apiVersion: v1", "<<: *x\napiVersion: v1"),
        with("spec:", "spec: &s\n  <<: *s"),
        with("spec:", "spec:\n  <<: text"),
        text("text"),
        text("7"),
        text("- a\n- b\n"),
        text("[]"),
        text("true"),
        text("{}"),
        text("---\n---\n}"),
        text("{\"apiVersion\": \"v1\", \"kind\": \"Pod\",}}"),
        text("{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [1, null, \"a\", {}]}"),
        text("{apiVersion: v1, kind: List, items: {}}"),
        text("{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: List}]}"),
        text("<?xml version=\"1.0\"?><pod/>"),
        text("[Unit]\nDescription=a\n"),
        text("#!/bin/sh\nexit 0\n"),
    ]
}
