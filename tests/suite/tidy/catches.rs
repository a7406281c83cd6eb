//! That each rule catches what it is for, on small made-up sources.

use super::rules;
use super::source::{File, functions, production};

fn files(texts: &[(&str, &str)]) -> Vec<File> {
    production(texts.iter().copied())
}

#[test]
fn an_arrow_that_is_not_in_the_table_is_caught_however_it_is_written() {
    let table: rules::Arrows<'_> = &[("a", &["c"]), ("b", &[]), ("c", &[])];
    let others = [("b.rs", ""), ("c/mod.rs", "")];
    let check = |text: &str| {
        let mut all = vec![("a/x.rs", text), ("a/mod.rs", "use crate::c;")];
        all.extend(others);
        rules::arrows(&files(&all), table)
    };
    let caught = ["src/a/x.rs:2: a may not use b"];
    for text in [
        "\nuse crate::b;",
        "\nuse crate::{c, b::B};",
        "\nuse crate::{\n    c,\n    b,\n};",
        "\nfn f() { crate::b::g() }",
        "\nuse super::super::b;",
        "\nuse crate::b as c;",
        "\nmod inner { use crate::b; }",
        "#[cfg(test)] mod tests {}\nuse crate::b;",
        "#[cfg(test)] use crate::b::C;\nuse crate::b::D;",
    ] {
        let found: Vec<String> = check(text)
            .into_iter()
            .map(|line| line.replace("x.rs:3", "x.rs:2").replace("x.rs:4", "x.rs:2"))
            .collect();
        assert_eq!(found, caught, "{text}");
    }
    for text in [
        "use crate::c;",
        "// use crate::b;",
        "/* crate::b */ const A: &str = \"crate::b\";",
        "#[cfg(test)] mod tests { use crate::b; }",
    ] {
        assert_eq!(check(text), [""; 0], "{text}");
    }
}

#[test]
fn a_room_without_a_row_a_row_without_a_room_and_an_arrow_without_use_are_caught() {
    let all = files(&[("a.rs", "use crate::b;"), ("b.rs", "")]);
    assert_eq!(
        rules::arrows(&all, &[("a", &["b"])]),
        ["b has no row in the table"]
    );
    assert_eq!(
        rules::arrows(&all, &[("a", &["b"]), ("b", &["a"]), ("c", &[])]),
        [
            "b does not use a: take it out of its row",
            "c has a row and is no room"
        ]
    );
    assert_eq!(rules::arrows(&all, &[("a", &["b"]), ("b", &[])]), [""; 0]);
}

#[test]
fn a_table_that_leads_back_is_caught() {
    let table: rules::Arrows<'_> = &[("a", &["b"]), ("b", &["c"]), ("c", &["a"]), ("d", &["a"])];
    assert_eq!(rules::no_way_back(table), ["these rooms use each other: a, b, c"]);
}

#[test]
fn what_is_not_pure_is_caught_in_every_file_that_says_so() {
    for (texts, want) in [
        (
            vec![("x/a.rs", "//! Decides. Pure.\nuse std::{fs, io};")],
            "src/x/a.rs:2: std::fs in a file that is pure",
        ),
        (
            vec![(
                "x/a.rs",
                "//! Pure: no clock.\nfn f() { jiff::Timestamp::now(); }",
            )],
            "src/x/a.rs:2: Timestamp::now in a file that is pure",
        ),
        (
            vec![(
                "x/a.rs",
                "//! One. Pure, so that it is tested.\n\nuse std::sync::Mutex;",
            )],
            "src/x/a.rs:3: Mutex in a file that is pure",
        ),
        (
            vec![(
                "x/a.rs",
                "//! Pure.\n#[cfg(test)]\nmod tests {}\nfn f() { tracing::info!(a) }",
            )],
            "src/x/a.rs:4: tracing in a file that is pure",
        ),
        (
            vec![("x/mod.rs", "//! Pure."), ("x/y/b.rs", "use tokio::time;")],
            "src/x/y/b.rs:1: tokio in a file that is pure",
        ),
        (
            vec![("x/a.rs", "//! A pure thing.")],
            "src/x/a.rs: what is pure says so in a sentence that begins with `Pure`",
        ),
        (
            vec![("x/a.rs", "//! [`b`] decides (pure).\nuse tokio::time;")],
            "",
        ),
        (vec![("x/a.rs", "//! Pure.\n#[cfg(test)]\nuse tokio::time;")], ""),
        (vec![("x/a.rs", "//! Decides.\nuse tokio::time;")], ""),
    ] {
        assert_eq!(rules::purity(&files(&texts), &[]).join("\n"), want, "{texts:?}");
    }
}

#[test]
fn an_exception_from_purity_is_for_one_word_and_is_needed() {
    let all = files(&[("a.rs", "//! Pure but for a file.\nuse std::fs;\nuse tokio::time;")]);
    assert_eq!(
        rules::purity(&all, &[("a.rs", &["std::fs"])]),
        ["src/a.rs:3: tokio in a file that is pure"]
    );
    assert_eq!(
        rules::purity(&all, &[("a.rs", &["std::fs", "tokio", "Mutex"])]),
        ["src/a.rs does not need its exception for Mutex"]
    );
}

