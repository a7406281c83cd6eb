//! The names and addresses of the node's serving certificate, and whether it must be renewed. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;

use super::certificate::Certificate;
use super::renewal_time;
use super::request::{GROUP, Purpose};
use crate::model::api::ApiNode;

/// The names to request: the node's names and addresses from the Node object, in a stable order, as the kubelet does
/// (`addressesToHostnamesAndIPs`). `None` while the node has no address: the signer's approvers require one.
pub fn wanted(node: &ApiNode) -> Option<Purpose> {
    let ApiNode::Present(node) = node else {
        return None;
    };
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    let reported = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    for reported in reported
        .into_iter()
        .flatten()
        .filter(|reported| !reported.address.is_empty())
    {
        let address = reported.address.parse::<IpAddr>().ok();
        match (reported.type_.as_str(), address) {
            ("Hostname" | "InternalIP" | "ExternalIP", Some(address)) => {
                addresses.insert((reported.address.clone(), address));
            }
            ("Hostname" | "InternalDNS" | "ExternalDNS", _) => {
                names.insert(reported.address.clone());
            }
            _ => {}
        }
    }
    (!addresses.is_empty()).then(|| Purpose::Serving {
        names: names.into_iter().collect(),
        addresses: addresses.into_iter().map(|(_, address)| address).collect(),
    })
}

/// Whether a certificate is this node's and covers all requested names; additional names are no reason to replace it.
pub fn satisfies(certificate: &Certificate, node: &str, purpose: &Purpose) -> bool {
    let Purpose::Serving { names, addresses } = purpose else {
        return false;
    };
    let (own_names, own_addresses) = certificate.alternatives();
    certificate.common_name == format!("system:node:{node}")
        && certificate.organizations().contains(GROUP)
        && names.iter().all(|name| own_names.contains(name))
        && addresses.iter().all(|address| own_addresses.contains(address))
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing before then; `None`: nothing before something changes.
    Wait(Option<Timestamp>),
    /// A certificate is requested.
    Ask(Purpose),
}

/// What to do with the current certificate.
pub fn next(in_force: Option<&Certificate>, node: &str, wanted: Option<Purpose>, now: Timestamp) -> Next {
    let Some(wanted) = wanted else {
        return Next::Wait(None);
    };
    let good = in_force.filter(|own| satisfies(own, node, &wanted));
    match good.map(renewal_time::renewal) {
        Some(renewal_time) if renewal_time > now => Next::Wait(Some(renewal_time)),
        _ => Next::Ask(wanted),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::SignedDuration;
    use serde_json::json;

    use super::*;
    use crate::identity::certificate::certificates;
    use crate::identity::certificate::tests::Authority;

    fn node(addresses: &[(&str, &str)]) -> ApiNode {
        let addresses: Vec<_> = addresses
            .iter()
            .map(|(kind, address)| json!({"type": kind, "address": address}))
            .collect();
        let node = json!({"metadata": {"name": "n"}, "status": {"addresses": addresses}});
        ApiNode::Present(Arc::new(serde_json::from_value(node).unwrap()))
    }

    fn serving(names: &[&str], addresses: &[&str]) -> Purpose {
        Purpose::Serving {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn what_the_api_server_has_of_the_node_is_asked_for() {
        let check = |reported: &[(&str, &str)], expected: Option<Purpose>| {
            assert_eq!(wanted(&node(reported)), expected, "{reported:?}");
        };
        check(
            &[
                ("InternalIP", "192.0.2.9"),
                ("InternalIP", "192.0.2.10"),
                ("ExternalIP", "2001:db8::1"),
                ("ExternalIP", "192.0.2.9"),
                ("Hostname", "n"),
                ("InternalDNS", "n.example.org"),
                ("ExternalDNS", "a.example.org"),
            ],
            // By their text, as the kubelet sorts.
            Some(serving(
                &["a.example.org", "n", "n.example.org"],
                &["192.0.2.10", "192.0.2.9", "2001:db8::1"],
            )),
        );
        check(&[("Hostname", "192.0.2.9")], Some(serving(&[], &["192.0.2.9"])));
        // Neither a name alone nor an invalid address is enough.
        check(
            &[("Hostname", "n"), ("InternalIP", "n"), ("InternalIP", "")],
            None,
        );
        check(&[], None);
        assert_eq!(wanted(&ApiNode::Unknown), None);
        assert_eq!(wanted(&ApiNode::Absent), None);
    }

    #[test]
    fn it_is_asked_for_anew_when_it_is_due_or_not_for_all() {
        let authority = Authority::new("ca");
        let signed = |name: &str, purpose: &Purpose, life: (i64, i64)| {
            let pem = authority.serving(name, purpose, life);
            certificates(pem.as_bytes()).unwrap().remove(0)
        };
        let now = Timestamp::now();
        let asked = serving(&["n"], &["192.0.2.9"]);
        let good = signed("n", &serving(&["n", "more"], &["192.0.2.9"]), (-300, 3600));
        let check = |own: Option<&Certificate>, wanted: Option<&Purpose>, expected: &str| {
            let reported = match next(own, "n", wanted.cloned(), now) {
                Next::Wait(None) => "wait",
                Next::Wait(Some(until)) => {
                    assert!(until > now && until < now + SignedDuration::from_secs(3600));
                    "later"
                }
                Next::Ask(purpose) => {
                    assert_eq!(Some(&purpose), wanted);
                    "ask"
                }
            };
            assert_eq!(reported, expected);
        };
        check(Some(&good), Some(&asked), "later");
        check(None, Some(&asked), "ask");
        // No certificate is requested before an address is known.
        check(None, None, "wait");
        check(Some(&good), None, "wait");
        check(Some(&good), Some(&serving(&["n"], &["192.0.2.10"])), "ask");
        check(Some(&good), Some(&serving(&["m"], &["192.0.2.9"])), "ask");
        check(Some(&signed("m", &asked, (-300, 3600))), Some(&asked), "ask");
        check(Some(&signed("n", &asked, (-3600, 100))), Some(&asked), "ask");
        check(Some(&signed("n", &asked, (-3600, -1))), Some(&asked), "ask");
    }
}
