//! Credentials from a program (`users[].user.exec` of a kubeconfig), as client-go requests them: the program reads the
//! cluster from `KUBERNETES_EXEC_INFO` and prints an ExecCredential.
//!
//! The client library could run it, but waits forever while it runs, runs it twice, and includes its output in errors.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kube::config::{AuthInfo, Cluster, ExecAuthCluster, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bulkhead::program::{self, ProgramError};
use crate::model::yaml::document;

/// How long the program may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The supported apiVersions of ExecCredential; `v1alpha1` was removed.
const VERSIONS: [&str; 2] = [
    "client.authentication.k8s.io/v1",
    "client.authentication.k8s.io/v1beta1",
];

/// Why a plugin provides no credentials. Contains nothing of its output.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// No program is named, or the apiVersion is not supported.
    #[error("{0}")]
    Stated(String),
    /// It cannot be started.
    #[error("cannot start the program {command}{}", hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default())]
    Start {
        /// The program.
        command: String,
        /// `installHint`
        hint: Option<String>,
        /// Why.
        source: std::io::Error,
    },
    /// It ended with an error.
    #[error("the program {command} ended with {status}; run it by hand to see why")]
    Failed {
        /// The program.
        command: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// It takes too long.
    #[error("the program {command} did not answer within {} s", PATIENCE.as_secs())]
    Silent {
        /// The program.
        command: String,
    },
    /// What it printed is not understood.
    #[error("the output of the program {command} is not a valid ExecCredential: {why}")]
    Answer {
        /// The program.
        command: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// The program's answer.
pub(super) struct ExecUser {
    /// The user, with the credentials in place of the program.
    pub(super) user: AuthInfo,
    /// When it expires, if stated.
    pub(super) until: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credential {
    api_version: Option<String>,
    kind: Option<String>,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    expiration_timestamp: Option<String>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

/// Runs the program of a user.
pub(super) async fn credentials(
    user: &AuthInfo,
    exec: &ExecConfig,
    cluster: Option<&Cluster>,
) -> Result<ExecUser, ExecError> {
    let stated = |why: &str| ExecError::Stated(why.to_owned());
    let command = exec.command.clone().filter(|command| !command.is_empty());
    let command = command.ok_or_else(|| stated("the user's exec names no command"))?;
    let version = exec.api_version.as_deref().unwrap_or_default();
    if !VERSIONS.contains(&version) {
        let [first, second] = VERSIONS;
        let why = format!("its exec has the apiVersion {version:?}; use {first} or {second}");
        return Err(ExecError::Stated(why));
    }
    if exec.interactive_mode == Some(ExecInteractiveMode::Always) {
        return Err(stated(
            "its exec needs a terminal (interactiveMode: Always), which a service does not have",
        ));
    }
    let printed = run(&command, exec, &question(exec, version, cluster)?).await?;
    let answer = |why| ExecError::Answer {
        command: command.clone(),
        why,
    };
    // JSON is YAML too, and client-go accepts both.
    let credential = String::from_utf8(printed).ok().and_then(|text| {
        let document = document::read_one(&text).ok()?;
        document.typed::<Credential>().ok()
    });
    let credential = credential.ok_or_else(|| answer("it cannot be read"))?;
    if credential.api_version.as_deref() != Some(version)
        || credential.kind.as_deref() != Some("ExecCredential")
    {
        return Err(answer("its kind or apiVersion is not the one requested"));
    }
    let status = credential.status.ok_or_else(|| answer("it has no status"))?;
    let until = status
        .expiration_timestamp
        .as_deref()
        .map(str::parse::<Timestamp>);
    let until = until
        .transpose()
        .map_err(|_| answer("its expirationTimestamp is not a valid time"))?;
    let user = with(user, &status).map_err(answer)?;
    Ok(ExecUser { user, until })
}

/// The program's input.
fn question(exec: &ExecConfig, version: &str, cluster: Option<&Cluster>) -> Result<String, ExecError> {
    let mut spec = json!({ "interactive": false });
    if exec.provide_cluster_info {
        let unread = || ExecError::Stated("cannot read the cluster's certificate authority".to_owned());
        let cluster = cluster.ok_or_else(unread)?;
        let cluster = ExecAuthCluster::try_from(cluster).map_err(|_| unread())?;
        spec["cluster"] = serde_json::to_value(cluster).map_err(|_| unread())?;
    }
    let question = json!({ "kind": "ExecCredential", "apiVersion": version, "spec": spec });
    Ok(question.to_string())
}

/// Runs it; returns its output.
async fn run(command: &str, exec: &ExecConfig, question: &str) -> Result<Vec<u8>, ExecError> {
    let variables = exec.env.iter().flatten();
    let variables = variables.filter_map(|own| Some((own.get("name")?, own.get("value")?)));
    let mut program = tokio::process::Command::new(command);
    program
        .args(exec.args.iter().flatten())
        .envs(variables)
        .env("KUBERNETES_EXEC_INFO", question);
    let printed = program::run(&mut program, b"", PATIENCE).await;
    let command = command.to_owned();
    printed.map_err(|error| match error {
        ProgramError::Start(source) => ExecError::Start {
            command,
            hint: exec.install_hint.clone(),
            source,
        },
        ProgramError::Failed(status) => ExecError::Failed { command, status },
        ProgramError::Silent(_) => ExecError::Silent { command },
        ProgramError::TooMuch => ExecError::Answer {
            command,
            why: "it is too long",
        },
    })
}

/// The user with the credentials.
fn with(user: &AuthInfo, given: &Status) -> Result<AuthInfo, &'static str> {
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (token, pair) = (
        text(&given.token),
        (text(&given.client_certificate_data), text(&given.client_key_data)),
    );
    let mut written = serde_json::to_value(user).map_err(|_| "cannot encode the user")?;
    let Some(fields) = written.as_object_mut() else {
        return Err("cannot encode the user");
    };
    fields.remove("exec");
    match pair {
        (Some(chain), Some(key)) => {
            let encoded = |pem: &str| Value::String(STANDARD.encode(pem));
            fields.insert("client-certificate-data".to_owned(), encoded(&chain));
            fields.insert("client-key-data".to_owned(), encoded(&key));
        }
        (None, None) if token.is_some() => {}
        (None, None) => return Err("it has neither a token nor a certificate"),
        _ => return Err("it has a certificate without a key, or a key without a certificate"),
    }
    fields.extend(token.map(|token| ("token".to_owned(), Value::String(token))));
    serde_json::from_value(written).map_err(|_| "cannot encode the user")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(script: &str, more: Value) -> Result<ExecUser, ExecError> {
        let mut exec = json!({"apiVersion": VERSIONS[0], "command": "sh", "args": ["-c", script],
            "interactiveMode": "IfAvailable"});
        for (key, value) in more.as_object().unwrap() {
            exec[key] = value.clone();
        }
        let user: AuthInfo = serde_json::from_value(json!({ "exec": exec })).unwrap();
        let cluster = serde_json::from_value(json!({"server": "https://x:6443"})).unwrap();
        credentials(&user, user.exec.as_ref().unwrap(), Some(&cluster)).await
    }

    fn answer(status: &Value) -> String {
        let answer = json!({"apiVersion": VERSIONS[0], "kind": "ExecCredential", "status": status});
        format!("echo '{answer}'")
    }

    async fn wrong(script: &str, more: Value) -> String {
        let error = ask(script, more).await.err().expect("an error");
        let text = format!("{} {error:?}", crate::model::error_chain::chain(&error));
        assert!(!text.contains("hunter2"), "{text}");
        text
    }

    #[tokio::test]
    async fn the_program_is_asked_and_its_answer_taken() {
        let status = json!({"token": "hunter2", "expirationTimestamp": "2030-01-02T03:04:05Z"});
        let given = ask(&answer(&status), json!({})).await.unwrap();
        assert_eq!(given.until.unwrap().to_string(), "2030-01-02T03:04:05Z");
        let user = serde_json::to_value(given.user).unwrap();
        assert_eq!(user, json!({"token": "hunter2"}));
        let status = json!({"clientCertificateData": "chain", "clientKeyData": "key"});
        let user = ask(&answer(&status), json!({})).await.unwrap().user;
        let user = serde_json::to_value(user).unwrap();
        assert_eq!(user["client-certificate-data"], STANDARD.encode("chain"));
        assert_eq!(user["client-key-data"], STANDARD.encode("key"));
        // The program's input, arguments and environment; its answer may be YAML.
        let yaml = "echo \"apiVersion: client.authentication.k8s.io/v1\nkind: ExecCredential\nstatus:\n  token: \
                    '$1 $OWN $KUBERNETES_EXEC_INFO'\"";
        let more = json!({"args": ["-c", yaml, "sh", "one"], "env": [{"name": "OWN", "value": "two"}], "provideClusterInfo": true});
        let user = serde_json::to_value(ask(yaml, more).await.unwrap().user).unwrap();
        let token = user["token"].as_str().unwrap();
        let passed: Value = serde_json::from_str(token.strip_prefix("one two ").unwrap()).unwrap();
        assert_eq!(
            passed,
            json!({"kind": "ExecCredential", "apiVersion": VERSIONS[0],
                "spec": {"interactive": false, "cluster": {"server": "https://x:6443"}}})
        );
    }

    #[tokio::test]
    async fn what_is_wrong_is_told_and_nothing_of_what_was_printed() {
        let check = |text: String, expected: &str| assert!(text.contains(expected), "{text}");
        check(
            wrong("echo hunter2; exit 3", json!({})).await,
            "ended with exit status: 3",
        );
        check(wrong("echo '[hunter2'", json!({})).await, "it cannot be read");
        check(
            wrong("echo '{token: hunter2}'", json!({})).await,
            "its kind or apiVersion",
        );
        check(
            wrong(&answer(&json!({"token": ""})), json!({})).await,
            "neither a token nor a certificate",
        );
        check(
            wrong(
                &answer(&json!({"clientKeyData": "hunter2", "token": "hunter2"})),
                json!({}),
            )
            .await,
            "without a key",
        );
        check(
            wrong(
                &answer(&json!({"token": "hunter2", "expirationTimestamp": "soon"})),
                json!({}),
            )
            .await,
            "not a valid time",
        );
        check(
            wrong(
                "",
                json!({"command": "/no/such/plugin", "installHint": "get it there"}),
            )
            .await,
            "cannot start the program /no/such/plugin (get it there)",
        );
        check(
            wrong("", json!({"apiVersion": "client.authentication.k8s.io/v1alpha1"})).await,
            "use client.authentication.k8s.io/v1 or",
        );
        check(
            wrong("", json!({"interactiveMode": "Always"})).await,
            "needs a terminal",
        );
        let beta = json!({"apiVersion": VERSIONS[1]});
        check(
            wrong(&answer(&json!({"token": "hunter2"})), beta).await,
            "its kind or apiVersion",
        );
    }
}
