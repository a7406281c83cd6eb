//! What the agent counts and measures of its own work. The room in which a fact is known writes it here, and `serve`
//! shows it at `/metrics` and `/metrics/probes`.
//!
//! Names, labels, bounds and moments are the kubelet's where it has the same thing (`pkg/kubelet/metrics/metrics.go`),
//! because dashboards query them. Counting costs a short lock and a map's lookup; nothing is sampled while nobody asks.
//!
//! - the numbers: `family` (counters, gauges, distributions), `histogram`, `buckets`;
//! - one file for each subject: `calls` (of the runtime), `listing`, `pods`, `containers`, `pod_starts`, `resizes`,
//!   `images`, `volumes`, `cgroups`, `probes`, `served` (requests to the node API), `api_requests` (to the API server),
//!   `certificates`, `registration`, `shutdown`, `steps`.

mod api_requests;
mod buckets;
mod calls;
mod certificates;
mod cgroups;
mod containers;
mod family;
mod histogram;
mod images;
mod listing;
mod pod_starts;
mod pods;
mod probes;
mod registration;
mod resizes;
mod served;
mod shutdown;
mod steps;
mod volumes;

pub use api_requests::{ApiRequest, ApiRequests};
pub use calls::RuntimeCalls;
pub use certificates::Certificates;
pub use cgroups::{CgroupOperation, Cgroups};
pub use containers::{ContainerType, Containers};
pub use family::{Counter, Distribution, Family, Gauge, Head, Kind, Label, Sample, Sampled};
pub use histogram::Histogram;
pub use images::{EnsureImage, Images};
pub use listing::Listing;
pub use pod_starts::{PodStarts, Started};
pub use pods::{PodWork, Pods};
pub use probes::{ProbeResult, Probed, Probes};
pub use registration::{Moments, Registration};
pub use resizes::{Amount, Resizes};
pub use served::{Route, Served, ServerType, StreamKind};
pub use shutdown::Shutdowns;
pub use steps::Steps;
pub use volumes::Volumes;

/// All of them.
#[derive(Debug, Default)]
pub struct Counters {
    /// Calls of the container runtime.
    pub calls: RuntimeCalls,
    /// How the runtime is observed.
    pub listing: Listing,
    /// Work on pods.
    pub pods: Pods,
    /// Starts and ends of containers.
    pub containers: Containers,
    /// How long pods took to start.
    pub pod_starts: PodStarts,
    /// Resizes of pods.
    pub resizes: Resizes,
    /// Images for containers.
    pub images: Images,
    /// Volumes that were made.
    pub volumes: Volumes,
    /// What was done to cgroups.
    pub cgroups: Cgroups,
    /// Probes of containers; on a page of their own.
    pub probes: Probes,
    /// Requests to the node API.
    pub served: Served,
    /// Requests to the API server.
    pub api_requests: ApiRequests,
    /// The node's certificates.
    pub certificates: Certificates,
    /// When the node was registered.
    pub registration: Registration,
    /// The last shutdown of the machine.
    pub shutdown: Shutdowns,
    /// Steps of plans.
    pub steps: Steps,
}

impl Counters {
    /// Every family of `/metrics` as it is now.
    pub fn sample(&self) -> Vec<Sampled> {
        let subjects: [Vec<&dyn Family>; 14] = [
            self.calls.families(),
            self.listing.families(),
            self.pods.families(),
            self.containers.families(),
            self.pod_starts.families(),
            self.resizes.families(),
            self.images.families(),
            self.volumes.families(),
            self.cgroups.families(),
            self.served.families(),
            self.api_requests.families(),
            self.certificates.families(),
            self.shutdown.families(),
            self.steps.families(),
        ];
        let families = subjects.into_iter().flatten();
        families.map(Family::sample).collect()
    }
}
