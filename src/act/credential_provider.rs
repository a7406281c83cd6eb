//! Registry credentials from credential provider plugins: run when one of their images is pulled, and cached as long as
//! their response says (`pkg/credentialprovider/plugin`).

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::keyed_turns::KeyedTurns;
use crate::bulkhead::program::{self, ProgramError};
use crate::model::credential_provider::{Answer, Answers, Provider};
use crate::model::error_chain::chain;
use crate::model::image_ref::ImageRef;
use crate::model::registry::{Credential, Keyring};

/// The timeout of a plugin.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many instances of one plugin may run at once. One that never answers delays only images that it is responsible
/// for.
const AT_ONCE: usize = 8;

/// The credential provider plugins.
#[derive(Debug, Clone, Default)]
pub struct Providers(Arc<Vec<One>>);

#[derive(Debug)]
struct One {
    provider: Provider,
    answers: Mutex<Answers>,
    /// Limits the instances of the plugin that run at once.
    running: Semaphore,
    /// By repository: a task that waits for its turn then finds the cached answer of the previous one.
    turns: KeyedTurns<String>,
}

/// Why a plugin provides no credentials. Contains nothing of its output.
#[derive(Debug, thiserror::Error)]
enum ProviderError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("its output is not a valid CredentialProviderResponse: {0}")]
    Answer(&'static str),
}

impl Providers {
    /// The plugins, run in this order.
    pub fn new(providers: Vec<Provider>) -> Providers {
        let one = |provider| One {
            provider,
            answers: Mutex::default(),
            running: Semaphore::new(AT_ONCE),
            turns: KeyedTurns::default(),
        };
        Providers(Arc::new(providers.into_iter().map(one).collect()))
    }

    /// The credentials for an image. A plugin that fails is logged and provides none.
    pub(super) async fn lookup(&self, image: &str) -> Vec<Credential> {
        let repository = ImageRef::split(image).repository();
        let mut keyring = Keyring::default();
        for one in self.0.iter().filter(|one| one.provider.is_for(&repository)) {
            match one.ask(&repository).await {
                Ok(answer) => answer.add_to(&mut keyring),
                Err(error) => {
                    let name = &one.provider.name;
                    tracing::warn!(image, "credential provider {name} failed: {}", chain(&error));
                }
            }
        }
        keyring.lookup(image)
    }
}

impl One {
    async fn ask(&self, repository: &str) -> Result<Answer, ProviderError> {
        let _turn = self.turns.turn(repository.to_owned()).await;
        let held = self.answers().get(repository, Timestamp::now());
        if let Some(answer) = held {
            return Ok(answer);
        }
        let running = self.running.acquire().await;
        let running = running.expect("the semaphore is never closed");
        // A request for another repository may have returned an answer for this one.
        let held = self.answers().get(repository, Timestamp::now());
        if let Some(answer) = held {
            return Ok(answer);
        }
        let printed = run(&self.provider, repository).await?;
        drop(running);
        let answer = self.provider.answer(&printed, repository);
        let answer = answer.map_err(ProviderError::Answer)?;
        self.answers().put(&answer, Timestamp::now());
        Ok(answer)
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().expect("no holder of this lock can panic")
    }
}

/// Runs a plugin; returns its output.
async fn run(provider: &Provider, repository: &str) -> Result<Vec<u8>, ProviderError> {
    let environment = provider.environment.iter().map(|(name, value)| (name, value));
    let mut program = tokio::process::Command::new(&provider.program);
    program.args(&provider.arguments).envs(environment);
    let question = provider.question(repository);
    Ok(program::run(&mut program, &question, PATIENCE).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::credential_provider::VERSIONS;

    fn provider(script: &str) -> Provider {
        Provider {
            name: "p".to_owned(),
            program: "/bin/sh".into(),
            api_version: VERSIONS[0].to_owned(),
            images: vec!["example.com".to_owned()],
            holds: Duration::from_secs(3600),
            arguments: vec![
                "-c".to_owned(),
                script.to_owned(),
                "sh".to_owned(),
                "one".to_owned(),
            ],
            environment: vec![("WHO".to_owned(), "ann".to_owned())],
        }
    }

    fn answer(kind: &str) -> String {
        let answer = serde_json::json!({"kind": "CredentialProviderResponse", "apiVersion": VERSIONS[0],
            "cacheKeyType": kind, "auth": {"example.com": {"username": "NAME", "password": "geheim"}}});
        // The name consists of the plugin's environment, its argument and the number of calls.
        let text = answer
            .to_string()
            .replace("NAME", "'\"$WHO-$1-$(wc -l < $KEPT)\"'");
        format!("cat >> $KEPT; echo '{text}'")
    }

    async fn users(providers: &Providers, image: &str) -> String {
        let found = providers.lookup(image).await;
        let names: Vec<_> = found.into_iter().map(|found| found.username).collect();
        names.join(" ")
    }

    #[tokio::test]
    async fn it_is_asked_once_for_as_long_as_its_answer_holds() {
        let directory = tempfile::tempdir().unwrap();
        let with_kept = |kind: &str, kept: &str| {
            let mut provider = provider(&answer(kind));
            let kept = directory.path().join(kept).display().to_string();
            provider.environment.push(("KEPT".to_owned(), kept));
            Providers::new(vec![provider])
        };
        let by_image = with_kept("Image", "image");
        assert_eq!(users(&by_image, "example.com/a:1").await, "ann-one-1");
        assert_eq!(users(&by_image, "example.com/a:2").await, "ann-one-1");
        assert_eq!(users(&by_image, "example.com/b").await, "ann-one-2");
        assert_eq!(users(&by_image, "other.example.com/b").await, "");
        let asked = std::fs::read_to_string(directory.path().join("image")).unwrap();
        let first: serde_json::Value = serde_json::from_str(asked.lines().next().unwrap()).unwrap();
        assert_eq!(first["image"], "example.com/a");
        let by_registry = with_kept("Registry", "registry");
        assert_eq!(users(&by_registry, "example.com/a").await, "ann-one-1");
        assert_eq!(users(&by_registry, "example.com/b").await, "ann-one-1");
    }

    #[tokio::test]
    async fn one_that_fails_has_none_and_the_others_are_asked() {
        let mut well = provider("true");
        let text = r#"{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Global","auth":{"example.com":{"username":"well"}}}"#;
        well.arguments = vec!["-c".to_owned(), format!("echo '{text}'")];
        let mut absent = provider("");
        absent.program = "/no/such/program".into();
        let all = vec![
            absent,
            provider("echo geheim; exit 3"),
            provider("echo geheim"),
            well,
        ];
        assert_eq!(users(&Providers::new(all), "example.com/a").await, "well");
    }
}
