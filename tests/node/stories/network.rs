//! The first network: pod to pod, to the node, to the outside, and host ports.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::manifest;
use crate::node::{NEIGHBOUR_IP, NODE_IP, Node, SOON, http, ip, stays, wait_http};
use crate::process::run;
use crate::wait::wait_for;

pub fn pods_reach_each_other_the_node_and_the_outside(node: &mut Node) {
    node.start_agent();
    let mut outside = outside_server();
    node.manifest("server.yaml", &manifest::web("server", "from the server"));
    node.manifest("client.yaml", &manifest::idle("client"));
    let server = ip(&node.wait_running("server"));
    node.wait_running("client");
    wait_http(&format!("{server}:8080"), "/", "from the server"); // the node to the pod

    let fetch = |url: &str| node.prints(&["exec", "client-node-1", "--", "wget", "-q", "-O", "-", url]);
    assert_eq!(fetch(&format!("http://{server}:8080/")), "from the server\n");
    // The outside sees the node's address, not the pod's.
    assert_eq!(
        fetch(&format!("http://{NEIGHBOUR_IP}:8080/cgi-bin/who")).trim(),
        NODE_IP
    );
    // A pod to a process on the node.
    let mut local = http_server(&[], "/run/node/outside");
    wait_http(&format!("{NODE_IP}:8080"), "/cgi-bin/who", NODE_IP);
    let seen = fetch(&format!("http://{NODE_IP}:8080/cgi-bin/who"));
    assert!(
        seen.starts_with("10.244."),
        "the node sees the pod's own address, not {seen}"
    );
    for server in [&mut local, &mut outside] {
        server.kill().expect("our own child");
        server.wait().expect("our own child");
    }
    // And a pod to itself by its own address.
    let own = node.prints(&[
        "exec",
        "server-node-1",
        "--",
        "wget",
        "-q",
        "-O",
        "-",
        &format!("http://{server}:8080/"),
    ]);
    assert_eq!(own, "from the server\n");
}

/// A web server in the neighbour's namespace that answers with its client's address.
fn outside_server() -> std::process::Child {
    std::fs::create_dir_all("/run/node/outside/cgi-bin").expect("a private directory");
    let script = Path::new("/run/node/outside/cgi-bin/who");
    std::fs::write(
        script,
        "#!/bin/sh\naddress=${REMOTE_ADDR#'[::ffff:'}\nprintf 'Content-Type: text/plain\\r\\n\\r\\n%s\\n' \"${address%]}\"\n",
    )
    .expect("a private directory");
    run(&["chmod", "755", "/run/node/outside/cgi-bin/who"]);
    let server = http_server(&["ip", "netns", "exec", "outside"], "/run/node/outside");
    wait_http(&format!("{NEIGHBOUR_IP}:8080"), "/cgi-bin/who", NODE_IP);
    server
}

/// busybox's web server on port 8080.
fn http_server(prefix: &[&str], root: &str) -> std::process::Child {
    let command = [prefix, &["busybox", "httpd", "-f", "-p", "8080", "-h", root]].concat();
    Command::new(command[0])
        .args(&command[1..])
        .spawn()
        .expect("busybox is installed")
}

pub fn a_host_port_leads_to_the_pod_and_goes_with_it(node: &mut Node) {
    node.start_agent();
    let before = run(&["nft", "-s", "list", "ruleset"]);
    let ports = "    ports: [{containerPort: 8080, hostPort: 18080}]\n";
    node.manifest("port.yaml", &(manifest::web("port", "through the port") + ports));
    node.manifest("client.yaml", &manifest::idle("client"));
    node.wait_running("port");
    node.wait_running("client");
    wait_http(&format!("{NODE_IP}:18080"), "/", "through the port");
    wait_http("127.0.0.1:18080", "/", "through the port");
    let outside = [
        "ip", "netns", "exec", "outside", "busybox", "wget", "-q", "-O", "-",
    ];
    let url = format!("http://{NODE_IP}:18080/");
    assert_eq!(run(&[&outside[..], &[&url]].concat()), "through the port\n");
    assert_eq!(
        node.prints(&["exec", "client-node-1", "--", "wget", "-q", "-O", "-", &url]),
        "through the port\n"
    );
    let itself = node.prints(&["exec", "port-node-1", "--", "wget", "-q", "-O", "-", &url]);
    assert_eq!(itself, "through the port\n");

    // Another program starts a firewall of its own.
    run(&["nft", "flush", "ruleset"]);
    wait_http(&format!("{NODE_IP}:18080"), "/", "through the port");
    wait_http("127.0.0.1:18080", "/", "through the port");

    node.remove("port.yaml");
    node.wait_gone("port");
    assert!(
        http(&format!("{NODE_IP}:18080"), "/").is_err(),
        "the port still answers"
    );
    node.remove("client.yaml");
    node.wait_gone("client");
    let after = run(&["nft", "-s", "list", "ruleset"]);
    assert!(!after.contains("18080"), "before:\n{before}\nafter:\n{after}");
}

