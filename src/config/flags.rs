//! The flags, as one table: each kubelet flag of v1.36 (`cmd/kubelet/app/options` of Kubernetes) and each of gantry's
//! own, with the key it sets. `gantry run` and `gantry kubelet` accept the same flags.

/// How a flag's text becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `--x`, `--x=true`, `--x=false`.
    Bool,
    /// A whole number.
    Int,
    /// Text, or a duration, which is read with the file's rules.
    Text,
    /// `a,b`; repeated flags accumulate.
    List,
    /// `a=1,b=2`; repeated flags accumulate.
    Map,
    /// `a<1,b<2`; repeated flags accumulate.
    LessMap,
    /// `a=true,b=false`, merged with the value from the file.
    BoolMap,
    /// `a:1,b:2`, where one name may have several values.
    MultiMap,
}

/// What a flag sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A key of KubeletConfiguration.
    Kubelet(&'static str),
    /// A key of GantryConfiguration.
    Own(&'static str),
    /// Where configuration is read from, or whether it is read at all.
    Source,
    /// Accepted because the kubelet accepts it; has no effect in this version.
    Unused,
}

/// One flag.
#[derive(Debug)]
pub struct Flag {
    /// The name, without its dashes.
    pub name: &'static str,
    /// How its text is read.
    pub kind: Kind,
    /// What it sets.
    pub target: Target,
    /// One line for `--help`; empty if the key's name is explanation enough.
    pub help: &'static str,
}

const fn kubelet(name: &'static str, kind: Kind, key: &'static str) -> Flag {
    let target = Target::Kubelet(key);
    Flag {
        name,
        kind,
        target,
        help: "",
    }
}

const fn described(name: &'static str, kind: Kind, key: &'static str, help: &'static str) -> Flag {
    let target = Target::Kubelet(key);
    Flag {
        name,
        kind,
        target,
        help,
    }
}

const fn own(name: &'static str, kind: Kind, key: &'static str, help: &'static str) -> Flag {
    let target = Target::Own(key);
    Flag {
        name,
        kind,
        target,
        help,
    }
}

const fn source(name: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        kind: Kind::Text,
        target: Target::Source,
        help,
    }
}

const fn quiet(name: &'static str, kind: Kind, key: &'static str) -> Flag {
    let target = Target::Own(key);
    Flag {
        name,
        kind,
        target,
        help: "",
    }
}

const fn unused(name: &'static str, kind: Kind) -> Flag {
    let (target, help) = (Target::Unused, "Accepted for compatibility; has no effect");
    Flag {
        name,
        kind,
        target,
        help,
    }
}

use Kind::{Bool, BoolMap, Int, LessMap, List, Map, MultiMap, Text};

/// The flags that `gantry run --help` shows; it accepts all of them.
pub const RUN_HELP: &[&str] = &[
    "config",
    "config-dir",
    "kubeconfig",
    "bootstrap-kubeconfig",
    "pod-manifest-path",
    "hostname-override",
    "node-ip",
    "node-labels",
    "root-dir",
    "state-dir",
    "cut-off-start",
    "container-runtime-endpoint",
    "cgroup-driver",
    "pod-network",
    "network-cidr",
    "pod-cidr",
    "cni-conf-dir",
    "cni-bin-dir",
    "images-dir",
    "pause-image",
    "cluster-dns",
    "cluster-domain",
    "max-pods",
    "fail-swap-on",
    "healthz-port",
    "healthz-bind-address",
    "logging-format",
    "log-level",
];

