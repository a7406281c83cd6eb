//! The queues of a pod: pure.

use std::fmt::Write;

use sha2::{Digest, Sha512};

use super::conf::{Conf, Limit};
use crate::netlink::traffic::TokenBucket;
use crate::text::hash;

/// How long a packet may wait, in milliseconds.
const LATENCY: u64 = 25;
/// A tick of the kernel's packet schedulers (net/pkt_sched.h `PSCHED_SHIFT`), in nanoseconds.
const TICK: u64 = 64;
/// The longest time for which the kernel saves up unused bandwidth (`tbf_change` in net/sched/sch_tbf.c), in nanoseconds.
const LONGEST_FILL: u64 = u32::MAX as u64;
/// The name of an ifb has these characters and twelve of a hash.
pub const IFB_PREFIX: &str = "bwp";
const IFB_LENGTH: usize = 15;

/// What is set for one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The queue of the veth's host end, for what the pod receives.
    pub ingress: Option<TokenBucket>,
    /// The queue of the ifb, for what the pod sends.
    pub egress: Option<TokenBucket>,
    /// The name of the ifb.
    pub ifb: String,
    /// Its group.
    pub group: u32,
}

impl Plan {
    /// Whether the pod has no limits.
    pub fn is_empty(&self) -> bool {
        self.ingress.is_none() && self.egress.is_none()
    }
}

/// The plan for a container of a network.
pub fn plan(conf: &Conf, network: &str, container_id: &str) -> Plan {
    Plan {
        ingress: conf.ingress.map(bucket),
        egress: conf.egress.map(bucket),
        ifb: ifb_name(network, container_id),
        group: group(network),
    }
}

/// The bucket that the original would make. Its burst is given as the time that it takes at the rate, of which the kernel
/// takes four seconds at most: the bursts that runtimes ask for by default would let a pod send without any limit for
/// hours.
fn bucket(limit: Limit) -> TokenBucket {
    let micros = u64::from(limit.burst).saturating_mul(1_000_000) / limit.rate;
    let fill = micros.saturating_mul(1000).min(LONGEST_FILL) / TICK;
    let waiting = (limit.rate.saturating_mul(LATENCY) / 1000).saturating_add(u64::from(limit.burst));
    let fit = |number| u32::try_from(number).unwrap_or(u32::MAX);
    TokenBucket {
        rate: limit.rate,
        fill: fit(fill),
        limit: fit(waiting),
    }
}

/// The name of a container's ifb: that of the original (pkg/utils/utils.go `MustFormatHashWithPrefix`), so that either can
/// remove the other's.
pub fn ifb_name(network: &str, container_id: &str) -> String {
    let digest = Sha512::digest(format!("{network}{container_id}"));
    let mut name = IFB_PREFIX.to_string();
    for byte in digest.iter().take((IFB_LENGTH - IFB_PREFIX.len()).div_ceil(2)) {
        write!(name, "{byte:02x}").expect("a String takes everything");
    }
    name.truncate(IFB_LENGTH);
    name
}

/// The group of a network's ifbs, by which GC finds them: their names say nothing of the network. The kernel sets it when
/// it makes the device, so that a killed ADD leaves none without it.
pub fn group(network: &str) -> u32 {
    let hash = hash(network.as_bytes());
    u32::try_from(hash >> 32).unwrap_or_default().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ifbs_are_those_of_the_original() {
        // `printf netone | sha512sum`
        assert_eq!(ifb_name("net", "one"), "bwp872ac0255154");
        assert_ne!(group("net"), group("other"));
    }

    #[test]
    fn buckets_are_those_of_the_original_up_to_the_kernel_s_bounds() {
        let check = |rate, burst, fill, limit| {
            assert_eq!(bucket(Limit { rate, burst }), TokenBucket { rate, fill, limit });
        };
        // 8 Mbit/s and 100 kB: 0.1 s.
        check(1_000_000, 100_000, 1_562_500, 125_000);
        // What containerd asks for with 1 Mbit/s.
        check(125_000, (1 << 28) - 1, 67_108_863, 268_438_580);
        check(1, u32::MAX - 1, 67_108_863, u32::MAX - 1);
        check(u64::MAX / 8, 1, 0, u32::MAX);
    }
}
