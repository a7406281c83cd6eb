//! Indented `Key:  value` lines, as in `kubectl describe`.

use super::table::{Table, in_line, printable};

/// Text built from blocks; the values of a block are aligned.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    text: String,
    block: Vec<(String, String)>,
    indent: usize,
}

impl Outline {
    /// Adds a line to the block. Further lines of the value go below the first.
    pub(crate) fn field(&mut self, key: &str, value: impl AsRef<str>) {
        let value = printable(value.as_ref());
        let mut lines = value.lines();
        self.block.push((
            format!("{}:", in_line(key)),
            lines.next().unwrap_or_default().to_owned(),
        ));
        self.block
            .extend(lines.map(|line| (String::new(), line.to_owned())));
    }

    /// The same, if there is a value.
    pub(crate) fn field_if(&mut self, key: &str, value: Option<impl AsRef<str>>) {
        if let Some(value) = value.filter(|value| !value.as_ref().is_empty()) {
            self.field(key, value);
        }
    }

    /// One entry per line; `<none>` for none.
    pub(crate) fn fields(&mut self, key: &str, mut entries: impl Iterator<Item = String>) {
        self.field(key, entries.next().unwrap_or_else(|| "<none>".to_owned()));
        for entry in entries {
            let entry = printable(&entry);
            self.block
                .extend(entry.lines().map(|line| (String::new(), line.to_owned())));
        }
    }

    /// A heading with a deeper block below it.
    pub(crate) fn section(&mut self, heading: &str, write: impl FnOnce(&mut Outline)) {
        self.end_block();
        self.line(&format!("{}:", in_line(heading)));
        self.indent += 2;
        write(self);
        self.end_block();
        self.indent -= 2;
    }

    /// A heading with a table below it; `<none>` if the table has no rows.
    pub(crate) fn table(&mut self, heading: &str, table: &Table) {
        self.end_block();
        let rows = table.text(&" ".repeat(self.indent + 2));
        if rows.lines().count() > 1 {
            self.line(&format!("{heading}:"));
            self.text += &rows;
        } else {
            self.line(&format!("{heading}:  <none>"));
        }
    }

    /// Words, one per line.
    pub(crate) fn words(&mut self, heading: &str, words: Option<&[String]>) {
        if let Some(words) = words.filter(|words| !words.is_empty()) {
            self.section(heading, |outline| {
                words.iter().for_each(|word| outline.line(&printable(word)))
            });
        }
    }

    fn line(&mut self, line: &str) {
        let indent = " ".repeat(self.indent);
        self.text += format!("{indent}{}", line.replace('\n', &format!("\n{indent}"))).trim_end();
        self.text.push('\n');
    }

    fn end_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        let width = block
            .iter()
            .map(|(key, _)| key.chars().count())
            .max()
            .unwrap_or(0);
        for (key, value) in block {
            self.line(&format!("{key:width$}  {value}"));
        }
    }

    /// All of it.
    pub(crate) fn into_text(mut self) -> String {
        self.end_block();
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cve_2021_25743_neither_keys_nor_values_command_a_terminal_or_make_a_field_of_their_own() {
        let mut outline = Outline::default();
        let hostile = "x\u{1b}[2J\nStatus:  Running".to_owned();
        outline.field("Status", "Failed");
        outline.field(&hostile, &hostile);
        outline.fields("Labels", [hostile.clone(), hostile.clone()].into_iter());
        outline.section(&hostile, |outline| {
            outline.words("Args", Some(std::slice::from_ref(&hostile)))
        });
        let text = outline.into_text();
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
        let fields: Vec<&str> = text.lines().filter(|line| line.starts_with("Status:")).collect();
        assert_eq!(fields.len(), 1, "{text}");
        assert!(fields[0].contains("Failed"));
    }
}