#[test]
fn what_is_too_long_is_caught_and_exceptions_only_shrink() {
    let check = |lines: usize, exceptions: &[(&str, usize)]| {
        rules::lengths([("a".to_owned(), lines), ("a".to_owned(), 1)], 10, exceptions).join("\n")
    };
    assert_eq!(check(10, &[]), "");
    assert_eq!(check(11, &[]), "a has 11 lines, 10 are the most");
    assert_eq!(check(12, &[("a", 12)]), "");
    assert_eq!(
        check(13, &[("a", 12)]),
        "a has 13 lines and grows: it had 12, and 10 are the most"
    );
    assert_eq!(
        check(11, &[("a", 12)]),
        "a has 11 lines: its exception is 12 and too large"
    );
    assert_eq!(
        check(10, &[("a", 12)]),
        "a does not need its exception for its length"
    );
    assert_eq!(
        check(10, &[("b", 12)]),
        "b does not need its exception for its length"
    );
}

#[test]
fn lengths_are_without_tests_and_with_what_comes_after_them() {
    let text = "fn a() {\n    b(\"}\");\n}\n#[cfg(test)]\nmod tests {\n    fn t() {\n    }\n}\nimpl A {\n    fn c<T>(x: [u8; 2])\n    where\n        T: B,\n    {\n    }\n    fn d();\n}\n";
    let all = files(&[("a.rs", text)]);
    assert_eq!(rules::file_lengths(&all), [("a.rs".to_owned(), 11)]);
    let found: Vec<(String, usize)> = functions(&all[0])
        .into_iter()
        .map(|f| (f.name, f.lines))
        .collect();
    assert_eq!(found, [("a".to_owned(), 3), ("c".to_owned(), 5)]);
    assert_eq!(rules::function_lengths(&all)[1].0, "a.rs::c");
}

#[test]
fn a_module_for_tests_alone_is_left_out_with_all_below_it() {
    let all = files(&[
        ("a/mod.rs", "mod b;\n#[cfg(test)]\nmod tests;"),
        ("a/b.rs", ""),
        ("a/tests/mod.rs", "mod c;"),
        ("a/tests/c.rs", "use crate::d;"),
        ("tests.rs", ""),
    ]);
    let paths: Vec<&str> = all.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["a/mod.rs", "a/b.rs", "tests.rs"]);
}

#[test]
fn files_that_import_each_other_are_caught() {
    let check = |texts: &[(&str, &str)], exceptions: &[&[&str]]| {
        rules::no_circles(&files(texts), exceptions).join("\n")
    };
    let two = [("a/mod.rs", "mod b;\nuse b::C;"), ("a/b.rs", "use super::D;")];
    let caught = "these files import each other: a/b.rs, a/mod.rs";
    assert_eq!(check(&two, &[]), caught);
    assert_eq!(check(&two, &[&["a/mod.rs", "a/b.rs"]]), "");
    let three = [
        ("a.rs", "use crate::b::B;"),
        ("b.rs", "fn f() { crate::c::g() }"),
        ("c.rs", "use super::a::{self, A};"),
    ];
    assert_eq!(
        check(&three, &[]),
        "these files import each other: a.rs, b.rs, c.rs"
    );
    // A name that is passed on is of the file that it comes from.
    let passed = [
        (
            "a/mod.rs",
            "mod b; mod c;\npub use b::{B as Z};\npub(crate) use c::C;",
        ),
        ("a/b.rs", "use super::C;"),
        ("a/c.rs", "use crate::a::Z;"),
    ];
    assert_eq!(
        check(&passed, &[]),
        "these files import each other: a/b.rs, a/c.rs"
    );
    let only_passed = [
        ("a/mod.rs", "mod b;\npub use b::C;\npub struct D;"),
        ("a/b.rs", "use super::D;"),
    ];
    assert_eq!(check(&only_passed, &[]), "");
    // An imported module is what is used of it.
    let by_module = [
        ("a/mod.rs", "mod b;\nmod c;\npub(super) use b::f;"),
        ("a/b.rs", "use super::c;\nfn f() { c::g() }"),
        ("a/c.rs", "use crate::a;\nfn g() { a::f() }"),
    ];
    assert_eq!(
        check(&by_module, &[]),
        "these files import each other: a/b.rs, a/c.rs"
    );
    let none = [
        ("a/mod.rs", "mod b;"),
        (
            "a/b.rs",
            "use super::D;\n#[cfg(test)] mod tests { use super::*; }",
        ),
    ];
    assert_eq!(check(&none, &[]), "");
    assert_eq!(
        check(&none, &[&["a/b.rs", "a/mod.rs"]]),
        "this circle is not there any more, or is smaller: a/b.rs, a/mod.rs"
    );
}

#[test]
fn a_name_outside_of_its_home_and_a_home_without_it_are_caught() {
    let all = files(&[
        ("a.rs", "const A: &str = \"x.y/z\";"),
        ("b.rs", "fn f() { openat2(); }"),
        (
            "c.rs",
            "// openat2 x.y/\n#[cfg(test)] mod tests { const A: &str = \"x.y/\"; }",
        ),
    ]);
    let check = |row: (&str, &[&str]), want: &[&str]| {
        assert_eq!(rules::homes(&all, &[row]), want, "{row:?}");
    };
    check(("x.y/", &["a.rs"]), &[]);
    check(("openat2", &["b.rs"]), &[]);
    check(
        ("openat2", &["a.rs"]),
        &[
            "src/b.rs: openat2 belongs in a.rs",
            "src/a.rs has no openat2: take it out of the row",
        ],
    );
    check(
        ("x.y/", &["a.rs", "c.rs"]),
        &["src/c.rs has no x.y/: take it out of the row"],
    );
}
