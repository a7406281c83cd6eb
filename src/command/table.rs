//! Text columns as in kubectl: separated by three blanks, without trailing blanks.

/// A table built row by row.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// One with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        Table {
            rows: vec![headings.iter().map(|&heading| heading.to_owned()).collect()],
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(
            cells
                .into_iter()
                .map(|cell| printable(&first_line(&cell)))
                .collect(),
        );
    }

    /// The text; each line begins with `indent`.
    pub(crate) fn text(&self, indent: &str) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = indent.to_owned();
            for (cell, width) in row.iter().zip(&widths) {
                line += &format!("{cell:width$}   ");
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

fn first_line(cell: &str) -> String {
    match cell.split_once('\n') {
        Some((first, _)) => format!("{first}..."),
        None => cell.to_owned(),
    }
}

/// Text from an object, a container or the runtime, without terminal control sequences (CVE-2021-25743) and
/// bidirectional control characters.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\n' { c } else { shown(c) })
        .collect()
}

fn shown(c: char) -> char {
    match c {
        '\t' => c,
        c if c.is_control() => char::from_u32(c as u32 + 0x2400)
            .filter(|_| (c as u32) < 0x20)
            .unwrap_or('\u{fffd}'),
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c => c,
    }
}

/// The same on one line, for headings and names.
pub(crate) fn in_line(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\n' { '␊' } else { shown(c) })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_commands_the_terminal() {
        let mut table = Table::new(&["NAME", "STATUS"]);
        table.row(["ümlaut".to_owned(), "a\u{1b}[31m\nb".to_owned()]);
        table.row(["x".to_owned(), String::new()]);
        assert_eq!(table.text("  "), "  NAME     STATUS\n  ümlaut   a␛[31m...\n  x\n");
    }

    #[test]
    fn cve_2021_25743_nothing_that_commands_a_terminal_is_shown() {
        let check = |text: &str, want: &str| assert_eq!(printable(text), want, "{text:?}");
        check("a\u{1b}]0;x\u{7}b", "a␛]0;x␇b");
        check("a\r\u{8}b\u{7f}", "a␍␈b\u{fffd}");
        // The eight-bit forms.
        check("\u{9b}2J\u{90}q", "\u{fffd}2J\u{fffd}q");
        check("user\u{202e}nimda", "user\u{fffd}nimda");
        check("ümlaut 🦀\tx\ny", "ümlaut 🦀\tx\ny");
        assert_eq!(in_line("a\nStatus: Running"), "a␊Status: Running");
    }
}
