//! Small files of JSON, whoever wrote them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde::de::DeserializeOwned;

/// The value in a file; `None`: there is none. A file of more than `most` bytes is as broken as one that is no such JSON
/// (`InvalidData`).
pub fn read<T: DeserializeOwned>(path: &Path, most: u64) -> io::Result<Option<T>> {
    let file = match File::open(path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        file => file?,
    };
    let mut text = Vec::new();
    // A text that is cut is no JSON.
    file.take(most).read_to_end(&mut text)?;
    let value = serde_json::from_slice(&text);
    let broken = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()));
    value.map(Some).map_err(broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_or_broken_is_an_error_and_what_is_absent_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let read = |path: &Path| read::<Vec<u8>>(path, 9);
        assert_eq!(read(&path).unwrap(), None);
        std::fs::write(&path, "[1, 2, 3]").unwrap();
        assert_eq!(read(&path).unwrap(), Some(vec![1, 2, 3]));
        assert_eq!(read(&path.join("below")).unwrap(), None);
        for broken in ["[1, 2, 34]", "", "[1"] {
            std::fs::write(&path, broken).unwrap();
            assert_eq!(
                read(&path).unwrap_err().kind(),
                io::ErrorKind::InvalidData,
                "{broken}"
            );
        }
    }
}
