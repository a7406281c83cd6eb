//! Image references (`github.com/distribution/reference`, through which the kubelet and runtimes read them):
//! `[registry[:port]/]path[:tag][@digest]`. Every part of the agent reads them here.

use std::fmt;

/// The registry of references without one, and the older name of the same registry.
pub(super) const DEFAULT_REGISTRY: &str = "docker.io";
const FORMER_DEFAULT_REGISTRY: &str = "index.docker.io";
/// The first part of a path on the default registry that has only one.
const OFFICIAL: &str = "library/";
/// The longest path of a repository.
const MAX_PATH: usize = 255;

/// A reference to an image, by its parts as they are written. Printing it gives the text again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageRef<'a> {
    registry: Option<&'a str>,
    path: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

/// Why a text is not a reference. Displayed with the message of `ParseNormalizedNamed`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// It is an image ID, 64 hexadecimal digits, which could not be distinguished from a name.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Id(String),
    /// Its path has capital letters.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// It has no path.
    #[error("invalid reference format")]
    Empty,
    /// Its registry is not a host with an optional port.
    #[error("invalid reference format")]
    Registry,
    /// A part of its path is not lower-case letters and digits, with separators only between them.
    #[error("invalid reference format")]
    Path,
    /// Its tag is not a word of at most 128 characters.
    #[error("invalid reference format")]
    Tag,
    /// Its digest is not an algorithm and hexadecimal digits.
    #[error("invalid reference format")]
    Digest,
    /// Its path is too long.
    #[error("repository name must not be more than {MAX_PATH} characters")]
    TooLong,
    /// Its digest does not have the length that its algorithm makes.
    #[error("invalid checksum digest length")]
    DigestLength,
    /// Its digest has capital letters.
    #[error("invalid checksum digest format")]
    DigestFormat,
    /// The algorithm of its digest is not supported.
    #[error("unsupported digest algorithm")]
    DigestAlgorithm,
}

impl<'a> ImageRef<'a> {
    /// Parses a reference that people write.
    pub fn parse(text: &'a str) -> Result<ImageRef<'a>, InvalidReference> {
        if text.len() == 64 && text.bytes().all(is_lower_hex) {
            return Err(InvalidReference::Id(text.to_owned()));
        }
        let reference = ImageRef::split(text);
        let after_registry = reference.registry.map_or(0, |registry| registry.len() + 1);
        // As in distribution: up to the first colon, whatever it separates.
        let named = text[after_registry..].split(':').next().unwrap_or_default();
        if named.chars().any(char::is_uppercase) {
            return Err(InvalidReference::Uppercase(reference.on_registry(named)));
        }
        reference.check()?;
        Ok(reference)
    }

    /// Splits a text that was parsed before, or that the runtime or the kubelet wrote: whatever it is, it has parts.
    pub fn split(text: &'a str) -> ImageRef<'a> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to a port.
        let last = name.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match name[last..].find(':') {
            Some(colon) => (&name[..last + colon], Some(&name[last + colon + 1..])),
            None => (name, None),
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if is_registry(first) => (Some(first), rest),
            _ => (None, name),
        };
        ImageRef {
            registry,
            path,
            tag,
            digest,
        }
    }

    /// The grammar of each part.
    fn check(&self) -> Result<(), InvalidReference> {
        if self.path.is_empty() {
            return Err(InvalidReference::Empty);
        }
        if !self.registry.is_none_or(is_domain) {
            return Err(InvalidReference::Registry);
        }
        if !self.path.split('/').all(is_component) {
            return Err(InvalidReference::Path);
        }
        if !self.tag.is_none_or(is_tag) {
            return Err(InvalidReference::Tag);
        }
        if !self.digest.is_none_or(is_digest) {
            return Err(InvalidReference::Digest);
        }
        if self.on_registry(self.path).len() > MAX_PATH {
            return Err(InvalidReference::TooLong);
        }
        self.digest.map_or(Ok(()), check_digest)
    }

    /// Without tag and digest, as written: no registry is added.
    ///
    /// Pull records and the allowlist of preloaded images use this form (`trimImageTagDigest` in
    /// `pkg/kubelet/images/pullmanager/image_pull_policies.go`).
    pub fn name(&self) -> String {
        ImageRef {
            tag: None,
            digest: None,
            ..*self
        }
        .to_string()
    }

    /// The digest.
    pub fn digest(&self) -> Option<&'a str> {
        self.digest
    }

