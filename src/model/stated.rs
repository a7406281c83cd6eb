//! The objects of the manifests directory as their manifests state them, for those who show or change them: the metadata
//! that no pod uses, and pods under the names that people gave them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::manifest_edit::{Hidden, Target};

/// An object as its manifest states it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stated {
    /// What a change is checked against; `None`: the file has it no longer, or cannot be read, and what was in force before
    /// stays.
    pub version: Option<String>,
    /// `metadata.labels`
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`; a Secret's values are in none of them.
    pub annotations: BTreeMap<String, String>,
    /// When its file was last modified before the agent first saw the object in it. Later changes of the file do not make
    /// the object younger.
    pub created: Timestamp,
    /// A pod's manifest, as it may be shown.
    pub manifest: Option<Arc<Hidden>>,
}

/// All of them. Unchanged ones keep their `Arc`.
pub type AllStated = BTreeMap<Target, Arc<Stated>>;

/// Whether both have the same values, without comparing their contents.
pub fn is_same(a: &AllStated, b: &AllStated) -> bool {
    let mut pairs = a.iter().zip(b);
    a.len() == b.len() && pairs.all(|(a, b)| a.0 == b.0 && Arc::ptr_eq(a.1, b.1))
}