pub fn a_pod_is_as_fast_as_its_annotations_allow(node: &mut Node) {
    node.start_agent();
    let annotations = "metadata:\n  annotations: {kubernetes.io/ingress-bandwidth: 8M, kubernetes.io/egress-bandwidth: 16M}\n";
    let limited = manifest::idle("limited").replacen("metadata:\n", annotations, 1);
    node.manifest("limited.yaml", &limited);
    node.manifest("free.yaml", &manifest::idle("free"));
    node.wait_running("limited");
    node.wait_running("free");
    let buckets = || {
        let listed = run(&["tc", "qdisc"]);
        let buckets = listed.lines().filter(|line| line.contains(" tbf "));
        buckets.map(str::to_owned).collect::<Vec<_>>()
    };
    let limits = buckets();
    assert_eq!(limits.len(), 2, "{limits:?}");
    for (device, rate) in [(" veth", "rate 8Mbit"), (" bwp", "rate 16Mbit")] {
        let found = limits
            .iter()
            .any(|line| line.contains(device) && line.contains(rate));
        assert!(found, "{limits:?}");
    }
    node.remove("limited.yaml");
    node.wait_gone("limited");
    assert_eq!(buckets(), Vec::<String>::new());
    assert!(!run(&["ip", "link"]).contains("bwp"), "an ifb is left");
}

pub fn the_loopback_s_guard_stands_whoever_flushes_rules(node: &mut Node) {
    let guard = || {
        Command::new("nft")
            .args(["list", "chain", "ip", "gantry-firewall", "loopback"])
            .output()
    };
    let is_there = || {
        let listed = guard().expect("nft is installed");
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        let drops = text.matches("127.0.0.0/8 drop").count();
        if drops == 2 {
            Ok(())
        } else {
            Err(format!("{text}{}", String::from_utf8_lossy(&listed.stderr)))
        }
    };
    // kube-proxy does so, for node ports at 127.0.0.1.
    std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").expect("a private network");
    node.start_agent();
    is_there().expect("an agent that serves has set the rule");
    for flush in [
        &["flush", "ruleset"][..],
        &["delete", "table", "ip", "gantry-firewall"],
        &["insert", "rule", "ip", "gantry-firewall", "loopback", "accept"],
    ] {
        run(&[&["nft"], flush].concat());
        wait_for(&format!("the rule after {flush:?}"), SOON, is_there);
    }
    // It is removed neither with the agent nor by an agent that was started without a network.
    node.kill_agent();
    is_there().expect("the rule is the machine's");
    std::fs::write(
        "/run/node/config.yaml",
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmakeIPTablesUtilChains: false\n",
    )
    .expect("a private directory");
    node.flag("--config=/run/node/config.yaml");
    node.start_agent();
    assert!(is_there().is_err(), "makeIPTablesUtilChains: false keeps no rule");
}

