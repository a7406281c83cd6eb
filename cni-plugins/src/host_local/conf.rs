//! The `ipam` section of `type: host-local`, as written and as parsed.
//! <https://www.cni.dev/plugins/current/ipam/host-local/>

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

use super::allocate::{Range, RangeSet, step};
use crate::request::Request;
use crate::types::{Error, RouteConfig, empty_is_none};

/// The directory of the Go plugin's records, which this plugin shares: a node can change from one to the other.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/cni/networks";

/// The parsed configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conf {
    /// One address is allocated from each.
    pub sets: Vec<RangeSet>,
    /// Routes for the result.
    pub routes: Vec<RouteConfig>,
    /// The directory of this network's records.
    pub dir: PathBuf,
    /// A file with resolver settings.
    pub resolv_conf: Option<PathBuf>,
    /// The addresses that the caller requests.
    pub requested: Vec<IpAddr>,
}

impl Conf {
    /// The requested addresses by the number of their range set; and the first one that is in no set, or the second one
    /// of its set.
    pub fn requests_by_set(&self) -> (HashMap<usize, IpAddr>, Option<IpAddr>) {
        let ranges = self
            .sets
            .iter()
            .enumerate()
            .flat_map(|(number, set)| set.0.iter().map(move |range| (range.start, (range.end, number))));
        let by_start: BTreeMap<IpAddr, (IpAddr, usize)> = ranges.collect();
        let mut placed = HashMap::new();
        let mut unplaced = None;
        for address in &self.requested {
            let set = by_start
                .range(..=*address)
                .next_back()
                .filter(|(_, (end, _))| address <= end && address.is_ipv4() == end.is_ipv4())
                .map(|(_, (_, number))| *number);
            match set.map(|set| placed.entry(set)) {
                Some(Entry::Vacant(free)) => drop(free.insert(*address)),
                _ => unplaced = unplaced.or(Some(*address)),
            }
        }
        (placed, unplaced)
    }
}

