//! A directory as a page of links, as Go's file server writes it. Pure.

use std::fmt::Write as _;

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    /// The name.
    pub(super) name: Vec<u8>,
    /// Whether it is a directory itself; a link to one is not.
    pub(super) is_directory: bool,
}

/// The page. `is_whole`: whether these are all entries.
pub(super) fn page(mut entries: Vec<Entry>, is_whole: bool) -> String {
    entries.sort();
    let head = "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n";
    let mut page = String::from(head);
    for entry in &entries {
        let slash = if entry.is_directory { "/" } else { "" };
        let (link, shown) = (link(&entry.name), shown(&entry.name));
        put(
            &mut page,
            format_args!("<a href=\"{link}{slash}\">{shown}{slash}</a>\n"),
        );
    }
    if !is_whole {
        let count = entries.len();
        put(
            &mut page,
            format_args!("only {count} entries are shown; the directory has more\n"),
        );
    }
    page.push_str("</pre>\n");
    page
}

/// The name as a relative URL.
fn link(name: &[u8]) -> String {
    let mut link = String::new();
    // Without it, what comes before a colon would be a scheme.
    if name.contains(&b':') {
        link.push_str("./");
    }
    for byte in name {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => link.push(char::from(*byte)),
            b'-' | b'_' | b'.' | b'~' | b'$' | b'+' | b',' | b':' | b';' | b'=' | b'@' => {
                link.push(char::from(*byte));
            }
            // `&` is not left as it is: it would have to be escaped for HTML.
            _ => put(&mut link, format_args!("%{byte:02X}")),
        }
    }
    link
}

/// The name as text of a page.
fn shown(name: &[u8]) -> String {
    let mut shown = String::new();
    for character in String::from_utf8_lossy(name).chars() {
        match character {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&#34;"),
            '\'' => shown.push_str("&#39;"),
            // A name may contain commands for a terminal.
            character if character.is_control() => shown.push(char::REPLACEMENT_CHARACTER),
            character => shown.push(character),
        }
    }
    shown
}

fn put(to: &mut String, text: std::fmt::Arguments<'_>) {
    to.write_fmt(text).expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn entry(name: &[u8], is_directory: bool) -> Entry {
        Entry {
            name: name.to_vec(),
            is_directory,
        }
    }

    #[test]
    fn names_are_sorted_and_neither_page_nor_link_takes_them_for_markup() {
        let entries = vec![
            entry(b"syslog", false),
            entry(b"pods", true),
            entry(b"a b?c#d.log", false),
            entry(b"<script>alert('&\"')</script>", false),
            entry(b"web:8080", false),
            entry(b"\xff\x1b[31m", false),
            entry("größe".as_bytes(), false),
        ];
        expect![[r#"
            <!doctype html>
            <meta name="viewport" content="width=device-width">
            <pre>
            <a href="%3Cscript%3Ealert%28%27%26%22%27%29%3C%2Fscript%3E">&lt;script&gt;alert(&#39;&amp;&#34;&#39;)&lt;/script&gt;</a>
            <a href="a%20b%3Fc%23d.log">a b?c#d.log</a>
            <a href="gr%C3%B6%C3%9Fe">größe</a>
            <a href="pods/">pods/</a>
            <a href="syslog">syslog</a>
            <a href="./web:8080">web:8080</a>
            <a href="%FF%1B%5B31m">��[31m</a>
            </pre>
        "#]]
        .assert_eq(&page(entries, true));
    }

    #[test]
    fn a_page_that_is_not_whole_says_so() {
        let page = page(vec![entry(b"a", false)], false);
        let end = "<a href=\"a\">a</a>\nonly 1 entries are shown; the directory has more\n</pre>\n";
        assert!(page.ends_with(end), "{page}");
    }
}
