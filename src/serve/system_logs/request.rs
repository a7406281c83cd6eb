//! The path of a request. Pure.

/// The longest path that is looked up, in bytes: no file system has longer ones.
const LONGEST: usize = 4096;

/// A path below the log directory, without empty and `.` parts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LogPath {
    /// Its parts, joined by `/`; empty for the directory itself.
    pub(super) path: Vec<u8>,
    /// Whether it ended in a slash, as that of a directory does.
    pub(super) as_directory: bool,
}

/// A path that is not looked up.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InvalidPath;

/// Reads the rest of a URL's path, with its escapes. A path with `..`, escaped or not, is refused: no file has that name.
pub(super) fn parse(escaped: &str) -> Result<LogPath, InvalidPath> {
    if escaped.len() > 3 * LONGEST {
        return Err(InvalidPath);
    }
    checked(unescape(escaped.as_bytes()).ok_or(InvalidPath)?)
}

/// The same of a path without escapes.
pub(super) fn checked(path: Vec<u8>) -> Result<LogPath, InvalidPath> {
    if path.len() > LONGEST || path.contains(&0) {
        return Err(InvalidPath);
    }
    let parts: Vec<&[u8]> = path
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.contains(&&b".."[..]) {
        return Err(InvalidPath);
    }
    Ok(LogPath {
        as_directory: parts.is_empty() || path.ends_with(b"/"),
        path: parts.join(&b'/'),
    })
}

fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                bytes.push(16 * digit(*high)? + digit(*low)?);
                rest = after;
            }
            (b'%', _) => return None,
            (byte, after) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_once_and_leads_only_down() {
        let check = |escaped: &str, expected: Option<(&[u8], bool)>| {
            let parsed = parse(escaped).ok();
            let parsed = parsed.as_ref().map(|path| (&path.path[..], path.as_directory));
            assert_eq!(parsed, expected, "{escaped}");
        };
        check("", Some((b"", true)));
        check("/", Some((b"", true)));
        check("syslog", Some((b"syslog", false)));
        check("pods/a/", Some((b"pods/a", true)));
        check("pods//./a", Some((b"pods/a", false)));
        check("a%20b+c", Some((b"a b+c", false)));
        check("%ff", Some((b"\xff", false)));
        check("...", Some((b"...", false)));
        check("a%2Fb", Some((b"a/b", false)));
        // What is escaped twice is the name of a file.
        check("%252e%252e/x", Some((b"%2e%2e/x", false)));
        for outside in [
            "..",
            "../etc/passwd",
            "a/../../b",
            "%2e%2e/etc",
            "%2E./x",
            ".%2e",
            "a/..%2f..%2fetc",
        ] {
            check(outside, None);
        }
        check("a%00b", None);
        check("100%", None);
        check("%g0", None);
        check(&"a".repeat(LONGEST + 1), None);
        check(&"%61".repeat(LONGEST + 1), None);
    }
}