pub fn a_bridge_that_another_program_takes_is_made_again(node: &mut Node) {
    node.start_agent();
    node.manifest("web.yaml", &manifest::web("web", "still connected"));
    node.manifest("client.yaml", &manifest::idle("client"));
    let pod = node.wait_running("web");
    node.wait_running("client");
    let address = format!("{}:8080", ip(&pod));
    let url = format!("http://{address}/");
    let taken: [&[&str]; 3] = [
        &["link", "delete", "gantry0"],
        &["link", "set", "gantry0", "down"],
        &["address", "flush", "dev", "gantry0"],
    ];
    for how in taken {
        run(&[&["ip"], how].concat());
        wait_http(&address, "/", "still connected");
        wait_for(&format!("the other pod to reach it after {how:?}"), SOON, || {
            let fetched = node.gantry(&["exec", "client-node-1", "--", "wget", "-q", "-O", "-", &url]);
            let said = String::from_utf8_lossy(&fetched.stdout).into_owned();
            if said == "still connected\n" {
                Ok(())
            } else {
                Err(said)
            }
        });
    }
    // While no agent runs, too.
    node.kill_agent();
    run(&["ip", "link", "delete", "gantry0"]);
    node.start_agent();
    wait_http(&address, "/", "still connected");
    let after = node.pod("web").expect("still reported");
    assert_eq!(crate::node::container(&after, "main")["restartCount"], 0);
}

