//! The rules, as functions of sources: each gives what is wrong, a line each.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{File, functions, imports, rooms_named};

/// Which rooms a room may name.
pub(super) type Arrows<'a> = &'a [(&'a str, &'a [&'a str])];

/// Each room names only the rooms of its row, each row is of a room, and no row allows what no file uses.
pub(super) fn arrows(files: &[File], table: Arrows<'_>) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = table.iter().copied().collect();
    let known: BTreeSet<&str> = files.iter().map(File::room).collect();
    let mut wrong = BTreeSet::new();
    let mut used = BTreeSet::new();
    for (file, named) in rooms_named(files) {
        let room = file.room();
        for (other, line) in named {
            let Some(other) = known.get(other.as_str()).filter(|other| **other != room) else {
                continue;
            };
            used.insert((room, *other));
            if !allowed.get(room).is_some_and(|row| row.contains(other)) {
                wrong.insert(format!("src/{}:{line}: {room} may not use {other}", file.path));
            }
        }
    }
    let without_row = known.iter().filter(|room| !allowed.contains_key(*room));
    wrong.extend(without_row.map(|room| format!("{room} has no row in the table")));
    for (room, row) in table {
        if !known.contains(room) {
            wrong.insert(format!("{room} has a row and is no room"));
        }
        let unused = row.iter().filter(|other| !used.contains(&(*room, **other)));
        wrong.extend(unused.map(|other| format!("{room} does not use {other}: take it out of its row")));
    }
    wrong.into_iter().collect()
}

/// No row of the table leads back to its room, directly or through others.
pub(super) fn no_way_back(table: Arrows<'_>) -> Vec<String> {
    let graph = table
        .iter()
        .map(|(room, row)| (*room, row.iter().copied().collect()))
        .collect();
    circles(&graph)
        .into_iter()
        .map(|rooms| format!("these rooms use each other: {}", rooms.join(", ")))
        .collect()
}

/// What a pure file may not name: parts of paths. They read a clock, do I/O, log, wait or lock.
const IMPURE: &[&[&str]] = &[
    &["tokio"],
    &["tonic"],
    &["tracing"],
    &["rtnetlink"],
    &["nix"],
    &["std", "fs"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "env"],
    &["std", "net", "TcpStream"],
    &["std", "net", "TcpListener"],
    &["std", "net", "UdpSocket"],
    &["std", "os", "unix", "net"],
    &["Timestamp", "now"],
    &["Zoned", "now"],
    &["Instant", "now"],
    &["SystemTime", "now"],
    &["Mutex"],
    &["RwLock"],
];

/// What a file's header says of purity.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    /// A sentence of it begins with `Pure`.
    Pure,
    /// Nothing, or it says so of another file, in brackets behind a link.
    None,
    /// It uses the word otherwise.
    Unclear,
}

fn claim(header: &str) -> Claim {
    let about_others = header.replace("(pure)", "").replace("(pure:", "(");
    let words: Vec<&str> = about_others.split_whitespace().collect();
    let mut claim = Claim::None;
    for (at, word) in words.iter().enumerate() {
        let plain = word.trim_matches(|c: char| !c.is_alphabetic());
        if !plain.eq_ignore_ascii_case("pure") {
            continue;
        }
        let begins = at == 0 || words[at - 1].ends_with(['.', ':', '!']);
        match begins && plain == "Pure" {
            true => claim = Claim::Pure,
            false => return Claim::Unclear,
        }
    }
    claim
}

/// Every file that says it is pure is, with all below it if it is a `mod.rs`. `but` has what a file that says
/// `Pure but for …` may name all the same; each entry is needed.
pub(super) fn purity(files: &[File], but: &[(&str, &[&str])]) -> Vec<String> {
    let mut wrong = Vec::new();
    let pure_folders: Vec<&str> = files
        .iter()
        .filter(|file| claim(&file.header) == Claim::Pure)
        .filter_map(|file| file.path.strip_suffix("mod.rs"))
        .collect();
    let mut needed = BTreeSet::new();
    for file in files {
        let own = claim(&file.header);
        if own == Claim::Unclear {
            wrong.push(format!(
                "src/{}: what is pure says so in a sentence that begins with `Pure`",
                file.path
            ));
        }
        let is_pure = own == Claim::Pure || pure_folders.iter().any(|folder| file.path.starts_with(folder));
        if !is_pure {
            continue;
        }
        let allowed = but
            .iter()
            .find(|(path, _)| *path == file.path)
            .map_or(&[][..], |(_, words)| words);
        for path in &file.paths {
            let named = IMPURE.iter().find(|word| {
                path.segments
                    .windows(word.len())
                    .any(|part| part.iter().zip(**word).all(|(a, b)| a == b))
            });
            let Some(word) = named.map(|word| word.join("::")) else {
                continue;
            };
            match allowed.contains(&word.as_str()) {
                true => _ = needed.insert((file.path.as_str(), word)),
                false => wrong.push(format!(
                    "src/{}:{}: {word} in a file that is pure",
                    file.path, path.line
                )),
            }
        }
    }
    for (path, words) in but {
        for word in words
            .iter()
            .filter(|word| !needed.contains(&(*path, (**word).to_owned())))
        {
            wrong.push(format!("src/{path} does not need its exception for {word}"));
        }
    }
    wrong
}

/// What is longer than `limit` has an exception with exactly its length, and nothing else has one.
pub(super) fn lengths(
    measured: impl IntoIterator<Item = (String, usize)>,
    limit: usize,
    exceptions: &[(&str, usize)],
) -> Vec<String> {
    let mut longest: BTreeMap<String, usize> = BTreeMap::new();
    for (name, lines) in measured {
        let known = longest.entry(name).or_default();
        *known = lines.max(*known);
    }
    let excepted: BTreeMap<&str, usize> = exceptions.iter().copied().collect();
    let mut wrong = Vec::new();
    for (name, lines) in &longest {
        match excepted.get(name.as_str()) {
            None if *lines > limit => wrong.push(format!("{name} has {lines} lines, {limit} are the most")),
            Some(most) if lines > most => {
                wrong.push(format!(
                    "{name} has {lines} lines and grows: it had {most}, and {limit} are the most"
                ));
            }
            Some(most) if *lines > limit && lines < most => {
                wrong.push(format!(
                    "{name} has {lines} lines: its exception is {most} and too large"
                ));
            }
            _ => {}
        }
    }
    for (name, _) in exceptions {
        if longest.get(*name).is_none_or(|lines| *lines <= limit) {
            wrong.push(format!("{name} does not need its exception for its length"));
        }
    }
    wrong
}

/// The files by their length, without tests.
pub(super) fn file_lengths(files: &[File]) -> Vec<(String, usize)> {
    files.iter().map(|file| (file.path.clone(), file.lines)).collect()
}

/// The functions by their length, each `file::name`.
pub(super) fn function_lengths(files: &[File]) -> Vec<(String, usize)> {
    let of = |file: &File| {
        let name = |function: &str| format!("{}::{function}", file.path);
        functions(file)
            .into_iter()
            .map(|function| (name(&function.name), function.lines))
            .collect::<Vec<_>>()
    };
    files.iter().flat_map(of).collect()
}

/// What only certain files may name, and the files: a part of a token, so also of a string.
pub(super) type Homes<'a> = &'a [(&'a str, &'a [&'a str])];

/// Names outside of their homes, and homes that do not have the name.
pub(super) fn homes(files: &[File], homes: Homes<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, allowed) in homes {
        let has = |file: &&File| file.tokens.iter().any(|token| token.text.contains(name));
        let named: Vec<&str> = files.iter().filter(has).map(|file| file.path.as_str()).collect();
        let (at_home, outside): (Vec<&str>, Vec<&str>) =
            named.iter().partition(|path| allowed.contains(path));
        wrong.extend(
            outside
                .iter()
                .map(|path| format!("src/{path}: {name} belongs in {}", allowed.join(", "))),
        );
        let empty = allowed.iter().filter(|path| !at_home.contains(path));
        wrong.extend(empty.map(|path| format!("src/{path} has no {name}: take it out of the row")));
    }
    wrong
}

/// No file imports itself through others. `exceptions` has the circles that are there, each as its files.
pub(super) fn no_circles(files: &[File], exceptions: &[&[&str]]) -> Vec<String> {
    let graph = imports(files)
        .into_iter()
        .map(|(file, named)| (file, named.into_keys().collect()))
        .collect();
    let found = circles(&graph);
    let mut wrong = Vec::new();
    for circle in &found {
        let is_known = exceptions
            .iter()
            .any(|known| known.iter().collect::<BTreeSet<_>>() == circle.iter().collect());
        if !is_known {
            wrong.push(format!("these files import each other: {}", circle.join(", ")));
        }
    }
    for known in exceptions {
        if !found
            .iter()
            .any(|circle| circle.iter().collect::<BTreeSet<_>>() == known.iter().collect())
        {
            wrong.push(format!(
                "this circle is not there any more, or is smaller: {}",
                known.join(", ")
            ));
        }
    }
    wrong
}

/// The sets of nodes each of which leads to all others of its set.
pub(super) fn circles<'a>(graph: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> Vec<Vec<&'a str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|node| (*node, reachable(graph, node))).collect();
    let mut found = BTreeSet::new();
    for (node, from_it) in &reached {
        if from_it.contains(node) {
            let both = from_it
                .iter()
                .filter(|other| reached.get(**other).is_some_and(|set| set.contains(node)));
            found.insert(both.copied().collect::<Vec<_>>());
        }
    }
    found.into_iter().collect()
}

fn reachable<'a>(graph: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = vec![from];
    while let Some(node) = next.pop() {
        for other in graph.get(node).into_iter().flatten() {
            if reached.insert(*other) {
                next.push(other);
            }
        }
    }
    reached
}
