//! What `kubeadm init` gives a cluster for those that join it, and the line that they type.

use crate::control_plane::{ADMIN, KUBEADM_CONFIG, let_nodes_connect_pods, let_server_ask_nodes};
use crate::node::here;
use crate::process::run;
use crate::world::control_plane;

/// Puts the configuration of nodes and of the cluster where who joins reads it, and lets tokens be used.
pub fn prepare(kubelet_configuration: &str) {
    let cluster = std::fs::read_to_string(here(KUBEADM_CONFIG)).expect("the control plane was made of it");
    let kubelet = "---\napiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
    let config = here("joining.yaml");
    let text = format!("{cluster}{kubelet}{kubelet_configuration}");
    std::fs::write(&config, text).expect("a private directory");
    let config = format!("--config={}", config.display());
    for phase in [["upload-config", "all"].as_slice(), &["bootstrap-token"]] {
        kubeadm(&[&["init", "phase"], phase, &[&config]].concat());
    }
    let_server_ask_nodes();
    let_nodes_connect_pods();
}

/// The arguments of `kubeadm join`, as kubeadm prints them: they are `gantry join`'s, too.
pub fn line() -> Vec<String> {
    let printed = kubeadm(&["token", "create", "--print-join-command"]);
    let words: Vec<String> = printed.split_whitespace().map(str::to_owned).collect();
    assert_eq!(words[..2], ["kubeadm", "join"], "{printed}");
    words[1..].to_vec()
}

fn kubeadm(arguments: &[&str]) -> String {
    let program = control_plane("kubeadm").display().to_string();
    let credentials = format!("--kubeconfig={ADMIN}");
    run(&[&[program.as_str()], arguments, &[&credentials]].concat())
}
