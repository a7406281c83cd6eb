//! The messages about wrong manifests: the line, the field, and the remedy.

use std::path::Path;

use expect_test::{Expect, expect};

use super::{context, now, problems, read_bytes};
use crate::manifest::{ManifestContext, RestartAll, read};

fn check(manifest: &str, expected: Expect) {
    expected.assert_eq(&problems(manifest.as_bytes()));
}

#[test]
fn every_problem_of_a_document_is_told_at_once() {
    check(
        "apiVersion: v1
kind: Pod
metadata:
  name: Web
  labels:
    app: -x
spec:
  restartPolicy: Sometimes
  containers:
  - name: a
    image: x
    comand: [sh]
    ports:
    - containerPort: \"80\"
    - containerPort: 70000
      hostPort: 8080
  - name: a
    image: ' y'
    resources:
      requests:
        memory: 2Gi
      limits:
        memory: 1Gi
        cpu: lots
    volumeMounts:
    - name: data
      mountPath: /data
    livenessProbe:
      httpGet:
        port: web
      successThreshold: 2
",
        expect![[r#"
            :4: metadata.name: "Web" must consist of lower case letters, digits, '-' and '.', start and end with a letter or a digit, and have at most 253 characters (example.com)
            :6: metadata.labels[app]: "-x" must be empty, or consist of letters, digits, '-', '_' and '.', start and end with a letter or a digit, and have at most 63 characters
            :8: spec.restartPolicy: "Sometimes" is not one of Always, OnFailure, Never
            :14: spec.containers[0].ports[0].containerPort: must be a 32-bit integer, not the text "80": write it without quotes
            :15: spec.containers[0].ports[1].containerPort: 70000 is not a valid port: it must be from 1 to 65535
            :17: spec.containers[1].name: another container is already named "a": names must differ
            :18: spec.containers[1].image: " y" has leading or trailing spaces: remove them
            :21: spec.containers[1].resources.requests[memory]: is more than the limit: lower the request or raise the limit
            :24: spec.containers[1].resources.limits[cpu]: "lots" is not a quantity: must be a number with one of the suffixes m, k, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei or an exponent (500m, 64Mi, 1e3)
            :26: spec.containers[1].volumeMounts[0].name: no volume is named "data": add it to spec.volumes
            :31: spec.containers[1].livenessProbe.successThreshold: must be 1 for a livenessProbe: remove it
            warning:12: spec.containers[0].comand: is not a field in this version of Kubernetes and is ignored: did you mean command?
            warning:30: spec.containers[1].livenessProbe.httpGet.port: "web" is not the name of any of the container's ports: add it to its ports, or use the number
        "#]],
    );
}

#[test]
fn a_value_of_the_wrong_type_is_told_with_what_is_wanted() {
    check(
        "apiVersion: v1
kind: Pod
metadata:
  name: 7
  annotations: {a: yes, b: 1.5}
spec:
  hostNetwork: 'true'
  terminationGracePeriodSeconds: 5s
  activeDeadlineSeconds: 99999999999999999999
  tolerations: {}
  containers:
  - 5
  - name: c
    image: [x]
    env: [{name: A, value: 1}]
    ports: [{containerPort: 8080000000}]
    resources: {limits: {cpu: [1]}}
",
        expect![[r#"
            :4: metadata.name: must be text, not the number 7: put it in quotes
            :5: metadata.annotations[a]: must be text, not the boolean true: put it in quotes
            :5: metadata.annotations[b]: must be text, not the number 1.5: put it in quotes
            :7: spec.hostNetwork: must be true or false, not the text "true": write it without quotes
            :8: spec.terminationGracePeriodSeconds: must be a 64-bit integer, not the text "5s"
            :9: spec.activeDeadlineSeconds: must be a 64-bit integer, not the number 100000000000000000000
            :10: spec.tolerations: must be a list, not a mapping
            :12: spec.containers[0]: must be a mapping (Container), not the number 5
            :14: spec.containers[1].image: must be text, not a list
            :15: spec.containers[1].env[0].value: must be text, not the number 1: put it in quotes
            :16: spec.containers[1].ports[0].containerPort: the number 8080000000 is not a 32-bit integer
            :17: spec.containers[1].resources.limits[cpu]: must be a quantity (500m, 64Mi), not a list
        "#]],
    );
}

#[test]
fn a_field_that_is_unknown_is_told_with_what_may_have_been_meant() {
    check(
        "apiVersion: v1
kind: Pod
metadata: {name: a, lables: {}}
spec:
  restartpolicy: Never
  containers:
  - {name: c, image: x, comand: [], whatever: {a: {b: c}}, securityContext: {priviledged: true}}
extra: 1
",
        expect![[r#"
            warning:3: metadata.lables: is not a field in this version of Kubernetes and is ignored: did you mean labels?
            warning:5: spec.restartpolicy: is not a field in this version of Kubernetes and is ignored: did you mean restartPolicy?
            warning:7: spec.containers[0].comand: is not a field in this version of Kubernetes and is ignored: did you mean command?
            warning:7: spec.containers[0].whatever: is not a field in this version of Kubernetes and is ignored: remove it
            warning:7: spec.containers[0].securityContext.priviledged: is not a field in this version of Kubernetes and is ignored: did you mean privileged?
            warning:8: extra: is not a field in this version of Kubernetes and is ignored: remove it
        "#]],
    );
}

#[test]
fn what_is_no_yaml_is_told_with_its_line() {
    check(
        "a: b: c\n",
        expect![[r#"
            :1: is not valid YAML: mapping values are not allowed in this context: put a value that contains ': ' in quotes, or indent the line like its neighbors
        "#]],
    );
    check(
        "a: 1\n\tb: 2\n",
        expect![[r#"
            :2: a: is not valid YAML: the line is indented with a tab: use spaces
        "#]],
    );
    check(
        "a: [1,\n",
        expect![[r#"
        :2: a[1]: is not valid YAML: while parsing a node, did not find expected node content
    "#]],
    );
    check(
        "a: \"x\n",
        expect![[r#"
            :1: a: is not valid YAML: while scanning a quoted scalar, found unexpected end of stream: a quote or a bracket is not closed, or the end of the file is missing
        "#]],
    );
    check(
        "a: 1\nb: 2\na: 3\nb: 4\na: 5\n",
        expect![[r#"
            :1: kind: is missing: it must be Pod, ConfigMap, Secret or List
            warning:3: a: the key "a" is already on line 1, and the later one is used: keep one of the two
            warning:4: b: the key "b" is already on line 2, and the later one is used: keep one of the two
            warning:5: a: the key "a" is already on line 3, and the later one is used: keep one of the two
        "#]],
    );
    check(
        "x: &x [*x]\n",
        expect![[r#"
        :1: x[0]: an alias refers to a value that contains the alias itself
    "#]],
    );
    check(
        "x: *y\n",
        expect![[r#"
        :1: x: is not valid YAML: while parsing node, found unknown anchor
    "#]],
    );
    check(
        "yes: 1\n",
        expect![[r#"
            :1: kind: is missing: it must be Pod, ConfigMap, Secret or List
            warning:1: true: the key yes is read as true: put it in quotes
        "#]],
    );
    check(
        "x: !secret y\n",
        expect![[r#"
            :1: kind: is missing: it must be Pod, ConfigMap, Secret or List
            warning:1: x: the tag !secret has no meaning in a manifest and is ignored: remove it
        "#]],
    );
    check(
        "x: !!int y\n",
        expect![[r#"
        :1: x: "y" is not a valid !!int
        :1: kind: is missing: it must be Pod, ConfigMap, Secret or List
    "#]],
    );
    check(
        "text\n",
        expect![[r#"
        :1: is not an object: a manifest starts with apiVersion: v1 and kind: Pod
    "#]],
    );
    check(
        &"[".repeat(100),
        expect![[r#"
            :1: [0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]: values are nested more than 64 levels deep
        "#]],
    );
}

#[test]
fn what_is_no_pod_is_told() {
    check(
        "a: 1",
        expect![[r#"
        :1: kind: is missing: it must be Pod, ConfigMap, Secret or List
    "#]],
    );
    check(
        "kind: Pod\nspec: {}\n",
        expect![[r#"
        :1: apiVersion: is missing: it must be v1
    "#]],
    );
    check(
        "apiVersion: apps/v1\nkind: Deployment\n",
        expect![[r#"
        :2: kind: "Deployment" cannot be run from a manifest: only Pod, ConfigMap, Secret and List can
    "#]],
    );
    check(
        "apiVersion: v2\nkind: Pod\n",
        expect![[r#"
        :1: apiVersion: "v2" has no Pod: use v1
    "#]],
    );
    check(
        "apiVersion: v1\nkind: Pod\n",
        expect![[r#"
        :1: metadata.name: is missing: every pod has a name
        :1: spec.containers: is missing: a pod has at least one container
    "#]],
    );
    check(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n",
        expect![[r#"
        :4: spec.containers: is missing: a pod has at least one container
    "#]],
    );
    check(
        "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a}\nspec: {containers: [{name: a, image: b}]}\n",
        expect![[r#"
        :3: metadata.name: is missing: every pod has a name
    "#]],
    );
}

#[test]
fn each_document_and_each_item_has_its_own_problems() {
    check(
        "# comments only
---
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {containers: [{name: c, image: x}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b}
spec: {containers: [{name: c, image: 'x: }]}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {name: c}, spec: {containers: [{name: c, image: x}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: d}, spec: {containers: [{name: c}]}}
- {apiVersion: v1, kind: Service, metadata: {name: e}}
- text
---
apiVersion: v1
kind: Pod
metadata: {name: a}
spec: {containers: [{name: c, image: z}]}
",
        expect![[r#"
            :11 (document 2): spec.containers[0]: is not valid YAML: while scanning a quoted scalar, found unexpected document indicator: a quote or a bracket is not closed before the '---'
            :17 (document 3): items[1].spec.containers[0].image: is missing: every container has an image (docker.io/library/busybox:1.36)
            :18 (document 3): items[2].kind: "Service" cannot be run from a manifest: only Pod, ConfigMap, Secret and List can
            :19 (document 3): items[3]: is not an object: every item has apiVersion, kind, metadata and spec
            :23 (document 4): metadata.name: document 1 of this file already has a pod default/a-node-1: names must differ
        "#]],
    );
}

#[test]
fn a_problem_names_the_pod_where_its_name_can_be_read() {
    let name = |manifest: &str| {
        let (_, problems) = read_bytes(manifest.as_bytes());
        problems[0].pod.as_ref().map(ToString::to_string)
    };
    let head = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  namespace: x\n";
    assert_eq!(
        name(&format!("{head}spec: {{containers: [")).as_deref(),
        Some("x/web-node-1")
    );
    assert_eq!(name(&format!("{head}spec: 7")).as_deref(), Some("x/web-node-1"));
    // The metadata may be incomplete: the namespace may be missing, and the name truncated.
    assert_eq!(
        name("apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  [").as_deref(),
        None
    );
    assert_eq!(name("{\"metadata\": {\"name\": \"we"), None);
}

#[test]
fn what_cannot_be_together_is_told() {
    check(
        "apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  hostNetwork: true
  hostPID: true
  hostIPC: true
  shareProcessNamespace: true
  setHostnameAsFQDN: true
  hostnameOverride: a.b
  dnsPolicy: None
  securityContext:
    sysctls:
    - {name: net.ipv4.tcp_syncookies, value: '1'}
    - {name: kernel.shm_rmid_forced, value: '1'}
    - {name: kernel.shm_rmid_forced, value: '1'}
    - {name: vm.swappiness, value: '1'}
    seccompProfile: {type: Localhost}
    appArmorProfile: {type: RuntimeDefault, localhostProfile: a}
  volumes:
  - {name: v, emptyDir: {}, hostPath: {path: /a}}
  containers:
  - name: c
    image: x
    ports: [{containerPort: 80, hostPort: 81}]
    securityContext:
      privileged: true
      allowPrivilegeEscalation: false
      procMount: Unmasked
      seccompProfile: {type: Localhost, localhostProfile: ../a}
      capabilities: {add: [CAP_NET_ADMIN, '']}
    volumeMounts:
    - {name: v, mountPath: /a, recursiveReadOnly: Enabled, mountPropagation: HostToContainer}
    - {name: v, mountPath: /a/}
  - name: d
    image: x
    ports: [{containerPort: 80}, {containerPort: 80, hostIP: 0.0.0.0}, {containerPort: 80, protocol: UDP}]
    volumeMounts: [{name: v, mountPath: /b, mountPropagation: Bidirectional}]
",
        expect![[r#"
            :4: spec.dnsConfig.nameservers: needs at least one name server because dnsPolicy is None
            :8: spec.shareProcessNamespace: cannot be set together with hostPID: remove one of the two
            :10: spec.hostnameOverride: cannot be set together with setHostnameAsFQDN: remove one of the two
            :10: spec.hostnameOverride: cannot be set together with hostNetwork: the host keeps its name
            :14: spec.securityContext.sysctls[0].name: net.ipv4.tcp_syncookies would change the host because hostNetwork is true
            :15: spec.securityContext.sysctls[1].name: kernel.shm_rmid_forced would change the host because hostIPC is true
            :16: spec.securityContext.sysctls[2].name: kernel.shm_rmid_forced is already set: keep one of the two
            :16: spec.securityContext.sysctls[2].name: kernel.shm_rmid_forced would change the host because hostIPC is true
            :18: spec.securityContext.seccompProfile.localhostProfile: is missing: the type Localhost needs it
            :19: spec.securityContext.appArmorProfile.localhostProfile: is only for the type Localhost: remove it
            :21: spec.volumes[0].hostPath: cannot be set together with emptyDir: a volume has one source
            :25: spec.containers[0].ports[0].hostPort: must equal containerPort because hostNetwork is true
            :28: spec.containers[0].securityContext.allowPrivilegeEscalation: cannot be false for a privileged container
            :29: spec.containers[0].securityContext.procMount: Unmasked needs a user namespace: set spec.hostUsers to false, or remove it
            :30: spec.containers[0].securityContext.seccompProfile.localhostProfile: "../a" must be a path below the node's seccomp directory, without '..'
            :33: spec.containers[0].volumeMounts[0].recursiveReadOnly: needs readOnly: true
            :33: spec.containers[0].volumeMounts[0].recursiveReadOnly: needs mountPropagation None
            :34: spec.containers[0].volumeMounts[1].mountPath: "/a/" is already the path of volumeMounts[0]
            :37: spec.containers[1].ports[1].hostPort: 80/TCP is already used by another port of this pod
            :38: spec.containers[1].volumeMounts[0].mountPropagation: Bidirectional is only for privileged containers
            warning:17: spec.securityContext.sysctls[3].name: vm.swappiness applies to the whole machine, so a pod cannot set it
            warning:31: spec.containers[0].securityContext.capabilities.add[0]: "CAP_NET_ADMIN" must be written without CAP_: NET_ADMIN
            warning:31: spec.containers[0].securityContext.capabilities.add[1]: "" is not a capability (NET_ADMIN, ALL)
        "#]],
    );
}

#[test]
fn resources_are_checked_one_against_the_other() {
    check(
        "apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  resources: {requests: {cpu: 100m}, limits: {memory: 10Mi, ephemeral-storage: 1Gi}}
  overhead: {cpu: -1}
  containers:
  - name: c
    image: x
    resources:
      requests: {cpu: 2, memory: 128m, hugepages-2Mi: 4Mi, hugepages-1Gi: 1Gi, ephemeral-storage: 1.5}
      limits: {cpu: '1', memory: 20Mi, hugepages-2Mi: 3Mi, pods: 1, nvidia.com/gpu: 1, a/b/c: 1}
  - name: d
    image: x
    resources: {limits: {hugepages-2Mi: 2Mi}}
",
        expect![[r#"
            :5: spec.resources.limits[ephemeral-storage]: "ephemeral-storage" is not a resource of a pod: use cpu, memory or hugepages-<size>
            :5: spec.resources.requests[cpu]: is less than the sum of the containers' requests: raise it
            :6: spec.overhead[cpu]: -1 is negative
            :11: spec.containers[0].resources.requests[cpu]: is more than the limit: lower the request or raise the limit
            :11: spec.containers[0].resources.requests[hugepages-1Gi]: needs a limit of the same amount
            :12: spec.containers[0].resources.limits[hugepages-2Mi]: 3Mi is not a multiple of the page size
            :12: spec.containers[0].resources.limits[a/b/c]: "a/b/c" must consist of letters, digits, '-', '_' and '.', start and end with a letter or a digit, have at most 63 characters, and may have a domain prefix followed by '/' (example.com/my-name)
            :12: spec.containers[0].resources.limits[nvidia.com/gpu]: devices are not supported by this version of gantry yet: remove it
            :12: spec.containers[0].resources.limits[pods]: "pods" is not a resource of a container: use cpu, memory, ephemeral-storage or hugepages-<size>
            :12: spec.containers[0].resources.limits[memory]: is more than the pod's limit: lower it
            :15: spec.containers[1].resources: huge pages also need a request or limit of cpu or memory
            warning:11: spec.containers[0].resources.requests[memory]: 128m is a fraction of a byte: did you mean 128M or 128Mi?
        "#]],
    );
}

#[test]
fn what_is_not_done_yet_is_refused() {
    check(
        "apiVersion: v1
kind: Pod
metadata:
  name: a
  annotations: {kubernetes.io/config.mirror: x, container.apparmor.security.beta.kubernetes.io/x: always}
  deletionTimestamp: 2026-01-01T00:00:00Z
spec:
  nodeSelector: {a: b}
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}
  serviceAccountName: x
  resourceClaims: [{name: gpu}]
  ephemeralContainers: [{name: dbg, image: x}]
  runtimeClassName: a
  volumes:
  - {name: v, persistentVolumeClaim: {claimName: a}}
  - {name: w, iscsi: {targetPortal: a, iqn: b, lun: 0}}
  initContainers:
  - {name: i, image: x, restartPolicy: OnFailure, restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [1]}}]}
  containers:
  - name: c
    image: x
    env:
    - {name: A, valueFrom: {fileKeyRef: {volumeName: v, path: a, key: b}}}
    lifecycle: {stopSignal: SIGUSR1}
",
        expect![[r#"
            :5: metadata.annotations[kubernetes.io/config.mirror]: marks a mirror pod: remove it
            :5: metadata.annotations[container.apparmor.security.beta.kubernetes.io/x]: "always" is not one of runtime/default, unconfined, localhost/…
            :5: metadata.annotations[container.apparmor.security.beta.kubernetes.io/x]: no container is named "x"
            :6: metadata.deletionTimestamp: is set by the API server: remove it; to delete the pod, remove the file
            :8: spec.nodeSelector: is not supported by this version of gantry yet: remove it: the manifest is already on its node
            :9: spec.affinity: is not supported by this version of gantry yet: remove the required node affinity: the manifest is already on its node
            :9: spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: is missing: add at least one term
            :10: spec.serviceAccountName: refers to an API object, which a static pod cannot do: remove it
            :11: spec.resourceClaims: is not supported by this version of gantry yet: remove them
            :12: spec.ephemeralContainers: cannot be in a manifest; they are added to a running pod through the API server: remove them
            :13: spec.runtimeClassName: refers to an API object, which a static pod cannot do: remove it
            :15: spec.volumes[0].persistentVolumeClaim: refers to an API object, which a static pod cannot do: use emptyDir or hostPath
            :16: spec.volumes[1].iscsi.iqn: "b" is no name of iSCSI: it has the form iqn.2001-04.com.example:name, eui. with 16 letters or digits, or naa. with 32
            :23: spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: referenced volume must be of type emptyDir
            :24: spec.containers[0].lifecycle.stopSignal: needs the feature gate ContainerStopSignals: set it to true in featureGates, or remove the signal and set it in the image
            :24: spec.containers[0].lifecycle.stopSignal: may not be set for containers with empty `spec.os.name`: set it to linux
        "#]],
    );
}

#[test]
fn restart_policies_of_containers() {
    check(
        "
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  initContainers:
  - {name: i, image: x, restartPolicy: Sometimes}
  containers:
  - name: c
    image: x
    restartPolicyRules:
    - {action: Restart, exitCodes: {operator: In, values: [1]}}
  - name: d
    image: x
    restartPolicy: Never
    restartPolicyRules:
    - {action: Reboot, exitCodes: {operator: Within, values: [1]}}
    - {action: Restart}
",
        expect![[r#"
            :7: spec.initContainers[0].restartPolicy: "Sometimes" is not one of Always, OnFailure, Never
            :9: spec.containers[0].restartPolicy: is missing: with restartPolicyRules it is needed for the exits that no rule matches (Always, OnFailure, Never)
            :17: spec.containers[1].restartPolicyRules[0].action: "Reboot" is not one of Restart, RestartAllContainers
            :17: spec.containers[1].restartPolicyRules[0].exitCodes.operator: "Within" is not one of In, NotIn
            :18: spec.containers[1].restartPolicyRules[1].exitCodes: is missing: a rule matches exit codes ({operator: In, values: [42]})
        "#]],
    );
}

#[test]
fn no_more_is_told_than_a_person_reads() {
    let many = "---\n{}\n".repeat(1000);
    assert_eq!(read_bytes(many.as_bytes()).1.len(), 100);
}

#[test]
fn without_the_feature_gate_no_container_restarts_all_others() {
    let text = "
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  initContainers:
  - {name: i, image: x, restartPolicy: OnFailure, restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [1]}}]}
  - {name: s, image: x, restartPolicy: Always, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [1]}}]}
  containers:
  - {name: c, image: x, restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [1]}}]}
";
    let found = |restart_all| {
        let context = ManifestContext {
            restart_all,
            ..context()
        };
        let (_, found) = read(text.as_bytes(), Path::new("a"), &context, now());
        let problems: Vec<_> = found.iter().map(ToString::to_string).collect();
        problems.join("\n")
    };
    expect![[""]].assert_eq(&found(RestartAll::Enabled));
    expect![[r#"
        a:7: spec.initContainers[0].restartPolicyRules[0].action: needs the feature gate RestartAllContainersOnContainerExits: remove it from featureGates, or use Restart
        a:8: spec.initContainers[1].restartPolicyRules: of a sidecar need the feature gate RestartAllContainersOnContainerExits: remove it from featureGates, or remove the rules"#]].assert_eq(&found(RestartAll::Disabled));
}

#[test]
fn a_stop_signal_needs_the_systems_name_and_is_a_signal() {
    let check = |os: &str, signal: &str, expected: Expect| {
        let spec = format!(
            "spec:\n{os}  containers:\n  - {{name: c, image: x, lifecycle: {{stopSignal: {signal}}}}}\n"
        );
        let context = ManifestContext {
            stop_signals: true,
            ..context()
        };
        let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\n{spec}");
        let (_, found) = read(text.as_bytes(), Path::new("a"), &context, now());
        let problems: Vec<_> = found.iter().map(ToString::to_string).collect();
        expected.assert_eq(&problems.join("\n"));
    };
    check("  os: {name: linux}\n", "SIGRTMIN+3", expect![[""]]);
    check(
        "",
        "SIGTERM",
        expect![
            "a:6: spec.containers[0].lifecycle.stopSignal: may not be set for containers with empty `spec.os.name`: set it to linux"
        ],
    );
    check(
        "  os: {name: linux}\n",
        "TERM",
        expect![[
            r#"a:7: spec.containers[0].lifecycle.stopSignal: "TERM" is not a signal: use a name such as SIGTERM or SIGRTMIN+3"#
        ]],
    );
}

#[test]
fn a_variable_of_a_file_names_a_key_a_file_and_an_empty_dir() {
    let file = |volume: &str, path: &str, key: &str| {
        format!(
            "    - {{name: A, valueFrom: {{fileKeyRef: {{volumeName: {volume}, path: {path}, key: {key}}}}}}}\n"
        )
    };
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  volumes:\n  - {{name: v, emptyDir: {{}}}}\n  \
         - {{name: h, hostPath: {{path: /srv}}}}\n  containers:\n  - name: c\n    image: x\n    env:\n{}{}{}{}",
        file("v", "a/b", "K").replace("name: A", "name: B"),
        file("h", "../a", "a=b").replace("name: A", "name: C"),
        file("none", "''", "''").replace("name: A", "name: D"),
        file("''", "a", "K"),
    );
    check(
        &manifest,
        expect![[r#"
        :13: spec.containers[0].env[1].valueFrom.fileKeyRef.key: "a=b" must consist of printable ASCII characters other than '='
        :13: spec.containers[0].env[1].valueFrom.fileKeyRef.path: "../a" must not contain '..'
        :13: spec.containers[0].env[1].valueFrom.fileKeyRef.volumeName: referenced volume must be of type emptyDir
        :14: spec.containers[0].env[2].valueFrom.fileKeyRef.key: is missing: name a variable of the file
        :14: spec.containers[0].env[2].valueFrom.fileKeyRef.path: is missing: name a file in the volume
        :14: spec.containers[0].env[2].valueFrom.fileKeyRef.volumeName: no volume is named "none"
        :15: spec.containers[0].env[3].valueFrom.fileKeyRef.volumeName: is missing: name a volume
    "#]],
    );
}
