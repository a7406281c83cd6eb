//! Credentials that a program gives: followed by others before they end, and when they are not accepted any more.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry::identity::clients::Clients;
use gantry::identity::connection;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::identity::{DEADLINE, Joining, ask, first};

const VERSION: &str = "client.authentication.k8s.io/v1";
const USER: &str = "system:node:n";

/// A node whose kubeconfig names a program that prints the file `answer`.
struct Plugin {
    joining: Joining,
}

impl Plugin {
    async fn new(first: Value) -> Plugin {
        let plugin = Plugin {
            joining: Joining::new().await,
        };
        plugin.answers(first);
        // Its input and its arguments are saved for the assertions.
        let directory = plugin.joining.directory.path();
        let script = "echo \"$KUBERNETES_EXEC_INFO\" > \"$KEPT\"; cat \"$1\"";
        let exec = json!({"exec": {"apiVersion": VERSION, "command": "sh", "interactiveMode": "Never",
            "args": ["-c", script, "plugin", directory.join("answer")],
            "env": [{"name": "KEPT", "value": directory.join("kept")}],
            "provideClusterInfo": true}});
        let path = plugin.joining.settings.kubeconfig.clone();
        plugin.joining.write(&path, &exec);
        plugin
    }

    /// What the program prints from now on.
    fn answers(&self, status: Value) {
        let answer = json!({"apiVersion": VERSION, "kind": "ExecCredential", "status": status});
        let path = self.joining.directory.path().join("answer");
        let temporary = path.with_extension("new");
        std::fs::write(&temporary, answer.to_string()).unwrap();
        std::fs::rename(temporary, path).unwrap();
    }

    fn accepts(&self, tokens: &[&str]) {
        self.joining.api.content().accepted = tokens.iter().map(|&token| token.to_owned()).collect();
    }

    fn last_user(&self) -> String {
        self.joining
            .api
            .content()
            .users
            .last()
            .cloned()
            .unwrap_or_default()
    }
}

