//! Specifications that contain every supported or ignored field. Fields that exclude each other are in different ones.

pub(super) const SEEDS: &[&str] = &[EVERYTHING, OF_HOST, GUARDED];

const EVERYTHING: &str = r#"{
  "activeDeadlineSeconds": 600,
  "affinity": {
    "nodeAffinity": {
      "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{
        "matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}],
        "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]
      }]},
      "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}]
    },
    "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []},
    "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}
  },
  "automountServiceAccountToken": false,
  "dnsConfig": {
    "nameservers": ["192.0.2.53"], "searches": ["example.com"], "options": [{"name": "ndots", "value": "2"}]
  },
  "dnsPolicy": "Default",
  "enableServiceLinks": false,
  "hostAliases": [{"ip": "192.0.2.8", "hostnames": ["other"]}],
  "hostname": "web",
  "imagePullSecrets": [{"name": "registry"}],
  "nodeName": "node-1",
  "nodeSelector": {"disk": "ssd"},
  "os": {"name": "linux"},
  "overhead": {"cpu": "100m", "memory": "64Mi"},
  "preemptionPolicy": "Never",
  "priority": 2000000000,
  "priorityClassName": "system-node-critical",
  "readinessGates": [{"conditionType": "example.com/gate"}],
  "resources": {"requests": {"cpu": "2", "memory": "2Gi"}, "limits": {"cpu": "3", "memory": "3Gi"}},
  "restartPolicy": "OnFailure",
  "runtimeClassName": "sandboxed",
  "schedulerName": "another",
  "schedulingGates": [{"name": "example.com/open"}],
  "schedulingGroup": {"podGroupName": "group"},
  "serviceAccount": "robot",
  "serviceAccountName": "robot",
  "setHostnameAsFQDN": true,
  "subdomain": "internal",
  "terminationGracePeriodSeconds": 7,
  "tolerations": [
    {"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute"},
    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}
  ],
  "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
  "securityContext": {"fsGroupChangePolicy": "OnRootMismatch", "seLinuxChangePolicy": "Recursive"},
  "volumes": [
    {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    {"name": "spare", "emptyDir": {}},
    {"name": "host", "hostPath": {"path": "/srv", "type": "Directory"}},
    {"name": "data", "image": {"reference": "i:2", "pullPolicy": "Never"}},
    {"name": "kept", "persistentVolumeClaim": {"claimName": "a", "readOnly": true}},
    {"name": "raw", "persistentVolumeClaim": {"claimName": "b"}},
    {"name": "own", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"]}}}},
    {"name": "shared", "nfs": {"server": "nas", "path": "/a", "readOnly": true}},
    {"name": "block", "iscsi": {
      "targetPortal": "192.0.2.7", "portals": ["192.0.2.8:3261"], "iqn": "iqn.2001-04.com.example:disk", "lun": 3,
      "iscsiInterface": "default", "initiatorName": "iqn.2001-04.com.example:node", "fsType": "ext4", "readOnly": true,
      "chapAuthDiscovery": true, "chapAuthSession": true, "secretRef": {"name": "a"}
    }},
    {"name": "fibre", "fc": {"targetWWNs": ["50060e801049cfd1"], "lun": 2, "fsType": "ext4", "readOnly": true}},
    {"name": "named", "fc": {"wwids": ["3600508b400105e21"]}},
    {"name": "driven", "csi": {
      "driver": "csi.example.com", "fsType": "ext4", "readOnly": true, "volumeAttributes": {"size": "small"},
      "nodePublishSecretRef": {"name": "a"}
    }},
    {"name": "config", "configMap": {
      "name": "a", "optional": true, "defaultMode": 256, "items": [{"key": "k", "path": "p", "mode": 292}]
    }},
    {"name": "secret", "secret": {
      "secretName": "a", "optional": true, "defaultMode": 256, "items": [{"key": "k", "path": "p", "mode": 292}]
    }},
    {"name": "self", "downwardAPI": {"defaultMode": 256, "items": [
      {"path": "labels", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.labels"}, "mode": 292},
      {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu", "divisor": "1m"}}
    ]}},
    {"name": "all", "projected": {"defaultMode": 256, "sources": [
      {"configMap": {"name": "a", "optional": true, "items": [{"key": "k", "path": "c"}]}},
      {"secret": {"name": "a", "optional": true, "items": [{"key": "k", "path": "s"}]}},
      {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
      {"serviceAccountToken": {"audience": "vault", "expirationSeconds": 7200, "path": "token"}},
      {"clusterTrustBundle": {"signerName": "example.com/signer", "optional": true, "path": "ca", "labelSelector": {
        "matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d"]}]
      }}},
      {"clusterTrustBundle": {"name": "bundle", "optional": true, "path": "other"}},
      {"podCertificate": {"signerName": "example.com/signer", "keyType": "ED25519", "maxExpirationSeconds": 7200,
        "userAnnotations": {"example.com/a": "b"}, "credentialBundlePath": "bundle.pem", "keyPath": "key.pem",
        "certificateChainPath": "chain.pem"}}
    ]}}
  ],
  "initContainers": [
    {"name": "side", "image": "i:1", "restartPolicy": "Always"},
    {"name": "before", "image": "i:1", "args": ["x"]}
  ],
  "containers": [{
    "name": "c",
    "image": "i:1",
    "imagePullPolicy": "Never",
    "command": ["run"],
    "args": ["$(TEXT)"],
    "workingDir": "/w",
    "env": [
      {"name": "TEXT", "value": "t"},
      {"name": "NODE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}},
      {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {
        "containerName": "c", "resource": "limits.cpu", "divisor": "1m"
      }}},
      {"name": "CONFIG", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "k", "optional": true}}},
      {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "a", "key": "k", "optional": true}}},
      {"name": "FILE", "valueFrom": {"fileKeyRef": {
        "volumeName": "scratch", "path": "env", "key": "K", "optional": true
      }}}
    ],
    "envFrom": [
      {"prefix": "C_", "configMapRef": {"name": "a", "optional": true}},
      {"secretRef": {"name": "a", "optional": true}}
    ],
    "ports": [{"name": "http", "containerPort": 80, "hostPort": 8080, "hostIP": "192.0.2.2", "protocol": "TCP"}],
    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"}},
    "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}],
    "restartPolicy": "Never",
    "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}],
    "stdin": true,
    "stdinOnce": true,
    "tty": true,
    "terminationMessagePath": "/tmp/end",
    "terminationMessagePolicy": "FallbackToLogsOnError",
    "lifecycle": {
      "postStart": {"exec": {"command": ["begin"]}},
      "preStop": {"httpGet": {
        "host": "192.0.2.3", "path": "/end", "port": 80, "scheme": "HTTPS", "httpHeaders": [{"name": "A", "value": "b"}]
      }}
    },
    "startupProbe": {"grpc": {"port": 90, "service": "up"}, "failureThreshold": 30, "periodSeconds": 2},
    "livenessProbe": {
      "exec": {"command": ["alive"]}, "initialDelaySeconds": 3, "timeoutSeconds": 4, "terminationGracePeriodSeconds": 5
    },
    "readinessProbe": {"tcpSocket": {"host": "192.0.2.4", "port": 80}, "successThreshold": 2},
    "volumeDevices": [{"name": "raw", "devicePath": "/dev/raw"}],
    "volumeMounts": [
      {"name": "scratch", "mountPath": "/scratch", "readOnly": true, "recursiveReadOnly": "Enabled"},
      {"name": "scratch", "mountPath": "/part", "subPath": "part"},
      {"name": "scratch", "mountPath": "/other", "subPathExpr": "$(TEXT)"},
      {"name": "host", "mountPath": "/host", "mountPropagation": "HostToContainer"},
      {"name": "data", "mountPath": "/data", "subPathExpr": "$(TEXT)"}
    ]
  }, {
    "name": "d",
    "image": "i:1",
    "lifecycle": {"postStart": {"sleep": {"seconds": 3}}, "preStop": {"tcpSocket": {"port": 80}}, "stopSignal": "SIGUSR1"},
    "readinessProbe": {"httpGet": {"port": 80}}
  }],
  "ephemeralContainers": [{
    "name": "debug",
    "image": "i:1",
    "imagePullPolicy": "Never",
    "targetContainerName": "c",
    "command": ["look"],
    "args": ["around"],
    "workingDir": "/w",
    "env": [{"name": "TEXT", "value": "t"}],
    "envFrom": [{"configMapRef": {"name": "a", "optional": true}}],
    "securityContext": {"privileged": true},
    "stdin": true,
    "stdinOnce": true,
    "tty": true,
    "terminationMessagePath": "/tmp/end",
    "terminationMessagePolicy": "FallbackToLogsOnError",
    "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]
  }]
}"#;