/// All flags, ours first.
pub const FLAGS: &[Flag] = &[
    source(
        "config",
        "Read KubeletConfiguration and GantryConfiguration from this file",
    ),
    source(
        "config-dir",
        "Then read the *.conf files below this directory, sorted by name",
    ),
    source(
        "kubeconfig",
        "The kubeconfig for the API server; without it the agent runs standalone",
    ),
    source(
        "bootstrap-kubeconfig",
        "The kubeconfig to request the node's certificate with, if there is no kubeconfig or its certificate has \
         expired",
    ),
    described(
        "pod-manifest-path",
        Text,
        "staticPodPath",
        "The directory of static pod manifests",
    ),
    own(
        "hostname-override",
        Text,
        "hostnameOverride",
        "The node's name, if it is not the host name",
    ),
    own(
        "node-ip",
        Text,
        "nodeIP",
        "The node's IP address, or an IPv4 and an IPv6 address separated by a comma",
    ),
    own(
        "node-labels",
        Map,
        "nodeLabels",
        "Labels of the node: key=value,key=value",
    ),
    own(
        "root-dir",
        Text,
        "rootDir",
        "The directory of volumes and other files of pods [default: /var/lib/kubelet]",
    ),
    own(
        "state-dir",
        Text,
        "stateDir",
        "The agent's state directory [default: /var/lib/gantry]",
    ),
    own(
        "cut-off-start",
        Text,
        "cutOffStart",
        "Checkpointed pods to start while the API server does not answer: Tolerated, Always or Never [default: \
         Tolerated]",
    ),
    own(
        "socket",
        Text,
        "socket",
        "The agent's socket for commands [default: /run/gantry/gantry.sock]",
    ),
    described(
        "container-runtime-endpoint",
        Text,
        "containerRuntimeEndpoint",
        "containerd's socket, unix://...",
    ),
    described(
        "cgroup-driver",
        Text,
        "cgroupDriver",
        "systemd or cgroupfs, if containerd does not report its driver",
    ),
    own(
        "pod-network",
        Text,
        "podNetwork",
        "Which network connects the pods: own (this agent's), cluster (a plugin that the cluster installs), or \
         auto: own unless there is a kubeconfig [default: auto]",
    ),
    own(
        "network-cidr",
        Text,
        "networkCIDR",
        "The address range of all pods [default: 10.244.0.0/16]",
    ),
    described(
        "pod-cidr",
        Text,
        "podCIDR",
        "The address range of this node's pods [default: a free /24]",
    ),
    own(
        "cni-conf-dir",
        Text,
        "cniConfDir",
        "The directory of CNI configurations [default: /etc/cni/net.d]",
    ),
    own(
        "cni-bin-dir",
        Text,
        "cniBinDir",
        "The directory of CNI plugins [default: /opt/cni/bin]",
    ),
    own(
        "images-dir",
        Text,
        "imagesDir",
        "The directory of image archives to import [default: <state-dir>/images]",
    ),
    own(
        "pause-image",
        Text,
        "pauseImage",
        "The sandbox (pause) image [default: the agent's own]",
    ),
    own(
        "cert-dir",
        Text,
        "certDir",
        "The directory of the node's certificates and keys [default: /var/lib/kubelet/pki]",
    ),
    own(
        "kubernetes-version",
        Text,
        "kubernetesVersion",
        "The Kubernetes version that the node reports, v1.33 to v1.36 [default: v1.36.2]",
    ),
    own(
        "log-level",
        Text,
        "logLevel",
        "error, warn, info, debug, trace, or a tracing filter [default: info]",
    ),
    described(
        "logging-format",
        Text,
        "logging.format",
        "The log format: text or json",
    ),
    described("cluster-dns", List, "clusterDNS", "The cluster's DNS servers"),
    described(
        "cluster-domain",
        Text,
        "clusterDomain",
        "The cluster's DNS domain",
    ),
    described(
        "max-pods",
        Int,
        "maxPods",
        "The maximum number of pods on this node [default: 110]",
    ),
    described(
        "fail-swap-on",
        Bool,
        "failSwapOn",
        "Refuse to start while swap is on [default: true]",
    ),
    described(
        "healthz-port",
        Int,
        "healthzPort",
        "The port of /healthz; 0 disables it [default: 10248]",
    ),
    described(
        "healthz-bind-address",
        Text,
        "healthzBindAddress",
        "The IP address of /healthz [default: 127.0.0.1]",
    ),
    described(
        "v",
        Int,
        "logging.verbosity",
        "The kubelet's verbosity: 3 or more means debug, 6 or more trace",
    ),
    kubelet("vmodule", Map, "logging.vmodule"),
    kubelet("log-flush-frequency", Text, "logging.flushFrequency"),
    kubelet("log-text-split-stream", Bool, "logging.options.text.splitStream"),
    kubelet(
        "log-text-info-buffer-size",
        Text,
        "logging.options.text.infoBufferSize",
    ),
    kubelet("log-json-split-stream", Bool, "logging.options.json.splitStream"),
    kubelet(
        "log-json-info-buffer-size",
        Text,
        "logging.options.json.infoBufferSize",
    ),
    kubelet("enable-server", Bool, "enableServer"),
    kubelet("sync-frequency", Text, "syncFrequency"),
    kubelet("file-check-frequency", Text, "fileCheckFrequency"),
    kubelet("http-check-frequency", Text, "httpCheckFrequency"),
    kubelet("manifest-url", Text, "staticPodURL"),
    kubelet("manifest-url-header", MultiMap, "staticPodURLHeader"),
    kubelet("address", Text, "address"),
    kubelet("port", Int, "port"),
    kubelet("read-only-port", Int, "readOnlyPort"),
    kubelet("fail-cgroupv1", Bool, "failCgroupV1"),
    kubelet("image-service-endpoint", Text, "imageServiceEndpoint"),
    kubelet("anonymous-auth", Bool, "authentication.anonymous.enabled"),
    kubelet(
        "authentication-token-webhook",
        Bool,
        "authentication.webhook.enabled",
    ),
    kubelet(
        "authentication-token-webhook-cache-ttl",
        Text,
        "authentication.webhook.cacheTTL",
    ),
    kubelet("client-ca-file", Text, "authentication.x509.clientCAFile"),
    kubelet("authorization-mode", Text, "authorization.mode"),
    kubelet(
        "authorization-webhook-cache-authorized-ttl",
        Text,
        "authorization.webhook.cacheAuthorizedTTL",
    ),
    kubelet(
        "authorization-webhook-cache-unauthorized-ttl",
        Text,
        "authorization.webhook.cacheUnauthorizedTTL",
    ),
    kubelet("tls-cert-file", Text, "tlsCertFile"),
    kubelet("tls-private-key-file", Text, "tlsPrivateKeyFile"),
    kubelet("rotate-server-certificates", Bool, "serverTLSBootstrap"),
    kubelet("tls-cipher-suites", List, "tlsCipherSuites"),
    kubelet("tls-min-version", Text, "tlsMinVersion"),
    kubelet("rotate-certificates", Bool, "rotateCertificates"),
    kubelet("registry-qps", Int, "registryPullQPS"),
    kubelet("registry-burst", Int, "registryBurst"),
    kubelet("event-qps", Int, "eventRecordQPS"),
    kubelet("event-burst", Int, "eventBurst"),
    kubelet("enable-debugging-handlers", Bool, "enableDebuggingHandlers"),
    kubelet("contention-profiling", Bool, "enableContentionProfiling"),
    kubelet("oom-score-adj", Int, "oomScoreAdj"),
    kubelet("volume-plugin-dir", Text, "volumePluginDir"),
    kubelet(
        "streaming-connection-idle-timeout",
        Text,
        "streamingConnectionIdleTimeout",
    ),
    kubelet("node-status-update-frequency", Text, "nodeStatusUpdateFrequency"),
    kubelet("minimum-image-ttl-duration", Text, "imageMinimumGCAge"),
    kubelet("image-gc-high-threshold", Int, "imageGCHighThresholdPercent"),
    kubelet("image-gc-low-threshold", Int, "imageGCLowThresholdPercent"),
    kubelet("volume-stats-agg-period", Text, "volumeStatsAggPeriod"),
    kubelet("feature-gates", BoolMap, "featureGates"),
    kubelet("kubelet-cgroups", Text, "kubeletCgroups"),
    kubelet("system-cgroups", Text, "systemCgroups"),
    kubelet("provider-id", Text, "providerID"),
    kubelet("cgroups-per-qos", Bool, "cgroupsPerQOS"),
    kubelet("cgroup-root", Text, "cgroupRoot"),
    kubelet("cpu-manager-policy", Text, "cpuManagerPolicy"),
    kubelet("cpu-manager-policy-options", Map, "cpuManagerPolicyOptions"),
    kubelet("cpu-manager-reconcile-period", Text, "cpuManagerReconcilePeriod"),
    kubelet("qos-reserved", Map, "qosReserved"),
    kubelet("topology-manager-policy", Text, "topologyManagerPolicy"),
    kubelet(
        "topology-manager-policy-options",
        Map,
        "topologyManagerPolicyOptions",
    ),
    kubelet("topology-manager-scope", Text, "topologyManagerScope"),
    kubelet("runtime-request-timeout", Text, "runtimeRequestTimeout"),
    kubelet("hairpin-mode", Text, "hairpinMode"),
    kubelet("pod-max-pids", Int, "podPidsLimit"),
    kubelet("resolv-conf", Text, "resolvConf"),
    kubelet("runonce", Bool, "runOnce"),
    kubelet("cpu-cfs-quota", Bool, "cpuCFSQuota"),
    kubelet("cpu-cfs-quota-period", Text, "cpuCFSQuotaPeriod"),
    kubelet(
        "enable-controller-attach-detach",
        Bool,
        "enableControllerAttachDetach",
    ),
    kubelet("make-iptables-util-chains", Bool, "makeIPTablesUtilChains"),
    kubelet("container-log-max-size", Text, "containerLogMaxSize"),
    kubelet("container-log-max-files", Int, "containerLogMaxFiles"),
    kubelet("allowed-unsafe-sysctls", List, "allowedUnsafeSysctls"),
    kubelet("node-status-max-images", Int, "nodeStatusMaxImages"),
    kubelet("kernel-memcg-notification", Bool, "kernelMemcgNotification"),
    kubelet(
        "local-storage-capacity-isolation",
        Bool,
        "localStorageCapacityIsolation",
    ),
    kubelet("max-open-files", Int, "maxOpenFiles"),
    kubelet("kube-api-content-type", Text, "contentType"),
    kubelet("kube-api-qps", Int, "kubeAPIQPS"),
    kubelet("kube-api-burst", Int, "kubeAPIBurst"),
    kubelet("serialize-image-pulls", Bool, "serializeImagePulls"),
    kubelet("eviction-hard", LessMap, "evictionHard"),
    kubelet("eviction-soft", LessMap, "evictionSoft"),
    kubelet("eviction-soft-grace-period", Map, "evictionSoftGracePeriod"),
    kubelet(
        "eviction-pressure-transition-period",
        Text,
        "evictionPressureTransitionPeriod",
    ),
    kubelet("eviction-max-pod-grace-period", Int, "evictionMaxPodGracePeriod"),
    kubelet("eviction-minimum-reclaim", Map, "evictionMinimumReclaim"),
    kubelet("pods-per-core", Int, "podsPerCore"),
    kubelet("protect-kernel-defaults", Bool, "protectKernelDefaults"),
    kubelet("reserved-cpus", Text, "reservedSystemCPUs"),
    kubelet("system-reserved", Map, "systemReserved"),
    kubelet("kube-reserved", Map, "kubeReserved"),
    kubelet("enforce-node-allocatable", List, "enforceNodeAllocatable"),
    kubelet("system-reserved-cgroup", Text, "systemReservedCgroup"),
    kubelet("kube-reserved-cgroup", Text, "kubeReservedCgroup"),
    kubelet("memory-manager-policy", Text, "memoryManagerPolicy"),
    kubelet("register-node", Bool, "registerNode"),
    kubelet("seccomp-default", Bool, "seccompDefault"),
    quiet("register-with-taints", Text, "registerWithTaints"),
    quiet("cloud-provider", Text, "cloudProvider"),
    unused("reserved-memory", Text),
    unused("cloud-config", Text),
    unused("lock-file", Text),
    unused("exit-on-lock-contention", Bool),
    unused("runtime-cgroups", Text),
    quiet(
        "image-credential-provider-config",
        Text,
        "imageCredentialProviderConfig",
    ),
    quiet(
        "image-credential-provider-bin-dir",
        Text,
        "imageCredentialProviderBinDir",
    ),
    unused("minimum-container-ttl-duration", Text),
    unused("maximum-dead-containers-per-container", Int),
    unused("maximum-dead-containers", Int),
    unused("experimental-mounter-path", Text),
    unused("experimental-allocatable-ignore-eviction", Bool),
    // Flags of older kubelets that kubeadm's files of those versions still carry.
    unused("container-runtime", Text),
    unused("pod-infra-container-image", Text),
    unused("network-plugin", Text),
    // cAdvisor's flags, which the kubelet exposes.
    unused("housekeeping-interval", Text),
    unused("max-housekeeping-interval", Text),
    unused("application-metrics-count-limit", Int),
    unused("boot-id-file", Text),
    unused("container-hints", Text),
    unused("containerd", Text),
    unused("containerd-namespace", Text),
    unused("enable-load-reader", Bool),
    unused("event-storage-age-limit", Text),
    unused("event-storage-event-limit", Text),
    unused("global-housekeeping-interval", Text),
    unused("log-cadvisor-usage", Bool),
    unused("machine-id-file", Text),
    unused("storage-driver-user", Text),
    unused("storage-driver-password", Text),
    unused("storage-driver-host", Text),
    unused("storage-driver-db", Text),
    unused("storage-driver-table", Text),
    unused("storage-driver-secure", Bool),
    unused("storage-driver-buffer-duration", Text),
];
