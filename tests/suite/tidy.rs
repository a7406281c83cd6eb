//! The architecture's arrows and words, enforced: ARCHITECTURE.md is the prose to this table.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Which rooms a room may name. The rooms that wire others (`agent`, `main`) may name all.
const ARROWS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("cli", &["config", "model"]),
    ("config", &["model"]),
    ("source", &["manifest", "model"]),
    ("manifest", &["model"]),
    ("bulkhead", &[]),
    ("ask", &["bulkhead", "model"]),
    ("cri", &["model"]),
    ("observe", &["ask", "bulkhead", "cri", "model"]),
    ("plan", &["model"]),
    ("status", &["model"]),
    ("act", &["ask", "bulkhead", "cri", "model"]),
    ("network", &["model"]),
    ("images", &["cri", "model"]),
    ("reconcile", &["act", "model", "observe", "plan"]),
    ("report", &["model", "status"]),
    ("serve", &["cri", "model"]),
    ("identity", &["bulkhead", "model"]),
    ("publish", &["model"]),
];

/// What the deciding rooms may not name: they are functions of their arguments.
const IMPURE: &[&str] = &[
    "tokio",
    "tonic::",
    "tracing::",
    "std::fs",
    "std::net::Tcp",
    "std::process",
    "Timestamp::now",
    "Instant::now",
    "SystemTime::now",
    "Mutex",
    "RwLock",
];

/// Folders and files that must be pure.
const PURE: &[&str] = &["manifest", "model", "plan", "status"];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The room of a file: the first part of its path below `src`.
fn room(relative: &Path) -> String {
    let first = relative
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The lines of a file up to its tests, without comments: tests may name what they like.
fn code(path: &Path) -> Vec<(usize, String)> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text
        .lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]");
    lines
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number + 1, line.to_owned()))
        .collect()
}

/// Whether the file holds tests and nothing else, as those of a folder `tests` do.
fn is_test(relative: &Path) -> bool {
    relative.components().any(|part| part.as_os_str() == "tests")
}

/// A source file: its path below `src`, its room, and its lines of code by number.
type File = (PathBuf, String, Vec<(usize, String)>);

fn all() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    found.sort();
    assert!(
        found.len() > 30,
        "only {} source files were found below {}",
        found.len(),
        root.display()
    );
    found
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(&root).unwrap().to_owned();
            let lines = match is_test(&relative) {
                true => Vec::new(),
                false => code(&path),
            };
            (relative.clone(), room(&relative), lines)
        })
        .collect()
}

/// The rooms that a line names: `crate::plan::…`, and `crate::{act, model}` where it is written so.
fn named(line: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => list.split(['}']).next().unwrap_or(list).split(',').collect(),
            None => vec![rest],
        };
        for name in names {
            let word: String = name
                .trim()
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            if !word.is_empty() {
                rooms.insert(word);
            }
        }
    }
    rooms
}

#[test]
fn rooms_use_only_the_rooms_that_the_picture_shows() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for (path, room, lines) in all() {
        let Some(allowed) = arrows.get(room.as_str()) else {
            continue;
        };
        for (number, line) in lines {
            for other in named(&line) {
                if other != room && !allowed.contains(&other.as_str()) {
                    wrong.push(format!(
                        "src/{}:{number}: {room} may not use {other}",
                        path.display()
                    ));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that ARCHITECTURE.md does not show:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn deciding_rooms_do_no_io_and_read_no_clock() {
    let mut wrong = Vec::new();
    for (path, room, lines) in all() {
        if !PURE.contains(&room.as_str()) {
            continue;
        }
        for (number, line) in lines {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                wrong.push(format!(
                    "src/{}:{number}: {word} in a room that only decides",
                    path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
    for (path, _, _) in all() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        for vague in [
            "util", "utils", "helper", "helpers", "manager", "misc", "common", "types",
        ] {
            assert_ne!(name, vague, "src/{}: say what is inside", path.display());
        }
    }
}

#[test]
fn every_room_stands_in_the_architecture_document() {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    let rooms: BTreeSet<String> = all()
        .into_iter()
        .map(|(_, room, _)| room)
        .filter(|room| room != "lib")
        .collect();
    for room in rooms {
        assert!(
            text.contains(&format!("`{room}/`")) || text.contains(&format!("`{room}.rs`")),
            "ARCHITECTURE.md has no line for {room}"
        );
    }
}
