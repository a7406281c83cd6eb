//! Stories of the whole room: what was said, and the configuration that comes of it.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::layers::{FlagValues, Layers, Text, flag};
use super::resolve::resolve;
use super::surroundings::Surroundings;
use super::{Addresses, Config, ConfigError, Role};
use crate::model::node::{CgroupDriver, CgroupVersion, MachineFacts, Threshold};
use crate::model::pull_policy::{Allowlist, Verification};
use crate::model::resources::Bytes;
use crate::model::tls::{Curve, TlsOffer, TlsVersion};

const HEAD: &str = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
const OWN_HEAD: &str = "apiVersion: gantry.dev/v1alpha1\nkind: GantryConfiguration\n";

fn text(name: &str, text: &str) -> Text {
    Text {
        path: PathBuf::from(name),
        text: text.to_owned(),
    }
}

fn around() -> Surroundings {
    Surroundings {
        hostname: "Web-1\n".to_owned(),
        directory: PathBuf::from("/start"),
        version: String::new(),
    }
}

fn given(flags: &[(&str, &str)]) -> Vec<FlagValues> {
    let mut given: Vec<FlagValues> = Vec::new();
    for (name, value) in flags {
        let flag = flag(name).unwrap_or_else(|| panic!("--{name} is a flag"));
        match given.iter_mut().find(|(seen, _)| seen.name == flag.name) {
            Some((_, texts)) => texts.push((*value).to_owned()),
            None => given.push((flag, vec![(*value).to_owned()])),
        }
    }
    given
}

/// Resolves a main file (its head is added), drop-ins (likewise) and flags.
fn load(role: Role, main: &str, dropins: &[&str], flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let main = text("/etc/k/config.yaml", &format!("{HEAD}{main}"));
    let dropins: Vec<Text> = dropins
        .iter()
        .enumerate()
        .map(|(i, body)| text(&format!("/etc/k/d/{i}.conf"), &format!("{HEAD}{body}")))
        .collect();
    resolve(
        Layers::merge(Some(&main), &dropins, &given(flags))?,
        role,
        &around(),
    )
}

fn configz(main: &str, dropins: &[&str], flags: &[(&str, &str)]) -> Value {
    load(Role::Kubelet, main, dropins, flags)
        .unwrap()
        .configz()
        .clone()
}

fn error(main: &str, dropins: &[&str], flags: &[(&str, &str)]) -> String {
    load(Role::Kubelet, main, dropins, flags).unwrap_err().to_string()
}

#[test]
fn the_defaults_are_the_kubelets() {
    let mut theirs: Value = serde_json::from_str(include_str!("fixtures/configz.json")).unwrap();
    let mut ours = configz("", &[], &[]);
    // What the recorded kubelet was told by kubeadm and its test, or made itself.
    for told in [
        "staticPodPath",
        "clusterDNS",
        "clusterDomain",
        "rotateCertificates",
        "tlsCertFile",
        "tlsPrivateKeyFile",
        "maxPods",
        "evictionHard",
        "failCgroupV1",
    ] {
        theirs.as_object_mut().unwrap().remove(told);
        ours.as_object_mut().unwrap().remove(told);
    }
    theirs["authentication"]["x509"] = json!({});
    theirs["logging"]["verbosity"] = json!(0);
    assert_eq!(ours, theirs);
}

#[test]
fn kubeadms_file_says_nothing_but_what_it_means() {
    let main = text(
        "/var/lib/kubelet/config.yaml",
        include_str!("fixtures/kubeadm.yaml"),
    );
    let config = resolve(
        Layers::merge(Some(&main), &[], &[]).unwrap(),
        Role::Kubelet,
        &around(),
    )
    .unwrap();
    let mut expected = super::defaults::default_configuration();
    expected["staticPodPath"] = json!("/etc/kubernetes/manifests");
    expected["authentication"]["x509"]["clientCAFile"] = json!("/etc/kubernetes/pki/ca.crt");
    expected["cgroupDriver"] = json!("systemd");
    expected["clusterDNS"] = json!(["10.96.0.10"]);
    expected["clusterDomain"] = json!("cluster.local");
    expected["rotateCertificates"] = json!(true);
    assert_eq!(config.configz(), &expected);
    assert_eq!(config.cgroups.driver, Some(CgroupDriver::Systemd));
}

