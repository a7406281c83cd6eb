//! The architecture's rules, enforced: ARCHITECTURE.md is the prose to these tables.
//!
//! Each rule is a function of sources in [`rules`], and `tidy/catches.rs` feeds each one a source that breaks it. The
//! exceptions are what was there when a rule came: one that is not needed any more, or whose number is too large, fails
//! as well, so the lists can only shrink.

mod catches;
mod paths;
mod rules;
mod source;
mod tokens;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use source::File;

/// Which rooms a room may name. `agent` wires them all.
const ARROWS: rules::Arrows<'static> = &[
    ("main", &["cli", "command"]),
    ("cli", &["config", "model"]),
    (
        "agent",
        &[
            "act",
            "ask",
            "cgroup",
            "config",
            "counters",
            "cri",
            "drivers",
            "identity",
            "images",
            "logind",
            "manifest",
            "model",
            "network",
            "observe",
            "publish",
            "reconcile",
            "report",
            "serve",
            "source",
            "stats",
            "trace",
        ],
    ),
    (
        "command",
        &[
            "act", "agent", "bulkhead", "cgroup", "cli", "config", "cri", "disk", "identity", "images",
            "model", "network", "observe", "plan", "serve", "source",
        ],
    ),
    ("config", &["model"]),
    ("counters", &["model"]),
    ("model", &[]),
    ("manifest", &["model"]),
    ("source", &["disk", "manifest", "model"]),
    (
        "observe",
        &[
            "announced",
            "ask",
            "bulkhead",
            "cgroup",
            "counters",
            "cri",
            "disk",
            "model",
        ],
    ),
    ("reconcile", &["act", "counters", "model", "observe", "plan"]),
    ("plan", &["model"]),
    (
        "act",
        &[
            "ask", "bulkhead", "cgroup", "counters", "cri", "csi", "disk", "model",
        ],
    ),
    ("report", &["counters", "model", "status"]),
    ("status", &["model"]),
    ("trace", &["cri", "model"]),
    ("publish", &["counters", "model"]),
    ("identity", &["bulkhead", "counters", "disk", "model"]),
    ("network", &["announced", "bulkhead", "disk", "model"]),
    ("images", &["cri", "model"]),
    ("logind", &["counters", "disk", "model"]),
    ("announced", &[]),
    ("bulkhead", &[]),
    ("disk", &[]),
    ("cgroup", &["counters", "model"]),
    ("ask", &["bulkhead", "model"]),
    ("cri", &["counters", "model"]),
    ("csi", &["counters", "cri"]),
    ("drivers", &["counters", "csi", "model"]),
    (
        "serve",
        &["ask", "bulkhead", "counters", "cri", "disk", "model", "stats"],
    ),
    (
        "stats",
        &["bulkhead", "cgroup", "counters", "cri", "csi", "disk", "model"],
    ),
    ("lib", &[]),
];

/// What files that are pure but for something may name.
const PURE_BUT: &[(&str, &[&str])] = &[
    // Instants of tokio's clock, which tests can turn; they are handed in.
    ("observe/due.rs", &["tokio"]),
    ("observe/probe/worker.rs", &["tokio"]),
    // The channel by which changes of static pods are asked for.
    ("model/asking.rs", &["tokio"]),
    ("model/added.rs", &["tokio"]),
    // The messages of OTLP, which their crate keeps in a module of that name.
    ("trace/message.rs", &["tonic"]),
    ("model/pod_restart.rs", &["tokio"]),
    ("model/manifest_edit.rs", &["tokio"]),
    ("model/image_work.rs", &["tokio"]),
    // The question to the kernel whether a process has a file open for writing.
    ("source/files/writing.rs", &["nix", "std::fs"]),
];

/// The most lines of a file without its tests, comments counted.
const MOST_LINES_OF_A_FILE: usize = 400;
/// The most lines of a function.
const MOST_LINES_OF_A_FUNCTION: usize = 60;

/// Files that are longer.
const LONG_FILES: &[(&str, usize)] = &[];

/// Functions that are longer.
const LONG_FUNCTIONS: &[(&str, usize)] = &[];

/// Files that import each other.
const CIRCLES: &[&[&str]] = &[];

/// Files of the plugins that import each other.
const CIRCLES_OF_PLUGINS: &[&[&str]] = &[];

