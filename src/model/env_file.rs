//! Environment variables from files in emptyDirs (KEP-3721).

use std::path::PathBuf;

/// A variable whose value is read from a file when the container is created. Until then, a placeholder stands for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvFileKey {
    /// The variable's name.
    pub name: String,
    /// Where the volume is.
    pub root: PathBuf,
    /// The file, resolved beneath `root`.
    pub path: PathBuf,
    /// The key in the file.
    pub key: String,
    /// Whether the file may lack the key; the variable is then what it was before.
    pub optional: bool,
    /// The value that the variable had before, if it had one: of `envFrom`, of an earlier entry, of a Service. It may
    /// contain the placeholders of earlier files.
    pub before: Option<String>,
}

/// The placeholder for the value of the file with that index. No environment variable can contain a NUL.
pub fn placeholder(index: usize) -> String {
    format!("\0file{index}\0")
}

/// The text up to the first placeholder of a file, the file's index, and the text after it. `None`: there is no such
/// placeholder.
pub fn split(text: &str) -> Option<(&str, usize, &str)> {
    let begin = text.find("\0file")?;
    let (index, after) = text[begin + "\0file".len()..].split_once('\0')?;
    Some((&text[..begin], index.parse().ok()?, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_at_its_placeholders_and_those_of_addresses_stay() {
        let text = format!("a\0podIP\0{}b{}", placeholder(0), placeholder(12));
        let (before, index, after) = split(&text).unwrap();
        assert_eq!((before, index), ("a\0podIP\0", 0));
        assert_eq!(split(after), Some(("b", 12, "")));
        assert_eq!(split("a\0podIPs\0"), None);
    }
}
