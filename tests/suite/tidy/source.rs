//! The sources of a crate as the rules see them.

use std::collections::{BTreeMap, BTreeSet};

use super::paths::{Path, paths};
use super::tokens::{Token, closing, tokens, without_tests};

/// One file.
#[derive(Debug)]
pub(super) struct File {
    /// Its path below `src`.
    pub(super) path: String,
    /// Its module, from the crate's root.
    pub(super) module: Vec<String>,
    /// What its header says, the lines of `//!` at its beginning.
    pub(super) header: String,
    /// Its tokens without those of tests.
    pub(super) tokens: Vec<Token>,
    /// The paths among them.
    pub(super) paths: Vec<Path>,
    /// Its lines without those of tests.
    pub(super) lines: usize,
    /// The modules in other files that it declares for tests alone.
    for_tests: Vec<Vec<String>>,
}

impl File {
    fn new(path: &str, text: &str) -> File {
        let all = tokens(text);
        let (tokens, of_tests) = without_tests(&all);
        let module = module_of(path);
        let kept: BTreeSet<usize> = tokens
            .iter()
            .filter(|token| token.is("mod"))
            .map(|token| token.line)
            .collect();
        let declarations = all
            .windows(3)
            .filter(|three| three[0].is("mod") && three[2].is(";"));
        let for_tests = declarations
            .filter(|three| !kept.contains(&three[0].line))
            .map(|three| [module.clone(), vec![three[1].text.clone()]].concat())
            .collect();
        let header: Vec<&str> = text
            .lines()
            .map_while(|line| line.trim().strip_prefix("//!"))
            .map(str::trim)
            .collect();
        File {
            path: path.to_owned(),
            module,
            for_tests,
            header: header.join(" "),
            paths: paths(&tokens),
            tokens,
            lines: text.trim_end().lines().count() - of_tests,
        }
    }

    /// The room that the file is of: the first part of its path.
    pub(super) fn room(&self) -> &str {
        let first = self.path.split('/').next().expect("a path has a part");
        first.strip_suffix(".rs").unwrap_or(first)
    }
}

fn module_of(path: &str) -> Vec<String> {
    let stem = path.strip_suffix(".rs").unwrap_or(path);
    let mut module: Vec<String> = stem.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    if module == ["lib"] {
        module.clear();
    }
    module
}

/// The files of a crate that run outside of tests, of pairs of a path below `src` and a text. A module that is declared
/// for tests alone is left out with all that is below it.
pub(super) fn production<'a>(all: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<File> {
    let all: Vec<File> = all
        .into_iter()
        .map(|(path, text)| File::new(path, text))
        .collect();
    let tests: BTreeSet<Vec<String>> = all.iter().flat_map(|file| file.for_tests.clone()).collect();
    let is_test = |file: &File| (1..=file.module.len()).any(|end| tests.contains(&file.module[..end]));
    all.into_iter().filter(|file| !is_test(file)).collect()
}

/// Which file uses which: by the path of each, where it names them first. A name that a file only passes on (`pub use`)
/// is of the file that it comes from, for every file that uses it; passing it on uses nothing.
pub(super) fn imports(files: &[File]) -> BTreeMap<&str, BTreeMap<&str, usize>> {
    let by_module: ByModule<'_> = files.iter().map(|file| (file.module.as_slice(), file)).collect();
    let mut all = BTreeMap::new();
    for file in files {
        let mut named = BTreeMap::new();
        for path in file.paths.iter().filter(|path| !path.is_passed_on) {
            let Some(absolute) = absolute(file, path, &by_module) else {
                continue;
            };
            // Of a module that is imported that is used which its name is written before.
            if path.is_import && path.name != "*" && by_module.contains_key(absolute.as_slice()) {
                continue;
            }
            let target = origin(absolute, &by_module);
            if let Some(target) = target.filter(|target| target.path != file.path) {
                named.entry(target.path.as_str()).or_insert(path.line);
            }
        }
        all.insert(file.path.as_str(), named);
    }
    all
}

