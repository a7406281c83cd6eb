//! Credentials for registries: the content of a docker configuration, and which part of it applies to an image
//! (`pkg/credentialprovider` of Kubernetes). Nothing here prints a password.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::bounds;
use super::image_ref::{DEFAULT_REGISTRY, ImageRef};

/// The type of a Secret that has a `config.json`.
pub const CONFIG_JSON_TYPE: &str = "kubernetes.io/dockerconfigjson";
/// The key in that Secret.
pub const CONFIG_JSON_KEY: &str = ".dockerconfigjson";
/// The type of a Secret that has a `.dockercfg`, the older form.
pub const DOCKERCFG_TYPE: &str = "kubernetes.io/dockercfg";
/// The key in that Secret.
pub const DOCKERCFG_KEY: &str = ".dockercfg";

/// The name of the default registry in docker's configuration.
const DEFAULT_REGISTRY_KEY: &str = "index.docker.io";

/// Credentials for a registry.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credential {
    /// The user's name.
    pub username: String,
    /// The password, or a token instead.
    pub password: String,
    /// The e-mail address in older docker configurations. It is never sent to a registry, but is part of
    /// [`Credential::hash`].
    pub email: String,
    /// The Secret that it comes from; `None`: it is the node's own, which every pod on this node may use.
    pub secret: Option<SecretId>,
}

/// The Secret that a credential comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretId {
    /// `metadata.uid`; empty for a Secret from the manifests directory.
    pub uid: String,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Credential {
    /// The hash that identifies it in pull records: hexadecimal SHA-256 of Go's JSON encoding of an `AuthConfig`
    /// (`hashAuthConfig` in `pkg/credentialprovider/keyring.go`), so that records of a kubelet match.
    pub fn hash(&self) -> String {
        let fields = [
            ("username", &self.username),
            ("password", &self.password),
            ("email", &self.email),
        ];
        let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let fields = fields.map(|(name, value)| format!("\"{name}\":{}", go_json(value)));
        let json = format!("{{{}}}", fields.collect::<Vec<_>>().join(","));
        let digest = Sha256::digest(json.as_bytes());
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A text as encoded by Go's `encoding/json`, which also escapes characters that are special in HTML and JavaScript.
fn go_json(text: &str) -> String {
    let mut json = serde_json::Value::from(text).to_string();
    for special in ['<', '>', '&', '\u{2028}', '\u{2029}'] {
        if json.contains(special) {
            json = json.replace(special, &format!("\\u{:04x}", u32::from(special)));
        }
    }
    json
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<credential of {:?}>", self.username)
    }
}

/// Why a docker configuration is invalid. Does not repeat its content, which may be secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not a docker configuration: it must be JSON, and each auth in it base64 of a name and a password separated \
     by a colon"
)]
pub struct InvalidDockerConfig;

/// Credentials by registry or path; several for one entry all apply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keyring(BTreeMap<Reverse<String>, Vec<Credential>>);

#[derive(Deserialize)]
struct ConfigJson {
    auths: Option<BTreeMap<String, Entry>>,
}

#[derive(Deserialize)]
struct Entry {
    username: Option<String>,
    password: Option<String>,
    email: Option<String>,
    auth: Option<String>,
}

impl Keyring {
    /// Adds the credentials of a `config.json`; on `Err` nothing was added.
    pub fn add_config_json(&mut self, text: &[u8]) -> Result<(), InvalidDockerConfig> {
        let config: ConfigJson = serde_json::from_slice(text).map_err(|_| InvalidDockerConfig)?;
        self.add(config.auths.unwrap_or_default())
    }

    /// Adds the credentials of a `.dockercfg`; on `Err` nothing was added.
    pub fn add_dockercfg(&mut self, text: &[u8]) -> Result<(), InvalidDockerConfig> {
        self.add(serde_json::from_slice(text).map_err(|_| InvalidDockerConfig)?)
    }

    fn add(&mut self, entries: BTreeMap<String, Entry>) -> Result<(), InvalidDockerConfig> {
        let mut read = Vec::new();
        for (place, entry) in entries {
            let credential = entry.credential()?;
            // An entry without a registry applies to nothing.
            read.extend(key(&place).map(|key| (key, credential)));
        }
        for (key, credential) in read {
            self.0.entry(Reverse(key)).or_default().push(credential);
        }
        Ok(())
    }

