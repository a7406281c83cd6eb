//! Archives that a container makes for `gantry cp`.

use std::path::Path;

use gantry::command::copy::unpack::unpack;
use tar::{Builder, EntryType, Header};

/// A file, a directory with all kinds of members, and long names.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    let long = format!("./d/{}", "x".repeat(200));
    let all: [&[(EntryType, &str, &str)]; 3] = [
        &[(EntryType::Regular, "./d", "content")],
        &[
            (EntryType::Directory, "./d/", ""),
            (EntryType::Regular, "./d/a", "content"),
            (EntryType::Directory, "./d/sub/", ""),
            (EntryType::Regular, "./d/sub/b", ""),
            (EntryType::Symlink, "./d/link", "../../outside"),
            (EntryType::Link, "./d/hard", "./d/a"),
            (EntryType::Fifo, "./d/pipe", ""),
            (EntryType::Regular, "./d/a", "again"),
        ],
        &[
            (EntryType::Directory, "./d/", ""),
            (EntryType::Regular, &long, "content"),
        ],
    ];
    all.map(archive).to_vec()
}

fn archive(members: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, name, content) in members {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        let is_link = matches!(kind, EntryType::Symlink | EntryType::Link);
        if is_link {
            header.set_size(0);
            builder.append_link(&mut header, name, content).unwrap();
        } else {
            header.set_size(content.len() as u64);
            builder
                .append_data(&mut header, name, content.as_bytes())
                .unwrap();
        }
    }
    builder.into_inner().unwrap()
}

/// Nothing is made beside the destination, and no link within.
pub(super) fn run(input: &[u8]) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let understood = unpack(input, Some("d"), &dir.path().join("to")).is_ok();
    let made: Vec<_> = names(dir.path());
    assert!(made.is_empty() || made == ["to"], "{made:?}");
    check_links(&dir.path().join("to"));
    understood
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

fn check_links(directory: &Path) {
    // It may be a file, or not there.
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        assert!(kind.is_dir() || kind.is_file(), "{}", entry.path().display());
        if kind.is_dir() {
            check_links(&entry.path());
        }
    }
}