/// So long from now, as an ExecCredential has it.
fn in_seconds(seconds: i64) -> String {
    let until = Timestamp::now() + SignedDuration::from_secs(seconds);
    until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

async fn changed(clients: &mut Clients) {
    tokio::time::timeout(DEADLINE, clients.changed())
        .await
        .expect("other credentials in time")
        .unwrap();
}

#[tokio::test]
async fn a_token_that_ends_is_followed_by_another_and_no_request_fails() {
    let plugin = Plugin::new(json!({"token": "one", "expirationTimestamp": in_seconds(8)})).await;
    plugin.accepts(&["one", "two"]);
    let (_tasks, joined) = plugin.joining.start();
    let mut clients = first(joined).await;
    ask(&clients).await.unwrap();
    assert_eq!(plugin.last_user(), "token:one");
    let reported = std::fs::read(plugin.joining.directory.path().join("kept")).unwrap();
    let reported: Value = serde_json::from_slice(&reported).unwrap();
    assert_eq!(reported["apiVersion"], VERSION);
    assert_eq!(reported["spec"]["interactive"], false);
    let server = format!("https://{}", plugin.joining.api.address());
    assert_eq!(reported["spec"]["cluster"]["server"], server);
    assert!(reported["spec"]["cluster"]["certificate-authority-data"].is_string());

    plugin.answers(json!({"token": "two", "expirationTimestamp": in_seconds(3600)}));
    let asking = async {
        let clients = clients.clone();
        loop {
            ask(&clients).await.expect("no request fails");
            if plugin.last_user() == "token:two" {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE + Duration::from_secs(10), asking)
        .await
        .expect("the second token in time");
    assert!(clients.has_changed().unwrap());
    clients.borrow_and_update();
}

#[tokio::test]
async fn a_certificate_of_a_program_is_followed_by_another_before_it_ends() {
    let plugin = Plugin::new(Value::Null).await;
    let status = |life: i64| {
        let (pem, key) = plugin.joining.api.authority().issue(USER, &[], (-60, life));
        json!({"clientCertificateData": pem, "clientKeyData": key, "expirationTimestamp": in_seconds(life)})
    };
    plugin.answers(status(12));
    let (_tasks, joined) = plugin.joining.start();
    let mut clients = first(joined).await;
    ask(&clients).await.unwrap();
    assert_eq!(plugin.last_user(), USER);
    plugin.answers(status(3600));
    changed(&mut clients).await;
    ask(&clients).await.unwrap();
    assert_eq!(plugin.joining.api.content().shown.len(), 2);
}

#[tokio::test]
async fn a_token_that_is_not_accepted_any_more_is_asked_for_anew() {
    let plugin = Plugin::new(json!({"token": "one"})).await;
    plugin.accepts(&["one"]);
    let (_tasks, joined) = plugin.joining.start();
    let mut clients = first(joined).await;
    ask(&clients).await.unwrap();
    plugin.accepts(&["two"]);
    plugin.answers(json!({"token": "two"}));
    assert!(ask(&clients).await.is_err());
    changed(&mut clients).await;
    ask(&clients).await.unwrap();
    assert_eq!(plugin.last_user(), "token:two");
}

#[tokio::test]
async fn a_token_file_and_named_certificates_that_change_are_read_again() {
    let joining = Joining::new().await;
    let at = |name: &str| joining.directory.path().join(name);
    joining.api.content().accepted = vec!["one".to_owned(), "two".to_owned()];
    std::fs::write(at("token"), "one\n").unwrap();
    joining.write(&joining.settings.kubeconfig, &json!({"tokenFile": "token"}));
    let (_tasks, joined) = joining.start();
    let mut clients = first(joined).await;
    ask(&clients).await.unwrap();
    std::fs::write(at("token.new"), "two\n").unwrap();
    std::fs::rename(at("token.new"), at("token")).unwrap();
    changed(&mut clients).await;
    ask(&clients).await.unwrap();
    assert_eq!(joining.api.content().users.last().unwrap(), "token:two");
    // The same of a certificate authority and a certificate, each in a file of its own.
    let (pem, key) = joining.api.authority().issue(USER, &[], (-60, 3600));
    std::fs::write(at("crt"), pem).unwrap();
    std::fs::write(at("key"), key).unwrap();
    joining.write(
        &joining.settings.kubeconfig,
        &json!({"client-certificate": "crt", "client-key": "key"}),
    );
    changed(&mut clients).await;
    ask(&clients).await.unwrap();
    let (pem, key) = joining.api.authority().issue(USER, &[], (-60, 7200));
    std::fs::write(at("both"), format!("{pem}{key}")).unwrap();
    std::fs::rename(at("both"), at("key")).unwrap();
    std::fs::write(at("crt.new"), pem).unwrap();
    std::fs::rename(at("crt.new"), at("crt")).unwrap();
    let asked = async {
        while joining.api.content().shown.len() < 2 {
            let _ = ask(&clients).await;
        }
    };
    tokio::time::timeout(DEADLINE, asked)
        .await
        .expect("the second certificate is shown");
}

#[tokio::test]
async fn a_program_that_fails_is_told_of_without_what_it_printed() {
    let plugin = Plugin::new(json!({"token": "geheim"})).await;
    let answer = plugin.joining.directory.path().join("answer");
    std::fs::write(answer, "geheim: [").unwrap();
    let error = connection::current(&plugin.joining.settings)
        .await
        .err()
        .expect("no credentials");
    let text = format!("{error} {error:?}");
    assert!(text.contains("cannot get credentials"), "{text}");
    assert!(!text.contains("geheim"), "{text}");
    let encoded = STANDARD.encode("geheim");
    assert!(!text.contains(&encoded), "{text}");
    // It is no reason not to start: it may do better in a moment.
    connection::check(&plugin.joining.settings).await.unwrap();
    let (_tasks, joined) = plugin.joining.start();
    plugin.accepts(&["one"]);
    plugin.answers(json!({"token": "one"}));
    ask(&first(joined).await).await.unwrap();
}