const OF_HOST: &str = r#"{
  "hostNetwork": true,
  "hostPID": true,
  "hostIPC": true,
  "hostnameOverride": "web",
  "containers": [{"name": "c", "image": "i:1"}]
}"#;

const GUARDED: &str = r#"{
  "hostUsers": false,
  "shareProcessNamespace": true,
  "hostnameOverride": "web.example.com",
  "securityContext": {
    "runAsUser": 7, "runAsGroup": 8, "runAsNonRoot": true, "fsGroup": 9,
    "supplementalGroups": [10], "supplementalGroupsPolicy": "Strict",
    "sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}],
    "seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"},
    "appArmorProfile": {"type": "Localhost", "localhostProfile": "tight"},
    "seLinuxOptions": {"user": "u", "role": "r", "type": "t", "level": "l"},
    "windowsOptions": {"hostProcess": false}
  },
  "containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "i:1", "securityContext": {
    "runAsUser": 17, "runAsGroup": 18, "runAsNonRoot": false,
    "allowPrivilegeEscalation": false,
    "readOnlyRootFilesystem": true,
    "privileged": false,
    "procMount": "Unmasked",
    "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
    "appArmorProfile": {"type": "Unconfined"},
    "seLinuxOptions": {"type": "other"},
    "windowsOptions": {"hostProcess": false}
  }}]
}"#;
