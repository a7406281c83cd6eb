//! A file in which the agent keeps something is emptied, cut in half, overwritten or removed, with the agent alive or just
//! killed. Nothing that runs depends on it.

use std::path::{Path, PathBuf};

use super::{Fault, Harm, Inflicted, always};
use crate::storm::kernel::names;
use crate::storm::{Storm, World};

/// Where the agent keeps things, and what of it is not the agent's own: images, that a person puts there.
const KEPT: [&str; 2] = ["/var/lib/gantry", "/var/lib/kubelet"];
const OF_OTHERS: [&str; 2] = ["/var/lib/gantry/images", "/volumes/"];

pub(super) fn all<W: World>() -> Vec<Fault<W>> {
    vec![
        Fault {
            name: "a-file-broken",
            weight: 5,
            may: always,
            inflict: one_broken,
        },
        Fault {
            name: "all-files-broken",
            weight: 2,
            may: always,
            inflict: all_broken,
        },
    ]
}

fn one_broken<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    let files = kept();
    let drawn = storm.random.number(usize::MAX);
    let Some(file) = drawn.checked_rem(files.len()).map(|at| files[at].clone()) else {
        return Inflicted::done("nothing", Harm::Nothing);
    };
    let survives = storm.random.number(2) == 0;
    if !survives {
        storm.world.node_mut().kill_agent();
    }
    let how = spoil(&file, storm.random.number(4));
    let what = format!("{how} {}", file.display());
    match survives {
        true => Inflicted::done(what, Harm::Nothing),
        false => Inflicted::until(what, Harm::Starts, |storm: &mut Storm<W>| {
            storm.world.node_mut().spawn_agent()
        }),
    }
}

fn all_broken<W: World>(storm: &mut Storm<W>) -> Inflicted<W> {
    storm.world.node_mut().kill_agent();
    let files = kept();
    for file in &files {
        spoil(file, storm.random.number(4));
    }
    let what = format!("{} files", files.len());
    Inflicted::until(what, Harm::Starts, |storm: &mut Storm<W>| {
        storm.world.node_mut().spawn_agent()
    })
}

/// The files that the agent keeps, in a stable order.
fn kept() -> Vec<PathBuf> {
    let all = KEPT
        .into_iter()
        .flat_map(|directory| files_below(Path::new(directory)));
    let is_own = |path: &PathBuf| {
        let text = path.display().to_string();
        !OF_OTHERS.iter().any(|other| text.contains(other))
    };
    all.filter(is_own).collect()
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in names(directory)
        .unwrap_or_default()
        .iter()
        .map(|name| directory.join(name))
    {
        match path.symlink_metadata() {
            Ok(data) if data.is_dir() => found.extend(files_below(&path)),
            Ok(data) if data.is_file() => found.push(path),
            _ => {}
        }
    }
    found
}

/// Spoils a file; says how. One that has gone meanwhile is spoiled enough.
fn spoil(file: &Path, how: usize) -> &'static str {
    let content = std::fs::read(file).unwrap_or_default();
    let (said, spoiled) = match how {
        0 => ("emptied", Vec::new()),
        1 => ("cut", content[..content.len() / 2].to_vec()),
        2 => ("overwritten", b"\x00\xff{not json".repeat(9)),
        _ => {
            let _ = std::fs::remove_file(file);
            return "removed";
        }
    };
    if file.exists() {
        let _ = std::fs::write(file, spoiled);
    }
    said
}
