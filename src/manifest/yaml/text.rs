//! Decodes a file's bytes as text: bytes that cannot be a manifest are rejected before anything is parsed.

use crate::manifest::path::{Fault, FieldPath};
use crate::model::pod::ProblemKind;

/// The largest file that is read. A Kubernetes object cannot be larger than etcd's 1.5 MiB; manifests are
/// a few kilobytes.
pub const MOST_BYTES: usize = 1024 * 1024;

/// The text of a file, without a byte order mark.
pub(crate) fn read(bytes: &[u8]) -> Result<&str, Fault> {
    if bytes.len() > MOST_BYTES {
        return Err(Fault {
            kind: ProblemKind::Bound,
            ..fault(None, too_large(bytes.len() as u64))
        });
    }
    let bytes = match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => rest,
        [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] => {
            return Err(fault(Some(1), "the file is UTF-16: save it as UTF-8".into()));
        }
        _ => bytes,
    };
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        fault(
            Some(line_at(before)),
            format!(
                "the byte 0x{:02x} is not valid UTF-8: save the file as UTF-8",
                bytes[before.len()]
            ),
        )
    })?;
    match text.char_indices().find(|(_, c)| !allowed(*c)) {
        Some((at, c)) => Err(fault(
            Some(line_at(&bytes[..at])),
            match c {
                '\0' => "a NUL byte is not text: the file is damaged, write it again".into(),
                _ => format!(
                    "the control character U+{:04X} is not allowed: remove it",
                    u32::from(c)
                ),
            },
        )),
        None => Ok(text),
    }
}

/// The message about a file that is too large to be a manifest.
pub fn too_large(bytes: u64) -> String {
    format!("the file has {bytes} bytes and is not read: a manifest has at most {MOST_BYTES}")
}

/// YAML's printable characters (YAML 1.1, section 5.1).
fn allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{7e}' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
        && c != '\u{feff}'
}

fn line_at(before: &[u8]) -> usize {
    1 + before.iter().filter(|b| **b == b'\n').count()
}

fn fault(line: Option<usize>, message: String) -> Fault {
    Fault {
        path: FieldPath::default(),
        line,
        message,
        kind: ProblemKind::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], line: Option<usize>, part: &str) {
        let fault = read(bytes).unwrap_err();
        assert_eq!(fault.line, line, "{}", fault.message);
        assert!(fault.message.contains(part), "{}", fault.message);
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_line() {
        check(b"a: 1\nb: \0\n", Some(2), "NUL");
        check(b"a: 1\n\nb: \xff\n", Some(3), "0xff");
        check(b"a: \x1b[0m\n", Some(1), "U+001B");
        check(b"\xff\xfea\0", Some(1), "UTF-16");
        check(&vec![b' '; MOST_BYTES + 1], None, "at most");
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(read(b"\xef\xbb\xbfa: 1").unwrap(), "a: 1");
        assert_eq!(
            read("a: \u{1F600}\t\u{e9}\r\n".as_bytes()).unwrap(),
            "a: \u{1F600}\t\u{e9}\r\n"
        );
    }
}
