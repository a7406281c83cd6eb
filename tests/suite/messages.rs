//! Every text that a user may see, in one list: `messages.txt`. A change of a message changes the list, so that each new one
//! is read once as its user would read it, beside the others. `UPDATE_EXPECT=1 make test-suite` writes the list again.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use expect_test::expect_file;
use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// Words of a dialect that readers who know Kubernetes do not share, and what to write instead.
const UNIDIOMATIC: &[(&str, &str)] = &[
    (" told", "reported, published, logged or answered"),
    (" tells", "reports, publishes, logs or says"),
    (" anew", "again"),
    ("whoever", "the caller, the client, the process"),
    ("somebody", "the caller, the client, the process"),
    ("nobody", "no caller, no client, no process"),
    ("anybody", "any caller, any client, any process"),
    (" is there twice", "appears twice"),
    ("not there yet", "not supported yet, or does not exist yet"),
    ("leave it away", "omit it"),
    ("it is tried again", "retrying"),
    ("of ours", "gantry's"),
];

/// The texts of one file, in their order: string literals of several words outside tests. `with_docs` adds the doc comments,
/// which are the help texts of the command line.
fn texts(source: &str, with_docs: bool) -> Vec<String> {
    let tokens = TokenStream::from_str(source).expect("the file compiles");
    let mut found = Vec::new();
    collect(tokens, with_docs, &mut found);
    found.retain(|text| is_prose(text));
    found
}

/// Whether a literal has two words in it.
fn is_prose(text: &str) -> bool {
    let words = text.split(' ').filter(|word| {
        let letters = word.chars().filter(|c| c.is_alphabetic()).count();
        letters > 0 && !word.contains("::")
    });
    words.count() > 1
}

fn collect(tokens: TokenStream, with_docs: bool, found: &mut Vec<String>) {
    let mut tokens = tokens.into_iter().peekable();
    let mut after_expect = false;
    while let Some(token) = tokens.next() {
        match &token {
            TokenTree::Punct(punct) if punct.as_char() == '#' => {
                // `#[…]` or `#![…]`
                if matches!(tokens.peek(), Some(TokenTree::Punct(next)) if next.as_char() == '!') {
                    tokens.next();
                }
                let attribute = tokens.next_if(|next| matches!(next, TokenTree::Group(_)));
                let Some(TokenTree::Group(attribute)) = attribute else {
                    continue;
                };
                match kind(&attribute) {
                    Attribute::Test => skip_item(&mut tokens),
                    Attribute::Doc if with_docs => collect(attribute.stream(), with_docs, found),
                    Attribute::Doc | Attribute::Lint => {}
                    Attribute::Other => collect(attribute.stream(), with_docs, found),
                }
            }
            // What `expect` says is for the developer who broke the invariant.
            TokenTree::Group(_) if after_expect => {}
            TokenTree::Group(group) => collect(group.stream(), with_docs, found),
            TokenTree::Literal(literal) => found.extend(string(&literal.to_string())),
            TokenTree::Punct(_) | TokenTree::Ident(_) => {}
        }
        after_expect = matches!(&token, TokenTree::Ident(name) if *name == "expect");
    }
}

/// What an attribute is about.
enum Attribute {
    /// It makes the item part of the tests.
    Test,
    /// A doc comment.
    Doc,
    /// About lints; its reason is for developers.
    Lint,
    /// Any other: messages of errors, texts of the command line.
    Other,
}

fn kind(attribute: &Group) -> Attribute {
    let text = attribute.stream().to_string().replace(' ', "");
    if text == "test" || text == "cfg(test)" {
        Attribute::Test
    } else if text.starts_with("doc=") {
        Attribute::Doc
    } else if ["allow(", "expect(", "warn(", "deny("]
        .iter()
        .any(|lint| text.starts_with(lint))
    {
        Attribute::Lint
    } else {
        Attribute::Other
    }
}

/// Skips an item: to its body, or to the semicolon where it has none.
fn skip_item(tokens: &mut impl Iterator<Item = TokenTree>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return,
            TokenTree::Punct(punct) if punct.as_char() == ';' => return,
            _ => {}
        }
    }
}

/// The text of a string literal as it is written, on one line; `None` for other literals.
fn string(literal: &str) -> Option<String> {
    let begin = literal.find('"')?;
    let end = literal.rfind('"')?;
    if !literal[..begin].chars().all(|c| "rcb#".contains(c)) {
        return None;
    }
    let mut lines = literal[begin + 1..end].split("\\\n");
    let first = lines.next()?.to_owned();
    let text = lines.fold(first, |text, line| text + line.trim_start());
    Some(text.replace('\n', "\\n"))
}

/// The source files below a directory that are no tests, sorted.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(path);
        }
    }
    found.sort();
}

/// Every file with the texts in it.
fn all() -> Vec<(String, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for directory in ["src", "cni-plugins/src"] {
        sources(&root.join(directory), &mut files);
    }
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let is_command_line = name.starts_with("src/cli");
        let texts = texts(&std::fs::read_to_string(path).unwrap(), is_command_line);
        (!texts.is_empty()).then_some((name, texts))
    };
    files.iter().filter_map(read).collect()
}

#[test]
fn every_message_is_in_the_list() {
    let listed: Vec<String> = all()
        .into_iter()
        .map(|(file, texts)| format!("# {file}\n{}\n", texts.join("\n")))
        .collect();
    assert!(listed.len() > 100, "only {} files have messages", listed.len());
    expect_file!["messages.txt"].assert_eq(&listed.join("\n"));
}

#[test]
fn messages_have_the_fields_words() {
    let mut wrong = Vec::new();
    for (file, texts) in all() {
        for text in texts {
            let lower = format!(" {}", text.to_lowercase());
            for (word, instead) in UNIDIOMATIC {
                if lower.contains(word) {
                    wrong.push(format!("{file}: {text}\n    {:?}: write {instead}", word.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn texts_are_found_wherever_they_stand() {
    let source = r##"
        //! Not this one.
        /// Help of a flag.
        #[arg(help = "an attribute of a flag")]
        #[allow(dead_code, reason = "a reason of a lint")]
        #[error("cannot read {path}: \
                 it is gone")]
        struct Broken;
        fn work() {
            let one_word = "word";
            info!(path = "x", "two words of a log line");
            value.expect("an invariant that holds");
            let raw = r#"a "raw" text"#;
        }
        #[cfg(test)]
        mod tests { fn f() { panic!("not a message") } }
        #[cfg(test)]
        use x as y;
        const AFTER: &str = "a text after tests";
    "##;
    let expected = [
        "an attribute of a flag",
        "cannot read {path}: it is gone",
        "two words of a log line",
        "a \"raw\" text",
        "a text after tests",
    ];
    assert_eq!(texts(source, false), expected);
    let mut with_help = vec![" Not this one.", " Help of a flag."];
    with_help.extend(expected);
    assert_eq!(texts(source, true), with_help);
}