    /// Whether its target may change between pulls: with neither tag nor digest it is `latest`.
    pub fn is_latest(&self) -> bool {
        self.with_default_tag().tag == Some("latest")
    }

    /// With the tag `latest` if it has neither tag nor digest.
    pub fn with_default_tag(self) -> ImageRef<'a> {
        match (self.tag, self.digest) {
            (None, None) => ImageRef {
                tag: Some("latest"),
                ..self
            },
            _ => self,
        }
    }

    /// The registry, also where none is written: `docker.io`.
    pub fn registry(&self) -> &'a str {
        match self.registry {
            None | Some(FORMER_DEFAULT_REGISTRY) => DEFAULT_REGISTRY,
            Some(registry) => registry,
        }
    }

    /// The repository with its registry, without tag and digest: `docker.io/library/busybox`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.registry(), self.on_registry(self.path))
    }

    /// The name under which a runtime keeps the image, and which is the same however it is written:
    /// `docker.io/library/busybox:latest`.
    pub fn full_name(&self) -> String {
        let repository = self.repository();
        let ImageRef { tag, digest, .. } = self.with_default_tag();
        with_parts(&repository, tag, digest)
    }

    /// A path as the registry has it: `library/busybox`.
    fn on_registry(&self, path: &str) -> String {
        match self.registry() == DEFAULT_REGISTRY && !path.contains('/') {
            true => format!("{OFFICIAL}{path}"),
            false => path.to_owned(),
        }
    }
}

/// The [`ImageRef::full_name`] of any text.
pub fn full_name(text: &str) -> String {
    ImageRef::split(text).full_name()
}

impl fmt::Display for ImageRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(registry) = self.registry {
            write!(f, "{registry}/")?;
        }
        f.write_str(&with_parts(self.path, self.tag, self.digest))
    }
}

fn with_parts(name: &str, tag: Option<&str>, digest: Option<&str>) -> String {
    let part =
        |separator: char, part: Option<&str>| part.map_or(String::new(), |part| format!("{separator}{part}"));
    format!("{name}{}{}", part(':', tag), part('@', digest))
}

/// The first part is a registry if it cannot start a path: it has a dot, a port or a capital letter, or is `localhost`.
fn is_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.chars().any(char::is_uppercase)
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

/// What go-digest accepts: a known algorithm, and as many lower-case digits as it makes.
fn check_digest(digest: &str) -> Result<(), InvalidReference> {
    let (algorithm, hex) = digest.split_once(':').unwrap_or((digest, ""));
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        other if other.chars().any(char::is_uppercase) => return Err(InvalidReference::DigestFormat),
        _ => return Err(InvalidReference::DigestAlgorithm),
    };
    match hex.len() == length {
        false => Err(InvalidReference::DigestLength),
        true if !hex.bytes().all(is_lower_hex) => Err(InvalidReference::DigestFormat),
        true => Ok(()),
    }
}

