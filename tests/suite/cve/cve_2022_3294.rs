//! The API server believed the addresses that a Node object states, and could be led elsewhere. It does not apply: this
//! agent connects to no address of a Node object, and reports its own from the machine's interfaces.

use std::path::Path;

#[test]
fn cve_2022_3294_addresses_of_nodes_are_written_and_never_read() {
    // `status` writes them, `command` shows them; the rooms that connect or read the API server do not know the type.
    let connect = [
        "source", "publish", "identity", "ask", "act", "cri", "network", "serve",
    ];
    for room in connect {
        check(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room),
            &["NodeAddress"],
        );
    }
}

/// No source file of the agent names one of these.
pub(super) fn nothing_names(words: &[&str]) {
    check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), words);
}

fn check(directory: &Path, words: &[&str]) {
    let mut found = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            check(&path, words);
        } else {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for word in words {
                assert!(!text.contains(word), "{} names {word}", path.display());
            }
        }
        found += 1;
    }
    assert!(found > 0, "{} is empty", directory.display());
}
