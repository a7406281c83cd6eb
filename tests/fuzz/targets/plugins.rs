//! The CNI plugins: their configurations, the file of flannel's daemon, and the records of addresses.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;

use gantry_cni::flannel::subnet::Subnet;
use gantry_cni::host_local::allocate::{Range, RangeSet};
use gantry_cni::host_local::store::Store;
use gantry_cni::request::is_plugin_name;
use gantry_cni::{bandwidth, bridge, firewall, flannel, host_local, portmap};
use serde_json::json;

use super::texts;

const SUBNET: &str =
    "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n";

pub(crate) fn networks() -> Vec<Vec<u8>> {
    let address = json!({"interfaces": [{"name": "eth0", "sandbox": "/n"}], "ips": [{"address": "10.88.0.5/16", "interface": 0}]});
    texts(&[
        json!({"cniVersion": "1.0.0", "name": "n", "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "mtu": 1500,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16", "rangeStart": "10.88.0.10", "gateway": "10.88.0.1"}]],
                "routes": [{"dst": "0.0.0.0/0", "gw": "10.88.0.1"}, {"dst": "::/0"}]}}),
        json!({"cniVersion": "0.4.0", "name": "n", "type": "portmap", "capabilities": {"portMappings": true}, "snat": true,
            "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": "::1"}]},
            "prevResult": address}),
        json!({"cniVersion": "1.1.0", "name": "n", "type": "bridge", "vlan": 100, "isGateway": true, "cni.dev/valid-attachments": [{"containerID": "a", "ifname": "b"}],
            "ipam": {"type": "host-local", "subnet": "fd00::/64", "resolvConf": "/etc/resolv.conf"}, "dns": {"nameservers": ["10.0.0.1"]}}),
        json!({"cniVersion": "1.0.0", "name": "n", "type": "bridge", "vlanTrunk": [{"minID": 2, "maxID": 90}, {"id": 4094}],
            "preserveDefaultVlan": true, "macspoofchk": true, "portIsolation": true}),
        json!({"cniVersion": "1.0.0", "name": "n", "type": "bridge", "includes": ["portmap", "bandwidth"], "conditionsV4": ["-i", "eth0"],
            "runtimeConfig": {"portMappings": [{"hostPort": 80, "containerPort": 80}], "bandwidth": {"ingressRate": 8, "ingressBurst": 8}}}),
        json!({"cniVersion": "1.0.0", "name": "n", "type": "flannel", "subnetFile": "/s", "dataDir": "/d",
            "delegate": {"type": "bridge", "isDefaultGateway": true, "mtu": 1400}, "ipam": {"type": "host-local", "routes": [{"dst": "::/0"}]},
            "runtimeConfig": {"mac": "02:00:00:00:00:01"}}),
        json!({"cniVersion": "1.0.0", "name": "n", "type": "bandwidth", "ingressRate": 8000, "ingressBurst": 8000, "prevResult": address,
            "runtimeConfig": {"bandwidth": {"egressRate": 1, "egressBurst": 4294967296u64}}, "unshapedSubnets": ["10.0.0.0/8"]}),
        json!({"cniVersion": "0.4.0", "name": "n", "type": "firewall", "backend": "iptables", "ingressPolicy": "same-bridge",
            "iptablesAdminChainName": "MINE", "firewalldZone": "public", "prevResult": address}),
    ])
}

pub(crate) fn network(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else {
        return false;
    };
    let env = |name: &str| {
        let value = match name {
            "CNI_CONTAINERID" => "c1",
            "CNI_IFNAME" => "eth0",
            "CNI_NETNS" => "/var/run/netns/n",
            "CNI_PATH" => "/opt/cni/bin",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let subject = gantry_cni::request::Subject::Pod;
    let Ok(request) = gantry_cni::skel::parse(&env, subject, text.to_owned(), |_| Ok(())) else {
        return false;
    };
    let subnet = Subnet::parse(SUBNET).unwrap();
    let flannel = flannel::conf::read(&request)
        .and_then(|conf| flannel::plan::config(&request, &conf, &subnet))
        .inspect(|config| {
            // Nothing that the network's configuration says has the delegate called by another name, or leave its subnet.
            assert_eq!(config["name"], request.network);
            assert_eq!(config["ipam"]["ranges"], json!([[{"subnet": "10.1.17.0/24"}]]));
            assert!(is_plugin_name(flannel::plan::delegate_of(config)));
        });
    let bandwidth = bandwidth::conf::read(&request).inspect(|conf| {
        let plan = bandwidth::plan::plan(conf, &request.network, &request.container_id);
        assert!(plan.ifb.len() == 15 && plan.group != 0);
    });
    let understood = [
        bridge::conf::read(&request).is_ok(),
        host_local::conf::read(&request).is_ok(),
        portmap::conf::read(&request).is_ok(),
        flannel.is_ok(),
        bandwidth.is_ok(),
        firewall::conf::read(&request).is_ok(),
    ];
    understood.contains(&true)
}

pub(crate) fn subnet_files() -> Vec<Vec<u8>> {
    let both = format!("{SUBNET}FLANNEL_IPV6_NETWORK=fd00::/56,fd01::/56\nFLANNEL_IPV6_SUBNET=fd00::1/64\n");
    vec![SUBNET.as_bytes().to_vec(), both.into_bytes()]
}

pub(crate) fn subnet_file(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else {
        return false;
    };
    let subnet = Subnet::parse(text);
    if let Ok(subnet) = &subnet {
        assert!(!subnet.networks.is_empty() && (1..=2).contains(&subnet.subnets.len()));
    }
    subnet.is_ok()
}

/// Names and texts of files in turn, each ended by a zero.
pub(crate) fn lease_stores() -> Vec<Vec<u8>> {
    vec![
        b"10.1.0.2\0c1\r\neth0\x0010.1.0.3\0c2\0last_reserved_ip.0\x0010.1.0.3\0lock\0\0".to_vec(),
        b"fd00::1\0c1\neth0\0last_reserved_ip.1\0fd00::1\0.new\0c3\r\neth0\x0010.1.0.14\0\0".to_vec(),
    ]
}

/// Whatever the files hold, an address is given to nobody else while it has a record, and every record can be released.
pub(crate) fn lease_store(input: &[u8]) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let mut parts = input.split(|byte| *byte == 0).take(200);
    while let (Some(name), Some(text)) = (parts.next(), parts.next()) {
        if !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && name.len() < 200 {
            std::fs::write(dir.path().join(OsStr::from_bytes(name)), text).unwrap();
        }
    }
    let store = Store::open(dir.path()).unwrap();
    let owners = store.owners().unwrap();
    let ip = |last| IpAddr::from([10, 1, 0, last]);
    let ranges = RangeSet(vec![Range {
        subnet: "10.1.0.0/28".parse().unwrap(),
        start: ip(1),
        end: ip(14),
        gateway: ip(1),
    }]);
    let free = ranges.next_free(|address| owners.contains_key(&address), store.last(0));
    let expected = (2..=14).any(|last| !owners.contains_key(&ip(last)));
    assert_eq!(free.is_some(), expected);
    if let Some(free) = free {
        let address = free.address.addr();
        assert!(store.reserve(address, "new", "eth0", 0).unwrap());
        assert!(store.owners().unwrap()[&address].is("new", "eth0"));
        assert_eq!(store.last(0), Some(address));
    }
    for address in store.owners().unwrap().into_keys() {
        store.release(address).unwrap();
    }
    assert!(store.owners().unwrap().is_empty());
    !owners.is_empty()
}
