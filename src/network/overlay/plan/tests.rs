use std::net::IpAddr;

use proptest::prelude::*;

use super::super::change::Settled;
use super::super::kernel::Vxlan;
use super::{Arc, IpNet, Kernel, Link, Operation, Own, PROTOCOL, Peer, Plan, Problem, Route, Way};
use crate::model::overlay::{Backend, Mac};

const UPLINK: u32 = 2;

fn mac(last: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, last])
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn vxlan(is_direct: bool) -> Way {
    Way::Vxlan {
        vni: 1,
        port: 8472,
        is_direct,
    }
}

fn own(way: Way) -> Own {
    Own {
        address: "192.0.2.1".parse().unwrap(),
        network: net("10.244.0.0/16"),
        subnet: net("10.244.1.0/24"),
        mac: mac(1),
        way,
    }
}

fn peer(number: u8, address: &str, backend: Backend) -> Peer {
    Peer {
        name: format!("n{number}"),
        address: address.parse().unwrap(),
        subnet: format!("10.244.{number}.0/24").parse().unwrap(),
        backend,
    }
}

fn tunnel(number: u8) -> Backend {
    Backend::Vxlan {
        vni: 1,
        mac: mac(number),
    }
}

/// A host with an uplink, a route to its neighbors, and one of an administrator.
fn host() -> Kernel {
    let mut kernel = Kernel::default();
    let link = Link {
        name: "eth0".to_owned(),
        mtu: 1500,
        is_up: true,
        mac: Some(mac(200)),
        vxlan: None,
    };
    kernel.links.insert(UPLINK, link);
    kernel.addresses.insert(UPLINK, [net("192.0.2.1/24")].into());
    for (destination, protocol) in [("192.0.2.0/24", 2), ("10.9.0.0/16", 4)] {
        kernel.routes.insert(Route {
            destination: net(destination),
            gateway: None,
            link: UPLINK,
            is_onlink: false,
            protocol,
            metric: 0,
        });
    }
    kernel
}

/// What the kernel makes of an operation; what cannot be done is a fault of the plan.
fn carry_out(kernel: &mut Kernel, operation: &Operation) {
    match operation {
        Operation::CreateDevice(device) => {
            assert_eq!(kernel.link(&device.name), None);
            let index = kernel.links.keys().max().unwrap() + 1;
            let link = Link {
                name: device.name.clone(),
                mtu: device.mtu,
                is_up: true,
                mac: Some(device.mac),
                vxlan: Some(Vxlan {
                    vni: device.vni,
                    port: device.port,
                    local: Some(device.local),
                    uplink: Some(device.uplink),
                    learns: false,
                }),
            };
            kernel.links.insert(index, link);
        }
        operation => {
            let before = kernel.clone();
            kernel.done(operation);
            assert_ne!(*kernel, before, "{operation:?} changes nothing");
        }
    }
}

fn shared(peers: &[Peer]) -> Arc<[Arc<Peer>]> {
    peers.iter().cloned().map(Arc::new).collect()
}

fn plan(own: &Own, peers: &[Peer], kernel: &Kernel) -> Plan {
    super::plan(own, &shared(peers), kernel)
}

/// Plans and carries out until nothing is left to do; the last plan.
fn settle(own: &Own, peers: &[Peer], kernel: &mut Kernel) -> Plan {
    for _ in 0..3 {
        let plan = plan(own, peers, kernel);
        if plan.operations.is_empty() {
            return plan;
        }
        for operation in &plan.operations {
            carry_out(kernel, operation);
        }
        if !plan.is_begun() {
            assert_eq!(
                self::plan(own, peers, kernel).operations,
                [],
                "there is more to do"
            );
        }
    }
    let plan = plan(own, peers, kernel);
    assert_eq!(plan.operations, [], "it is never done");
    plan
}

fn routes(kernel: &Kernel) -> Vec<String> {
    let of_overlay = kernel.routes.iter().filter(|route| route.protocol == PROTOCOL);
    of_overlay
        .map(|route| {
            let link = &kernel.links[&route.link].name;
            let onlink = if route.is_onlink { " onlink" } else { "" };
            format!(
                "{} via {} dev {link}{onlink}",
                route.destination,
                route.gateway.unwrap()
            )
        })
        .collect()
}

