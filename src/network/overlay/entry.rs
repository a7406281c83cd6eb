//! The entry of a node in a file of peers: a YAML document, with flannel's words for what flannel has. Pure.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::overlay::{Backend, Mac, Peer};
use crate::model::yaml::document::{self, Document, KeyPath, show};

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

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Read {
    pub(super) peers: Vec<Arc<Peer>>,
    /// Entries that are wrong, each with its line, its field and a remedy.
    pub(super) problems: Vec<String>,
    /// The names of those that have one: what was known of these nodes stays.
    pub(super) wrong: Vec<String>,
}

/// The parts of a file that say what they say without a problem: for each the entries, with the line of the name within the
/// part. Nearly all that a file costs is reading YAML, and when one node comes all other parts are as they were.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<String, Vec<(usize, Arc<Peer>)>>);

/// Reads the entries of a file, one document for each node. `Err`: it is no YAML.
pub(super) fn read(text: &str) -> Result<Read, String> {
    read_again(text, &mut Known::default())
}

/// The same with what is known of the file as it was, which becomes what is known of it now.
pub(super) fn read_again(text: &str, known: &mut Known) -> Result<Read, String> {
    let (mut read, mut now) = (Read::default(), Known::default());
    let mut names = HashSet::new();
    for (before, part) in parts(text) {
        let problems = read.problems.len();
        let (part, entries) = match known.0.remove_entry(part) {
            Some(known) => known,
            None => (part.to_owned(), entries(part, before, &mut read)?),
        };
        let is_sound = read.problems.len() == problems;
        for (line, peer) in &entries {
            if names.insert((peer.name.clone(), peer.subnet.addr().is_ipv4())) {
                read.peers.push(peer.clone());
            } else {
                let line = before + line;
                read.problems.push(format!(
                    "line {line}: name: there is another entry for node {} with a subnet of the same IP family; remove one",
                    peer.name
                ));
            }
        }
        if is_sound {
            now.0.insert(part, entries);
        }
    }
    *known = now;
    Ok(read)
}

/// The documents of a text, each with the number of lines before it: within none is a line with the mark between two
/// (YAML 1.2, 9.1.2). Directives belong to the document after them, so that a text with any stays whole.
fn parts(text: &str) -> Vec<(usize, &str)> {
    let is_mark = |line: &str| {
        let rest = line.strip_prefix("---");
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
    };
    let (mut parts, mut begin, mut before, mut at) = (Vec::new(), 0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if line.starts_with('%') || line.starts_with("...") {
            return vec![(0, text)];
        }
        if is_mark(line) && at > 0 {
            parts.push((before, &text[begin..at]));
            (begin, before) = (at, number);
        }
        at += line.len();
    }
    parts.push((before, &text[begin..]));
    parts
}

/// The sound entries of a part of a file, each with the line of its name within the part. What is wrong is added to what
/// was read.
fn entries(part: &str, before: usize, read: &mut Read) -> Result<Vec<(usize, Arc<Peer>)>, String> {
    let documents = document::read(part).map_err(|mut error| {
        error.line += before;
        error.to_string()
    })?;
    let mut entries = Vec::new();
    for document in documents {
        match peer(&document) {
            Ok(peer) => entries.push((document.line_of(&["name".to_owned()]), Arc::new(peer))),
            Err((path, problem)) => {
                let line = before + document.line_of(&path);
                let field = match path.is_empty() {
                    true => String::new(),
                    false => format!("{}: ", show(&path)),
                };
                read.problems.push(format!("line {line}: {field}{problem}"));
                let name = document.value.get("name").and_then(Value::as_str);
                read.wrong.extend(name.map(str::to_owned));
            }
        }
    }
    Ok(entries)
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

fn peer(document: &Document) -> Result<Peer, (KeyPath, String)> {
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
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
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
        assert_eq!(self::read("# none yet\n"), Ok(Read::default()));
    }

    /// However a file is cut into parts, and whatever is known of them, it says the same.
    #[test]
    fn a_file_is_read_again_as_if_for_the_first_time() {
        let entry = |number: u8| {
            let entry = text(&vxlan()).replace("vm-1", &format!("vm-{number}"));
            entry.replace("10.244.1.", &format!("10.244.{number}."))
        };
        let wrong = entry(9).replace("vxlan", "udp");
        let unmarked = entry(3).replace("---\n", "");
        let files = [
            entry(1),
            entry(1) + &entry(2),
            "# ours\r\n".to_owned() + &entry(1) + &wrong + &entry(2) + "---",
            entry(1) + &wrong + &entry(1) + &entry(2),
            entry(2) + &entry(1).replace("192.0.2.1", "192.0.2.9"),
            // Here a line begins with what is no mark.
            entry(1) + "---x: 1\n" + &entry(2),
            entry(1) + "...\n" + &unmarked + &wrong,
            "%YAML 1.2\n".to_owned() + &entry(1) + "...\n%YAML 1.2\n" + &entry(2),
            entry(1) + "a: [",
            entry(4),
        ];
        let whole = |text: &str| {
            let documents = document::read(text).map_err(|error| error.to_string())?;
            let peers = documents.iter().filter_map(|document| peer(document).ok());
            Ok::<Vec<Arc<Peer>>, String>(peers.map(Arc::new).collect())
        };
        for first in &files {
            for second in &files {
                let mut known = Known::default();
                let _ = read_again(first, &mut known);
                let again = read_again(second, &mut known);
                assert_eq!(again, read(second), "{first}\n{second}");
                // The whole text as one says nothing of entries that are there twice.
                let mut peers = whole(second);
                if let Ok(peers) = &mut peers {
                    let mut names = HashSet::new();
                    peers.retain(|peer| names.insert(peer.name.clone()));
                }
                assert_eq!(again.map(|read| read.peers), peers, "{second}");
            }
        }
        let several = read(&files[3]).unwrap();
        assert_eq!(several.wrong, ["vm-9"]);
        assert!(several.problems[1].starts_with("line 22: "), "{several:?}");
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
