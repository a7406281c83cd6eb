//! Text around bytes (RFC 7468).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The bytes as a block of this label: nothing else is between its lines.
pub(super) fn encoded(label: &str, bytes: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in STANDARD.encode(bytes).as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
