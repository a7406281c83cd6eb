//! Whatever text comes as a configuration, reading it ends: with an answer or an error, in time that grows with the text.
#![allow(missing_docs, reason = "the names of the tests say it")]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests; clippy.toml knows only functions marked as such"
)]

use gantry_cni::request::{Request, Subject};
use gantry_cni::types::{CniResult, Error};
use gantry_cni::{bandwidth, bridge, firewall, flannel, host_local, portmap, skel};
use ipnet::IpNet;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Reads a text as every plugin does, up to the point where something would be done. The errors of each.
fn read(input: &str) -> Vec<Error> {
    let env = |name: &str| {
        Some(match name {
            "CNI_CONTAINERID" => "c".to_string(),
            "CNI_IFNAME" => "eth0".to_string(),
            "CNI_NETNS" => "/none".to_string(),
            _ => return None,
        })
    };
    let request = match skel::parse(&env, Subject::Pod, input.to_string(), |_| Ok(())) {
        Ok(request) => request,
        Err(error) => return vec![error],
    };
    let mut errors = Vec::new();
    match host_local::conf::read(&request) {
        Ok(conf) => drop(conf.requests_by_set()),
        Err(error) => errors.push(error),
    }
    let result = request.previous_result();
    let given = match &result {
        Ok(result) => result.clone().unwrap_or_default(),
        Err(error) => {
            errors.push(error.clone());
            CniResult::default()
        }
    };
    match bridge::conf::read(&request) {
        Ok(conf) => {
            let plan = bridge::plan::plan(&conf, given.clone());
            errors.extend(plan.map(|plan| drop(bridge::plan::routes_of(&plan.result))).err());
        }
        Err(error) => errors.push(error),
    }
    match portmap::conf::read(&request) {
        Ok(conf) => {
            for pod in portmap::conf::pod_addresses(&given, "eth0") {
                let target = portmap::rules::Target {
                    pod,
                    host: Some(pod.network()),
                };
                drop(portmap::rules::elements(&conf, target, "owner"));
            }
        }
        Err(error) => errors.push(error),
    }
    errors.extend(read_chained(&request));
    errors
}

/// The same for the plugins that mostly run after, or instead of, `bridge`.
fn read_chained(request: &Request) -> Vec<Error> {
    let subnet = flannel::subnet::Subnet {
        networks: vec!["10.1.0.0/16".parse().unwrap()],
        subnets: vec!["10.1.17.0/24".parse().unwrap()],
        mtu: 1450,
        masquerades: true,
    };
    let merged = flannel::conf::read(request).and_then(|conf| flannel::plan::config(request, &conf, &subnet));
    let limits = bandwidth::conf::read(request).map(|conf| {
        drop(bandwidth::plan::plan(
            &conf,
            &request.network,
            &request.container_id,
        ))
    });
    let policy = firewall::conf::read(request).map(drop);
    let results = [merged.map(drop), limits, policy];
    results.into_iter().filter_map(Result::err).collect()
}

/// JSON of the keys and values that mean something, put together anyhow.
fn anything() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "",
        "host-local",
        "../x",
        "10.1.0.0/24",
        "10.1.0.1",
        "fd00::/64",
        "::",
        "0.0.0.0/0",
        "255.255.255.255",
        "1.0.0",
        "0.4.0",
        "tcp",
        "UDP",
        "eth0",
        "net",
        "02:00:00:00:00:01",
        "127.0.0.1",
        "/",
        "::ffff:1.2.3.4/96",
        "10.1.0.7/32",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(vec![0, 1, -1, 80, 65536, i64::MAX, i64::MIN]).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        words.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let keys = prop::sample::select(vec![
        "cniVersion",
        "name",
        "type",
        "args",
        "cni",
        "dns",
        "ipam",
        "prevResult",
        "runtimeConfig",
        "interfaces",
        "ips",
        "routes",
        "address",
        "gateway",
        "interface",
        "mac",
        "mtu",
        "sandbox",
        "dst",
        "gw",
        "bridge",
        "isGateway",
        "isDefaultGateway",
        "hairpinMode",
        "vlan",
        "vlanTrunk",
        "minID",
        "maxID",
        "macspoofchk",
        "dataDir",
        "ipRanges",
        "rangeStart",
        "rangeEnd",
        "ranges",
        "subnet",
        "portMappings",
        "hostPort",
        "HOSTPORT",
        "containerPort",
        "protocol",
        "hostIP",
        "snat",
        "markMasqBit",
        "conditionsV4",
        "externalSetMarkChain",
        "table",
        "scope",
        "delegate",
        "subnetFile",
        "bandwidth",
        "ingressRate",
        "egressBurst",
        "backend",
        "ingressPolicy",
        "iptablesAdminChainName",
    ]);
    leaf.prop_recursive(6, 64, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(keys.clone().prop_map(str::to_string), inner, 0..8)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// `value` as part of a configuration that is read further than its first keys.
fn sound(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.insert("cniVersion".into(), "1.0.0".into());
        map.insert("name".into(), "net".into());
    }
    value
}