#[test]
fn flags_win_over_dropins_and_dropins_over_the_file() {
    let check = |main: &str, dropins: &[&str], flags: &[(&str, &str)], path: &str, expected: Value| {
        let found = configz(main, dropins, flags);
        assert_eq!(
            super::defaults::get(&found, path),
            &expected,
            "{main:?} {dropins:?} {flags:?}"
        );
    };
    let m = "maxPods";
    check("", &[], &[], m, json!(110));
    check("maxPods: 10\n", &[], &[], m, json!(10));
    check("maxPods: 10\n", &["maxPods: 20\n"], &[], m, json!(20));
    check(
        "maxPods: 10\n",
        &["maxPods: 20\n", "maxPods: 30\n"],
        &[],
        m,
        json!(30),
    );
    check(
        "maxPods: 10\n",
        &["maxPods: 20\n"],
        &[("max-pods", "40")],
        m,
        json!(40),
    );
    check("maxPods: 10\n", &["maxPods: null\n"], &[], m, json!(110));
    check("maxPods: 10\n", &["maxPods: 0\n"], &[], m, json!(110));
    check(
        "healthzPort: 1\n",
        &["healthzPort: 0\n"],
        &[],
        "healthzPort",
        json!(0),
    );
    // Maps are merged, lists replaced.
    let hard = "evictionHard: {memory.available: 1Gi, pid.available: 10%}\n";
    let merged = json!({"memory.available": "2Gi", "pid.available": "10%"});
    check(
        hard,
        &["evictionHard: {memory.available: 2Gi}\n"],
        &[],
        "evictionHard",
        merged,
    );
    let over_default = configz("", &["evictionHard: {memory.available: 2Gi}\n"], &[]);
    assert_eq!(over_default["evictionHard"]["nodefs.available"], "10%");
    let dns = "clusterDNS: [10.0.0.1, 10.0.0.2]\n";
    check(
        dns,
        &["clusterDNS: [10.0.0.3]\n"],
        &[],
        "clusterDNS",
        json!(["10.0.0.3"]),
    );
    let flags = [("cluster-dns", "10.0.0.4,10.0.0.5"), ("cluster-dns", "10.0.0.6")];
    check(
        dns,
        &[],
        &flags,
        "clusterDNS",
        json!(["10.0.0.4", "10.0.0.5", "10.0.0.6"]),
    );
    let flags = [("eviction-hard", "memory.available<3Gi")];
    check(
        hard,
        &[],
        &flags,
        "evictionHard",
        json!({"memory.available": "3Gi"}),
    );
    let flags = [("feature-gates", "B=false,C=true")];
    let gates = json!({"A": true, "B": false, "C": true});
    check(
        "featureGates: {A: true, B: true}\n",
        &[],
        &flags,
        "featureGates",
        gates,
    );
    check("", &[], &[("fail-swap-on", "false")], "failSwapOn", json!(false));
    check(
        "failSwapOn: false\n",
        &[],
        &[("fail-swap-on", "true")],
        "failSwapOn",
        json!(true),
    );
    check("", &[], &[("v", "4")], "logging.verbosity", json!(4));
    // A flag does not move the default of another key.
    let flags = [("node-status-update-frequency", "20s")];
    check("", &[], &flags, "nodeStatusReportFrequency", json!("5m0s"));
    // An empty flag says nothing.
    check(
        "clusterDomain: a.b\n",
        &[],
        &[("cluster-domain", "")],
        "clusterDomain",
        json!("a.b"),
    );
}

