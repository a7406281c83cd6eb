//! `gantry cp`: files go into containers and come out of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

use crate::manifest;
use crate::node::Node;
use crate::process::text;

/// Where the story's own files are: a directory of the story's private /run.
const DIR: &str = "/run/node/copies";

pub fn files_are_copied_both_ways(node: &mut Node) {
    node.start_agent();
    node.manifest("shell.yaml", &manifest::idle("shell"));
    node.wait_running("shell");
    let dir = Path::new(DIR);
    fs::create_dir_all(dir.join("tree/sub")).expect("a directory");
    // Large enough that it passes through in many pieces, and no two of them alike.
    let large: Vec<u8> = (0..2_000_000_u64)
        .flat_map(|number| number.to_le_bytes())
        .collect();
    fs::write(dir.join("large"), &large).expect("a file");
    fs::write(dir.join("tree/sub/file with blanks"), "blanks").expect("a file");
    fs::write(dir.join("tree/-C"), "no option").expect("a file");
    symlink("-C", dir.join("tree/link")).expect("a link");

    there(node);
    back(node, &large);
    refusals(node);
}

/// Copies, and expects success without a word but these.
fn copies(node: &Node, arguments: &[&str], said: &str) {
    let output = cp(node, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    assert_eq!(String::from_utf8_lossy(&output.stderr), said, "{arguments:?}");
}

fn cp(node: &Node, arguments: &[&str]) -> Output {
    node.gantry(&[&["cp"], arguments].concat())
}

/// What a line of shell in the pod prints.
fn inside(node: &Node, script: &str) -> String {
    let output = node.gantry(&["exec", "shell", "--", "sh", "-c", script]);
    assert!(output.status.success(), "{script}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn there(node: &Node) {
    let large = format!("{DIR}/large");
    let tree = format!("{DIR}/tree");
    // As a name, into a directory, and with the pod's namespace.
    copies(node, &[&large, "shell:/tmp/renamed"], "");
    copies(node, &[&large, "default/shell:/tmp"], "");
    copies(node, &[&tree, "shell:/tmp/made"], "");
    copies(node, &["--no-preserve", &tree, "shell:/tmp"], "");
    let sums = inside(node, "sha256sum </tmp/renamed; sha256sum </tmp/large");
    let sums: Vec<&str> = sums.lines().collect();
    let local = crate::process::run(&["sha256sum", &large]);
    let local = local.split_whitespace().next().expect("a sum");
    assert_eq!(sums, [format!("{local}  -"), format!("{local}  -")]);
    for at in ["made", "tree"] {
        let found = inside(
            node,
            &format!("cd /tmp/{at}; cat 'sub/file with blanks' ./-C link; readlink link"),
        );
        assert_eq!(found, "blanksno optionno option-C\n", "{at}");
    }
}

fn back(node: &Node, large: &[u8]) {
    let back = format!("{DIR}/back");
    copies(node, &["shell:/tmp/renamed", &format!("{back}/renamed")], "");
    // Into a directory.
    copies(node, &["shell:/tmp/large", &back], "");
    for name in ["renamed", "large"] {
        let found = fs::read(format!("{back}/{name}")).expect("it was copied");
        assert!(found == large, "{name} differs: {} bytes", found.len());
    }
    let link = "warning: link was not copied: it is a symbolic link to -C\n";
    copies(node, &["shell:/tmp/made", &format!("{back}/tree")], link);
    let read = |path: &str| fs::read_to_string(format!("{back}/tree/{path}")).expect("it was copied");
    assert_eq!(read("sub/file with blanks"), "blanks");
    assert_eq!(read("-C"), "no option");
    assert!(fs::symlink_metadata(format!("{back}/tree/link")).is_err());
    // A file that is called like an option, relative to the working directory of the container.
    copies(node, &["shell:tmp/made/-C", &format!("{back}/option")], "");
    assert_eq!(
        fs::read_to_string(format!("{back}/option")).expect("it was copied"),
        "no option"
    );
}

fn refusals(node: &Node) {
    let refused = |arguments: &[&str], expected: &str| {
        let output = cp(node, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output));
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(expected),
            "{arguments:?}: {}",
            text(&output)
        );
    };
    refused(
        &["a", "b"],
        "gantry: neither path is in a pod: one of them must be POD:PATH",
    );
    refused(
        &["shell:a", "shell:b"],
        "gantry: both paths are in pods: one of them must be a local file or directory",
    );
    refused(
        &["/run/missing", "shell:/tmp"],
        "gantry: cannot read /run/missing: No such file or directory",
    );
    refused(&["/etc/hostname", "none:/tmp"], "gantry: pod \"none\" not found");
    // The container's own words.
    refused(&["shell:/tmp/missing", "/run/x"], "No such file or directory");
    refused(
        &["/etc/hostname", "shell:/missing/dir/x"],
        "tar failed in the container with exit code 1",
    );
    refused(
        &["shell:/tmp/made/link", "/run/x"],
        "gantry: link is a symbolic link to -C: copy that instead",
    );
    assert!(fs::symlink_metadata("/run/x").is_err());
}