proptest! {
    #[test]
    fn any_bytes_end_in_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_json_ends(value in anything()) {
        read(&value.to_string());
        read(&sound(value).to_string());
    }

    #[test]
    fn any_mapping_range_and_route_ends(mapping in anything(), range in anything(), result in anything()) {
        let conf = json!({"cniVersion": "1.0.0", "name": "net", "isDefaultGateway": true, "prevResult": result,
            "runtimeConfig": {"portMappings": [mapping]}, "ipam": {"type": "host-local", "ranges": [[range]]}});
        read(&conf.to_string());
    }
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    for (open, close) in [("[", "]"), ("{\"ipam\":", "}")] {
        for depth in [200, 100_000, 1_000_000] {
            let text = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let errors = read(&text);
            assert!(errors[0].msg.contains("recursion limit"), "{depth}: {errors:?}");
            assert!(!read(&open.repeat(depth)).is_empty());
        }
    }
}

#[test]
fn a_configuration_that_is_too_long_is_refused_unread() {
    let errors = read(&" ".repeat((16 << 20) + 1));
    assert!(errors[0].msg.contains("more than 16777216 bytes"), "{errors:?}");
}

/// Forty thousand of everything that a list can hold. Each against each would be more than a thousand million steps, and
/// nobody would wait for the end; one pass for each of the lists takes a moment.
#[test]
fn long_lists_take_one_pass() {
    const MANY: usize = 40_000;
    let address = |number: usize, prefix: u8| -> IpNet {
        let number = u32::try_from(number).unwrap() * 4;
        IpNet::new(
            std::net::IpAddr::from((0x0a00_0000 + number).to_be_bytes()),
            prefix,
        )
        .unwrap()
    };
    let list = |make: &dyn Fn(usize) -> Value| (0..MANY).map(make).collect::<Vec<_>>();
    let ranges = list(&|n| json!({"subnet": address(n, 30)}));
    let sets = list(&|n| json!([{"subnet": address(n, 30)}]));
    let wanted = list(&|n| json!(address(n, 30).hosts().nth(1).unwrap()));
    let routes = list(&|n| json!({"dst": address(n, 30)}));
    let ips = list(&|n| json!({"address": address(n, 24), "interface": n}));
    let interfaces = list(&|n| json!({"name": format!("eth{n}"), "sandbox": "/ns"}));
    let mappings: Vec<Value> = (0..portmap::conf::MAX_MAPPINGS)
        .map(|n| json!({"hostPort": n + 1, "containerPort": 80, "protocol": "udp"}))
        .collect();
    let base = json!({"cniVersion": "1.0.0", "name": "net", "isDefaultGateway": true});
    let cases = [
        json!({"ipam": {"type": "host-local", "ranges": [ranges], "routes": routes}}),
        json!({"ipam": {"type": "host-local", "ranges": sets}, "runtimeConfig": {"ips": wanted}}),
        json!({"ipam": {"subnet": "10.0.0.0/8"},
            "prevResult": {"ips": ips, "routes": routes, "interfaces": interfaces}}),
        json!({"ipam": {"subnet": "10.0.0.0/8"}, "prevResult": {"ips": [{"address": "10.1.0.5/24"}]},
            "runtimeConfig": {"portMappings": mappings}}),
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let mut conf = base.clone();
        conf.as_object_mut()
            .unwrap()
            .extend(case.as_object().unwrap().clone());
        let errors = read(&conf.to_string());
        assert!(
            errors
                .iter()
                .all(|error| error.msg.contains("returned no address")),
            "case {number}: {errors:?}"
        );
    }
    let more = vec![json!({"hostPort": 1, "containerPort": 80}); 100_000];
    let mut conf = base;
    conf["runtimeConfig"] = json!({"portMappings": more});
    assert!(
        read(&conf.to_string())
            .iter()
            .any(|error| error.msg.contains("100000 entries"))
    );
}