#[test]
fn an_error_names_file_line_key_and_remedy() {
    let check = |main: &str, expected: &str| {
        let error = error(main, &[], &[]);
        assert!(error.contains(expected), "{main:?}: {error}");
        assert!(!error.contains('\n'), "one line: {error}");
    };
    check(
        "port: 1\nmaxPod: 3\n",
        "/etc/k/config.yaml:4: unknown key maxPod; did you mean maxPods?",
    );
    check(
        "authentication:\n  x509:\n    clientCaFile: /x\n",
        ":5: unknown key authentication.x509.clientCaFile; did you mean clientCAFile?",
    );
    check(
        "gpuManager: on\n",
        ":3: unknown key gpuManager; remove it, or look it up",
    );
    check(
        "maxPods: many\n",
        ":3: maxPods: invalid type: string \"many\", expected i32",
    );
    check(
        "syncFrequency: 10\n",
        ":3: syncFrequency: invalid value: integer `10`, expected a duration like 30s",
    );
    check(
        "syncFrequency: 10 s\n",
        ":3: syncFrequency: \"10 s\" is not a duration",
    );
    check(
        "clusterDNS:\n- 1.1.1.1\n- {a: b}\n",
        ":5: clusterDNS[1]: invalid type: map",
    );
    check(
        "port: 1\nport: 2\n",
        ":4: key port is there twice, first on line 3",
    );
    check("clusterDNS: [\n", "/etc/k/config.yaml:");
    check(
        "imageGCLowThresholdPercent: 90\n",
        "/etc/k/config.yaml:3: imageGCLowThresholdPercent: 90 must be less",
    );
    check(
        "evictionHard:\n  memory.available: lots\n",
        ":4: evictionHard[\"memory.available\"]: \"lots\" is neither",
    );
    check(
        "evictionHard:\n  memory: 1Gi\n",
        ":4: evictionHard.memory: is no signal",
    );
    check(
        "evictionSoft:\n  memory.available: 1Gi\n",
        ":4: evictionSoft[\"memory.available\"]: needs an entry",
    );
    check(
        "systemReserved:\n  cpu: fast\n",
        ":4: systemReserved.cpu: \"fast\" is not a quantity",
    );
    check(
        "cgroupDriver: runc\n",
        ":3: cgroupDriver: \"runc\" is not one of cgroupfs, systemd",
    );
    check(
        "healthzPort: 70000\n",
        ":3: healthzPort: 70000 must be between 0 and 65535",
    );
    check(
        "crashLoopBackOff:\n  maxContainerRestartPeriod: 400s\n",
        ":4: crashLoopBackOff.maxContainerRestartPeriod: 6m40s must be between 1s and 5m0s",
    );
    check(
        "enforceNodeAllocatable: [pods, none]\n",
        "none cannot stand beside others",
    );
    check(
        "enforceNodeAllocatable: [system-reserved]\n",
        "needs systemReservedCgroup",
    );
    check(
        "maxParallelImagePulls: 3\nserializeImagePulls: true\n",
        "needs `serializeImagePulls: false`",
    );
    check("staticPodURL: http://x\n", "not there yet; use staticPodPath");
    check("cpuManagerPolicy: static\n", "not there yet; write none");
    check(
        "containerRuntimeEndpoint: tcp://1.2.3.4:1\n",
        "write it like unix:///run/containerd/containerd.sock",
    );
    check(
        "clusterDNS: [dns.local]\n",
        "clusterDNS: \"dns.local\" is not an IP address",
    );
    check(
        "podCIDR: 10.9.0.0/24\n",
        "10.9.0.0/24 is not within networkCIDR 10.244.0.0/16; set --network-cidr too",
    );
    check(
        "podCIDR: 10.244.0.1/24\n",
        "has host bits set; write 10.244.0.0/24",
    );
    check("podCIDR: fd00::/64\n", "IPv6 for pods is not there yet");
}

