//! What connects pods is removed: the bridge, its address, a pod's link, every rule of the firewall.

use std::path::Path;

use serde_json::Value;

use super::{Fault, Harm, Inflicted, always, with_victim};
use crate::process::run;
use crate::runtime;
use crate::storm::{Storm, World, kernel};

const BRIDGE: &str = "gantry0";

pub(super) fn all<W: World>() -> Vec<Fault<W>> {
    vec![
        Fault {
            name: "firewall-flushed",
            weight: 3,
            may: always,
            inflict: flushed,
        },
        Fault {
            name: "bridge-removed",
            weight: 2,
            may: has_bridge,
            inflict: bridge_removed,
        },
        Fault {
            name: "bridge-down",
            weight: 2,
            may: has_bridge,
            inflict: bridge_down,
        },
        Fault {
            name: "bridge-address-removed",
            weight: 2,
            may: has_bridge,
            inflict: address_removed,
        },
        Fault {
            name: "veth-removed",
            weight: 2,
            may: with_victim,
            inflict: veth_removed,
        },
    ]
}

fn has_bridge<W>(_: &Storm<W>) -> bool {
    kernel::links("bridge").iter().any(|line| line.contains(BRIDGE))
}

fn flushed<W: World>(_: &mut Storm<W>) -> Inflicted<W> {
    run(&["nft", "flush", "ruleset"]);
    Inflicted::done("", Harm::Nothing)
}

fn bridge_removed<W: World>(_: &mut Storm<W>) -> Inflicted<W> {
    run(&["ip", "link", "delete", BRIDGE]);
    Inflicted::done("", Harm::Nothing)
}

fn bridge_down<W: World>(_: &mut Storm<W>) -> Inflicted<W> {
    run(&["ip", "link", "set", BRIDGE, "down"]);
    Inflicted::done("", Harm::Nothing)
}

fn address_removed<W: World>(_: &mut Storm<W>) -> Inflicted<W> {
    run(&["ip", "address", "flush", "dev", BRIDGE]);
    Inflicted::done("", Harm::Nothing)
}

/// A pod without its link is of no use any more, as on every node: an administrator deletes it.
fn veth_removed<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    let pod = storm.victim().expect("there is one");
    let link = link_of(&pod.full_name());
    if let Some(link) = &link {
        run(&["ip", "link", "delete", link]);
    }
    Inflicted::until(
        format!("{} {link:?}", pod.name),
        Harm::of(&pod),
        move |storm: &mut Storm<W>| storm.give_up(&pod),
    )
}

/// The node's end of a pod's link, as libcni has recorded it.
fn link_of(pod: &str) -> Option<String> {
    let all = runtime::sandboxes().unwrap_or_default().into_iter();
    let id = all
        .filter(|own| own.ready && own.pod == pod)
        .map(|own| own.id)
        .next()?;
    let records = Path::new("/var/lib/cni/results");
    let name = kernel::names(records)
        .ok()?
        .into_iter()
        .find(|name| name.contains(&id) && name.ends_with("eth0"))?;
    let record: Value = serde_json::from_slice(&std::fs::read(records.join(name)).ok()?).ok()?;
    let interfaces = record["result"]["interfaces"].as_array()?.iter();
    let of_node = interfaces.filter(|own| own["sandbox"].as_str().unwrap_or_default().is_empty());
    let names = of_node.filter_map(|own| own["name"].as_str());
    names.filter(|name| *name != BRIDGE).map(str::to_owned).next()
}