    /// Adds a credential for a registry or path; one without either applies to nothing.
    pub fn add_for(&mut self, place: &str, credential: Credential) {
        if let Some(key) = key(place) {
            self.0.entry(Reverse(key)).or_default().push(credential);
        }
    }

    /// Adds the credentials of another keyring, all marked as coming from this Secret.
    pub fn add_of_secret(&mut self, other: Keyring, secret: &SecretId) {
        for (place, credentials) in other.0 {
            let own = credentials.into_iter().map(|credential| Credential {
                secret: Some(secret.clone()),
                ..credential
            });
            self.0.entry(place).or_default().extend(own);
        }
    }

    /// The credentials for an image, the longest matching entry first.
    pub fn lookup(&self, image: &str) -> Vec<Credential> {
        let image = ImageRef::split(image);
        let repository = image.repository();
        let found: Vec<Credential> = self
            .0
            .iter()
            .filter(|(key, _)| is_for(&key.0, &repository))
            .flat_map(|(_, credentials)| credentials.iter().cloned())
            .collect();
        let is_of_default = image.registry() == DEFAULT_REGISTRY;
        match found.is_empty() && is_of_default {
            true => {
                let key = Reverse(DEFAULT_REGISTRY_KEY.to_owned());
                self.0.get(&key).cloned().unwrap_or_default()
            }
            false => found,
        }
    }
}

impl Entry {
    fn credential(self) -> Result<Credential, InvalidDockerConfig> {
        let email = self.email.unwrap_or_default();
        let Some(auth) = self.auth.filter(|auth| !auth.is_empty()) else {
            return Ok(Credential {
                username: self.username.unwrap_or_default(),
                password: self.password.unwrap_or_default(),
                email,
                secret: None,
            });
        };
        let decoded = decoded(&auth).ok_or(InvalidDockerConfig)?;
        let (username, password) = decoded.split_once(':').ok_or(InvalidDockerConfig)?;
        Ok(Credential {
            username: username.to_owned(),
            password: password.to_owned(),
            email,
            secret: None,
        })
    }
}

/// Decodes base64 with or without padding.
fn decoded(text: &str) -> Option<String> {
    let mut text: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    if !text.ends_with('=') {
        text.extend(std::iter::repeat_n('=', (4 - text.len() % 4) % 4));
    }
    let bytes: ByteString = serde_json::from_value(text.into()).ok()?;
    String::from_utf8(bytes.0).ok()
}

/// The registry and path of an entry: host, port and path, without a scheme and without docker's `/v1/` and `/v2/`.
fn key(place: &str) -> Option<String> {
    let rest = ["https://", "http://"]
        .iter()
        .find_map(|scheme| place.strip_prefix(scheme))
        .unwrap_or(place);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let host = host.rsplit('@').next().unwrap_or(host);
    let is_versioned = path.starts_with("/v1/") || path.starts_with("/v2/");
    let path = if is_versioned { &path[3..] } else { path };
    let path = if path == "/" { "" } else { path };
    let is_host = !host.is_empty() && !host.contains(char::is_whitespace);
    is_host.then(|| format!("{host}{path}"))
}

/// Whether a text names a registry or a path in one.
pub fn is_place(place: &str) -> bool {
    key(place).is_some()
}

/// Whether an entry covers a repository.
pub fn is_for_image(place: &str, repository: &str) -> bool {
    key(place).is_some_and(|place| is_for(&place, repository))
}

/// Whether a registry entry covers a repository: same port, a host that matches label by label, and a path that is a
/// prefix of the repository's.
fn is_for(place: &str, repository: &str) -> bool {
    let split = |text: &str| -> (Vec<String>, String, String) {
        let (authority, path) = match text.find('/') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let (host, port) = host_and_port(authority);
        let parts = host.split('.').map(str::to_owned).collect();
        (parts, port.to_owned(), path.to_owned())
    };
    let (globs, glob_port, glob_path) = split(place);
    let (parts, port, path) = split(repository);
    glob_port == port
        && globs.len() == parts.len()
        && path.starts_with(&glob_path)
        && globs.iter().zip(&parts).all(|(glob, part)| matches(glob, part))
}

fn host_and_port(authority: &str) -> (&str, &str) {
    match authority.rsplit_once(':') {
        Some((host, port)) if host.starts_with('[') && host.ends_with(']') => {
            (&host[1..host.len() - 1], port)
        }
        Some((host, port)) if !host.contains(':') => (host, port),
        _ => (authority, ""),
    }
}

