//! The grammar of image names (`github.com/distribution/reference`), to the extent needed for adding the default tag
//! `latest`. Names that runtimes refuse are rejected before the runtime is called, with the same message.

/// The longest path of a repository.
const MAX_PATH: usize = 255;

/// Returns the name with the default tag if it has neither tag nor digest, otherwise unchanged. The error is that of
/// `ParseNormalizedNamed`.
pub fn with_default_tag(image: &str) -> Result<String, String> {
    let parts = parse(image)?;
    if parts.tag.is_none() && parts.digest.is_none() {
        Ok(format!("{image}:latest"))
    } else {
        Ok(image.to_owned())
    }
}

/// An image name without tag and digest, as written: no registry is added. `Err`: it is not a valid name.
///
/// Pull records and the allowlist of preloaded images use this form (`trimImageTagDigest` in
/// `pkg/kubelet/images/pullmanager/image_pull_policies.go`).
pub fn without_tag_and_digest(image: &str) -> Result<&str, String> {
    parse(image)?;
    Ok(bare(image))
}

/// The same for a name that was validated before.
pub(super) fn bare(image: &str) -> &str {
    let named = image.split('@').next().unwrap_or_default();
    // A colon before the last slash belongs to a port.
    let path_at = named.rfind('/').map_or(0, |at| at + 1);
    match named[path_at..].find(':') {
        Some(at) => &named[..path_at + at],
        None => named,
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

const INVALID: &str = "invalid reference format";

fn parse(image: &str) -> Result<Parts<'_>, String> {
    if image.len() == 64 && image.bytes().all(is_lower_hex) {
        return Err(format!(
            "invalid repository name ({image}), cannot specify 64-byte hexadecimal strings"
        ));
    }
    let (domain, remainder) = split_domain(image);
    let path_for_message = |path: &str| match (domain, path.contains('/')) {
        (None, false) => format!("library/{path}"),
        _ => path.to_owned(),
    };
    let before_tag = remainder.split(':').next().unwrap_or_default();
    if before_tag.chars().any(char::is_uppercase) {
        let path = path_for_message(before_tag);
        return Err(format!("{INVALID}: repository name ({path}) must be lowercase"));
    }
    let (named, digest) = match remainder.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (remainder, None),
    };
    let (path, tag) = match named.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (named, None),
    };
    let valid = domain.is_none_or(is_domain)
        && path.split('/').all(is_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest);
    if !valid {
        return Err(INVALID.to_owned());
    }
    if path_for_message(path).len() > MAX_PATH {
        return Err(format!(
            "repository name must not be more than {MAX_PATH} characters"
        ));
    }
    match digest.and_then(|digest| digest.split_once(':')) {
        Some(("sha256", hex)) if hex.len() != 64 => Err("invalid checksum digest length".to_owned()),
        Some(("sha384", hex)) if hex.len() != 96 => Err("invalid checksum digest length".to_owned()),
        Some(("sha512", hex)) if hex.len() != 128 => Err("invalid checksum digest length".to_owned()),
        Some(("sha256" | "sha384" | "sha512", _)) | None => Ok(Parts { tag, digest }),
        Some(_) => Err("unsupported digest algorithm".to_owned()),
    }
}