#[derive(Deserialize)]
struct Written {
    ipam: Option<WrittenIpam>,
    #[serde(rename = "runtimeConfig", default)]
    runtime: WrittenRuntime,
    #[serde(default)]
    args: WrittenArgs,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenIpam {
    #[serde(default)]
    subnet: Option<IpNet>,
    #[serde(default, deserialize_with = "empty_is_none")]
    range_start: Option<IpAddr>,
    #[serde(default, deserialize_with = "empty_is_none")]
    range_end: Option<IpAddr>,
    #[serde(default, deserialize_with = "empty_is_none")]
    gateway: Option<IpAddr>,
    #[serde(default)]
    ranges: Option<Vec<Vec<WrittenRange>>>,
    #[serde(default)]
    routes: Option<Vec<RouteConfig>>,
    #[serde(default)]
    data_dir: String,
    #[serde(default)]
    resolv_conf: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenRange {
    #[serde(default)]
    subnet: Option<IpNet>,
    #[serde(default, deserialize_with = "empty_is_none")]
    range_start: Option<IpAddr>,
    #[serde(default, deserialize_with = "empty_is_none")]
    range_end: Option<IpAddr>,
    #[serde(default, deserialize_with = "empty_is_none")]
    gateway: Option<IpAddr>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WrittenRuntime {
    ip_ranges: Option<Vec<Vec<WrittenRange>>>,
    ips: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WrittenArgs {
    cni: WrittenCniArgs,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WrittenCniArgs {
    ips: Option<Vec<String>>,
}

/// Reads and checks the configuration. The order of range sets is that of the Go plugin, because the number of a set is
/// part of the name of its record of the last address: first those of the runtime, then the single subnet, then the
/// list.
pub fn read(request: &Request) -> Result<Conf, Error> {
    let written: Written = request.config()?;
    let Some(ipam) = written.ipam else {
        return Err(Error::invalid(
            "ipam is missing; host-local requires ipam.subnet or ipam.ranges",
        ));
    };
    let mut sets = Vec::new();
    for set in written.runtime.ip_ranges.unwrap_or_default() {
        sets.push(read_set(set, sets.len())?);
    }
    if let Some(subnet) = ipam.subnet {
        let (range_start, range_end, gateway) = (ipam.range_start, ipam.range_end, ipam.gateway);
        sets.push(read_set(
            vec![WrittenRange {
                subnet: Some(subnet),
                range_start,
                range_end,
                gateway,
            }],
            sets.len(),
        )?);
    }
    for set in ipam.ranges.unwrap_or_default() {
        sets.push(read_set(set, sets.len())?);
    }
    if sets.is_empty() {
        return Err(Error::invalid(
            "ipam has no address range: set ipam.subnet or ipam.ranges",
        ));
    }
    if let Some((one, other)) = overlapping(
        sets.iter()
            .enumerate()
            .flat_map(|(number, set)| set.0.iter().map(move |range| (number, range))),
    ) {
        let (one, other) = (one.min(other), one.max(other));
        let msg = format!("ipam.ranges: range set {one} overlaps range set {other}");
        return Err(Error::invalid(msg));
    }
    let data_dir = if ipam.data_dir.is_empty() {
        DEFAULT_DATA_DIR
    } else {
        &ipam.data_dir
    };
    Ok(Conf {
        sets,
        routes: ipam.routes.unwrap_or_default(),
        dir: PathBuf::from(data_dir).join(&request.network),
        resolv_conf: Some(ipam.resolv_conf)
            .filter(|path| !path.is_empty())
            .map(PathBuf::from),
        requested: requested(request, &written.args.cni.ips, &written.runtime.ips)?,
    })
}

/// The addresses that the runtime or the configuration asks for.
fn requested(
    request: &Request,
    in_config: &Option<Vec<String>>,
    in_runtime: &Option<Vec<String>>,
) -> Result<Vec<IpAddr>, Error> {
    let mut requested = Vec::new();
    let in_args = request
        .args
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case("IP"))
        .map(|(_, value)| value);
    let in_config = in_config.iter().flatten();
    for ip in in_args.chain(in_config).chain(in_runtime.iter().flatten()) {
        requested.push(read_requested(ip)?);
    }
    Ok(requested)
}

/// An address may have a prefix length, which is ignored.
fn read_requested(written: &str) -> Result<IpAddr, Error> {
    let address = written.split_once('/').map_or(written, |(address, _)| address);
    address
        .trim()
        .parse()
        .map_err(|_| Error::invalid(format!("the requested address {written:?} is not an IP address")))
}

fn read_set(written: Vec<WrittenRange>, number: usize) -> Result<RangeSet, Error> {
    let fail = |msg: String| Error::invalid(format!("ipam.ranges: range set {number}: {msg}"));
    let mut ranges: Vec<Range> = Vec::with_capacity(written.len());
    for range in written {
        let range = read_range(&range).map_err(fail)?;
        if ranges
            .first()
            .is_some_and(|first| first.start.is_ipv4() != range.start.is_ipv4())
        {
            return Err(fail(
                "mixes IPv4 and IPv6; use a separate range set for each family".to_string(),
            ));
        }
        ranges.push(range);
    }
    if let Some((_, second)) = overlapping(ranges.iter().enumerate()) {
        return Err(fail(format!(
            "{} overlaps another range of the set",
            ranges[second]
        )));
    }
    if ranges.is_empty() {
        return Err(fail("is empty".to_string()));
    }
    Ok(RangeSet(ranges))
}

/// The indexes of two overlapping ranges: they are neighbors when sorted by their starts.
fn overlapping<'a>(ranges: impl Iterator<Item = (usize, &'a Range)>) -> Option<(usize, usize)> {
    let mut sorted: Vec<_> = ranges.collect();
    sorted.sort_by_key(|(_, range)| (range.start, range.end));
    // If a range starts within an earlier one, it starts within its neighbor, or the neighbor does.
    sorted
        .windows(2)
        .find(|pair| pair[0].1.overlaps(pair[1].1))
        .map(|pair| (pair[0].0, pair[1].0))
}

fn read_range(written: &WrittenRange) -> Result<Range, String> {
    let subnet = written.subnet.ok_or("subnet is missing")?;
    if subnet.prefix_len() > subnet.max_prefix_len() - 2 {
        return Err(format!("subnet {subnet} is too small to allocate addresses from"));
    }
    if subnet.addr() != subnet.network() {
        return Err(format!(
            "subnet {subnet} has host bits set; use {}",
            subnet.trunc()
        ));
    }
    let first = step(subnet.network()).ok_or("subnet has no first address")?;
    // In IPv4 the broadcast address cannot be used; IPv6 has none.
    let last = match subnet {
        IpNet::V4(net) => IpAddr::from((u32::from(net.broadcast()) - 1).to_be_bytes()),
        IpNet::V6(net) => IpAddr::V6(net.broadcast()),
    };
    let (start, end) = (
        written.range_start.unwrap_or(first),
        written.range_end.unwrap_or(last),
    );
    for (field, address) in [("rangeStart", start), ("rangeEnd", end)] {
        if !subnet.contains(&address) {
            return Err(format!("{field} {address} is outside subnet {subnet}"));
        }
    }
    if start > end {
        return Err(format!("rangeStart {start} is after rangeEnd {end}"));
    }
    let gateway = written.gateway.unwrap_or(first);
    if gateway.is_ipv4() != start.is_ipv4() {
        return Err(format!(
            "gateway {gateway} is not in the address family of subnet {subnet}"
        ));
    }
    Ok(Range {
        subnet,
        start,
        end,
        gateway,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::request::sample;

    fn request(config: serde_json::Value, args: &[(&str, &str)]) -> Request {
        Request {
            args: args
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
            ..sample(config)
        }
    }

    #[test]
    fn a_subnet_alone_gets_first_last_and_gateway() {
        let conf = read(&request(json!({"ipam": {"subnet": "10.1.2.0/24"}}), &[])).unwrap();
        let range = &conf.sets[0].0[0];
        assert_eq!(range.to_string(), "10.1.2.1-10.1.2.254");
        assert_eq!(range.gateway.to_string(), "10.1.2.1");
        assert_eq!(conf.dir, PathBuf::from("/var/lib/cni/networks/net"));
    }

    #[test]
    fn sets_of_the_runtime_come_first_and_the_single_subnet_second() {
        let config = json!({
            "ipam": {"subnet": "10.1.0.0/24", "ranges": [[{"subnet": "10.2.0.0/24"}]]},
            "runtimeConfig": {"ipRanges": [[{"subnet": "10.3.0.0/24"}]]},
        });
        let conf = read(&request(config, &[])).unwrap();
        let subnets: Vec<_> = conf.sets.iter().map(|set| set.0[0].subnet.to_string()).collect();
        assert_eq!(subnets, ["10.3.0.0/24", "10.1.0.0/24", "10.2.0.0/24"]);
    }

    #[test]
    fn requested_addresses_are_taken_from_all_three_places() {
        let config = json!({
            "ipam": {"subnet": "10.1.0.0/24"},
            "args": {"cni": {"ips": ["10.1.0.6/24"]}},
            "runtimeConfig": {"ips": ["10.1.0.7"]},
        });
        let conf = read(&request(config, &[("IP", "10.1.0.5")])).unwrap();
        let wanted: Vec<_> = conf.requested.iter().map(IpAddr::to_string).collect();
        assert_eq!(wanted, ["10.1.0.5", "10.1.0.6", "10.1.0.7"]);
    }

    #[test]
    fn bad_ranges_are_refused_with_the_field_and_the_reason() {
        let cases = [
            (json!({}), "ipam is missing"),
            (json!({"ipam": {}}), "set ipam.subnet or ipam.ranges"),
            (json!({"ipam": {"subnet": "10.1.0.1/24"}}), "use 10.1.0.0/24"),
            (json!({"ipam": {"subnet": "10.1.0.0/31"}}), "too small"),
            (
                json!({"ipam": {"subnet": "10.1.0.0/24", "rangeStart": "10.1.1.5"}}),
                "rangeStart 10.1.1.5 is outside",
            ),
            (
                json!({"ipam": {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.5"}}),
                "is after rangeEnd",
            ),
            (
                json!({"ipam": {"subnet": "10.1.0.0/24", "gateway": "fd00::1"}}),
                "not in the address family",
            ),
            (json!({"ipam": {"subnet": "ten"}}), "ipam.subnet"),
            (
                json!({"ipam": {"ranges": [[{"subnet": "10.1.0.0/24", "gateway": 5}]]}}),
                "ipam.ranges[0][0].gateway",
            ),
            (json!({"ipam": {"ranges": [[]]}}), "range set 0: is empty"),
            (json!({"ipam": {"ranges": [[{}]]}}), "subnet is missing"),
            (
                json!({"ipam": {"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "fd00::/64"}]]}}),
                "mixes IPv4 and IPv6",
            ),
            (
                json!({"ipam": {"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.1.0.0/16"}]]}}),
                "set 0 overlaps range set 1",
            ),
            (
                json!({"ipam": {"subnet": "10.1.0.0/24"}, "runtimeConfig": {"ips": ["x"]}}),
                "not an IP address",
            ),
        ];
        for (config, expected) in cases {
            let error = read(&request(config.clone(), &[])).unwrap_err();
            assert!(error.msg.contains(expected), "{config}: {}", error.msg);
        }
    }
}
