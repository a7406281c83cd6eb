//! Volumes that become larger while pods use them (documentation: *Expanding Persistent Volumes Claims*).

use std::collections::BTreeMap;

use super::csi_request::CsiRequest;
use super::object::content::Content;
use super::persistent::ClaimKey;
use super::resources::Bytes;

/// A volume to enlarge on the node: the driver has enlarged what is behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpansionRequest {
    /// The volume's name in the pod.
    pub volume: String,
    /// What is done, and for whom.
    pub expansion: Expansion,
    /// The size in bytes.
    pub bytes: Bytes,
    /// The volume, as it is there for the pod.
    pub csi: Box<CsiRequest>,
    /// For the driver.
    pub secrets: BTreeMap<String, Content>,
}

/// A volume of a claim, and its new size.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expansion {
    /// The claim.
    pub claim: ClaimKey,
    /// Its UID.
    pub uid: String,
    /// The name of the PersistentVolume.
    pub volume: String,
    /// The size, as the PersistentVolume states it.
    pub size: String,
}