/// Which rooms each file names, and where first: by the first part of every path of this crate.
pub(super) fn rooms_named(files: &[File]) -> Vec<(&File, BTreeMap<String, usize>)> {
    let by_module: ByModule<'_> = files.iter().map(|file| (file.module.as_slice(), file)).collect();
    let of = |file: &File| {
        let mut named = BTreeMap::new();
        for path in &file.paths {
            if let Some(room) = absolute(file, path, &by_module).and_then(|path| path.into_iter().next()) {
                named.entry(room).or_insert(path.line);
            }
        }
        named
    };
    files.iter().map(|file| (file, of(file))).collect()
}

type ByModule<'a> = BTreeMap<&'a [String], &'a File>;

/// The file that an absolute path comes from.
fn origin<'a>(mut path: Vec<String>, by_module: &ByModule<'a>) -> Option<&'a File> {
    // As many times as names are passed on at most; that two files pass a name to each other does not compile.
    for _ in 0..16 {
        let (end, file) = (0..=path.len())
            .rev()
            .find_map(|end| Some((end, *by_module.get(&path[..end])?)))?;
        let passed = path.get(end).and_then(|name| {
            file.paths
                .iter()
                .find(|own| own.is_passed_on && own.name == *name)
        });
        match passed.and_then(|own| absolute(file, own, by_module)) {
            Some(from) => path = [from, path[end + 1..].to_vec()].concat(),
            None => return Some(file),
        }
    }
    None
}

/// A path from the crate's root, if it is one of this crate.
pub(super) fn absolute(
    file: &File,
    path: &Path,
    by_module: &BTreeMap<&[String], &File>,
) -> Option<Vec<String>> {
    let first = path.segments.first()?;
    let rest = |from: usize| path.segments[from..].to_vec();
    match first.as_str() {
        "crate" | "gantry" if path.segments.len() > 1 => Some(rest(1)),
        "self" if path.segments.len() > 1 => Some([file.module.clone(), rest(1)].concat()),
        "super" => {
            let ups = path
                .segments
                .iter()
                .take_while(|segment| *segment == "super")
                .count();
            // Within modules of the file itself, the first of them lead to the file.
            let ups_of_files = ups.checked_sub(path.depth).filter(|ups| *ups > 0)?;
            let stays = file.module.len().checked_sub(ups_of_files)?;
            Some([file.module[..stays].to_vec(), rest(ups)].concat())
        }
        // A module that was imported, or one below this one, by its name alone.
        _ if path.segments.len() > 1 => {
            let rooted =
                |own: &&Path| ["crate", "gantry", "self", "super"].contains(&own.segments[0].as_str());
            let mut imports = file.paths.iter().filter(|own| own.is_import).filter(rooted);
            let import = imports.find(|own| own.name == *first);
            if let Some(import) = import {
                return absolute(file, import, by_module).map(|module| [module, rest(1)].concat());
            }
            let below = [file.module.clone(), rest(0)].concat();
            by_module
                .contains_key(&below[..=file.module.len()])
                .then_some(below)
        }
        _ => None,
    }
}

/// A function: its name, and how many lines it has from `fn` to its brace.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) lines: usize,
    pub(super) line: usize,
}

/// The functions of a file that have a body.
pub(super) fn functions(file: &File) -> Vec<Function> {
    let all = &file.tokens;
    let mut found = Vec::new();
    for at in 0..all.len().saturating_sub(1) {
        let is_function = all[at].is("fn")
            && all[at + 1]
                .text
                .starts_with(|c: char| c.is_alphabetic() || c == '_');
        if !is_function {
            continue;
        }
        let mut body = at + 2;
        while body < all.len() && !all[body].is("{") && !all[body].is(";") {
            let opens = all[body].is("(") || all[body].is("[");
            body = if opens { closing(all, body) + 1 } else { body + 1 };
        }
        if all.get(body).is_some_and(|token| token.is("{")) {
            let lines = all[closing(all, body)].last_line - all[at].line + 1;
            let name = all[at + 1].text.clone();
            found.push(Function {
                name,
                lines,
                line: all[at].line,
            });
        }
    }
    found
}