#[test]
fn the_head_of_a_document_is_checked() {
    let check = |body: &str, expected: &str| {
        let error = Layers::merge(Some(&text("/c.yaml", body)), &[], &[])
            .unwrap_err()
            .to_string();
        assert_eq!(error, expected);
    };
    let api = "apiVersion: kubelet.config.k8s.io/v1beta1\n";
    check(
        "",
        "/c.yaml:1: says nothing; write `kind: KubeletConfiguration` or leave the file away",
    );
    check(
        "maxPods: 1\n",
        "/c.yaml:1: kind is missing; write `kind: KubeletConfiguration`",
    );
    check(
        "\nkind: Pod\n",
        "/c.yaml:2: kind Pod is not one of KubeletConfiguration and GantryConfiguration",
    );
    check(
        "kind: KubeletConfiguration\n",
        "/c.yaml:1: apiVersion is missing; write `apiVersion: kubelet.config.k8s.io/v1beta1`",
    );
    check(
        "kind: KubeletConfiguration\napiVersion: v1\n",
        "/c.yaml:2: apiVersion \"v1\" is not known; write `apiVersion: kubelet.config.k8s.io/v1beta1`",
    );
    check(
        &format!("{HEAD}---\n{HEAD}"),
        "/c.yaml:4: a second KubeletConfiguration in the same file",
    );
    let own = format!("kind: KubeletConfiguration\n{api}---\n{OWN_HEAD}imageDir: /x\n");
    check(&own, "/c.yaml:6: unknown key imageDir; did you mean imagesDir?");
}

#[test]
fn a_flag_that_is_wrong_is_named() {
    let check = |flag: (&str, &str), expected: &str| {
        let error = error("", &[], &[flag]);
        assert!(error.contains(expected), "{flag:?}: {error}");
    };
    check(("max-pods", "many"), "--max-pods: \"many\" is not a whole number");
    check(
        ("fail-swap-on", "maybe"),
        "--fail-swap-on: \"maybe\" is neither true nor false",
    );
    check(
        ("eviction-hard", "memory.available=1Gi"),
        "must be written as name<value",
    );
    check(
        ("sync-frequency", "soon"),
        "--sync-frequency: syncFrequency: \"soon\" is not a duration",
    );
    check(("port", "0x"), "--port: \"0x\" is not a whole number");
    check(
        ("port", "70000"),
        "--port: port: 70000 must be between 1 and 65535",
    );
    check(
        ("node-ip", "here"),
        "--node-ip: nodeIP: \"here\" is not an IP address",
    );
    check(
        ("node-labels", "kubernetes.io/mine=x"),
        "--node-labels: nodeLabels[\"kubernetes.io/mine\"]: is reserved",
    );
    check(
        ("hostname-override", "a_b"),
        "--hostname-override: hostnameOverride: \"a_b\" is no node name",
    );
}

#[test]
fn own_keys_and_flags() {
    let body = format!(
        "{OWN_HEAD}hostnameOverride: Two\nimagesDir: archives\nnodeIP: 10.0.0.1,fd00::1\nnodeLabels: {{a: b}}\n"
    );
    let flags = given(&[
        ("state-dir", "here"),
        ("hostname-override", "three"),
        ("log-level", "debug"),
    ]);
    let layers = Layers::merge(Some(&text("/c.yaml", &body)), &[], &flags).unwrap();
    let config = resolve(layers, Role::Run, &around()).unwrap();
    assert_eq!(config.node.name, "three");
    assert_eq!(config.paths.state, Path::new("/start/here"));
    assert_eq!(config.images.dir, Path::new("/start/archives"));
    assert_eq!(config.log.filter, "debug");
    assert_eq!(config.node.labels["a"], "b");
    let addresses = ["10.0.0.1", "fd00::1"].map(|text| text.parse().unwrap());
    assert_eq!(config.node.addresses, Addresses::Given(addresses.to_vec()));
}