fn is_lower_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn the_parts_of_a_reference() {
        let check = |text: &str, registry: &str, repository: &str, full: &str| {
            let reference = ImageRef::parse(text).unwrap();
            assert_eq!(reference.registry(), registry, "{text}");
            assert_eq!(reference.repository(), repository, "{text}");
            assert_eq!(reference.full_name(), full, "{text}");
            assert_eq!(reference.to_string(), text);
        };
        let official = ("docker.io", "docker.io/library/busybox");
        for text in [
            "busybox",
            "busybox:latest",
            "library/busybox",
            "docker.io/busybox",
            "docker.io/library/busybox",
            "index.docker.io/busybox",
        ] {
            check(text, official.0, official.1, "docker.io/library/busybox:latest");
        }
        check(
            "busybox:1.35",
            official.0,
            official.1,
            "docker.io/library/busybox:1.35",
        );
        check(
            "bitnami/nginx",
            "docker.io",
            "docker.io/bitnami/nginx",
            "docker.io/bitnami/nginx:latest",
        );
        check(
            "gantry.local/demo:1",
            "gantry.local",
            "gantry.local/demo",
            "gantry.local/demo:1",
        );
        check("localhost/x", "localhost", "localhost/x", "localhost/x:latest");
        check(
            "localhost:5000/a/b:2",
            "localhost:5000",
            "localhost:5000/a/b",
            "localhost:5000/a/b:2",
        );
        check("Registry/x", "Registry", "Registry/x", "Registry/x:latest");
        check("[::1]:5000/x:1", "[::1]:5000", "[::1]:5000/x", "[::1]:5000/x:1");
        let digest = format!("x.io/a@{DIGEST}");
        check(&digest, "x.io", "x.io/a", &digest);
        let both = format!("x.io/a:1@{DIGEST}");
        check(&both, "x.io", "x.io/a", &both);
        // What cannot be parsed has parts as well.
        let odd = ImageRef::split("localhost:5000/a@sha256:00");
        assert_eq!(odd.full_name(), "localhost:5000/a@sha256:00");
    }

    #[test]
    fn a_tag_and_a_digest_decide_whether_it_is_latest() {
        let check = |text: &str, latest: bool| {
            let found = ImageRef::parse(text).map(|reference| reference.is_latest());
            assert_eq!(found, Ok(latest), "{text}");
        };
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

    /// The name with its default tag, or the message.
    fn with_default_tag(image: &str) -> Result<String, String> {
        match ImageRef::parse(image) {
            Ok(reference) => Ok(reference.with_default_tag().to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    const INVALID: &str = "invalid reference format";

    #[test]
    fn names_that_are_right() {
        let check = |image: &str, want: &str| {
            assert_eq!(with_default_tag(image), Ok(want.to_owned()), "{image}");
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
        let check = |image: &str, want: &str| {
            assert_eq!(
                ImageRef::parse(image).map(|own| own.name()),
                Ok(want.to_owned()),
                "{image}"
            )
        };
        check("busybox", "busybox");
        check("busybox:1.35", "busybox");
        check("localhost:5000/x", "localhost:5000/x");
        check("localhost:5000/x:v1", "localhost:5000/x");
        let digest = format!("example.com/a/b:1@sha256:{}", "a".repeat(64));
        check(&digest, "example.com/a/b");
        check(&digest.replace(":1@", "@"), "example.com/a/b");
        assert!(ImageRef::parse("A:1").is_err());
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
            &format!("a@sha256:{}", "A".repeat(64)),
            "invalid checksum digest format",
        );
        check(
            &format!("a:1@SHA256:{}", "a".repeat(64)),
            "invalid checksum digest format",
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
            "docker.io/Foo",
            "invalid reference format: repository name (library/Foo) must be lowercase",
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
        fn any_text_is_its_parts_and_is_printed_as_it_was(text in "\\PC{0,60}") {
            prop_assert_eq!(ImageRef::split(&text).to_string(), text.clone());
            if let Ok(reference) = ImageRef::parse(&text) {
                prop_assert_eq!(reference, ImageRef::split(&text));
            }
        }

        #[test]
        fn what_is_printed_is_parsed_to_the_same(
            registry in proptest::option::of("[a-z]{1,5}\\.[a-z]{2,3}(:[0-9]{1,5})?|localhost|\\[[0-9a-f:]{2,9}\\]:[0-9]{2}|[A-Z]{1,3}"),
            path in "[a-z0-9]{1,4}([._-][a-z0-9]{1,3})?(/[a-z0-9]{1,4}){0,2}",
            tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9._-]{0,9}"),
            digest in proptest::option::of("sha256:[0-9a-f]{64}"),
        ) {
            // Otherwise its beginning would be a registry.
            let first = path.split('/').next().unwrap_or_default();
            prop_assume!(registry.is_some() || !path.contains('/') || !is_registry(first));
            let made = ImageRef {
                registry: registry.as_deref(),
                path: &path,
                tag: tag.as_deref(),
                digest: digest.as_deref(),
            };
            let text = made.to_string();
            prop_assert_eq!(ImageRef::parse(&text), Ok(made));
            // The full name is a reference too, and the last of its names.
            let full = made.full_name();
            prop_assert_eq!(ImageRef::parse(&full).map(|full| full.full_name()), Ok(full.clone()));
        }

        #[test]
        fn what_the_grammar_makes_is_right(image in "([a-z0-9]{1,8}\\.[a-z]{2,3}/)?[a-z0-9]{1,9}([._-][a-z0-9]{1,4}){0,2}(:[A-Za-z0-9_][A-Za-z0-9._-]{0,9})?") {
            prop_assert!(with_default_tag(&image).is_ok());
        }
    }
}
