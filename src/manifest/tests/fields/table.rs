//! How each field is handled, by type and name. A new version of Kubernetes' types fails the tests until its new fields
//! have their rows.

use self::Mark::{Acts, Defaults, Enforces, Forbidden, Ignored, NotHere, Refused};

/// How a field is handled.
#[derive(Debug)]
pub(super) enum Mark {
    /// This file handles it: a change of it changes the pod as the node understands it.
    Acts(&'static str),
    /// It restricts the pod: a change of it changes what is requested of the runtime or written to disk.
    Enforces(&'static str),
    /// A pod with it does not run. A specification that has it; the message for a manifest; the message for an API pod.
    Refused(&'static str, &'static str, &'static str),
    /// It has no meaning on Linux. A manifest with it is rejected with this message; in an API pod the kubelet ignores
    /// it, too.
    NotHere(&'static str, &'static str),
    /// Only its default value is supported.
    #[expect(dead_code, reason = "the reason is for the reader")]
    Defaults(&'static str),
    /// The kubelet ignores it, too, for this reason.
    #[expect(dead_code, reason = "the reason is for the reader")]
    Ignored(&'static str),
    /// No pod has it, for this reason.
    #[expect(dead_code, reason = "the reason is for the reader")]
    Forbidden(&'static str),
}

const YET: &str = "is not supported by this version of gantry yet";

/// The fields of a type.
type Fields = &'static [(&'static str, Mark)];

pub(super) const TABLE: &[(&str, Fields)] = &[
    (
        "PodSpec",
        &[
            ("activeDeadlineSeconds", Acts("plan/restart.rs")),
            ("affinity", Acts("plan/placement.rs")),
            (
                "automountServiceAccountToken",
                Ignored("the API server's admission adds the volume of the token"),
            ),
            ("containers", Acts("plan/container.rs")),
            ("dnsConfig", Acts("plan/dns.rs")),
            ("dnsPolicy", Acts("plan/dns.rs")),
            ("enableServiceLinks", Acts("plan/service_links.rs")),
            ("ephemeralContainers", Acts("plan/ephemeral.rs")),
            ("hostAliases", Acts("plan/container.rs")),
            ("hostIPC", Enforces("plan/security.rs")),
            ("hostNetwork", Enforces("plan/security.rs")),
            ("hostPID", Enforces("plan/security.rs")),
            ("hostUsers", Enforces("plan/security.rs")),
            ("hostname", Acts("plan/sandbox.rs")),
            ("hostnameOverride", Acts("plan/sandbox.rs")),
            ("imagePullSecrets", Acts("plan/pull.rs")),
            ("initContainers", Acts("plan/need.rs")),
            (
                "nodeName",
                Ignored("whose pods are watched is decided by the agent's own name"),
            ),
            ("nodeSelector", Acts("plan/placement.rs")),
            ("os", Acts("plan/admit.rs")),
            ("overhead", Acts("plan/cgroup.rs")),
            ("preemptionPolicy", Ignored("only the scheduler reads it")),
            ("priority", Acts("plan/admit.rs")),
            ("priorityClassName", Acts("plan/cgroup.rs")),
            ("readinessGates", Acts("status/condition.rs")),
            (
                "resourceClaims",
                Refused(
                    r#"{"resourceClaims": [{"name": "gpu"}]}"#,
                    "spec.resourceClaims: is not supported by this version of gantry yet",
                    YET,
                ),
            ),
            ("resources", Acts("plan/cgroup.rs")),
            ("restartPolicy", Acts("plan/need.rs")),
            ("runtimeClassName", Enforces("plan/sandbox.rs")),
            ("schedulerName", Ignored("only the scheduler reads it")),
            ("schedulingGates", Ignored("only the scheduler reads it")),
            ("schedulingGroup", Ignored("only the scheduler reads it")),
            ("securityContext", Enforces("plan/security.rs")),
            (
                "serviceAccount",
                Ignored("an older name of serviceAccountName; the API server keeps both the same"),
            ),
            ("serviceAccountName", Acts("model/reference.rs")),
            ("setHostnameAsFQDN", Acts("plan/sandbox.rs")),
            ("shareProcessNamespace", Enforces("plan/security.rs")),
            ("subdomain", Acts("plan/sandbox.rs")),
            ("terminationGracePeriodSeconds", Acts("plan/teardown.rs")),
            ("tolerations", Acts("plan/placement.rs")),
            (
                "topologySpreadConstraints",
                Ignored("only the scheduler reads it"),
            ),
            ("volumes", Acts("plan/volume.rs")),
        ],
    ),
    (
        "Affinity",
        &[
            ("nodeAffinity", Acts("plan/placement.rs")),
            ("podAffinity", Ignored("only the scheduler reads it")),
            ("podAntiAffinity", Ignored("only the scheduler reads it")),
        ],
    ),
    (
        "NodeAffinity",
        &[
            (
                "preferredDuringSchedulingIgnoredDuringExecution",
                Ignored("only the scheduler reads it"),
            ),
            (
                "requiredDuringSchedulingIgnoredDuringExecution",
                Acts("plan/placement.rs"),
            ),
        ],
    ),
    (
        "NodeSelector",
        &[("nodeSelectorTerms", Acts("plan/placement.rs"))],
    ),
    (
        "NodeSelectorTerm",
        &[
            ("matchExpressions", Acts("plan/placement.rs")),
            ("matchFields", Acts("plan/placement.rs")),
        ],
    ),
    (
        "NodeSelectorRequirement",
        &[
            ("key", Acts("plan/placement.rs")),
            ("operator", Acts("plan/placement.rs")),
            ("values", Acts("plan/placement.rs")),
        ],
    ),
    (
        "Container",
        &[
            ("args", Acts("plan/container.rs")),
            ("command", Acts("plan/container.rs")),
            ("env", Acts("plan/environment.rs")),
            ("envFrom", Acts("plan/environment.rs")),
            ("image", Acts("plan/container.rs")),
            ("imagePullPolicy", Acts("act/image.rs")),
            ("lifecycle", Acts("plan/start.rs")),
            ("livenessProbe", Acts("plan/need.rs")),
            ("name", Acts("plan/container.rs")),
            ("ports", Acts("plan/sandbox.rs")),
            ("readinessProbe", Acts("status/container.rs")),
            ("resizePolicy", Acts("plan/resize.rs")),
            ("resources", Acts("plan/cgroup.rs")),
            ("restartPolicy", Acts("plan/need.rs")),
            ("restartPolicyRules", Acts("model/restart.rs")),
            ("securityContext", Enforces("plan/security.rs")),
            ("startupProbe", Acts("plan/need.rs")),
            ("stdin", Acts("plan/container.rs")),
            ("stdinOnce", Acts("plan/container.rs")),
            ("terminationMessagePath", Acts("plan/container.rs")),
            ("terminationMessagePolicy", Acts("plan/container.rs")),
            ("tty", Acts("plan/container.rs")),
            ("volumeDevices", Acts("plan/container.rs")),
            ("volumeMounts", Acts("plan/container.rs")),
            ("workingDir", Acts("plan/container.rs")),
        ],
    ),
    (
        "EphemeralContainer",
        &[
            ("args", Acts("plan/container.rs")),
            ("command", Acts("plan/container.rs")),
            ("env", Acts("plan/environment.rs")),
            ("envFrom", Acts("plan/environment.rs")),
            ("image", Acts("plan/container.rs")),
            ("imagePullPolicy", Acts("act/image.rs")),
            (
                "lifecycle",
                Forbidden("the API server lets no ephemeral container have it"),
            ),
            (
                "livenessProbe",
                Forbidden("the API server lets no ephemeral container have it"),
            ),
            ("name", Acts("plan/container.rs")),
            (
                "ports",
                Forbidden("the API server lets no ephemeral container have it"),
            ),
            (
                "readinessProbe",
                Forbidden("the API server lets no ephemeral container have it"),
            ),
            (
                "resizePolicy",
                Forbidden("the API server lets no ephemeral container have it"),
            ),
            (
                "resources",
                Forbidden("the API server lets no ephemeral container have it"),
            ),
            (
                "restartPolicy",
                Forbidden("the API server lets no ephemeral container have it"),
            ),
            (
                "restartPolicyRules",
                Forbidden("the API server lets no ephemeral container have it"),
            ),
            ("securityContext", Enforces("plan/security.rs")),
            (
                "startupProbe",
                Forbidden("the API server lets no ephemeral container have it"),
            ),
            ("stdin", Acts("plan/container.rs")),
            ("stdinOnce", Acts("plan/container.rs")),
            ("targetContainerName", Enforces("plan/ephemeral.rs")),
            ("terminationMessagePath", Acts("plan/container.rs")),
            ("terminationMessagePolicy", Acts("plan/container.rs")),
            ("tty", Acts("plan/container.rs")),
            (
                "volumeDevices",
                Forbidden("the API server lets no ephemeral container have it"),
            ),
            ("volumeMounts", Acts("plan/container.rs")),
            ("workingDir", Acts("plan/container.rs")),
        ],
    ),
    (
        "EnvVar",
        &[
            ("name", Acts("plan/environment.rs")),
            ("value", Acts("plan/environment.rs")),
            ("valueFrom", Acts("plan/environment.rs")),
        ],
    ),
    (
        "EnvVarSource",
        &[
            ("configMapKeyRef", Acts("plan/environment.rs")),
            ("fieldRef", Acts("plan/environment.rs")),
            ("fileKeyRef", Acts("plan/environment.rs")),
            ("resourceFieldRef", Acts("plan/environment.rs")),
            ("secretKeyRef", Acts("plan/environment.rs")),
        ],
    ),
    (
        "FileKeySelector",
        &[
            ("key", Acts("act/env_file/mod.rs")),
            ("optional", Acts("act/env_file/mod.rs")),
            ("path", Acts("act/env_file/mod.rs")),
            ("volumeName", Acts("plan/environment.rs")),
        ],
    ),
    (
        "ConfigMapKeySelector",
        &[
            ("key", Acts("plan/environment.rs")),
            ("name", Acts("plan/environment.rs")),
            ("optional", Acts("plan/environment.rs")),
        ],
    ),
    (
        "SecretKeySelector",
        &[
            ("key", Acts("plan/environment.rs")),
            ("name", Acts("plan/environment.rs")),
            ("optional", Acts("plan/environment.rs")),
        ],
    ),
    (
        "ObjectFieldSelector",
        &[
            ("apiVersion", Defaults("v1 is the only one")),
            ("fieldPath", Acts("plan/content.rs")),
        ],
    ),
    (
        "ResourceFieldSelector",
        &[
            ("containerName", Acts("plan/content.rs")),
            ("divisor", Acts("plan/content.rs")),
            ("resource", Acts("plan/content.rs")),
        ],
    ),
    (
        "EnvFromSource",
        &[
            ("configMapRef", Acts("plan/environment.rs")),
            ("prefix", Acts("plan/environment.rs")),
            ("secretRef", Acts("plan/environment.rs")),
        ],
    ),
    (
        "ConfigMapEnvSource",
        &[
            ("name", Acts("plan/environment.rs")),
            ("optional", Acts("plan/environment.rs")),
        ],
    ),
    (
        "SecretEnvSource",
        &[
            ("name", Acts("plan/environment.rs")),
            ("optional", Acts("plan/environment.rs")),
        ],
    ),
    (
        "Lifecycle",
        &[
            ("postStart", Acts("plan/start.rs")),
            ("preStop", Acts("plan/teardown.rs")),
            ("stopSignal", Acts("plan/container.rs")),
        ],
    ),
    (
        "LifecycleHandler",
        &[
            ("exec", Acts("act/hook.rs")),
            ("httpGet", Acts("act/hook.rs")),
            ("sleep", Acts("act/hook.rs")),
            ("tcpSocket", Acts("act/hook.rs")),
        ],
    ),
    ("ExecAction", &[("command", Acts("observe/probe/worker.rs"))]),
    (
        "HTTPGetAction",
        &[
            ("host", Acts("ask/http.rs")),
            ("httpHeaders", Acts("ask/http.rs")),
            ("path", Acts("ask/http.rs")),
            ("port", Acts("ask/http.rs")),
            ("scheme", Acts("ask/http.rs")),
        ],
    ),
    (
        "HTTPHeader",
        &[("name", Acts("ask/http.rs")), ("value", Acts("ask/http.rs"))],
    ),
    ("SleepAction", &[("seconds", Acts("act/hook.rs"))]),
    (
        "TCPSocketAction",
        &[("host", Acts("ask/connect.rs")), ("port", Acts("ask/connect.rs"))],
    ),
    (
        "GRPCAction",
        &[
            ("port", Acts("observe/probe/worker.rs")),
            ("service", Acts("observe/probe/worker.rs")),
        ],
    ),
    (
        "Probe",
        &[
            ("exec", Acts("observe/probe/worker.rs")),
            ("failureThreshold", Acts("observe/probe/worker.rs")),
            ("grpc", Acts("observe/probe/worker.rs")),
            ("httpGet", Acts("observe/probe/worker.rs")),
            ("initialDelaySeconds", Acts("observe/probe/worker.rs")),
            ("periodSeconds", Acts("observe/probe/worker.rs")),
            ("successThreshold", Acts("observe/probe/worker.rs")),
            ("tcpSocket", Acts("observe/probe/worker.rs")),
            ("terminationGracePeriodSeconds", Acts("plan/need.rs")),
            ("timeoutSeconds", Acts("observe/probe/worker.rs")),
        ],
    ),
    (
        "ContainerPort",
        &[
            ("containerPort", Acts("plan/sandbox.rs")),
            ("hostIP", Acts("plan/sandbox.rs")),
            ("hostPort", Acts("plan/sandbox.rs")),
            ("name", Acts("plan/sandbox.rs")),
            ("protocol", Acts("plan/sandbox.rs")),
        ],
    ),
    (
        "ContainerResizePolicy",
        &[
            ("resourceName", Acts("plan/resize.rs")),
            ("restartPolicy", Acts("plan/resize.rs")),
        ],
    ),
    (
        "ResourceRequirements",
        &[
            (
                "claims",
                Refused(
                    r#"{"containers": [{"name": "c", "image": "i:1", "resources": {"claims": [{"name": "gpu"}]}}]}"#,
                    "resources: is not supported by this version of gantry yet: remove the claims",
                    YET,
                ),
            ),
            ("limits", Acts("plan/cgroup.rs")),
            ("requests", Acts("plan/cgroup.rs")),
        ],
    ),
    (
        "ContainerRestartRule",
        &[
            ("action", Acts("model/restart.rs")),
            ("exitCodes", Acts("model/restart.rs")),
        ],
    ),
    (
        "ContainerRestartRuleOnExitCodes",
        &[
            ("operator", Acts("model/restart.rs")),
            ("values", Acts("model/restart.rs")),
        ],
    ),
    (
        "SecurityContext",
        &[
            ("allowPrivilegeEscalation", Enforces("plan/security.rs")),
            ("appArmorProfile", Enforces("plan/security.rs")),
            ("capabilities", Enforces("plan/security.rs")),
            ("privileged", Enforces("plan/security.rs")),
            ("procMount", Enforces("plan/security.rs")),
            ("readOnlyRootFilesystem", Enforces("plan/security.rs")),
            ("runAsGroup", Enforces("plan/security.rs")),
            ("runAsNonRoot", Enforces("model/run_as.rs")),
            ("runAsUser", Enforces("plan/security.rs")),
            ("seLinuxOptions", Enforces("plan/security.rs")),
            ("seccompProfile", Enforces("plan/security.rs")),
            (
                "windowsOptions",
                NotHere(
                    r#"{"containers": [{"name": "c", "image": "i:1", "securityContext": {"windowsOptions": {"hostProcess": false}}}]}"#,
                    "windowsOptions: has no meaning on Linux: remove it",
                ),
            ),
        ],
    ),
    (
        "AppArmorProfile",
        &[
            ("localhostProfile", Enforces("plan/security.rs")),
            ("type", Enforces("plan/security.rs")),
        ],
    ),
    (
        "SeccompProfile",
        &[
            ("localhostProfile", Enforces("plan/security.rs")),
            ("type", Enforces("plan/security.rs")),
        ],
    ),
    (
        "Capabilities",
        &[
            ("add", Enforces("plan/security.rs")),
            ("drop", Enforces("plan/security.rs")),
        ],
    ),
    (
        "SELinuxOptions",
        &[
            ("level", Enforces("plan/security.rs")),
            ("role", Enforces("plan/security.rs")),
            ("type", Enforces("plan/security.rs")),
            ("user", Enforces("plan/security.rs")),
        ],
    ),
    (
        "PodSecurityContext",
        &[
            ("appArmorProfile", Enforces("plan/security.rs")),
            ("fsGroup", Enforces("plan/security.rs")),
            ("fsGroupChangePolicy", Acts("plan/claim.rs")),
            ("runAsGroup", Enforces("plan/security.rs")),
            ("runAsNonRoot", Enforces("model/run_as.rs")),
            ("runAsUser", Enforces("plan/security.rs")),
            (
                "seLinuxChangePolicy",
                Ignored("only volumes of drivers are mounted with a label"),
            ),
            ("seLinuxOptions", Enforces("plan/security.rs")),
            ("seccompProfile", Enforces("plan/security.rs")),
            ("supplementalGroups", Enforces("plan/security.rs")),
            ("supplementalGroupsPolicy", Enforces("plan/security.rs")),
            ("sysctls", Enforces("plan/sandbox.rs")),
            (
                "windowsOptions",
                NotHere(
                    r#"{"securityContext": {"windowsOptions": {"hostProcess": false}}}"#,
                    "windowsOptions: has no meaning on Linux: remove it",
                ),
            ),
        ],
    ),
    (
        "Sysctl",
        &[
            ("name", Enforces("plan/sandbox.rs")),
            ("value", Enforces("plan/sandbox.rs")),
        ],
    ),
    (
        "VolumeMount",
        &[
            ("mountPath", Enforces("plan/container.rs")),
            ("mountPropagation", Enforces("plan/container.rs")),
            ("name", Enforces("plan/container.rs")),
            ("readOnly", Enforces("plan/container.rs")),
            ("recursiveReadOnly", Enforces("plan/container.rs")),
            ("subPath", Enforces("plan/sub_path.rs")),
            ("subPathExpr", Enforces("plan/sub_path.rs")),
        ],
    ),
    (
        "PodDNSConfig",
        &[
            ("nameservers", Acts("plan/dns.rs")),
            ("options", Acts("plan/dns.rs")),
            ("searches", Acts("plan/dns.rs")),
        ],
    ),
    (
        "PodDNSConfigOption",
        &[("name", Acts("plan/dns.rs")), ("value", Acts("plan/dns.rs"))],
    ),
    (
        "HostAlias",
        &[
            ("hostnames", Acts("plan/container.rs")),
            ("ip", Acts("plan/container.rs")),
        ],
    ),
    ("LocalObjectReference", &[("name", Acts("plan/pull.rs"))]),
    ("PodOS", &[("name", Acts("plan/admit.rs"))]),
    (
        "PodReadinessGate",
        &[("conditionType", Acts("status/condition.rs"))],
    ),
    (
        "Toleration",
        &[
            ("effect", Acts("plan/placement.rs")),
            ("key", Acts("plan/placement.rs")),
            ("operator", Acts("plan/placement.rs")),
            ("tolerationSeconds", Acts("source/checkpoint/stored.rs")),
            ("value", Acts("plan/placement.rs")),
        ],
    ),
    (
        "Volume",
        &[
            (
                "awsElasticBlockStore",
                Refused(
                    r#"{"volumes": [{"name": "v", "awsElasticBlockStore": {"volumeID": "v"}}]}"#,
                    "spec.volumes[0].awsElasticBlockStore: is not supported by this version of gantry yet",
                    YET,
                ),
            ),
            (
                "azureDisk",
                Refused(
                    r#"{"volumes": [{"name": "v", "azureDisk": {"diskName": "a", "diskURI": "b"}}]}"#,
                    "spec.volumes[0].azureDisk: is not supported by this version of gantry yet",
                    YET,
                ),
            ),
            (
                "azureFile",
                Refused(
                    r#"{"volumes": [{"name": "v", "azureFile": {"secretName": "a", "shareName": "b"}}]}"#,
                    "spec.volumes[0].azureFile: refers to an API object",
                    YET,
                ),
            ),
            (
                "cephfs",
                Refused(
                    r#"{"volumes": [{"name": "v", "cephfs": {"monitors": ["a"]}}]}"#,
                    "spec.volumes[0].cephfs: is not supported by this version of gantry yet",
                    YET,
                ),
            ),
            (
                "cinder",
                Refused(
                    r#"{"volumes": [{"name": "v", "cinder": {"volumeID": "v"}}]}"#,
                    "spec.volumes[0].cinder: is not supported by this version of gantry yet",
                    YET,
                ),
            ),
            ("configMap", Acts("plan/content.rs")),
            ("csi", Acts("plan/csi.rs")),
            ("downwardAPI", Acts("plan/content.rs")),
            ("emptyDir", Acts("plan/volume.rs")),
            ("ephemeral", Acts("plan/claim.rs")),
            ("fc", Acts("plan/network_disk.rs")),
            (
                "flexVolume",
                Refused(
                    r#"{"volumes": [{"name": "v", "flexVolume": {"driver": "a/b"}}]}"#,
                    "spec.volumes[0].flexVolume: is not supported by this version of gantry yet",
                    YET,
                ),
            ),
            (
                "flocker",
                Refused(
                    r#"{"volumes": [{"name": "v", "flocker": {}}]}"#,
                    "spec.volumes[0].flocker: is not supported by this version of gantry yet",
                    YET,
                ),
            ),
            (
                "gcePersistentDisk",
                Refused(
                    r#"{"volumes": [{"name": "v", "gcePersistentDisk": {"pdName": "a"}}]}"#,
                    "spec.volumes[0].gcePersistentDisk: is not supported by this version of gantry yet",
                    YET,
                ),
            ),
            (
                "gitRepo",
                Refused(
                    r#"{"volumes": [{"name": "v", "gitRepo": {"repository": "a"}}]}"#,
                    "spec.volumes[0].gitRepo: is not supported by this version of gantry yet",
                    YET,
                ),
            ),
            (
                "glusterfs",
                Refused(
                    r#"{"volumes": [{"name": "v", "glusterfs": {"endpoints": "a", "path": "b"}}]}"#,
                    "spec.volumes[0].glusterfs: refers to an API object",
                    YET,
                ),
            ),
            ("hostPath", Enforces("plan/volume.rs")),
            ("image", Acts("plan/image_volume.rs")),
            ("iscsi", Acts("plan/network_disk.rs")),
            ("name", Acts("plan/volume.rs")),
            ("nfs", Acts("plan/nfs.rs")),
            ("persistentVolumeClaim", Acts("plan/claim.rs")),
            (
                "photonPersistentDisk",
                Refused(
                    r#"{"volumes": [{"name": "v", "photonPersistentDisk": {"pdID": "a"}}]}"#,
                    "spec.volumes[0].photonPersistentDisk: is not supported by this version of gantry yet",
                    YET,
                ),
            ),
            (
                "portworxVolume",
                Refused(
                    r#"{"volumes": [{"name": "v", "portworxVolume": {"volumeID": "a"}}]}"#,
                    "spec.volumes[0].portworxVolume: is not supported by this version of gantry yet",
                    YET,
                ),
            ),
            ("projected", Acts("plan/content.rs")),
            (
                "quobyte",
                Refused(
                    r#"{"volumes": [{"name": "v", "quobyte": {"registry": "a", "volume": "b"}}]}"#,
                    "spec.volumes[0].quobyte: is not supported by this version of gantry yet",
                    YET,
                ),
            ),
            (
                "rbd",
                Refused(
                    r#"{"volumes": [{"name": "v", "rbd": {"monitors": ["a"], "image": "b"}}]}"#,
                    "spec.volumes[0].rbd: is not supported by this version of gantry yet",
                    YET,
                ),
            ),
            (
                "scaleIO",
                Refused(
                    r#"{"volumes": [{"name": "v", "scaleIO": {"gateway": "a", "system": "b", "secretRef": {"name": "c"}}}]}"#,
                    "spec.volumes[0].scaleIO: is not supported by this version of gantry yet",
                    YET,
                ),
            ),
            ("secret", Acts("plan/content.rs")),
            (
                "storageos",
                Refused(
                    r#"{"volumes": [{"name": "v", "storageos": {}}]}"#,
                    "spec.volumes[0].storageos: is not supported by this version of gantry yet",
                    YET,
                ),
            ),
            (
                "vsphereVolume",
                Refused(
                    r#"{"volumes": [{"name": "v", "vsphereVolume": {"volumePath": "a"}}]}"#,
                    "spec.volumes[0].vsphereVolume: is not supported by this version of gantry yet",
                    YET,
                ),
            ),
        ],
    ),
    (
        "ImageVolumeSource",
        &[
            ("pullPolicy", Acts("act/image.rs")),
            ("reference", Acts("plan/image_volume.rs")),
        ],
    ),
    (
        "EmptyDirVolumeSource",
        &[
            ("medium", Acts("plan/volume.rs")),
            ("sizeLimit", Acts("plan/volume.rs")),
        ],
    ),
    (
        "PersistentVolumeClaimVolumeSource",
        &[
            ("claimName", Acts("plan/claim.rs")),
            ("readOnly", Acts("plan/claim.rs")),
        ],
    ),
    (
        "NFSVolumeSource",
        &[
            ("path", Acts("plan/nfs.rs")),
            ("readOnly", Acts("plan/nfs.rs")),
            ("server", Acts("plan/nfs.rs")),
        ],
    ),
    (
        "ISCSIVolumeSource",
        &[
            ("chapAuthDiscovery", Acts("plan/network_disk.rs")),
            ("chapAuthSession", Acts("plan/network_disk.rs")),
            ("fsType", Acts("plan/network_disk.rs")),
            ("initiatorName", Acts("plan/network_disk.rs")),
            ("iqn", Acts("plan/network_disk.rs")),
            ("iscsiInterface", Acts("plan/network_disk.rs")),
            ("lun", Acts("plan/network_disk.rs")),
            ("portals", Acts("plan/network_disk.rs")),
            ("readOnly", Acts("plan/network_disk.rs")),
            ("secretRef", Acts("plan/network_disk.rs")),
            ("targetPortal", Acts("plan/network_disk.rs")),
        ],
    ),
    (
        "FCVolumeSource",
        &[
            ("fsType", Acts("plan/network_disk.rs")),
            ("lun", Acts("plan/network_disk.rs")),
            ("readOnly", Acts("plan/network_disk.rs")),
            ("targetWWNs", Acts("plan/network_disk.rs")),
            ("wwids", Acts("plan/network_disk.rs")),
        ],
    ),
    (
        "CSIVolumeSource",
        &[
            ("driver", Acts("plan/csi.rs")),
            ("fsType", Acts("plan/csi.rs")),
            ("nodePublishSecretRef", Acts("plan/csi.rs")),
            ("readOnly", Acts("plan/csi.rs")),
            ("volumeAttributes", Acts("plan/csi.rs")),
        ],
    ),
    (
        "VolumeDevice",
        &[
            ("devicePath", Acts("plan/container.rs")),
            ("name", Acts("plan/container.rs")),
        ],
    ),
    (
        "EphemeralVolumeSource",
        &[(
            "volumeClaimTemplate",
            Ignored("the control plane makes the claim from it"),
        )],
    ),
    (
        "HostPathVolumeSource",
        &[
            ("path", Enforces("plan/volume.rs")),
            ("type", Enforces("plan/volume.rs")),
        ],
    ),
    (
        "ConfigMapVolumeSource",
        &[
            ("defaultMode", Acts("plan/content.rs")),
            ("items", Acts("plan/content.rs")),
            ("name", Acts("plan/content.rs")),
            ("optional", Acts("plan/content.rs")),
        ],
    ),
    (
        "KeyToPath",
        &[
            ("key", Acts("plan/content.rs")),
            ("mode", Acts("plan/content.rs")),
            ("path", Acts("plan/content.rs")),
        ],
    ),
    (
        "SecretVolumeSource",
        &[
            ("defaultMode", Acts("plan/content.rs")),
            ("items", Acts("plan/content.rs")),
            ("optional", Acts("plan/content.rs")),
            ("secretName", Acts("plan/content.rs")),
        ],
    ),
    (
        "DownwardAPIVolumeSource",
        &[
            ("defaultMode", Acts("plan/content.rs")),
            ("items", Acts("plan/content.rs")),
        ],
    ),
    (
        "DownwardAPIVolumeFile",
        &[
            ("fieldRef", Acts("plan/content.rs")),
            ("mode", Acts("plan/content.rs")),
            ("path", Acts("plan/content.rs")),
            ("resourceFieldRef", Acts("plan/content.rs")),
        ],
    ),
    (
        "ProjectedVolumeSource",
        &[
            ("defaultMode", Acts("plan/content.rs")),
            ("sources", Acts("plan/content.rs")),
        ],
    ),
    (
        "VolumeProjection",
        &[
            ("clusterTrustBundle", Acts("plan/content.rs")),
            ("configMap", Acts("plan/content.rs")),
            ("downwardAPI", Acts("plan/content.rs")),
            ("podCertificate", Acts("plan/content.rs")),
            ("secret", Acts("plan/content.rs")),
            ("serviceAccountToken", Acts("plan/content.rs")),
        ],
    ),
    (
        "ConfigMapProjection",
        &[
            ("items", Acts("plan/content.rs")),
            ("name", Acts("plan/content.rs")),
            ("optional", Acts("plan/content.rs")),
        ],
    ),
    (
        "SecretProjection",
        &[
            ("items", Acts("plan/content.rs")),
            ("name", Acts("plan/content.rs")),
            ("optional", Acts("plan/content.rs")),
        ],
    ),
    ("DownwardAPIProjection", &[("items", Acts("plan/content.rs"))]),
    (
        "ServiceAccountTokenProjection",
        &[
            ("audience", Acts("source/api/objects/tokens.rs")),
            ("expirationSeconds", Acts("source/api/objects/tokens.rs")),
            ("path", Acts("plan/content.rs")),
        ],
    ),
    (
        "ClusterTrustBundleProjection",
        &[
            ("labelSelector", Acts("source/api/objects/anchors.rs")),
            ("name", Acts("source/api/objects/anchors.rs")),
            ("optional", Acts("source/api/objects/anchors.rs")),
            ("path", Acts("plan/content.rs")),
            ("signerName", Acts("source/api/objects/anchors.rs")),
        ],
    ),
    (
        "PodCertificateProjection",
        &[
            ("certificateChainPath", Acts("plan/content.rs")),
            ("credentialBundlePath", Acts("plan/content.rs")),
            ("keyPath", Acts("plan/content.rs")),
            ("keyType", Acts("source/api/objects/certificates.rs")),
            ("maxExpirationSeconds", Acts("source/api/objects/certificates.rs")),
            ("signerName", Acts("source/api/objects/certificates.rs")),
            ("userAnnotations", Acts("source/api/objects/certificates.rs")),
        ],
    ),
    (
        "LabelSelector",
        &[
            ("matchExpressions", Acts("source/api/objects/anchors.rs")),
            ("matchLabels", Acts("source/api/objects/anchors.rs")),
        ],
    ),
    (
        "LabelSelectorRequirement",
        &[
            ("key", Acts("source/api/objects/anchors.rs")),
            ("operator", Acts("source/api/objects/anchors.rs")),
            ("values", Acts("source/api/objects/anchors.rs")),
        ],
    ),
];