/// The first part is a registry if it cannot start a path: it has a dot, a port or a capital letter, or is `localhost`.
fn split_domain(image: &str) -> (Option<&str>, &str) {
    match image.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.chars().any(char::is_uppercase) =>
        {
            (Some(first), rest)
        }
        _ => (None, image),
    }
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, after)) => {
                let address_is_valid = address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
                if address.is_empty() || !address_is_valid {
                    return false;
                }
                match after.strip_prefix(':') {
                    Some(port) => (None, Some(port)),
                    None if after.is_empty() => (None, None),
                    None => return false,
                }
            }
            None => return false,
        },
        None => match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.is_none_or(|host| host.split('.').all(label))
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Lower-case letters and digits, separated by one `.`, one or two `_`, or any number of `-`.
fn is_component(component: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    alphanumeric(first)
        && alphanumeric(last)
        && component
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|separator| match separator {
                "" | "." | "_" | "__" => true,
                other => other.bytes().all(|b| b == b'-'),
            })
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else {
        return false;
    };
    let part = |part: &str| {
        part.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(part)
        && hex.len() >= 32
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_are_right() {
        let check = |image: &str, want: &str| {
            assert_eq!(with_default_tag(image).as_deref(), Ok(want), "{image}");
        };
        check("busybox", "busybox:latest");
        check("busybox:1.35", "busybox:1.35");
        check("docker.io/library/busybox", "docker.io/library/busybox:latest");
        check("localhost/x", "localhost/x:latest");
        check("localhost:5000/x", "localhost:5000/x:latest");
        check("localhost:5000/x:v1", "localhost:5000/x:v1");
        check("[2001:db8::1]:5000/x", "[2001:db8::1]:5000/x:latest");
        check("a/b__c/d--e.f", "a/b__c/d--e.f:latest");
        check("Registry/x", "Registry/x:latest");
        let digest = format!("busybox@sha256:{}", "a".repeat(64));
        check(&digest, &digest);
        let both = format!("busybox:1.35@sha256:{}", "a".repeat(64));
        check(&both, &both);
    }

    #[test]
    fn what_is_left_without_tag_and_digest() {
        let check = |image: &str, want: &str| assert_eq!(without_tag_and_digest(image), Ok(want), "{image}");
        check("busybox", "busybox");
        check("busybox:1.35", "busybox");
        check("localhost:5000/x", "localhost:5000/x");
        check("localhost:5000/x:v1", "localhost:5000/x");
        let digest = format!("example.com/a/b:1@sha256:{}", "a".repeat(64));
        check(&digest, "example.com/a/b");
        check(&digest.replace(":1@", "@"), "example.com/a/b");
        assert!(without_tag_and_digest("A:1").is_err());
    }

    #[test]
    fn names_that_are_wrong() {
        let check = |image: &str, want: &str| {
            assert_eq!(with_default_tag(image), Err(want.to_owned()), "{image}");
        };
        check("", INVALID);
        check("a b", INVALID);
        check("a:", INVALID);
        check("a//b", INVALID);
        check("/a", INVALID);
        check("a_", INVALID);
        check("a___b", INVALID);
        check("a._b", INVALID);
        check("-a", INVALID);
        check("a@sha256", INVALID);
        check("a@sha256:00", INVALID);
        check("example.com:x/a", INVALID);
        check("[::1/a", INVALID);
        check("a\0b", INVALID);
        check(
            &"a".repeat(256),
            "repository name must not be more than 255 characters",
        );
        check(&format!("a:{}", "t".repeat(129)), INVALID);
        check(
            &format!("a@sha256:{}", "a".repeat(40)),
            "invalid checksum digest length",
        );
        check(
            &format!("a@md5:{}", "a".repeat(32)),
            "unsupported digest algorithm",
        );
        check(
            "Busybox",
            "invalid reference format: repository name (library/Busybox) must be lowercase",
        );
        check(
            "docker.io/Foo/bar",
            "invalid reference format: repository name (Foo/bar) must be lowercase",
        );
        let id = "0".repeat(64);
        check(
            &id,
            &format!("invalid repository name ({id}), cannot specify 64-byte hexadecimal strings"),
        );
    }

    proptest! {
        #[test]
        fn any_text_has_an_answer_and_the_answer_is_stable(image in "\\PC{0,80}") {
            if let Ok(named) = with_default_tag(&image) {
                prop_assert_eq!(with_default_tag(&named), Ok(named.clone()));
            }
        }

        #[test]
        fn what_the_grammar_makes_is_right(image in "([a-z0-9]{1,8}\\.[a-z]{2,3}/)?[a-z0-9]{1,9}([._-][a-z0-9]{1,4}){0,2}(:[A-Za-z0-9_][A-Za-z0-9._-]{0,9})?") {
            prop_assert!(with_default_tag(&image).is_ok());
        }
    }
}
