//! Escape sequences in fields of objects controlled the terminal of the user who listed them.

use gantry::command::printable;

#[test]
fn cve_2021_25743_what_is_shown_of_an_object_commands_no_terminal() {
    let hostile = "web\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}2J\u{90}q\r\u{8}\u{7f}";
    let shown = printable(hostile);
    assert!(shown.starts_with("web"));
    assert!(!shown.contains(char::is_control), "{shown:?}");
}
