//! A process of its own for each story, in private namespaces for network and mounts, which go with it however it ends.

use std::process::{Command, Stdio};

const INSIDE: &str = "GANTRY_STORY_INSIDE_ITS_NAMESPACES";

/// Runs `story` in a process of its own, inside new namespaces. A plain user becomes root of a new user namespace.
pub(crate) fn isolated(name: &str, story: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return story();
    }
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let status = command
        .args(["--net", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            name,
            "--include-ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(INSIDE, "1")
        .stdout(Stdio::null())
        .status()
        .expect("the tests need unshare (util-linux)");
    assert!(
        status.success(),
        "{name} failed inside its namespaces ({status}); its words are above"
    );
}
