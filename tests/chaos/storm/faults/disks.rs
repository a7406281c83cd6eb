//! The disk is full, or has no inode left.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use super::{Fault, Harm, Inflicted};
use crate::storm::{Storm, World, disk};

pub(super) fn all<W: World>() -> Vec<Fault<W>> {
    vec![
        Fault {
            name: "disk-full",
            weight: 3,
            may: disk::is_there,
            inflict: full,
        },
        Fault {
            name: "no-inode-left",
            weight: 2,
            may: disk::is_there,
            inflict: without_inodes,
        },
    ]
}

fn filler() -> PathBuf {
    PathBuf::from(disk::AT).join("filler")
}

/// Takes every byte.
fn full<W: World>(_: &mut Storm<W>) -> Inflicted<W> {
    let mut file = File::create(filler()).expect("a file of zero bytes");
    for size in [1 << 20, 4096, 1] {
        let part = vec![0; size];
        while file.write_all(&part).is_ok() {}
    }
    Inflicted::until("", Harm::Starts, |_| {
        std::fs::remove_file(filler()).expect("our own file");
    })
}

/// Takes every inode, by links to no file: they need no block of their own.
fn without_inodes<W: World>(_: &mut Storm<W>) -> Inflicted<W> {
    std::fs::create_dir(filler()).expect("an inode is left");
    let mut count = 0;
    while std::os::unix::fs::symlink("nowhere", filler().join(count.to_string())).is_ok() {
        count += 1;
    }
    Inflicted::until(format!("{count} were left"), Harm::Starts, |_| {
        std::fs::remove_dir_all(filler()).expect("our own files");
    })
}