fn problems(plan: &Plan) -> Vec<String> {
    plan.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn vxlan_makes_what_flannel_makes() {
    let (own, mut kernel) = (own(vxlan(false)), host());
    let peers = [
        peer(2, "192.0.2.2", tunnel(2)),
        peer(3, "198.51.100.3", tunnel(3)),
    ];
    let first = plan(&own, &peers, &kernel);
    assert!(!first.is_ready);
    let done = settle(&own, &peers, &mut kernel);
    assert_eq!((done.problems, done.is_ready), (vec![], true));
    let (index, device) = kernel.link("flannel.1").unwrap();
    assert_eq!((device.mtu, device.mac), (1450, Some(mac(1))));
    assert_eq!(kernel.addresses[&index], [net("10.244.1.0/32")].into());
    assert_eq!(
        routes(&kernel),
        [
            "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
            "10.244.3.0/24 via 10.244.3.0 dev flannel.1 onlink",
        ]
    );
    let neighbor = |number: u8| ((index, IpAddr::from([10, 244, number, 0])), mac(number));
    assert_eq!(kernel.neighbors, [neighbor(2), neighbor(3)].into());
    assert_eq!(
        kernel.forwarding[&(index, mac(3))],
        IpAddr::from([198, 51, 100, 3])
    );
}

#[test]
fn a_node_on_the_same_link_is_reached_directly_if_asked_for() {
    let (own, mut kernel) = (own(vxlan(true)), host());
    let peers = [
        peer(2, "192.0.2.2", tunnel(2)),
        peer(3, "198.51.100.3", tunnel(3)),
    ];
    settle(&own, &peers, &mut kernel);
    assert_eq!(
        routes(&kernel),
        [
            "10.244.2.0/24 via 192.0.2.2 dev eth0",
            "10.244.3.0/24 via 10.244.3.0 dev flannel.1 onlink",
        ]
    );
    assert_eq!(kernel.forwarding.len(), 1);
}

#[test]
fn host_gw_is_a_route_via_the_node() {
    let (own, mut kernel) = (own(Way::HostGw), host());
    let peers = [
        peer(2, "192.0.2.2", Backend::HostGw),
        peer(3, "198.51.100.3", Backend::HostGw),
        peer(4, "192.0.2.4", tunnel(4)),
    ];
    let done = settle(&own, &peers, &mut kernel);
    assert_eq!(routes(&kernel), ["10.244.2.0/24 via 192.0.2.2 dev eth0"]);
    assert_eq!(
        problems(&done),
        [
            "node n3: its address 198.51.100.3 is not on this node's link (192.0.2.0/24); host-gw reaches nodes of the \
             same link only, use vxlan",
            "node n4 uses the back end vxlan, this node host-gw; all nodes of a network need the same",
        ]
    );
    // What it has of another way is replaced at once.
    settle(
        &self::own(vxlan(false)),
        &[peer(2, "192.0.2.2", tunnel(2))],
        &mut kernel,
    );
    assert_eq!(
        routes(&kernel),
        ["10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink"]
    );
}

#[test]
fn ipv6_has_a_device_of_its_own() {
    let own = Own {
        address: "2001:db8::1".parse().unwrap(),
        network: net("fd00:10:244::/56"),
        subnet: net("fd00:10:244:1::/64"),
        mac: mac(1),
        way: vxlan(false),
    };
    let mut kernel = host();
    kernel
        .addresses
        .insert(UPLINK, [net("2001:db8::1/64"), net("192.0.2.1/24")].into());
    let peers = [
        Peer {
            name: "n2".to_owned(),
            address: "2001:db8:1::2".parse().unwrap(),
            subnet: net("fd00:10:244:2::/64"),
            backend: tunnel(2),
        },
        // Its IPv4 half is another plan's.
        peer(2, "192.0.2.2", tunnel(2)),
    ];
    settle(&own, &peers, &mut kernel);
    assert_eq!(
        routes(&kernel),
        ["fd00:10:244:2::/64 via fd00:10:244:2:: dev flannel-v6.1 onlink"]
    );
    assert_eq!(kernel.link("flannel-v6.1").unwrap().1.mtu, 1430);
}

#[test]
fn a_device_goes_when_packets_travel_otherwise() {
    let mut kernel = host();
    settle(
        &own(vxlan(false)),
        &[peer(2, "192.0.2.2", tunnel(2))],
        &mut kernel,
    );
    let (index, link) = kernel.link("flannel.1").unwrap();
    let mut of_ipv6 = link.clone();
    of_ipv6.name = "flannel-v6.1".to_owned();
    let mut of_another = link.clone();
    of_another.name = "flannel.7".to_owned();
    of_another.mac = Some(mac(9));
    kernel
        .links
        .extend([(index + 1, of_ipv6), (index + 2, of_another)]);
    settle(
        &own(Way::HostGw),
        &[peer(2, "192.0.2.2", Backend::HostGw)],
        &mut kernel,
    );
    let names = kernel.links.values().map(|link| link.name.as_str());
    let devices: Vec<&str> = names.filter(|name| name.starts_with("flannel")).collect();
    assert_eq!(devices, ["flannel-v6.1", "flannel.7"]);
    assert_eq!(routes(&kernel), ["10.244.2.0/24 via 192.0.2.2 dev eth0"]);
}

#[test]
fn what_flanneld_left_is_taken_over_without_a_gap() {
    let (own, mut kernel) = (own(vxlan(false)), host());
    let peers = [peer(2, "192.0.2.2", tunnel(2))];
    settle(&own, &peers, &mut kernel);
    let (index, _) = kernel.link("flannel.1").unwrap();
    let of_flanneld = |route: Route| Route { protocol: 3, ..route };
    kernel.routes = kernel.routes.into_iter().map(of_flanneld).collect();
    let taken = plan(&own, &peers, &kernel);
    assert!(
        matches!(&taken.operations[..], [Operation::SetRoute(route)] if route.link == index),
        "{taken:?}"
    );
}

#[test]
fn a_device_with_other_settings_is_made_anew_and_one_of_another_kind_is_left_alone() {
    let (own, mut kernel) = (own(vxlan(false)), host());
    settle(&own, &[], &mut kernel);
    let (index, _) = kernel.link("flannel.1").unwrap();
    let change = |change: fn(&mut Link)| {
        let mut kernel = kernel.clone();
        change(kernel.links.get_mut(&index).unwrap());
        plan(&own, &[], &kernel).operations
    };
    let device = |operations: Vec<Operation>| {
        matches!(
            &operations[..],
            [Operation::RemoveDevice { .. }, Operation::CreateDevice(_)]
        )
    };
    assert!(device(change(|link| link.mac = Some(mac(9)))));
    assert!(device(change(|link| link.vxlan.as_mut().unwrap().learns = true)));
    assert!(device(change(|link| link.vxlan.as_mut().unwrap().port = 4789)));
    assert!(device(change(
        |link| link.vxlan.as_mut().unwrap().uplink = Some(9)
    )));
    assert_eq!(
        change(|link| link.mtu = 1400),
        [Operation::SetMtu { index, mtu: 1450 }]
    );
    assert_eq!(change(|link| link.is_up = false), [Operation::SetUp { index }]);
    kernel.links.get_mut(&index).unwrap().vxlan = None;
    let blocked = plan(&own, &[], &kernel);
    assert_eq!((blocked.operations, blocked.is_ready), (vec![], false));
    assert_eq!(blocked.problems, [Problem::NotVxlan("flannel.1".to_owned())]);
}

#[test]
fn a_peer_that_would_take_what_is_not_its_own_is_named() {
    let (own, mut kernel) = (own(vxlan(false)), host());
    let with = |subnet: &str, number: u8, backend: Backend| Peer {
        subnet: net(subnet),
        ..peer(number, "192.0.2.9", backend)
    };
    kernel.routes.insert(Route {
        destination: net("10.244.8.0/24"),
        gateway: Some("192.0.2.254".parse().unwrap()),
        link: UPLINK,
        is_onlink: false,
        protocol: 4,
        metric: 0,
    });
    let peers = [
        with("0.0.0.0/0", 2, tunnel(2)),
        with("192.0.2.0/24", 3, tunnel(3)),
        with("10.244.1.128/25", 4, tunnel(4)),
        with("10.244.6.0/24", 5, tunnel(5)),
        with("10.244.6.0/24", 6, tunnel(6)),
        with("10.244.7.0/24", 7, Backend::Vxlan { vni: 7, mac: mac(7) }),
        with("10.244.8.0/24", 8, tunnel(8)),
        with("10.244.9.0/24", 9, tunnel(5)),
        with("10.244.10.0/24", 10, tunnel(1)),
        with("10.244.11.0/24", 11, Backend::HostGw),
    ];
    let done = settle(&own, &peers, &mut kernel);
    assert_eq!(
        routes(&kernel),
        ["10.244.6.0/24 via 10.244.6.0 dev flannel.1 onlink"]
    );
    assert_eq!(
        problems(&done),
        [
            "node n2: its pod subnet 0.0.0.0/0 is outside of the pod network 10.244.0.0/16; set --network-cidr to the \
             network of all nodes",
            "node n4: its pod subnet 10.244.1.128/25 overlaps 10.244.1.0/24, which is this node's; give each node its \
             own with --pod-cidr",
            "node n6: its pod subnet 10.244.6.0/24 overlaps 10.244.6.0/24, which is another node's; give each node its \
             own with --pod-cidr",
            "node n7 uses VNI 7, this node 1; all nodes of a network need the same",
            "node n9: another node has its tunnel endpoint's MAC address 02:00:00:00:00:05, too; on one of the two remove \
             the file overlay-mac in the agent's state directory and the overlay's link, and restart the agent",
            "node n10: another node has its tunnel endpoint's MAC address 02:00:00:00:00:01, too; on one of the two remove \
             the file overlay-mac in the agent's state directory and the overlay's link, and restart the agent",
            "node n11 uses the back end host-gw, this node vxlan; all nodes of a network need the same",
            "node n3: its pod subnet 192.0.2.0/24 is outside of the pod network 10.244.0.0/16; set --network-cidr to the \
             network of all nodes",
            "another program has a route to the pod subnet 10.244.8.0/24 via 192.0.2.254; remove it, and the overlay sets \
             its own",
        ]
    );
}

#[test]
fn without_the_nodes_address_nothing_is_done() {
    let mut kernel = host();
    kernel.addresses.clear();
    let blocked = plan(&own(vxlan(false)), &[peer(2, "192.0.2.2", tunnel(2))], &kernel);
    assert_eq!((blocked.operations, blocked.is_ready), (vec![], false));
    assert_eq!(
        blocked.problems,
        [Problem::NoUplink("192.0.2.1".parse().unwrap())]
    );
}

fn any_peer() -> impl Strategy<Value = Peer> {
    let backend = prop_oneof![
        4 => (0..12_u8).prop_map(tunnel),
        1 => Just(Backend::HostGw),
    ];
    let subnet = (
        0..12_u8,
        prop_oneof![4 => Just(24_u8), 1 => Just(23_u8), 1 => Just(26_u8)],
    );
    (0..12_u8, subnet, 0..3_u8, backend).prop_map(|(number, (third, length), net, backend)| Peer {
        name: format!("n{number}"),
        address: IpAddr::from([192, 0, net + 1, number + 1]),
        subnet: IpNet::new(IpAddr::from([10, 244, third, 0]), length)
            .unwrap()
            .trunc(),
        backend,
    })
}

fn any_way() -> impl Strategy<Value = Way> {
    prop_oneof![Just(Way::HostGw), Just(vxlan(false)), Just(vxlan(true))]
}

proptest! {
    /// Whatever peers there are, in whatever order, and whatever was there before or is taken away in between: it settles
    /// on what a host without a past settles on, and leaves what others made as it was.
    #[test]
    fn it_settles_on_the_same_whatever_was_before(
        lives in prop::collection::vec((any_way(), prop::collection::vec(any_peer(), 0..8)), 1..4),
        cuts in prop::collection::vec(0..9_usize, 0..4),
    ) {
        let mut kernel = host();
        let others = |kernel: &Kernel| -> Vec<Route> {
            let foreign = kernel.routes.iter().filter(|route| route.protocol != PROTOCOL);
            foreign.cloned().collect()
        };
        let before = others(&kernel);
        let mut cuts = cuts.into_iter();
        for (way, peers) in &lives {
            let own = own(*way);
            // The agent ends in the middle of the operations, or somebody removes something.
            let begun = plan(&own, peers, &kernel);
            for operation in begun.operations.iter().take(cuts.next().unwrap_or(usize::MAX)) {
                carry_out(&mut kernel, operation);
            }
            let done = settle(&own, peers, &mut kernel);
            prop_assert!(done.is_ready);
            let mut turned: Vec<Peer> = peers.clone();
            turned.reverse();
            prop_assert_eq!(plan(&own, &turned, &kernel).operations, vec![]);
            let mut fresh = host();
            settle(&own, peers, &mut fresh);
            prop_assert_eq!(routes(&kernel), routes(&fresh));
            if *way != Way::HostGw {
                prop_assert_eq!(kernel.neighbors.values().collect::<Vec<_>>(), fresh.neighbors.values().collect::<Vec<_>>());
                prop_assert_eq!(kernel.forwarding.values().collect::<Vec<_>>(), fresh.forwarding.values().collect::<Vec<_>>());
            }
        }
        prop_assert_eq!(others(&kernel), before);
    }

    /// A change of the peers alone leads to what a whole plan leads to, with operations that a whole plan would have, too.
    #[test]
    fn a_change_of_peers_leads_to_what_a_whole_plan_leads_to(
        way in any_way(),
        lives in prop::collection::vec(prop::collection::vec(any_peer(), 0..6), 2..6),
        kept in prop::collection::vec(any::<bool>(), 0..30),
    ) {
        let (own, mut kernel, mut kept) = (own(way), host(), kept.into_iter());
        let mut settled: Option<Settled> = None;
        let mut before: Vec<Arc<Peer>> = Vec::new();
        for life in lives {
            // Some of the peers stay.
            before.retain(|_| kept.next().unwrap_or(true));
            before.extend(life.into_iter().take(2).map(Arc::new));
            let peers: Arc<[Arc<Peer>]> = before.clone().into();
            let whole = super::plan(&own, &peers, &kernel);
            match settled.take().and_then(|settled| settled.change(&own, &peers, &kernel)) {
                Some((now, operations)) => {
                    let texts = |operations: &[Operation]| {
                        let mut texts: Vec<String> = operations.iter().map(|operation| format!("{operation:?}")).collect();
                        texts.sort();
                        texts
                    };
                    prop_assert_eq!(texts(&operations), texts(&whole.operations));
                    prop_assert_eq!(problems(&whole), Vec::<String>::new());
                    for operation in &operations {
                        carry_out(&mut kernel, operation);
                    }
                    settled = Some(now);
                }
                None => {
                    let plain: Vec<Peer> = peers.iter().map(|peer| Peer::clone(peer)).collect();
                    let plan = settle(&own, &plain, &mut kernel);
                    settled = Settled::after(plan, &own, &peers);
                }
            }
            prop_assert_eq!(super::plan(&own, &peers, &kernel).operations, vec![]);
        }
    }
}

#[test]
fn one_more_peer_takes_no_whole_plan() {
    let (own, mut kernel) = (own(vxlan(false)), host());
    let mut peers = vec![peer(2, "192.0.2.2", tunnel(2)), peer(3, "192.0.2.3", tunnel(3))];
    settle(&own, &peers, &mut kernel);
    let first = shared(&peers);
    let settled = Settled::after(super::plan(&own, &first, &kernel), &own, &first).unwrap();
    peers.push(peer(4, "192.0.2.4", tunnel(4)));
    let mut now: Vec<Arc<Peer>> = first.to_vec();
    now.push(Arc::new(peers[2].clone()));
    let (settled, operations) = settled.change(&own, &now.into(), &kernel).unwrap();
    assert_eq!(operations.len(), 3, "{operations:?}");
    for operation in &operations {
        carry_out(&mut kernel, operation);
    }
    // One whose subnet is taken: which of the two is reached is the whole plan's to say.
    let other = Peer {
        name: "n9".to_owned(),
        ..peer(4, "192.0.2.9", tunnel(9))
    };
    peers.push(other);
    assert!(settled.change(&own, &shared(&peers), &kernel).is_none());
}