pub fn another_networks_configuration_is_respected(node: &mut Node) {
    let theirs = r#"{"cniVersion":"1.0.0","name":"theirs","plugins":[
        {"type":"bridge","bridge":"theirs0","isGateway":true,"ipMasq":true,
         "ipam":{"type":"host-local","ranges":[[{"subnet":"10.99.0.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}]}"#;
    let path = Path::new("/etc/cni/net.d/05-theirs.conflist");
    std::fs::create_dir_all("/etc/cni/net.d").expect("a private /etc");
    std::fs::write(path, theirs).expect("a private /etc");
    node.start_agent();
    node.manifest("web.yaml", &manifest::web("web", "on another network"));
    let pod = node.wait_running("web");
    assert!(ip(&pod).starts_with("10.99.0."), "{}", ip(&pod));
    let files = || -> Vec<_> {
        let entries = std::fs::read_dir("/etc/cni/net.d").expect("it exists");
        entries.flatten().map(|entry| entry.file_name()).collect()
    };
    stays("their directory", Duration::from_secs(1), || {
        if files().len() == 1 {
            Ok(())
        } else {
            Err(format!("{:?}", files()))
        }
    });
    assert_eq!(std::fs::read_to_string(path).expect("it still exists"), theirs);

    // With their network gone the node says that it has none, in the kubelet's words.
    node.remove("web.yaml");
    node.wait_gone("web");
    std::fs::remove_file(path).expect("it is there");
    wait_for(
        "the node to have a network of its own, or to say that it has none",
        SOON,
        || {
            let reported = node.node()?;
            let conditions = reported["status"]["conditions"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let ready = conditions
                .iter()
                .find(|condition| condition["type"] == "Ready")
                .cloned()
                .unwrap_or_default();
            let ours = files()
                .iter()
                .any(|name| name.to_string_lossy().contains("gantry"));
            if ours || ready["status"] == "False" {
                Ok(())
            } else {
                Err(ready.to_string())
            }
        },
    );
}

/// The other machine is made with iproute2 alone, as flannel's documentation describes a node.
pub fn a_pod_has_an_address_of_each_ip_family(node: &mut Node) {
    node.flag("--network-cidr=10.244.0.0/16,fd00:10:244::/48");
    node.start_agent();
    node.manifest("server.yaml", &manifest::web("server", "from the server"));
    node.manifest("client.yaml", &manifest::idle("client"));
    let server = node.wait_running("server");
    node.wait_running("client");
    let addresses = server["status"]["podIPs"].as_array().expect("it has some");
    let addresses: Vec<&str> = addresses
        .iter()
        .filter_map(|address| address["ip"].as_str())
        .collect();
    let [v4, v6] = addresses[..] else {
        panic!("{addresses:?} are not two")
    };
    assert_eq!(v4, ip(&server), "the first family is that of the pod's address");
    assert!(
        v4.starts_with("10.244.0.") && v6.starts_with("fd00:10:244::"),
        "{addresses:?}"
    );
    for host in [v4.to_owned(), format!("[{v6}]")] {
        wait_http(&format!("{host}:8080"), "/", "from the server");
        let url = format!("http://{host}:8080/");
        let said = node.prints(&["exec", "client-node-1", "--", "wget", "-q", "-O", "-", &url]);
        assert_eq!(said, "from the server\n", "{url}");
    }
    let reported = node.prints(&["get", "node", "-o", "json"]);
    let reported: serde_json::Value = serde_json::from_str(&reported).expect("it is JSON");
    assert_eq!(
        reported["spec"]["podCIDRs"],
        serde_json::json!(["10.244.0.0/24", "fd00:10:244::/64"])
    );
}

pub fn a_pod_may_have_an_ipv6_address_alone(node: &mut Node) {
    node.flag("--network-cidr=fd00:10:244::/48");
    node.start_agent();
    node.manifest("server.yaml", &manifest::web("server", "from the server"));
    node.manifest("client.yaml", &manifest::idle("client"));
    let server = node.wait_running("server");
    node.wait_running("client");
    let address = ip(&server);
    assert!(address.starts_with("fd00:10:244::"), "{address}");
    assert_eq!(server["status"]["podIPs"], serde_json::json!([{"ip": address}]));
    wait_http(&format!("[{address}]:8080"), "/", "from the server");
    let url = format!("http://[{address}]:8080/");
    let said = node.prints(&["exec", "client-node-1", "--", "wget", "-q", "-O", "-", &url]);
    assert_eq!(said, "from the server\n");
}

pub fn a_machine_of_both_ip_families_is_one_of_the_network_in_both(node: &mut Node) {
    let own = "2001:db8::10";
    let shown = run(&["ip", "-o", "address", "show", "to", NODE_IP]);
    let link = shown.split_whitespace().nth(1).expect("the node's link");
    run(&["ip", "address", "add", &format!("{own}/64"), "dev", link, "nodad"]);
    let other = "name: other\npublicIP: 2001:db8::9\nsubnet: fd00:10:244:9::/64\nbackendType: vxlan\n\
                 backendData: {VNI: 1, VtepMAC: \"02:00:00:00:00:09\"}\n";
    std::fs::write("/run/node/peers.yaml", other).expect("a private directory");
    node.flag("--peers-file=/run/node/peers.yaml");
    node.flag("--network-cidr=10.244.0.0/16,fd00:10:244::/48");
    node.flag(&format!("--node-ip={NODE_IP},{own}"));
    node.start_agent();
    let entries = wait_for("the machine's own entries", SOON, || {
        let printed = node.gantry(&["peer"]);
        match printed.status.success() {
            true => Ok(String::from_utf8_lossy(&printed.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&printed.stderr).into_owned()),
        }
    });
    for line in ["subnet: 10.244.0.0/24", "subnet: fd00:10:244::/64"] {
        assert!(entries.contains(line), "{entries}");
    }
    let written = std::fs::read_to_string("/run/flannel/subnet.env").expect("the agent writes it");
    for line in [
        "FLANNEL_SUBNET=10.244.0.1/24\n",
        "FLANNEL_IPV6_SUBNET=fd00:10:244::1/64\n",
        // What an IPv6 header leaves of the link's 1500.
        "FLANNEL_MTU=1430\n",
    ] {
        assert!(written.contains(line), "{written}");
    }
    wait_for("the way to the other machine", SOON, || {
        let routes = run(&["ip", "-6", "route"]);
        let way = "fd00:10:244:9::/64 via fd00:10:244:9:: dev flannel-v6.1";
        routes.contains(way).then_some(()).ok_or(routes)
    });
    node.manifest("server.yaml", &manifest::web("server", "from the server"));
    let server = ip(&node.wait_running("server"));
    wait_http(&format!("{server}:8080"), "/", "from the server");
}

pub fn a_machine_with_an_entry_in_the_file_of_peers_is_one_of_the_network(node: &mut Node) {
    let other = "name: other\npublicIP: 192.0.2.1\nsubnet: 10.244.0.0/24\nbackendType: vxlan\n\
                 backendData: {VNI: 1, VtepMAC: \"02:00:00:00:00:09\"}\n";
    std::fs::write("/run/node/peers.yaml", other).expect("a private directory");
    node.flag("--peers-file=/run/node/peers.yaml");
    node.start_agent();
    let entry = wait_for("the machine's own entry", SOON, || {
        let printed = node.gantry(&["peer"]);
        match printed.status.success() {
            true => Ok(String::from_utf8_lossy(&printed.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&printed.stderr).into_owned()),
        }
    });
    // The first subnet is the other machine's.
    assert!(entry.contains("subnet: 10.244.1.0/24"), "{entry}");
    let mac = entry
        .lines()
        .find_map(|line| line.trim().strip_prefix("VtepMAC: "))
        .expect("the entry of a VXLAN node has one")
        .trim_matches('"');
    let outside = |command: &[&str]| run(&[&["ip", "netns", "exec", "outside"], command].concat());
    outside(&[
        "ip",
        "link",
        "add",
        "flannel.1",
        "address",
        "02:00:00:00:00:09",
        "type",
        "vxlan",
        "id",
        "1",
        "local",
        NEIGHBOUR_IP,
        "dev",
        "lan",
        "dstport",
        "8472",
        "nolearning",
    ]);
    outside(&["ip", "link", "set", "flannel.1", "up"]);
    outside(&["ip", "address", "add", "10.244.0.0/32", "dev", "flannel.1"]);
    outside(&["ip", "address", "add", "10.244.0.2/32", "dev", "lo"]);
    outside(&[
        "ip",
        "neighbor",
        "add",
        "10.244.1.0",
        "lladdr",
        mac,
        "dev",
        "flannel.1",
    ]);
    outside(&["bridge", "fdb", "append", mac, "dev", "flannel.1", "dst", NODE_IP]);
    outside(&[
        "ip",
        "route",
        "add",
        "10.244.1.0/24",
        "via",
        "10.244.1.0",
        "dev",
        "flannel.1",
        "onlink",
        "src",
        "10.244.0.2",
    ]);

    let mut server = outside_server();
    node.manifest("server.yaml", &manifest::web("server", "from the server"));
    node.manifest("client.yaml", &manifest::idle("client"));
    let server_ip = ip(&node.wait_running("server"));
    let client_ip = ip(&node.wait_running("client"));
    let exec = |command: &[&str]| node.prints(&[&["exec", "client-node-1", "--"], command].concat());
    let fetch = |url: &str| exec(&["wget", "-q", "-O", "-", url]);
    // Both ends see the other's own address; what is outside of the network sees the node's.
    assert_eq!(fetch("http://10.244.0.2:8080/cgi-bin/who").trim(), client_ip);
    let back = outside(&[
        "busybox",
        "wget",
        "-q",
        "-O",
        "-",
        &format!("http://{server_ip}:8080/"),
    ]);
    assert_eq!(back, "from the server\n");
    let beyond = format!("http://{NEIGHBOUR_IP}:8080/cgi-bin/who");
    assert_eq!(fetch(&beyond).trim(), NODE_IP);
    assert_eq!(exec(&["cat", "/sys/class/net/eth0/mtu"]).trim(), "1450");
    let environment = std::fs::read_to_string("/run/flannel/subnet.env").expect("other programs read it");
    assert_eq!(
        environment,
        "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    );
    run(&["nft", "flush", "ruleset"]);
    let again = || {
        let rules = run(&["nft", "list", "ruleset"]);
        let is_there = rules.contains("see each other's addresses");
        if is_there { Ok(()) } else { Err(rules) }
    };
    wait_for("the rules to be restored", SOON, again);
    assert_eq!(fetch("http://10.244.0.2:8080/cgi-bin/who").trim(), client_ip);

    // A wrong entry keeps what was known, and says so; an absent one ends it.
    std::fs::write("/run/node/peers.yaml", other.replace("vxlan", "carrier")).expect("a private directory");
    wait_for("the wrong entry to be named", SOON, || {
        let log = node.agent_log();
        let is_named =
            log.contains("line 4: backendType: ") && log.contains("is not one of vxlan and host-gw");
        if is_named { Ok(()) } else { Err(log) }
    });
    assert_eq!(fetch("http://10.244.0.2:8080/cgi-bin/who").trim(), client_ip);
    std::fs::write("/run/node/peers.yaml", "").expect("a private directory");
    wait_for("the other machine to be gone", SOON, || {
        let routes = run(&["ip", "route"]);
        if routes.contains("10.244.0.0/24") {
            Err(routes)
        } else {
            Ok(())
        }
    });
    server.kill().expect("our own child");
    server.wait().expect("our own child");
    node.stop_agent();
    node.prints(&["cleanup", "--yes"]);
    let links = run(&["ip", "link"]);
    assert!(!links.contains("flannel.1"), "{links}");
    assert!(!Path::new("/run/flannel").exists());
}
