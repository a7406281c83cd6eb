//! Directories that NFS servers export (documentation: *Volumes, nfs*).

use std::net::Ipv6Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::access::Access;

/// A directory of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NfsExport {
    /// The server's name or address.
    pub server: String,
    /// The path that it exports; absolute.
    pub path: String,
}

impl NfsExport {
    /// The source as mount(8) takes it, an IPv6 address in brackets; or why it is not given to a program: it must be
    /// neither an option to it nor more than one word.
    pub fn source(&self) -> Result<String, String> {
        if let Some(complaint) = server_complaint(&self.server) {
            return Err(format!("the server {:?} {complaint}", self.server));
        }
        if let Some(complaint) = path_complaint(&self.path) {
            return Err(format!("the path {:?} {complaint}", self.path));
        }
        Ok(match self.server.parse::<Ipv6Addr>() {
            Ok(_) => format!("[{}]:{}", self.server, self.path),
            Err(_) => format!("{}:{}", self.server, self.path),
        })
    }
}

/// A directory of an NFS server that is mounted for a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NfsMount {
    /// The source as mount(8) takes it: `server:path`.
    pub source: String,
    /// Where it is mounted.
    pub path: PathBuf,
    /// `mountOptions`
    pub options: Vec<String>,
    /// Whether nothing may be written.
    pub access: Access,
}

/// Why a text cannot be the name or the address of a server, which the API server does not check.
pub fn server_complaint(server: &str) -> Option<&'static str> {
    let is_strange = |c: char| c.is_whitespace() || c.is_control() || c == '/';
    if server.is_empty() {
        Some("is empty: name the NFS server")
    } else if server.starts_with('-') {
        Some("begins with '-', as no name or address does: mount(8) would take it for an option")
    } else if server.contains(is_strange) {
        Some("is neither a name nor an address: it contains a space, a control character or '/'")
    } else {
        None
    }
}

/// Why a text cannot be the path of an export.
pub fn path_complaint(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        Some("is not an absolute path: start it with '/'")
    } else if path.contains(char::is_control) {
        Some("contains a control character: write the path without it")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_one_word_that_is_no_option() {
        let source = |server: &str, path: &str| {
            let export = NfsExport {
                server: server.to_owned(),
                path: path.to_owned(),
            };
            export.source()
        };
        for (server, path, want) in [
            ("nas", "/a b", "nas:/a b"),
            ("192.0.2.7", "/", "192.0.2.7:/"),
            ("2001:db8::7", "/a", "[2001:db8::7]:/a"),
            ("[2001:db8::7]", "/a", "[2001:db8::7]:/a"),
        ] {
            assert_eq!(source(server, path), Ok(want.to_owned()));
        }
        for (server, path) in [
            ("-o", "/a"),
            ("--bind", "/a"),
            ("", "/a"),
            ("a b", "/a"),
            ("a\n", "/a"),
            ("/etc", "/a"),
            ("nas", "a"),
            ("nas", ""),
            ("nas", "/a\0b"),
            ("nas", "/a\nb"),
        ] {
            assert!(source(server, path).is_err(), "{server:?} {path:?}");
        }
    }
}