/// Whether a label of a host matches the pattern, in which `*` is any text. Text between two stars is matched at its
/// first occurrence, because a later one could only leave less for the rest.
fn matches(glob: &str, part: &str) -> bool {
    let Some((head, rest)) = glob.split_once('*') else {
        return glob == part;
    };
    let Some(mut left) = part.strip_prefix(head) else {
        return false;
    };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    for piece in middle.split('*') {
        bounds::step();
        let Some(at) = left.find(piece) else {
            return false;
        };
        left = &left[at + piece.len()..];
    }
    left.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keyring(places: &[&str]) -> Keyring {
        let mut keyring = Keyring::default();
        for place in places {
            let entries = serde_json::json!({"auths": {*place: {"username": place, "password": "hunter2"}}});
            keyring.add_config_json(entries.to_string().as_bytes()).unwrap();
        }
        keyring
    }

    fn users(keyring: &Keyring, image: &str) -> Vec<String> {
        let found = keyring.lookup(image);
        found.into_iter().map(|found| found.username).collect()
    }

    #[test]
    fn places_and_images() {
        let check = |place: &str, image: &str, is: bool| {
            let found = users(&keyring(&[place]), image);
            assert_eq!(found.len(), usize::from(is), "{place} for {image}");
        };
        check("registry.example.com", "registry.example.com/a:1", true);
        check("https://registry.example.com", "registry.example.com/a/b", true);
        check("http://registry.example.com/v2/", "registry.example.com/a", true);
        check(
            "registry.example.com/v1/team",
            "registry.example.com/team/a",
            true,
        );
        check("registry.example.com", "example.com/a", false);
        check("registry.example.com", "other.registry.example.com/a", false);
        check("*.example.com", "registry.example.com/a", true);
        check("*.example.com", "a.b.example.com/a", false);
        check("reg*.*.com", "registry.example.com/a", true);
        check("reg*.*.com", "other.example.com/a", false);
        check("r*y*.example.com", "registry-7.example.com/a", true);
        check("example.com:5000", "example.com:5000/a@sha256:00", true);
        check("example.com:5000", "example.com/a", false);
        check("example.com", "example.com:5000/a:1", false);
        check("*.example.com:5000", "a.example.com:5000/a:1", true);
        check("example.com/team", "example.com/team/a", true);
        // Paths are compared as text, as in the kubelet.
        check("example.com/team", "example.com/teams/a", true);
        check("example.com/team", "example.com/other/a", false);
        check("[::1]:5000", "[::1]:5000/a", true);
        check("localhost:5000", "localhost:5000/a", true);
        check("https://index.docker.io/v1/", "busybox", true);
        check("https://index.docker.io/v1/", "team/app:1", true);
        check("index.docker.io", "docker.io/team/app", true);
        check("index.docker.io", "index.docker.io/team/app", true);
        check("index.docker.io", "example.com/busybox", false);
        check("docker.io", "busybox", true);
        check("docker.io/library", "busybox:1", true);
        check("docker.io/library", "team/app", false);
        check("", "busybox", false);
        check("a b", "busybox", false);
    }

    #[test]
    fn the_longest_place_comes_first_and_the_default_registry_when_nothing_else_is_for_it() {
        let keyring = keyring(&[
            "example.com",
            "example.com/team/app",
            "example.com/team",
            "https://index.docker.io/v1/",
            "docker.io/team",
        ]);
        assert_eq!(
            users(&keyring, "example.com/team/app/part:1"),
            ["example.com/team/app", "example.com/team", "example.com"]
        );
        assert_eq!(users(&keyring, "team/app"), ["docker.io/team"]);
        assert_eq!(users(&keyring, "app"), ["https://index.docker.io/v1/"]);
    }

    #[test]
    fn both_forms_and_what_is_none() {
        let mut keyring = Keyring::default();
        // name:pass:word, with and without base64 padding; it takes precedence over the fields beside it.
        let auth = r#"{"a.example":{"auth":"bmFtZTpwYXNzOndvcmQ=","username":"x"},"b.example":{"auth":"bmFtZTpwYXNzOndvcmQ"}}"#;
        keyring.add_dockercfg(auth.as_bytes()).unwrap();
        let expected = Credential {
            username: "name".to_owned(),
            password: "pass:word".to_owned(),
            ..Credential::default()
        };
        assert_eq!(keyring.lookup("a.example/x"), std::slice::from_ref(&expected));
        assert_eq!(keyring.lookup("b.example/x"), [expected]);
        assert_eq!(Keyring::default().add_config_json(b"{}"), Ok(()));
        for wrong in [
            "",
            "[]",
            "geheim",
            r#"{"auths": {"a": {"auth": "geheim"}}}"#,
            r#"{"auths": {"a": {"auth": "Z2VoZWlt"}}}"#,
        ] {
            let mut keyring = Keyring::default();
            assert_eq!(
                keyring.add_config_json(wrong.as_bytes()),
                Err(InvalidDockerConfig),
                "{wrong}"
            );
            assert_eq!(keyring, Keyring::default());
        }
    }

    /// The hashes come from a Go program that `json.Marshal`s the kubelet's `AuthConfig`.
    #[test]
    fn a_credential_has_the_kubelets_hash() {
        let check = |[username, password, email]: [&str; 3], want: &str| {
            let credential = Credential {
                username: username.to_owned(),
                password: password.to_owned(),
                email: email.to_owned(),
                secret: None,
            };
            assert_eq!(credential.hash(), want, "{username} {password} {email}");
        };
        check(
            ["", "", ""],
            "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        );
        check(
            ["ann", "right", ""],
            "6ecc22648a1bf8b74a1fb9a90dadbd2415fa7a6f7f581367cab2beb348988bde",
        );
        check(
            [
                "ann",
                "<a&b>\"\\/ü\u{2028}\u{2029}\u{1}\u{8}\u{c}\n\r\t\u{7f}",
                "",
            ],
            "e9dd30cbac83ba40e3e376318db6b95bab720fe7f3676d062c3cd91dbf92404c",
        );
        check(
            ["_json_key", "p", "ann@example.com"],
            "3832bc44800754f548adc2d50bf3fde321e9809f108c04693bec5215538da5be",
        );
    }

    #[test]
    fn nothing_prints_a_password() {
        let keyring = keyring(&["example.com"]);
        let text = format!("{keyring:?} {:#?}", keyring.lookup("example.com/a"));
        assert!(
            text.contains("credential of") && !text.contains("hunter2"),
            "{text}"
        );
    }

    #[test]
    fn a_pattern_of_many_stars_is_compared_in_linear_time() {
        use crate::model::bounds::steps;

        // A matcher that tries every position for every star takes "60 choose 20" steps.
        let (place, host) = ("*a".repeat(20) + "*b.x", "a".repeat(60) + ".x");
        let keyring = keyring(&[&place]);
        let (steps, found) = steps::of(|| users(&keyring, &format!("{host}/a")));
        assert_eq!(found, Vec::<String>::new());
        assert!(steps <= 21, "{steps} steps");
        let (place, host) = ("*a".repeat(2_000) + "*b.x", "a".repeat(4_000) + "b.x");
        let (steps, found) = steps::of(|| is_for(&place, &format!("{host}/a")));
        assert!(found && steps <= 2_001, "{found} in {steps} steps");
    }

    /// The meaning of a pattern, regardless of cost.
    fn matches_by_trying(glob: &[u8], part: &[u8]) -> bool {
        match glob.split_first() {
            None => part.is_empty(),
            Some((b'*', rest)) => (0..=part.len()).any(|at| matches_by_trying(rest, &part[at..])),
            Some((first, rest)) => part.first() == Some(first) && matches_by_trying(rest, &part[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_means_what_trying_everything_finds(glob in "[ab*]{0,8}", part in "[ab]{0,8}") {
            let wanted = matches_by_trying(glob.as_bytes(), part.as_bytes());
            prop_assert_eq!(matches(&glob, &part), wanted);
        }

        #[test]
        fn any_place_and_any_image_have_an_answer(place in "\\PC{0,40}", image in "\\PC{0,40}") {
            let _found = keyring(&[&place]).lookup(&image);
        }

        #[test]
        fn a_registry_is_for_all_its_repositories(
            host in "[a-z]{1,5}(\\.[a-z]{1,5}){1,2}(:[0-9]{2,4})?", path in "[a-z]{1,5}(/[a-z]{1,5}){0,2}", tag in "(:[a-z]{1,4})?"
        ) {
            let image = format!("{host}/{path}{tag}");
            prop_assert_eq!(users(&keyring(&[&host]), &image).len(), 1);
        }
    }
}
