//! Credential provider plugins: for which images they have registry credentials, their requests and responses, and how
//! long a response is cached (`pkg/credentialprovider/plugin` of Kubernetes). Nothing here prints a password.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::duration::Span;
use super::image_ref::ImageRef;
use super::later::later;
use super::registry::{self, Credential, Keyring};

/// The API versions of the request.
pub const VERSIONS: [&str; 3] = [
    "credentialprovider.kubelet.k8s.io/v1",
    "credentialprovider.kubelet.k8s.io/v1beta1",
    "credentialprovider.kubelet.k8s.io/v1alpha1",
];
/// The cache key of credentials for all images; no registry has this name.
const GLOBAL: &str = "<global>";

/// A program.
#[derive(Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub program: PathBuf,
    /// The API version of the request, one of [`VERSIONS`].
    pub api_version: String,
    /// The registries and paths whose images the plugin has credentials for.
    pub images: Vec<String>,
    /// The cache duration of a response that does not state one.
    pub holds: Duration,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment variables in addition to the agent's own.
    pub environment: Vec<(String, String)>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<credential provider {:?}>", self.name)
    }
}

/// What a program answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What the response is valid for: an image, a registry, or everything.
    key: String,
    /// How long; `None`: for this request only.
    holds: Option<Duration>,
    /// The credentials, by registry or path.
    credentials: BTreeMap<String, Credential>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    kind: Option<String>,
    api_version: Option<String>,
    cache_key_type: Option<String>,
    cache_duration: Option<Span>,
    auth: Option<BTreeMap<String, Login>>,
}

#[derive(Deserialize)]
struct Login {
    username: Option<String>,
    password: Option<String>,
}

impl Provider {
    /// Whether the plugin is called for a repository.
    pub fn is_for(&self, repository: &str) -> bool {
        self.images
            .iter()
            .any(|place| registry::is_for_image(place, repository))
    }

    /// The request for a repository.
    pub fn question(&self, repository: &str) -> Vec<u8> {
        let question = json!({
            "kind": "CredentialProviderRequest", "apiVersion": self.api_version, "image": repository,
        });
        format!("{question}\n").into_bytes()
    }

    /// Parses the response. The error says what is wrong without repeating the response.
    pub fn answer(&self, printed: &[u8], repository: &str) -> Result<Answer, &'static str> {
        let response: Response = serde_json::from_slice(printed).map_err(|_| "it cannot be read")?;
        if response.api_version.as_deref() != Some(&self.api_version) {
            return Err("its apiVersion is not the requested one");
        }
        if response.kind.as_deref() != Some("CredentialProviderResponse") {
            return Err("its kind is not CredentialProviderResponse");
        }
        let key = match response.cache_key_type.as_deref() {
            Some("Image") => repository.to_owned(),
            Some("Registry") => ImageRef::split(repository).registry().to_owned(),
            Some("Global") => GLOBAL.to_owned(),
            _ => return Err("its cacheKeyType is not Image, Registry or Global"),
        };
        let holds = response.cache_duration.map_or(self.holds, Span::unsigned);
        let login = |(place, login): (String, Login)| {
            let credential = Credential {
                username: login.username.unwrap_or_default(),
                password: login.password.unwrap_or_default(),
                ..Credential::default()
            };
            (place, credential)
        };
        Ok(Answer {
            key,
            holds: Some(holds).filter(|holds| !holds.is_zero()),
            credentials: response.auth.into_iter().flatten().map(login).collect(),
        })
    }
}

impl Answer {
    /// Adds the credentials to the keyring that images are looked up in.
    pub fn add_to(&self, keyring: &mut Keyring) {
        for (place, credential) in &self.credentials {
            keyring.add_for(place, credential.clone());
        }
    }
}

/// The cached responses of one plugin.
#[derive(Debug, Clone, Default)]
pub struct Answers(BTreeMap<String, (Timestamp, Answer)>);

impl Answers {
    /// The most specific valid response for a repository.
    pub fn get(&mut self, repository: &str, now: Timestamp) -> Option<Answer> {
        self.0.retain(|_, (until, _)| *until > now);
        let keys = [repository, ImageRef::split(repository).registry(), GLOBAL];
        let found = keys.into_iter().find_map(|key| self.0.get(key));
        found.map(|(_, answer)| answer.clone())
    }

