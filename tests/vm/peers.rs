//! Two machines whose pods reach each other, without a cluster, as the README says: each agent has a file with what
//! `gantry peer` prints on the other machine.
//!
//! The machines' links are the ports of a bridge in network namespaces of the story's own (`tests/support/isolate.sh`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::node::{ip, is_ready};
use crate::process::run;
use crate::vm::{Purpose, Vm};
use crate::wait::wait_for;
use crate::world;

/// The longest that the story may take: two machines boot in software emulation, beside those of other stories.
const LIMIT: Duration = Duration::from_secs(1500);
/// Long enough for anything in there.
const PATIENCE: Duration = Duration::from_secs(120);

/// The machines' links.
const LINKS: [&str; 2] = ["tap1", "tap2"];
/// VXLAN takes so much of the links' 1500.
const MTU: usize = 1450;

/// The story: its name, and what it does.
pub const STORY: super::Outside = ("peers::pods_of_two_machines_reach_each_other_by_a_file", || {
    world::run("peers", LIMIT).map(|said| print!("{said}"))
});

/// The world's inside.
pub fn inside(release: &str) -> ExitCode {
    run(&["ip", "link", "add", "between", "type", "bridge"]);
    run(&["ip", "link", "set", "between", "up"]);
    for link in LINKS {
        run(&["ip", "tuntap", "add", link, "mode", "tap"]);
        run(&["ip", "link", "set", link, "master", "between", "up"]);
    }
    let [one, two] = &mut boot(release);
    let told = catch_unwind(AssertUnwindSafe(|| tell(one, two)));
    if told.is_err() {
        println!("{}\n{}", one.diagnosis(), two.diagnosis());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Both at once: each waits for a part of its time.
fn boot(release: &str) -> [Vm; 2] {
    std::thread::scope(|scope| {
        let booting = [(LINKS[0], 1), (LINKS[1], 2)]
            .map(|(link, number)| scope.spawn(move || Vm::boot(release, Purpose::Peer { link, number })));
        booting.map(|vm| vm.join().expect("the machine boots"))
    })
}

fn tell(one: &mut Vm, two: &mut Vm) {
    for (vm, address) in [(&mut *one, "192.0.2.11"), (&mut *two, "192.0.2.12")] {
        settle(vm, address);
    }
    let first = start(one);
    // The second knows of the first when it chooses its subnet, and the first then hears of the second.
    put(two, &first.entry);
    let second = start(two);
    assert_ne!(first.subnet, second.subnet);
    put(one, &(first.entry.clone() + &second.entry));
    let pods = [one_pod(one), one_pod(two)];
    for pod in &pods {
        println!("{} has {}", pod.name, pod.address);
    }
    let [mine, theirs] = &pods;

    reaches(one, mine, theirs);
    reaches(two, theirs, mine);
    // Nothing on the way has changed who asks.
    for (vm, pod, other) in [(&mut *two, theirs, mine), (&mut *one, mine, theirs)] {
        let log = vm.prints(&format!("gantry logs {}", pod.name));
        assert!(log.contains(&other.address), "no {} in:\n{log}", other.address);
    }
    a_packet_of_the_full_size_arrives_whole(one, two, [mine, theirs]);

    let (count, shown) = traces(one, &second);
    assert_eq!(count, 3, "{shown}");
    put(one, &first.entry);
    is_forgotten(one, &second);
    let asked = one.run(&ask(mine, theirs));
    assert_ne!(asked.code, 0, "{asked:?}");

    put(one, &(first.entry + &second.entry));
    reaches(one, mine, theirs);
    reaches(two, theirs, mine);
    assert_eq!(traces(one, &second).0, 3);
    for vm in [one, two] {
        assert_eq!(vm.prints("systemctl --failed --no-legend"), "");
        let restarts = vm.prints("systemctl show gantry --property=NRestarts");
        assert_eq!(restarts, "NRestarts=0\n");
    }
}

/// Gives the machine its address and what a person would configure, before anything has started.
fn settle(vm: &mut Vm, address: &str) {
    vm.prints(&format!(
        "sed --in-place 's/^Address=.*/Address={address}\\/24/' /etc/systemd/network/20-wired.network\n\
         networkctl reload\n\
         mkdir -p /etc/gantry /etc/systemd/system/gantry.service.d\n\
         cat >/etc/systemd/system/gantry.service.d/peers.conf <<'END'\n\
         [Service]\n\
         ExecStart=\n\
         ExecStart=/usr/local/bin/gantry run --peers-file=/etc/gantry/peers.yaml\n\
         END\n\
         cat >/etc/kubernetes/manifests/page.yaml <<'END'\n{}END\n\
         systemctl daemon-reload",
        include_str!("pods/page.yaml")
    ));
    wait_for("the machine to have its address", PATIENCE, || {
        let addresses = vm.prints("ip -oneline -4 address show dev eth0");
        let is_there = addresses.contains(address) && addresses.lines().count() == 1;
        is_there.then_some(()).ok_or(addresses)
    });
}

/// What a machine says of itself.
struct Own {
    entry: String,
    subnet: String,
    address: String,
    mac: String,
}

/// Starts the service.
fn start(vm: &mut Vm) -> Own {
    vm.prints("systemctl enable --quiet --now gantry");
    let entry = wait_for("the machine's own entry", PATIENCE, || {
        let told = vm.run("gantry peer");
        match told.code {
            0 => Ok(told.output),
            _ => Err(told.output),
        }
    });
    let value = |key: &str| {
        let line = entry.lines().find_map(|line| line.trim().strip_prefix(key));
        line.unwrap_or_else(|| panic!("no {key} in:\n{entry}"))
            .trim()
            .trim_matches('"')
            .to_owned()
    };
    Own {
        subnet: value("subnet:"),
        address: value("publicIP:"),
        mac: value("VtepMAC:"),
        entry,
    }
}

/// Puts a file of peers in place, as a person with an editor does.
fn put(vm: &mut Vm, entries: &str) {
    vm.prints(&format!(
        "cat >/etc/gantry/peers.new <<'END'\n{entries}END\nmv /etc/gantry/peers.new /etc/gantry/peers.yaml"
    ));
}

struct Pod {
    name: String,
    address: String,
}

/// The machine's pod, once it runs.
fn one_pod(vm: &mut Vm) -> Pod {
    let pod: Value = vm.wait_pod("page", "ready", is_ready);
    Pod {
        name: pod["metadata"]["name"]
            .as_str()
            .expect("it has a name")
            .to_owned(),
        address: ip(&pod),
    }
}

/// One connection from a pod to another. (Debian's busybox ends with a segmentation fault where its wget is given `-T`.)
fn ask(from: &Pod, to: &Pod) -> String {
    format!(
        "gantry exec {} -- timeout 5 wget -q -O - http://{}:8080/",
        from.name, to.address
    )
}

#[track_caller]
fn reaches(vm: &mut Vm, from: &Pod, to: &Pod) {
    wait_for(&format!("{} to reach {}", from.name, to.name), PATIENCE, || {
        let told = vm.run(&ask(from, to));
        match told.code == 0 && told.output.trim() == to.name {
            true => Ok(()),
            false => Err(format!("{told:?}")),
        }
    });
}

/// The pods' own MTU says which size that is. Linux marks what it need not fragment; the other machine counts what comes
/// out of the tunnel with that mark and this size, and the answer is as long.
fn a_packet_of_the_full_size_arrives_whole(one: &mut Vm, two: &mut Vm, [mine, theirs]: [&Pod; 2]) {
    for (vm, pod) in [(&mut *one, mine), (&mut *two, theirs)] {
        let mtu = vm.prints(&format!(
            "gantry exec {} -- cat /sys/class/net/eth0/mtu",
            pod.name
        ));
        assert_eq!(mtu.trim(), MTU.to_string());
    }
    two.prints(&format!(
        "nft add table inet count\n\
         nft 'add chain inet count arriving {{ type filter hook prerouting priority raw; }}'\n\
         nft 'add rule inet count arriving iifname \"flannel.1\" ip saddr {} ip length {MTU} ip frag-off & 0x4000 != 0 counter'",
        mine.address
    ));
    // Without the IP header and that of ICMP.
    one.prints(&format!(
        "gantry exec {} -- ping -c 3 -w 30 -s {} {}",
        mine.name,
        MTU - 28,
        theirs.address
    ));
    let counted = two.prints("nft list table inet count && nft delete table inet count");
    let words: Vec<&str> = counted.split_whitespace().collect();
    let count = words.windows(2).find(|pair| pair[0] == "packets");
    let count = count.and_then(|pair| pair[1].parse().ok()).unwrap_or(0);
    assert!(count >= 3, "{counted}");
}

/// Of what leads from a machine to another, what is there: its subnet in a route, and the neighbor and the forwarding entry
/// with its tunnel endpoint and its address.
fn traces(vm: &mut Vm, other: &Own) -> (usize, String) {
    let shown = vm.prints("ip -4 route; ip neighbor show nud permanent; bridge fdb show dev flannel.1");
    let first = other.subnet.trim_end_matches("/24");
    let traces = [
        format!("{} via {first} dev flannel.1", other.subnet),
        format!("{first} dev flannel.1 lladdr {}", other.mac),
        format!("{} dst {}", other.mac, other.address),
    ];
    let found = traces.iter().filter(|trace| shown.contains(trace.as_str()));
    (found.count(), shown)
}

/// Nothing of the other machine's is left anywhere.
fn is_forgotten(vm: &mut Vm, other: &Own) {
    wait_for("what led to the other machine to go", PATIENCE, || {
        let (count, shown) = traces(vm, other);
        let is_left = count > 0 || shown.contains(&other.mac) || shown.contains(&other.subnet);
        if is_left { Err(shown) } else { Ok(()) }
    });
}
