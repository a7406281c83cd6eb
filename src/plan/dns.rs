//! The resolver configuration of a pod (`pkg/kubelet/network/dns/dns.go`; Kubernetes: *DNS for Services and
//! Pods*).

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use crate::model::node::NodePolicy;
use crate::model::pod::{DnsConfig, DnsPolicy, Pod};

/// The limits of resolvers (`pkg/apis/core/validation`).
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARACTERS: usize = 2048;
/// The longest DNS name (RFC 1123).
const MAX_NAME: usize = 253;
/// The settings for queries to the cluster's resolver.
const CLUSTER_OPTION: &str = "ndots:5";

/// The resolver that a pod uses.
enum Base {
    Cluster,
    Host,
    Nothing,
}

/// The pod's resolver configuration, truncated to the resolvers' limits.
pub(super) fn config(pod: &Pod, policy: &NodePolicy) -> DnsConfig {
    let mut config = match base(pod, policy) {
        Base::Nothing => DnsConfig::default(),
        Base::Host => policy.host_dns.clone(),
        Base::Cluster => DnsConfig {
            servers: policy.cluster_dns.iter().map(ToString::to_string).collect(),
            searches: cluster_searches(pod, policy),
            options: vec![CLUSTER_OPTION.to_owned()],
        },
    };
    let own = &pod.dns_config;
    config.servers = unique(config.servers.into_iter().chain(own.servers.iter().cloned()));
    config.searches = unique(config.searches.into_iter().chain(own.searches.iter().cloned()));
    config.options = options(config.options, &own.options);
    config.servers.truncate(MAX_SERVERS);
    config.searches = searches_within_limits(config.searches);
    config
}

/// With the host's network, `ClusterFirst` means the host's resolver. So does any policy for the cluster's resolver on
/// a node without one configured.
fn base(pod: &Pod, policy: &NodePolicy) -> Base {
    let cluster = match pod.dns_policy {
        DnsPolicy::None => return Base::Nothing,
        DnsPolicy::Default => false,
        DnsPolicy::ClusterFirst => !pod.namespaces.host_network,
        DnsPolicy::ClusterFirstWithHostNet => true,
    };
    match cluster && !policy.cluster_dns.is_empty() {
        true => Base::Cluster,
        false => Base::Host,
    }
}

fn cluster_searches(pod: &Pod, policy: &NodePolicy) -> Vec<String> {
    let domain = &policy.cluster_domain;
    let host = policy.host_dns.searches.iter().cloned();
    if domain.is_empty() {
        return host.collect();
    }
    let own = [
        format!("{}.svc.{domain}", pod.name.namespace),
        format!("svc.{domain}"),
        domain.clone(),
    ];
    unique(own.into_iter().chain(host))
}

fn unique(list: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    list.filter(|entry| seen.insert(entry.clone())).collect()
}

/// The pod's options replace those of the same name, in the same position; in the kubelet the order is random.
fn options(base: Vec<String>, own: &[String]) -> Vec<String> {
    let mut all: Vec<&String> = Vec::new();
    let mut places = HashMap::new();
    for option in base.iter().chain(own) {
        match places.entry(option_name(option)) {
            Entry::Occupied(place) => all[*place.get()] = option,
            Entry::Vacant(place) => {
                place.insert(all.len());
                all.push(option);
            }
        }
    }
    all.into_iter().cloned().collect()
}

fn option_name(option: &str) -> &str {
    option.split_once(':').map_or(option, |(name, _)| name)
}

/// The first 32, without invalid names, as many as fit into the line.
fn searches_within_limits(mut searches: Vec<String>) -> Vec<String> {
    searches.truncate(MAX_SEARCHES);
    searches.retain(|name| name.len() <= MAX_NAME);
    let mut characters = 0;
    let fitting = searches.iter().take_while(|name| {
        characters += name.len() + usize::from(characters > 0);
        characters <= MAX_SEARCH_CHARACTERS
    });
    let count = fitting.count();
    searches.truncate(count);
    searches
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::model::pod::RestartPolicy;
    use crate::model::sample;

    fn check(change: impl FnOnce(&mut Pod, &mut NodePolicy), expected: Expect) {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        let mut policy = sample::policy();
        policy.host_dns = DnsConfig {
            servers: vec!["192.0.2.1".to_owned(), "192.0.2.2".to_owned()],
            searches: vec!["example.org".to_owned(), "cluster.local".to_owned()],
            options: vec!["timeout:1".to_owned(), "edns0".to_owned()],
        };
        change(&mut pod, &mut policy);
        let config = config(&pod, &policy);
        expected.assert_eq(&format!(
            "{} | {} | {}",
            config.servers.join(" "),
            config.searches.join(" "),
            config.options.join(" ")
        ));
    }

    #[test]
    fn each_policy() {
        check(
            |_, _| {},
            expect![
                "10.96.0.10 | ns.svc.cluster.local svc.cluster.local cluster.local example.org | ndots:5"
            ],
        );
        check(
            |pod, _| pod.namespaces.host_network = true,
            expect!["192.0.2.1 192.0.2.2 | example.org cluster.local | timeout:1 edns0"],
        );
        check(
            |pod, _| {
                pod.namespaces.host_network = true;
                pod.dns_policy = DnsPolicy::ClusterFirstWithHostNet;
            },
            expect![
                "10.96.0.10 | ns.svc.cluster.local svc.cluster.local cluster.local example.org | ndots:5"
            ],
        );
        check(
            |pod, _| pod.dns_policy = DnsPolicy::Default,
            expect!["192.0.2.1 192.0.2.2 | example.org cluster.local | timeout:1 edns0"],
        );
        check(|pod, _| pod.dns_policy = DnsPolicy::None, expect![" |  | "]);
        check(
            |_, policy| policy.cluster_dns.clear(),
            expect!["192.0.2.1 192.0.2.2 | example.org cluster.local | timeout:1 edns0"],
        );
        check(
            |_, policy| policy.cluster_domain.clear(),
            expect!["10.96.0.10 | example.org cluster.local | ndots:5"],
        );
    }

    #[test]
    fn the_pods_own_is_added_and_replaces_options_of_the_same_name() {
        check(
            |pod, _| {
                pod.dns_policy = DnsPolicy::Default;
                pod.dns_config = DnsConfig {
                    servers: vec![
                        "192.0.2.2".to_owned(),
                        "192.0.2.3".to_owned(),
                        "192.0.2.4".to_owned(),
                    ],
                    searches: vec!["more.example".to_owned()],
                    options: vec!["timeout:9".to_owned(), "rotate".to_owned()],
                };
            },
            expect![
                "192.0.2.1 192.0.2.2 192.0.2.3 | example.org cluster.local more.example | timeout:9 edns0 rotate"
            ],
        );
    }

    #[test]
    fn searches_are_cut_to_what_resolvers_read() {
        let long =
            |n: usize, length: usize| -> Vec<String> { (0..n).map(|i| format!("{i:0>length$}")).collect() };
        assert_eq!(searches_within_limits(long(40, 10)).len(), 32);
        assert_eq!(searches_within_limits(long(3, 254)).len(), 0);
        // 8 names of 253 with 7 spaces are 2031 characters, a ninth would not fit.
        assert_eq!(searches_within_limits(long(9, 253)).len(), 8);
        assert_eq!(searches_within_limits(long(2, 253)).len(), 2);
    }
}
