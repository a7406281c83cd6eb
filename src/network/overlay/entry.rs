//! The entry of a node in a file of peers: a YAML document, with flannel's words for what flannel has. Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::json;

use crate::model::overlay::{Backend, Mac, Peer, is_of_one_machine};
use crate::model::yaml::document::{Document, KeyPath};

/// As written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(rename = "publicIP")]
    public_ip: String,
    subnet: String,
    backend_type: String,
    backend_data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    #[serde(rename = "VNI")]
    vni: u32,
    #[serde(rename = "VtepMAC")]
    mac: String,
}

/// An entry as text, for the files of other nodes.
pub(in crate::network) fn text(peer: &Peer) -> String {
    let mut entry = json!({
        "name": peer.name,
        "publicIP": peer.address,
        "subnet": peer.subnet,
        "backendType": peer.backend.name(),
    });
    if let Backend::Vxlan { vni, mac } = peer.backend {
        entry["backendData"] = json!({"VNI": vni, "VtepMAC": mac.to_string()});
    }
    let text = crate::model::yaml::write::text(&entry).expect("strings and numbers have a text");
    format!("---\n{text}")
}

/// The entry of a document. `Err`: which field is wrong, and why.
pub(super) fn peer(document: &Document) -> Result<Peer, (KeyPath, String)> {
    let written: Written = document.typed()?;
    let wrong = |field: &str, problem: String| (vec![field.to_owned()], problem);
    if written.name.is_empty() || written.name.len() > 253 || written.name.chars().any(char::is_control) {
        return Err(wrong("name", "write the node's name".to_owned()));
    }
    let address: IpAddr = written.public_ip.parse().map_err(|_| {
        let problem = format!(
            "{:?} is not an IP address; write it like 192.0.2.1",
            written.public_ip
        );
        wrong("publicIP", problem)
    })?;
    if !is_of_one_machine(address) {
        return Err(wrong(
            "publicIP",
            format!("{address} is not the address of one machine in a network"),
        ));
    }
    let subnet: IpNet = written.subnet.parse().map_err(|_| {
        let problem = format!(
            "{:?} is not a network; write it like 10.244.1.0/24",
            written.subnet
        );
        wrong("subnet", problem)
    })?;
    if subnet.trunc() != subnet {
        let problem = format!("{subnet} has host bits set; write {}", subnet.trunc());
        return Err(wrong("subnet", problem));
    }
    if subnet.addr().is_ipv4() != address.is_ipv4() {
        let problem = format!("{subnet} and publicIP {address} are of different IP families");
        return Err(wrong("subnet", problem));
    }
    let backend = match (written.backend_type.as_str(), written.backend_data) {
        ("host-gw", _) => Backend::HostGw,
        ("vxlan", Some(Data { vni, mac })) => {
            let mac: Mac = mac.parse().map_err(|error| {
                let path = vec!["backendData".to_owned(), "VtepMAC".to_owned()];
                (path, format!("{error}"))
            })?;
            Backend::Vxlan { vni, mac }
        }
        ("vxlan", None) => {
            let problem =
                "vxlan needs backendData with VNI and VtepMAC, as `gantry peer` prints it on that node";
            return Err(wrong("backendType", problem.to_owned()));
        }
        (other, _) => {
            let problem = format!("{other:?} is not one of vxlan and host-gw");
            return Err(wrong("backendType", problem));
        }
    };
    Ok(Peer {
        name: written.name,
        address,
        subnet,
        backend,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::known::{Read, read};
    use super::*;

    fn vxlan() -> Peer {
        Peer {
            name: "vm-1".to_owned(),
            address: "192.0.2.1".parse().unwrap(),
            subnet: "10.244.1.0/24".parse().unwrap(),
            backend: Backend::Vxlan {
                vni: 1,
                mac: Mac([0x1a, 0x2b, 0x3c, 0x4d, 0x5e, 0x6f]),
            },
        }
    }

    #[test]
    fn what_a_node_prints_is_read_by_the_others() {
        let gateway = Peer {
            name: "vm-2".to_owned(),
            address: "2001:db8::2".parse().unwrap(),
            subnet: "fd00:10:244:2::/64".parse().unwrap(),
            backend: Backend::HostGw,
        };
        // As the README shows it.
        let shown = "---\nbackendData:\n  VNI: 1\n  VtepMAC: 1a:2b:3c:4d:5e:6f\nbackendType: vxlan\nname: vm-1\npublicIP: \"192.0.2.1\"\n\
                     subnet: 10.244.1.0/24\n";
        assert_eq!(text(&vxlan()), shown);
        let text = text(&vxlan()) + &text(&gateway);
        let read = read(&text).unwrap();
        assert_eq!(
            (read.peers, read.problems),
            (vec![Arc::new(vxlan()), Arc::new(gateway)], vec![]),
            "{text}"
        );
        assert_eq!(super::super::known::read("# none yet\n"), Ok(Read::default()));
    }

    #[test]
    fn a_wrong_entry_is_named_and_the_others_count() {
        let good = text(&vxlan());
        let check = |change: &[(&str, &str)], expected: &str| {
            let mut bad = good.replace("vm-1", "vm-9").replace("10.244.1.", "10.244.9.");
            for (from, to) in change {
                assert!(bad.contains(from), "{bad}");
                bad = bad.replace(from, to);
            }
            let read = read(&(good.clone() + &bad)).unwrap();
            assert_eq!(read.peers, [Arc::new(vxlan())], "{bad}");
            assert_eq!(read.problems, [expected], "{bad}");
        };
        check(
            &[("192.0.2.1", "192.0.2")],
            "line 15: publicIP: \"192.0.2\" is not an IP address; write it like 192.0.2.1",
        );
        check(
            &[("192.0.2.1", "127.0.0.1")],
            "line 15: publicIP: 127.0.0.1 is not the address of one machine in a network",
        );
        check(
            &[("10.244.9.0/24", "10.244.9.1/24")],
            "line 16: subnet: 10.244.9.1/24 has host bits set; write 10.244.9.0/24",
        );
        check(
            &[("10.244.9.0/24", "fd00::/64")],
            "line 16: subnet: fd00::/64 and publicIP 192.0.2.1 are of different IP families",
        );
        check(
            &[("10.244.9.0/24", "all")],
            "line 16: subnet: \"all\" is not a network; write it like 10.244.1.0/24",
        );
        check(
            &[("vxlan", "udp")],
            "line 13: backendType: \"udp\" is not one of vxlan and host-gw",
        );
        check(
            &[("1a:2b", "01:2b")],
            "line 12: backendData.VtepMAC: \"01:2b:3c:4d:5e:6f\" is not the MAC address of a device; write it like \
             1a:2b:3c:4d:5e:6f",
        );
        check(
            &[("vm-9", "vm-1")],
            "line 14: name: there is another entry for node vm-1 with a subnet of the same IP family; remove one",
        );
        let unknown = read("name: a\npublicIp: 192.0.2.1\n").unwrap();
        assert!(unknown.problems[0].contains("publicIp"), "{unknown:?}");
        assert_eq!(unknown.wrong, ["a"]);
        assert!(read("a: [").is_err());
    }
}
