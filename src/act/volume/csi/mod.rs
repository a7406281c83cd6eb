//! Volumes of CSI drivers: staged once for the node, published for each pod, and taken down in the opposite order.
//!
//! - [`ledger`]: what is where, and who uses it; one writer, whose memory is the disk: the kubelet's data files, so that
//!   either agent takes over the other's volumes at any moment (`found`); `entry`: what is known of one volume;
//! - `publish`: stages and publishes; `messages`: what a driver is sent for it;
//! - `device`: the links and mounts of a published device (`device_files`);
//! - `release`: takes a pod's volumes down, before its directory is removed;
//! - [`unstage`]: takes down what no pod uses any more, as a loop of its own: the end of a pod does not wait for it;
//! - `expand`: enlarges a volume while pods use it;
//! - `data`: the data files.

pub(in crate::act::volume) mod data;
pub(in crate::act::volume) mod device;
mod entry;
mod expand;
mod found;
pub mod ledger;
mod messages;
mod publish;
mod release;
#[cfg(test)]
mod tests;
pub mod unstage;

pub use ledger::CsiVolumes;

pub(in crate::act) use expand::expand;
pub(in crate::act) use publish::ensure;
pub(in crate::act) use release::release;
