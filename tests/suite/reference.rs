//! `docs/configuration.md` is what the table of keys says, and the tests that it names exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use expect_test::expect_file;
use gantry::config::reference::{reference, supported_keys, tested_keys};

/// The names of all functions in the sources and tests.
fn functions() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut directories: Vec<PathBuf> = vec![root.join("src"), root.join("tests")];
    let mut names = BTreeSet::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let after = text.split("fn ").skip(1);
                let name = |rest: &str| rest.split(['(', '<']).next().map(str::to_owned);
                names.extend(after.filter_map(name));
            }
        }
    }
    names
}

#[test]
fn the_document_says_what_the_table_says() {
    expect_file!["../../docs/configuration.md"].assert_eq(&reference());
}

#[test]
fn every_key_that_is_acted_on_names_a_test_that_exists() {
    let functions = functions();
    let supported: BTreeSet<&str> = supported_keys().map(|(key, _)| key).collect();
    for (key, test) in supported_keys() {
        let test = test.unwrap_or_else(|| panic!("{key} names no test in src/config/tested.rs"));
        assert!(functions.contains(test), "{key}: there is no test {test}");
    }
    for key in tested_keys() {
        assert!(supported.contains(key), "{key} is not acted on, and names a test");
    }
}
