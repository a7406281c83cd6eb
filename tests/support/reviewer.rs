//! A fake API server that reviews the callers of a node's port: whose token it is, and what is permitted to whom.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The reviews that the API server was asked for, with their answers.
pub(crate) type Asked = Arc<Mutex<Vec<Value>>>;

/// How it answers.
#[derive(Clone, Copy)]
pub(crate) struct Reviewer {
    /// The status of a token's review.
    pub(crate) of_token: fn(&str) -> Value,
    /// Whether what a review specifies is permitted.
    pub(crate) permits: fn(&Value) -> bool,
}

impl Reviewer {
    /// Starts it, and connects to it. Reviews are added to `asked`, if it is there.
    pub(crate) async fn start(self, asked: Option<Asked>) -> kube::Client {
        let router = Router::new()
            .route("/apis/authentication.k8s.io/v1/tokenreviews", post(tokens))
            .route(
                "/apis/authorization.k8s.io/v1/subjectaccessreviews",
                post(permissions),
            )
            .with_state((self, asked));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        // Another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = kube::Config::new(format!("http://{address}").parse().unwrap());
        kube::Client::try_from(config).unwrap()
    }
}

async fn tokens(
    State((reviewer, asked)): State<(Reviewer, Option<Asked>)>,
    Json(mut review): Json<Value>,
) -> Json<Value> {
    review["status"] = (reviewer.of_token)(review["spec"]["token"].as_str().unwrap());
    Json(record(asked, review))
}

async fn permissions(
    State((reviewer, asked)): State<(Reviewer, Option<Asked>)>,
    Json(mut review): Json<Value>,
) -> Json<Value> {
    review["status"] = json!({"allowed": (reviewer.permits)(&review["spec"])});
    Json(record(asked, review))
}

fn record(asked: Option<Asked>, review: Value) -> Value {
    if let Some(asked) = asked {
        asked.lock().unwrap().push(review.clone());
    }
    review
}