    /// Caches a response for as long as it is valid.
    pub fn put(&mut self, answer: &Answer, now: Timestamp) {
        let Some(holds) = answer.holds else { return };
        self.0
            .insert(answer.key.clone(), (later(now, holds), answer.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider() -> Provider {
        Provider {
            name: "p".to_owned(),
            program: "/bin/p".into(),
            api_version: VERSIONS[0].to_owned(),
            images: vec!["*.example.com".to_owned(), "docker.io/team".to_owned()],
            holds: Duration::from_secs(60),
            arguments: Vec::new(),
            environment: vec![("TOKEN".to_owned(), "hunter2".to_owned())],
        }
    }

    fn response(more: serde_json::Value) -> Vec<u8> {
        let mut response = json!({"kind": "CredentialProviderResponse", "apiVersion": VERSIONS[0],
            "cacheKeyType": "Registry", "auth": {"a.example.com": {"username": "u", "password": "hunter2"}}});
        for (key, value) in more.as_object().unwrap() {
            response[key] = value.clone();
        }
        response.to_string().into_bytes()
    }

    #[test]
    fn it_is_asked_about_its_images() {
        let provider = provider();
        for (repository, is) in [
            ("a.example.com/x", true),
            ("example.com/x", false),
            ("docker.io/team/x", true),
            ("docker.io/other/x", false),
        ] {
            assert_eq!(provider.is_for(repository), is, "{repository}");
        }
        let question: serde_json::Value =
            serde_json::from_slice(&provider.question("a.example.com/x")).unwrap();
        assert_eq!(
            question,
            json!({"kind": "CredentialProviderRequest", "apiVersion": VERSIONS[0], "image": "a.example.com/x"})
        );
    }

    #[test]
    fn answers_hold_for_an_image_a_registry_or_everything_and_as_long_as_they_say() {
        let provider = provider();
        let now = Timestamp::UNIX_EPOCH;
        let after = |seconds| now + jiff::SignedDuration::from_secs(seconds);
        let check = |more: serde_json::Value, repository: &str, at: Timestamp, is: bool| {
            let mut answers = Answers::default();
            let answer = provider
                .answer(&response(more.clone()), "a.example.com/x")
                .unwrap();
            answers.put(&answer, now);
            assert_eq!(
                answers.get(repository, at).is_some(),
                is,
                "{more} {repository} {at}"
            );
        };
        let of = |kind: &str| json!({ "cacheKeyType": kind });
        check(of("Image"), "a.example.com/x", after(59), true);
        check(of("Image"), "a.example.com/y", after(1), false);
        check(of("Registry"), "a.example.com/y", after(1), true);
        check(of("Registry"), "b.example.com/y", after(1), false);
        check(of("Global"), "b.example.com/y", after(1), true);
        check(of("Global"), "b.example.com/y", after(60), false);
        check(
            json!({"cacheDuration": "2m0s"}),
            "a.example.com/x",
            after(119),
            true,
        );
        check(json!({"cacheDuration": "0s"}), "a.example.com/x", now, false);
    }

    #[test]
    fn what_is_no_answer_is_not_repeated() {
        let provider = provider();
        let check = |printed: &[u8], expected: &str| {
            let wrong = provider.answer(printed, "a.example.com/x").unwrap_err();
            assert!(wrong.contains(expected), "{wrong}");
        };
        check(b"hunter2", "cannot be read");
        check(&response(json!({"apiVersion": VERSIONS[1]})), "apiVersion");
        check(&response(json!({"kind": "Secret"})), "kind");
        check(&response(json!({"cacheKeyType": "All"})), "cacheKeyType");
        let answer = provider.answer(&response(json!({})), "a.example.com/x").unwrap();
        let mut keyring = Keyring::default();
        answer.add_to(&mut keyring);
        assert_eq!(keyring.lookup("a.example.com/x:1").len(), 1);
        let text = format!("{answer:?} {provider:?} {keyring:?}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
