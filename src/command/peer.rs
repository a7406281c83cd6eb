//! `gantry peer`: this machine's entry for the files of peers of other machines.

use super::beside::Beside;
use crate::network;

/// What is printed.
pub const FILE: Beside = Beside {
    name: network::ENTRY,
    remedy: "start the agent with peersFile (or --peers-file) set, which connects the pods of several machines",
    readers: "root",
};
