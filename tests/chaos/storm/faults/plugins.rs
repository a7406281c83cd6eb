//! The plugin that connects pods is missing, fails, or never ends.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{Fault, Harm, Inflicted, always};
use crate::storm::{Storm, World, kernel};

const PLUGIN: &str = "/opt/cni/bin/bridge";
const ASIDE: &str = "/opt/cni/bin/.bridge.aside";
/// What the plugin that never ends waits with: its processes are known by it.
const HANGS: &str = "3141592";

pub(super) fn all<W: World>() -> Vec<Fault<W>> {
    vec![
        Fault {
            name: "plugin-missing",
            weight: 3,
            may: always,
            inflict: missing,
        },
        Fault {
            name: "plugin-fails",
            weight: 2,
            may: always,
            inflict: fails,
        },
        Fault {
            name: "plugin-hangs",
            weight: 3,
            may: always,
            inflict: hangs,
        },
    ]
}

fn missing<W: World>(_: &mut Storm<W>) -> Inflicted<W> {
    std::fs::rename(PLUGIN, ASIDE).expect("a private /opt");
    Inflicted::until("", Harm::Nothing, |_| give_back())
}

fn fails<W: World>(_: &mut Storm<W>) -> Inflicted<W> {
    replace("echo '{\"code\": 999, \"msg\": \"an injected fault\"}'; exit 1");
    Inflicted::until("", Harm::Nothing, |_| give_back())
}

fn hangs<W: World>(_: &mut Storm<W>) -> Inflicted<W> {
    replace(&format!("exec sleep {HANGS}"));
    Inflicted::until("", Harm::Nothing, |_| {
        give_back();
        let hanging = kernel::command_lines().into_iter();
        let hanging = hanging.filter(|(_, words)| words.iter().any(|word| word == HANGS));
        kernel::kill(&hanging.map(|(pid, _)| pid).collect::<Vec<_>>());
    })
}

fn replace(script: &str) {
    std::fs::rename(PLUGIN, ASIDE).expect("a private /opt");
    let other = PathBuf::from(format!("{ASIDE}.other"));
    std::fs::write(&other, format!("#!/bin/sh\n{script}\n")).expect("a private /opt");
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o755)).expect("our own file");
    std::fs::rename(&other, PLUGIN).expect("a private /opt");
}

fn give_back() {
    std::fs::rename(Path::new(ASIDE), PLUGIN).expect("a private /opt");
}
