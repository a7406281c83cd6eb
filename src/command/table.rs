//! Columns of text, as kubectl sets them: three blanks between, nothing at the end of a line.

/// A table that grows by rows.
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

/// Text of a container or the runtime, without what could command the terminal.
pub(crate) fn printable(text: &str) -> String {
    let show = |c: char| match c {
        '\n' | '\t' => c,
        c if c.is_control() => char::from_u32(c as u32 + 0x2400)
            .filter(|_| (c as u32) < 0x20)
            .unwrap_or('\u{fffd}'),
        c => c,
    };
    text.chars().map(show).collect()
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
}
