//! The flags of a pod network of several machines.

use super::flag::Kind::{Bool, Int, Text};
use super::flag::{Flag, own};

/// The flags.
pub(super) const OVERLAY_FLAGS: &[Flag] = &[
    own(
        "peers-file",
        Text,
        "peersFile",
        "The file of other machines whose pods this machine's pods reach, without a cluster; `gantry peer` prints this \
         machine's entry for the others",
    ),
    own(
        "network-backend",
        Text,
        "networkBackend",
        "How packets travel to other machines: vxlan, or host-gw within one link [default: vxlan]",
    ),
    own(
        "vxlan-vni",
        Int,
        "vxlanVNI",
        "The VXLAN network identifier, the same on all machines [default: 1]",
    ),
    own(
        "vxlan-port",
        Int,
        "vxlanPort",
        "The UDP port of VXLAN, the same on all machines [default: 8472]",
    ),
    own(
        "direct-routing",
        Bool,
        "directRouting",
        "Reach machines on the same link without VXLAN",
    ),
];
