//! The flags of the endpoint for kubectl.

use super::flag::Kind::{Int, Text};
use super::flag::{Flag, own};

/// The flags.
pub(super) const KUBECTL_FLAGS: &[Flag] = &[
    own(
        "kubectl-port",
        Int,
        "kubectlPort",
        "The port at 127.0.0.1 that answers kubectl; 0 disables it [default: 10247 without a cluster, else 0]",
    ),
    own(
        "kubectl-group",
        Text,
        "kubectlGroup",
        "The group that may read the kubeconfig of this port, and with it do what root may do [default: root alone]",
    ),
];