#[test]
fn the_role_moves_a_few_defaults() {
    let run = load(Role::Run, "", &[], &[]).unwrap();
    assert_eq!(run.node.name, "web-1");
    assert_eq!(
        run.manifests.path.as_deref(),
        Some(Path::new("/etc/kubernetes/manifests"))
    );
    assert!(!run.cgroups.refuse_v1);
    assert_eq!(run.images.dir, Path::new("/var/lib/gantry/images"));
    assert_eq!(run.serve.healthz.unwrap().to_string(), "127.0.0.1:10248");
    assert_eq!(run.runtime.endpoint, Path::new("/run/containerd/containerd.sock"));
    assert_eq!(run.eviction.hard["nodefs.available"], Threshold::Fraction(0.1));
    assert!(run.warnings.is_empty(), "{:?}", run.warnings);
    let kubelet = load(Role::Kubelet, "", &[], &[]).unwrap();
    assert_eq!(kubelet.manifests.path, None);
    assert!(kubelet.cgroups.refuse_v1);
    assert!(
        kubelet.warnings[0].contains("no manifests directory"),
        "{:?}",
        kubelet.warnings
    );
    assert!(
        load(Role::Run, "failCgroupV1: true\n", &[], &[])
            .unwrap()
            .cgroups
            .refuse_v1
    );
}

#[test]
fn relative_paths_start_at_their_file() {
    let config = load(
        Role::Kubelet,
        "staticPodPath: manifests\nresolvConf: r.conf\n",
        &[],
        &[],
    )
    .unwrap();
    assert_eq!(
        config.manifests.path.as_deref(),
        Some(Path::new("/etc/k/manifests"))
    );
    assert_eq!(
        config.paths.resolv_conf.as_deref(),
        Some(Path::new("/etc/k/r.conf"))
    );
    assert_eq!(
        load(Role::Run, "resolvConf: \"\"\n", &[], &[])
            .unwrap()
            .paths
            .resolv_conf,
        None
    );
    assert_eq!(
        load(Role::Run, "", &[], &[("resolv-conf", "")])
            .unwrap()
            .paths
            .resolv_conf,
        None
    );
    let flags = [("pod-manifest-path", "pods")];
    assert_eq!(
        load(Role::Run, "", &[], &flags)
            .unwrap()
            .manifests
            .path
            .as_deref(),
        Some(Path::new("/start/pods"))
    );
}

#[test]
fn what_has_no_effect_is_said_once() {
    let flags = [
        ("cloud-config", "/c"),
        ("lock-file", "/x"),
        ("cloud-config", "/y"),
    ];
    let main = "staticPodPath: /m\nmaxOpenFiles: 5\nkubeAPIQPS: 50\nkubeAPIBurst: 7\n";
    let config = load(Role::Kubelet, main, &[], &flags).unwrap();
    assert_eq!(
        config.warnings,
        [
            "keys of KubeletConfiguration without effect in this version: kubeAPIBurst, maxOpenFiles",
            "flags without effect in this version: --cloud-config, --lock-file",
        ]
    );
}

#[test]
fn what_the_machine_must_be() {
    let config = |main: &str| load(Role::Kubelet, main, &[], &[]).unwrap();
    let machine = |swap| MachineFacts {
        swap: Bytes(swap),
        cores: 2,
        ..MachineFacts::default()
    };
    let refusal = |main: &str, swap, version| {
        config(main)
            .check_machine(&machine(swap), version)
            .map_err(|error| error.to_string())
    };
    assert_eq!(refusal("", 0, CgroupVersion::V2), Ok(()));
    assert!(
        refusal("", 1, CgroupVersion::V2)
            .unwrap_err()
            .contains("swapoff -a")
    );
    assert_eq!(refusal("failSwapOn: false\n", 1, CgroupVersion::V2), Ok(()));
    assert!(
        refusal("", 0, CgroupVersion::V1)
            .unwrap_err()
            .contains("failCgroupV1: false")
    );
    let limited = "failSwapOn: false\nfailCgroupV1: false\nmemorySwap: {swapBehavior: LimitedSwap}\n";
    assert!(
        refusal(limited, 0, CgroupVersion::V1)
            .unwrap_err()
            .contains("needs cgroup v2")
    );
    assert_eq!(refusal(limited, 0, CgroupVersion::V2), Ok(()));
}

