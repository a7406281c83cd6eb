//! Image references, parsed like the container ecosystem does (github.com/distribution/reference).

/// The parts of a reference that decide when it is pulled.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reference<'a> {
    /// The tag, where one is written.
    pub(crate) tag: Option<&'a str>,
    /// The digest, where one is written.
    pub(crate) digest: Option<&'a str>,
}

impl Reference<'_> {
    /// Whether its target may change between pulls: with neither tag nor digest it is `latest`.
    pub(crate) fn is_latest(&self) -> bool {
        match (self.tag, self.digest) {
            (Some(tag), _) => tag == "latest",
            (None, digest) => digest.is_none(),
        }
    }
}

/// Parses `[host[:port]/]path[:tag][@digest]`. The error says what is wrong.
pub(crate) fn parse(image: &str) -> Result<Reference<'_>, &'static str> {
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    // A colon after the last slash starts the tag; one before it starts a port.
    let path_start = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[path_start..].find(':') {
        Some(at) => (&rest[..path_start + at], Some(&rest[path_start + at + 1..])),
        None => (rest, None),
    };
    if name.is_empty() {
        return Err("has no name");
    }
    if name.len() > 255 {
        return Err("has a name longer than 255 characters");
    }
    let path = match name.split_once('/') {
        Some((host, path)) if is_host(host) => {
            if !is_host_form(host) {
                return Err("does not have a valid host before its first '/'");
            }
            path
        }
        _ => name,
    };
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("has upper case letters in its name: image names are lower case");
    }
    if !path.split('/').all(is_component) {
        return Err(
            "does not have a valid name: its parts are lower case letters and digits, separated by single '.', '_', \
             '__' or any number of '-'",
        );
    }
    if tag.is_none() && digest.is_none() && name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("is an image ID: use a name, or write the digest as name@sha256:…");
    }
    if !tag.is_none_or(is_tag) {
        return Err(
            "does not have a valid tag: letters, digits, '_', '.' and '-', at most 128, not starting with '.' or '-'",
        );
    }
    if !digest.is_none_or(is_digest) {
        return Err("does not have a valid digest (sha256: and 64 hexadecimal digits)");
    }
    Ok(Reference { tag, digest })
}

/// Whether the first part of a name is a host rather than a path on Docker Hub.
fn is_host(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost" || part.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_host_form(host: &str) -> bool {
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if !host.starts_with('[') || host.ends_with(']') => (host, Some(port)),
        _ => (host, None),
    };
    let port_right = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let host_right = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        }),
    };
    host_right && port_right
}

fn is_component(component: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    letter(*first)
        && letter(*last)
        && bytes
            .split(|b| letter(*b))
            .all(|between| matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|b| *b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&tag.len())
        && word(tag.as_bytes()[0])
        && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else {
        return false;
    };
    let hex_right = hex
        .bytes()
        .all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
    let length_right = match algorithm {
        "sha256" => hex.len() == 64,
        "sha384" => hex.len() == 96,
        "sha512" => hex.len() == 128,
        _ => false,
    };
    hex_right && length_right
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn check(image: &str, latest: bool) {
        assert_eq!(parse(image).map(|r| r.is_latest()), Ok(latest), "{image}");
    }

    #[test]
    fn a_tag_and_a_digest_decide_whether_it_is_latest() {
        check("busybox", true);
        check("busybox:latest", true);
        check("busybox:1.35", false);
        check("docker.io/library/busybox:1.35", false);
        check("gantry.local/demo:1", false);
        check("localhost:5000/a/b", true);
        check("localhost/a__b/c-d--e.f:v1", false);
        check("[::1]:5000/a:1", false);
        check("registry.example.com:443/x", true);
        check("Host/x:1", false);
        check(&format!("busybox@{DIGEST}"), false);
        check(&format!("busybox:latest@{DIGEST}"), true);
        check(&format!("busybox:1@{DIGEST}"), false);
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for image in [
            "",
            ":1",
            "a:",
            "a@",
            "a@sha256:12",
            "a:b:c",
            "a//b",
            "/a",
            "a/",
            "A",
            "a b",
            "a:-1",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "http://a/b",
            "a@sha1:0123",
            "x.y:port/a",
            "[::1/a",
            "é",
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ] {
            assert!(parse(image).is_err(), "{image:?}");
        }
        assert!(parse(&"a".repeat(256)).is_err());
        assert!(parse(&format!("a:{}", "b".repeat(129))).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
            let _ = parse(&text);
        }
    }
}
