//! `gantry kubeconfig`: the kubeconfig with which kubectl works on this machine.

use super::beside::Beside;
use crate::identity::kubectl_file;

/// What is printed.
pub const FILE: Beside = Beside {
    name: kubectl_file::NAME,
    remedy: "start the agent with `systemctl start gantry` or `gantry run`; on a node of a cluster, or with kubectlPort 0, \
             it serves no kubectl",
    readers: "root, and the group of kubectlGroup if it is set,",
};