#[test]
fn who_makes_cgroups() {
    use super::node::Init::{Other, Systemd as SystemdInit};
    use CgroupDriver::{Cgroupfs, Systemd};
    use CgroupVersion::{V1, V2};
    let check = |role, main: &str, told, seen, init, version, expected| {
        let config = load(role, main, &[], &[]).unwrap();
        let found = config.cgroup_driver(told, seen, init, version);
        assert_eq!(found, expected, "{main} {told:?} {seen:?} {init:?}");
    };
    let stated = "cgroupDriver: cgroupfs\n";
    check(Role::Run, "", None, None, SystemdInit, V2, Systemd);
    check(Role::Run, "", None, None, SystemdInit, V1, Cgroupfs);
    check(Role::Run, "", None, None, Other, V2, Cgroupfs);
    check(Role::Run, "", None, Some(Cgroupfs), SystemdInit, V2, Cgroupfs);
    check(
        Role::Run,
        "",
        Some(Cgroupfs),
        Some(Systemd),
        SystemdInit,
        V2,
        Cgroupfs,
    );
    check(Role::Run, stated, None, Some(Systemd), SystemdInit, V2, Cgroupfs);
    check(Role::Kubelet, "", None, Some(Systemd), SystemdInit, V2, Cgroupfs);
    check(
        Role::Kubelet,
        "cgroupDriver: systemd\n",
        None,
        None,
        Other,
        V1,
        Systemd,
    );
    check(
        Role::Kubelet,
        "cgroupDriver: systemd\n",
        Some(Cgroupfs),
        None,
        Other,
        V1,
        Cgroupfs,
    );
}

#[test]
fn the_nodes_settings() {
    let main =
        "systemReserved: {cpu: 100m, memory: 1Gi, pid: '500'}\nkubeReserved: {cpu: 200m}\npodsPerCore: 10\n";
    let config = load(Role::Run, main, &[], &[]).unwrap();
    let facts = MachineFacts {
        cores: 4,
        ..MachineFacts::default()
    };
    let settings = config.node_settings(&facts, Vec::new());
    assert_eq!(settings.max_pods, 40);
    assert_eq!(settings.version, "v1.36.2");
    assert_eq!(settings.reserved.cpu.unwrap().0, 300);
    assert_eq!(settings.reserved.memory, Some(Bytes(1 << 30)));
    assert_eq!(settings.reserved.extended["pid"], 500);
    let many = MachineFacts {
        cores: 64,
        ..MachineFacts::default()
    };
    assert_eq!(config.node_settings(&many, Vec::new()).max_pods, 110);
}

#[test]
fn every_flag_sets_a_key_that_exists() {
    use super::flags::{FLAGS, RUN_HELP, Target};
    let kubelet = serde_json::to_value(super::raw::skeleton()).unwrap();
    let own = serde_json::to_value(super::own::GantryConfiguration::default()).unwrap();
    let exists = |all: &Value, key: &str| {
        key.split('.')
            .try_fold(all, |value, part| value.get(part))
            .is_some()
    };
    for flag in FLAGS {
        match flag.target {
            Target::Kubelet(key) => assert!(exists(&kubelet, key), "--{}: {key}", flag.name),
            Target::Own(key) => assert!(exists(&own, key), "--{}: {key}", flag.name),
            Target::Source | Target::Unused => {}
        }
        assert_eq!(
            FLAGS.iter().filter(|other| other.name == flag.name).count(),
            1,
            "--{}",
            flag.name
        );
    }
    assert!(RUN_HELP.iter().all(|name| flag(name).is_some()));
}

proptest::proptest! {
    #[test]
    fn no_file_panics(body in "[a-zA-Z0-9:{}\\[\\], \n\"%.-]{0,120}") {
        let _ = load(Role::Kubelet, &body, &[], &[]);
    }
}

