//! Mount namespaces for tests.

use std::process::Command;

/// Runs a test again in its own user and mount namespaces, where mounting needs no privilege
/// and leaves no trace. Returns true inside them.
pub(crate) fn in_own_mounts(test: &str) -> bool {
    const MARK: &str = "GANTRY_TEST_IN_OWN_MOUNTS";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(MARK, "1")
        .output()
        .expect("unshare is part of util-linux");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    // A test name that does not exist would count as a success, too.
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{test} failed in its own namespaces: {said}"
    );
    false
}