/// What has one home.
const HOMES: rules::Homes<'static> = &[
    // The labels and annotations on which restarts rest.
    ("io.kubernetes.", &["model/labels.rs"]),
    ("kubernetes.io/config.source", &["model/labels.rs"]),
    ("kubernetes.io/config.hash", &["model/labels.rs"]),
    ("kubernetes.io/config.seen", &["model/labels.rs"]),
    // What is opened beneath a directory, and what survives a power failure.
    ("openat2", &["disk/beneath.rs"]),
    ("sync_all", &["disk/write.rs"]),
    // What a program that is run may take and print.
    ("kill_on_drop", &["bulkhead/program.rs"]),
];

fn find(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The files of the crate in this folder that run outside of tests.
fn sources(folder: &str) -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("src");
    let mut found = Vec::new();
    find(&root, &mut found);
    found.sort();
    assert!(
        found.len() > 30,
        "only {} files were found below {}",
        found.len(),
        root.display()
    );
    let texts: Vec<(String, String)> = found
        .iter()
        .map(|path| {
            let below = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            (below, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    source::production(texts.iter().map(|(path, text)| (path.as_str(), text.as_str())))
}

fn assert_none(rule: &str, wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{rule}:\n{}", wrong.join("\n"));
}

#[test]
fn rooms_use_only_the_rooms_that_the_picture_shows() {
    assert_none(
        "arrows that ARCHITECTURE.md does not show",
        rules::arrows(&sources("."), ARROWS),
    );
    assert_none("the table", rules::no_way_back(ARROWS));
}

#[test]
fn what_says_that_it_is_pure_does_no_io_and_reads_no_clock() {
    let files = sources(".");
    for room in ["manifest", "model", "plan", "status"] {
        let map = files
            .iter()
            .find(|file| file.path == format!("{room}/mod.rs"))
            .unwrap();
        assert!(
            map.header.contains("Pure"),
            "the room {room} does not say that it is pure"
        );
    }
    assert_none("pure files", rules::purity(&files, PURE_BUT));
}

#[test]
fn files_and_functions_can_be_read_at_once() {
    let files = sources(".");
    let long = rules::lengths(rules::file_lengths(&files), MOST_LINES_OF_A_FILE, LONG_FILES);
    assert_none("files", long);
    let long = rules::lengths(
        rules::function_lengths(&files),
        MOST_LINES_OF_A_FUNCTION,
        LONG_FUNCTIONS,
    );
    assert_none("functions", long);
    let plugins = sources("cni-plugins");
    assert_none(
        "files",
        rules::lengths(rules::file_lengths(&plugins), MOST_LINES_OF_A_FILE, &[]),
    );
    assert_none(
        "functions",
        rules::lengths(rules::function_lengths(&plugins), MOST_LINES_OF_A_FUNCTION, &[]),
    );
}

#[test]
fn no_files_import_each_other() {
    assert_none("circles", rules::no_circles(&sources("."), CIRCLES));
    assert_none(
        "circles",
        rules::no_circles(&sources("cni-plugins"), CIRCLES_OF_PLUGINS),
    );
}

#[test]
fn what_has_one_home_is_named_there_alone() {
    assert_none("homes", rules::homes(&sources("."), HOMES));
}

#[test]
fn the_plugins_know_nothing_of_the_agent() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("cni-plugins/Cargo.toml");
    let text = std::fs::read_to_string(manifest).unwrap();
    let dependencies = text
        .split("[dependencies]")
        .nth(1)
        .expect("the plugins have dependencies");
    assert!(
        !dependencies.lines().any(|line| line.starts_with("gantry ")),
        "{dependencies}"
    );
}

#[test]
fn files_are_named_for_what_is_inside() {
    for file in sources(".") {
        let name = Path::new(&file.path)
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        for vague in [
            "util", "utils", "helper", "helpers", "manager", "misc", "common", "types",
        ] {
            assert_ne!(name, vague, "src/{}: say what is inside", file.path);
        }
    }
}

#[test]
fn every_room_stands_in_the_architecture_document() {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let files = sources(".");
    let rooms: BTreeSet<&str> = files
        .iter()
        .map(File::room)
        .filter(|room| *room != "lib")
        .collect();
    for room in rooms {
        assert!(
            text.contains(&format!("`{room}/`")) || text.contains(&format!("`{room}.rs`")),
            "ARCHITECTURE.md has no line for {room}"
        );
    }
}
