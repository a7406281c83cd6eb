//! The flags that are accepted because the kubelet accepts them, and that have no effect in this version.

use super::flag::Kind::{Bool, Int, Text};
use super::flag::{Flag, unused};

/// The flags, in the kubelet's order.
pub(super) const UNUSED_FLAGS: &[Flag] = &[
    unused("reserved-memory", Text),
    unused("cloud-config", Text),
    unused("lock-file", Text),
    unused("exit-on-lock-contention", Bool),
    unused("runtime-cgroups", Text),
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
