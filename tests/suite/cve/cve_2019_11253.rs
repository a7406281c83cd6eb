//! A small text whose aliases, or whose nesting, fill memory or stack as it is read ("billion laughs").

use std::path::Path;

use gantry::config::layers::{Layers, Text};
use gantry::identity::kubeconfig;
use gantry::manifest::ManifestContext;
use gantry::manifest::read;
use gantry::model::registry::Keyring;
use jiff::Timestamp;

/// Ten to the twelfth values in half a kilobyte.
fn aliases() -> String {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        text += &format!("a{level}: &a{level} [{below}]\n");
    }
    text
}

/// Deeper than any stack.
fn nested(open: &str) -> String {
    open.repeat(100_000)
}

fn bombs() -> Vec<String> {
    let deep = [
        nested("["),
        nested("{\"a\":"),
        nested("- "),
        nested("a: {b: ["),
        nested("!!map {? "),
    ];
    let deep = deep.into_iter().map(|deep| format!("a: {deep}"));
    [aliases(), format!("metadata:\n  labels: {{}}\n{}", aliases())]
        .into_iter()
        .chain(deep)
        .collect()
}

#[test]
fn cve_2019_11253_a_manifest_that_is_a_bomb_is_a_problem_of_its_file() {
    for bomb in bombs() {
        let head = "apiVersion: v1\nkind: Pod\n";
        for text in [format!("{head}{bomb}"), bomb] {
            let path = Path::new("/m/a.yaml");
            let context = ManifestContext::default();
            let (pods, problems) = read(text.as_bytes(), path, &context, Timestamp::UNIX_EPOCH);
            assert!(pods.is_empty());
            assert!(!problems.is_empty(), "{}", &text[..60]);
            let reported: usize = problems.iter().map(|problem| problem.to_string().len()).sum();
            assert!(reported < 100_000, "{reported} bytes are told of {}", &text[..60]);
        }
    }
}

#[test]
fn cve_2019_11253_a_configuration_that_is_a_bomb_is_an_error() {
    for bomb in bombs() {
        let text = Text {
            path: "/c.yaml".into(),
            text: format!("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n{bomb}"),
        };
        let merged = Layers::merge(Some(&text), &[], &[]);
        assert!(merged.is_err(), "{}", &bomb[..40]);
    }
}

#[test]
fn cve_2019_11253_a_kubeconfig_that_is_a_bomb_is_an_error() {
    for bomb in bombs() {
        let text = format!("apiVersion: v1\nkind: Config\nextensions:\n- name: a\n  extension: 1\n{bomb}");
        assert!(
            kubeconfig::of_text(&text, Path::new("/k")).is_err(),
            "{}",
            &bomb[..40]
        );
    }
}

#[test]
fn cve_2019_11253_json_of_others_is_not_read_deeper_than_the_stack() {
    for deep in [nested("["), nested("{\"auths\":")] {
        assert!(Keyring::default().add_config_json(deep.as_bytes()).is_err());
        assert!(serde_json::from_str::<k8s_openapi::api::core::v1::Pod>(&deep).is_err());
        assert!(serde_json::from_str::<k8s_openapi::api::core::v1::Secret>(&deep).is_err());
    }
}
