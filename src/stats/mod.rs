//! Measures the node and its pods on request: nothing is sampled in between. Reads the kernel's counters and
//! changes nothing.
//!
//! - `sampler`: one task that answers requests, one after the other, from its last sample while that is fresh enough.
//! - `reading`: one reading of the whole machine.
//! - `known`: what was read before, of which little is read again while nothing happens. `known_pods`: where the cgroups
//!   of pods are. `depth`: how much is wanted.
//! - `tree`: which cgroup belongs to which pod and container.
//! - `processes`: what processes hold open.
//! - `interfaces`: the counters of network interfaces.
//! - `rates`: what two samples say together.
//! - `storage`: another task, for what lies on disks, which takes longer and is remembered for longer.
//! - `directories`: the directories of one pod. `volume`: what one volume takes, by its project quota or a walk; `quota`: which
//!   of them is believed.
//! - `mounted`: a third task, for volumes that drivers provide or that lie on file systems of their own.
//! - `pods_use`: a fourth one, which has all of it measured for loop 1 when pods have to make room.
//! - `devices`, `mounts`, `topology`: the machine's disks, where they are mounted, and its processors.

mod depth;
mod devices;
mod directories;
mod interfaces;
mod known;
mod known_pods;
mod mounts;
pub(crate) mod mounted;
mod pods_use;
mod processes;
mod quota;
mod rates;
mod reading;
pub(crate) mod sampler;
pub(crate) mod storage;
mod topology;
mod tree;
mod volume;

pub use depth::Depth;
pub use directories::Quotas;
pub use mounted::{
    HealthReports, MountedHandle, MountedPlace, MountedRequests, mounted_requests, run_mounted,
};
pub use pods_use::run_pods_use;
pub use reading::{Place, boot_time};
pub use sampler::{HOUSEKEEPING, Handle, Requests, Stopped, requests, run};
pub use storage::{StorageHandle, StoragePlace, StorageRequests, run_storage, storage_requests};
pub use topology::topology;