#[test]
fn for_which_images_credentials_are_verified() {
    let policy = |main: &str, flags: &[(&str, &str)]| {
        let config = load(Role::Kubelet, main, &[], flags).unwrap();
        config.images.verification
    };
    assert_eq!(policy("", &[]), Some(Verification::Pulled));
    for (word, want) in [
        ("NeverVerify", Verification::Never),
        ("NeverVerifyPreloadedImages", Verification::Pulled),
        (
            "NeverVerifyAllowlistedImages",
            Verification::Unlisted(Allowlist::default()),
        ),
        ("AlwaysVerify", Verification::Always),
    ] {
        let main = format!("imagePullCredentialsVerificationPolicy: {word}\n");
        assert_eq!(policy(&main, &[]), Some(want), "{word}");
    }
    let listed = "imagePullCredentialsVerificationPolicy: NeverVerifyAllowlistedImages\n\
                  preloadedImagesVerificationAllowlist: [a/*]\n";
    let list = Allowlist::read(&["a/*".to_owned()]).unwrap();
    assert_eq!(policy(listed, &[]), Some(Verification::Unlisted(list)));
    let off = "featureGates: {KubeletEnsureSecretPulledImages: false}\n";
    assert_eq!(policy(off, &[]), None);
    assert_eq!(
        policy("", &[("feature-gates", "KubeletEnsureSecretPulledImages=false")]),
        None
    );
    let check = |main: &str, problem: &str| {
        let told = error(main, &[], &[]);
        assert!(told.starts_with("/etc/k/config.yaml:3: "), "{told}");
        assert!(told.contains(problem), "{told}");
    };
    check(
        "imagePullCredentialsVerificationPolicy: Sometimes\n",
        "\"Sometimes\" is not one of",
    );
    check(
        "preloadedImagesVerificationAllowlist: [a/*]\n",
        "needs `imagePullCredentialsVerificationPolicy: NeverVerifyAllowlistedImages`",
    );
    check(
        &listed
            .replace("a/*", "a*")
            .lines()
            .rev()
            .collect::<Vec<_>>()
            .join("\n"),
        "has a * elsewhere",
    );
    check(
        &format!("imagePullCredentialsVerificationPolicy: AlwaysVerify\n{off}"),
        "needs the feature gate KubeletEnsureSecretPulledImages",
    );
}

#[test]
fn what_the_nodes_port_offers_and_the_kernels_settings_are_acted_on() {
    let main = "tlsMinVersion: VersionTLS13\ntlsCurvePreferences: [29]\nenableDebuggingHandlers: false\n\
                protectKernelDefaults: true\n";
    let config = load(Role::Kubelet, main, &[], &[]).unwrap();
    assert_eq!(config.serve.tls.minimum, TlsVersion::Tls13);
    assert_eq!(config.serve.tls.curves, Some(vec![Curve::X25519]));
    assert!(!config.serve.debugging && config.node.protect_kernel);
    assert_eq!(
        config.warnings.len(),
        1,
        "no manifests directory, and nothing else"
    );
    let usual = load(Role::Kubelet, "", &[], &[]).unwrap();
    assert!(usual.serve.debugging && !usual.node.protect_kernel);
    assert_eq!(usual.serve.tls, TlsOffer::default());
    let flags = [("tls-cipher-suites", "TLS_RSA_WITH_RC4_128_SHA")];
    let told = error("", &[], &flags);
    let expected = "--tls-cipher-suites: tlsCipherSuites: none of TLS_RSA_WITH_RC4_128_SHA is offered";
    assert!(told.starts_with(expected), "{told}");
    let told = error("tlsMinVersion: SSLv3\n", &[], &[]);
    assert!(
        told.starts_with("/etc/k/config.yaml:3: tlsMinVersion: \"SSLv3\" is no version"),
        "{told}"
    );
    let weak = "tlsCipherSuites: [TLS_AES_128_GCM_SHA256, TLS_RSA_WITH_RC4_128_SHA]\n";
    let warned = load(Role::Kubelet, weak, &[], &[]).unwrap().warnings.join("\n");
    let expected =
        "/etc/k/config.yaml:3: tlsCipherSuites: not offered, for their weaknesses: TLS_RSA_WITH_RC4_128_SHA";
    assert!(warned.contains(expected), "{warned}");
}
