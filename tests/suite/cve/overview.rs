//! The table at the top of this room, held to the files: each row leads to tests that are there and run, or says why there
//! are none; and no file of a number is without its row.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const TABLE: &str = include_str!("mod.rs");

/// What went wrong and got no number: the file of its tests stands for it.
const NO_NUMBER: &str = "none";

struct Row {
    number: String,
    text: String,
    files: Vec<String>,
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rows() -> Vec<Row> {
    let lines = TABLE.lines().filter_map(|line| line.strip_prefix("//! | "));
    let cells = lines.skip(1).map(|line| {
        let cells: Vec<&str> = line.trim_end_matches(" |").split(" | ").collect();
        let [number, _, text] = cells[..] else {
            panic!("a row has three cells: {line}")
        };
        let files = text.split('`').skip(1).step_by(2).map(str::to_owned);
        Row {
            number: number.to_owned(),
            text: text.to_owned(),
            files: files.collect(),
        }
    });
    cells.collect()
}

/// The names of the functions of a file that a test runner calls.
fn tests_in(path: &str, text: &str) -> Vec<String> {
    let name = |line: &str| {
        let (_, rest) = line.split_once("fn ")?;
        Some(rest.split('(').next()?.to_owned())
    };
    // The runner of the node's stories has a list; each story in it takes a node.
    if path.starts_with("tests/node/") {
        let listed = std::fs::read_to_string(top().join("tests/node/stories/mod.rs")).unwrap();
        let stories = text.lines().filter(|line| line.contains("(node: &mut Node)"));
        let stories = stories.filter_map(name);
        return stories
            .filter(|story| listed.contains(&format!("::{story}),")))
            .collect();
    }
    let lines: Vec<&str> = text.lines().collect();
    let marked = |line: &str| line == "#[test]" || line.starts_with("#[tokio::test");
    let pairs = lines.windows(2).filter(|pair| marked(pair[0]));
    pairs.filter_map(|pair| name(pair[1])).collect()
}

/// Whether a file is part of a program: the files of a package's own `tests` are, all others are named.
fn is_compiled(path: &Path) -> bool {
    let dir = path.parent().unwrap();
    if dir == top().join("cni-plugins/tests") {
        return true;
    }
    let declared = format!("mod {};", path.file_stem().unwrap().to_str().unwrap());
    let above = [dir.join("mod.rs"), dir.with_extension("rs")];
    let texts = above.iter().filter_map(|file| std::fs::read_to_string(file).ok());
    texts
        .into_iter()
        .any(|text| text.lines().any(|line| line == declared))
}

#[test]
fn each_number_leads_to_its_tests_or_says_why_there_are_none() {
    let rows = rows();
    assert!(rows.len() > 20, "{} rows", rows.len());
    for row in &rows {
        let Row { number, text, files } = row;
        if files.is_empty() {
            let sentence = text.strip_prefix("does not apply: ");
            assert!(sentence.is_some_and(|why| why.ends_with('.')), "{number}: {text}");
        }
        for file in files {
            let path = top().join(file);
            let stem = path.file_stem().unwrap().to_str().unwrap();
            let source = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(is_compiled(&path), "{file} is part of no program");
            let tests = tests_in(file, &source);
            assert!(!tests.is_empty(), "{file} has no test");
            if number != NO_NUMBER {
                let own = format!("cve_{}", number.replace('-', "_"));
                assert_eq!(stem, own, "the file of {number}");
                assert!(
                    tests.iter().any(|test| test.starts_with(&format!("{own}_"))),
                    "{file} has no test of {number}: {tests:?}"
                );
            }
        }
    }
}

#[test]
fn the_numbers_are_in_order_and_each_stands_once() {
    let numbers: Vec<(u32, u32)> = rows()
        .iter()
        .filter(|row| row.number != NO_NUMBER)
        .map(|row| {
            let (year, number) = row.number.split_once('-').unwrap();
            (year.parse().unwrap(), number.parse().unwrap())
        })
        .collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

fn files_of_numbers(dir: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            files_of_numbers(&path, found);
        } else if name.starts_with("cve_") {
            found.insert(path.strip_prefix(top()).unwrap().to_owned());
        }
    }
}

#[test]
fn no_file_of_a_number_is_without_its_row() {
    let mut found = BTreeSet::new();
    for dir in ["src", "tests", "cni-plugins/src", "cni-plugins/tests"] {
        files_of_numbers(&top().join(dir), &mut found);
    }
    let named: BTreeSet<PathBuf> = rows()
        .iter()
        .flat_map(|row| row.files.iter().map(PathBuf::from))
        .collect();
    let missing: Vec<_> = found.difference(&named).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
