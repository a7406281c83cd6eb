//! CVE-2021-20206: the name of a plugin in a configuration has path separators, and another program than a plugin is run.
#![allow(missing_docs, reason = "the names of the stories say it")]
#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests; clippy.toml knows only functions marked as such"
)]

mod support;

use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use support::{Pod, isolated};

#[test]
fn cve_2021_20206_a_plugin_s_name_leads_to_no_other_program() {
    isolated(
        "cve_2021_20206_a_plugin_s_name_leads_to_no_other_program",
        |world| {
            let trace = world.dir().join("it-ran");
            let plugins = world.dir().join("plugins");
            std::fs::create_dir_all(plugins.join("below")).unwrap();
            for place in [world.dir().join("evil"), plugins.join("below/evil")] {
                std::fs::write(&place, format!("#!/bin/sh\n: > {}\nexit 1\n", trace.display())).unwrap();
                std::fs::set_permissions(&place, PermissionsExt::from_mode(0o755)).unwrap();
            }
            let pod = Pod::new("one");
            let netns = pod.netns.path.to_str().unwrap();
            let path = format!("{}:{}", world.plugins().display(), plugins.display());
            let variables = [
                ("CNI_CONTAINERID", "one"),
                ("CNI_NETNS", netns),
                ("CNI_IFNAME", "eth0"),
                ("CNI_PATH", &path),
            ];
            let absolute = world.dir().join("evil").display().to_string();
            for name in [
                "../evil",
                "below/evil",
                "./below/evil",
                "..",
                ".",
                "/evil",
                &absolute,
                "..\\evil",
            ] {
                let conf = world.bridge_conf(json!({"ipam": {"type": name}}));
                for command in ["ADD", "DEL"] {
                    let answer = world.call_with(command, &conf, &variables);
                    assert!(!answer.success, "{command} {name}: {}", answer.json);
                    assert!(
                        !world.ours || answer.failure() == (7, answer.failure().1),
                        "{}",
                        answer.json
                    );
                    assert!(
                        answer.failure().1.contains("ipam.type") || !world.ours,
                        "{command} {name}: {}",
                        answer.json
                    );
                }
                assert!(!trace.exists(), "{name} was run");
            }
            assert_eq!(
                pod.netns.command("ip", &["-br", "link"]).lines().count(),
                1,
                "nothing was made for the pod"
            );
        },
    );
}

#[test]
fn cve_2021_20206_names_lead_to_no_other_file() {
    isolated("cve_2021_20206_names_lead_to_no_other_file", |world| {
        if !world.ours {
            return eprintln!("the other plugins leave it to the library; not run");
        }
        let pod = Pod::new("one");
        let before = world.snapshot();
        for (field, name) in [
            ("name", "../../x"),
            ("name", "a/b"),
            ("bridge", "../ipv4/conf/all"),
            ("bridge", ".."),
        ] {
            let conf = world.bridge_conf(json!({field: name}));
            let answer = world.call("ADD", &pod, &conf);
            assert!(
                answer.failure().1.contains(field) && answer.failure().1.contains(name),
                "{}",
                answer.json
            );
        }
        assert_eq!(world.snapshot(), before);
    });
}
