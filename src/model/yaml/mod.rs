//! What YAML means, the same in every file that the agent reads: manifests, configurations and kubeconfigs.
//!
//! Pure. [`scalar`] has the rules for a single value, [`document`] reads whole texts as plain values, [`write`] writes
//! them. Manifests have a reader of their own for whole texts (`manifest/yaml`), because it reports every problem and not
//! the first one.

pub mod document;
pub mod scalar;
pub mod write;
