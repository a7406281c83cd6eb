mod writes;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::*;
use crate::model::pod::Desired;
use crate::serve::fixture::{self, Changing};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

struct Endpoint {
    router: Router,
    changing: Changing,
    desired: watch::Sender<std::sync::Arc<Desired>>,
    _stop: tokio_util::sync::DropGuard,
}

/// An endpoint with the pod `default/web-vm`.
fn endpoint() -> Endpoint {
    endpoint_of(fixture::changing())
}

fn endpoint_of(changing: Changing) -> Endpoint {
    let stopping = CancellationToken::new();
    let (sender, desired) = watch::channel(std::sync::Arc::default());
    let sources = Sources {
        pods: changing.world.pods.clone(),
        node: changing.world.node.clone(),
        desired,
    };
    let (feed, requests) = feed::requests();
    tokio::spawn(feed::run(sources, requests, stopping.clone()));
    let served = Served::new(changing.world.clone(), stopping.clone());
    let credentials = Credentials {
        certificate: Vec::new(),
        key: Vec::new(),
        token: "token".to_owned(),
    };
    Endpoint {
        router: router::router(Kubectl { served, feed }, Access::new(&credentials)),
        changing,
        desired: sender,
        _stop: stopping.drop_guard(),
    }
}

impl Endpoint {
    async fn send(&self, method: Method, path: &str, accept: &str, body: &str) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", "Bearer token")
            .header("accept", accept)
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let code = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
        (code, serde_json::from_slice(&body).unwrap_or_else(|_| text()))
    }

    async fn get(&self, path: &str) -> Value {
        let (code, object) = self.send(Method::GET, path, "application/json", "").await;
        assert_eq!(code, StatusCode::OK, "{path}: {object}");
        object
    }

    async fn refused(&self, method: Method, path: &str) -> (u16, String) {
        let (code, status) = self.send(method, path, "application/json", "").await;
        assert_eq!(
            (&status["kind"], &status["apiVersion"]),
            (&json!("Status"), &json!("v1")),
            "{path}: {status}"
        );
        assert_eq!(status["code"], code.as_u16());
        (code.as_u16(), status["message"].as_str().unwrap().to_owned())
    }
}

#[tokio::test]
async fn nobody_without_the_token_gets_anything() {
    let endpoint = endpoint();
    for path in ["/version", "/api/v1/pods", "/healthz", "/livez", "/nothing"] {
        for token in [None, Some("Bearer other")] {
            let mut request = Request::builder().uri(path);
            if let Some(token) = token {
                request = request.header("authorization", token);
            }
            let request = request.body(Body::empty()).unwrap();
            let response = endpoint.router.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path}");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let status: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(status["reason"], "Unauthorized");
        }
    }
}

#[tokio::test]
async fn objects_are_read_by_name_and_in_lists() {
    let endpoint = endpoint();
    let pod = endpoint.get("/api/v1/namespaces/default/pods/web-vm").await;
    assert_eq!(
        (&pod["kind"], &pod["metadata"]["name"]),
        (&json!("Pod"), &json!("web-vm"))
    );
    let list = endpoint.get("/api/v1/pods").await;
    assert_eq!((&list["kind"], &list["items"][0]), (&json!("PodList"), &pod));
    let version = list["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    assert_eq!(
        endpoint.get("/api/v1/nodes").await["metadata"]["resourceVersion"],
        version.as_str()
    );
    let none = endpoint
        .get("/api/v1/pods?fieldSelector=status.phase%3DFailed")
        .await;
    assert_eq!(none["items"], json!([]));
    assert_eq!(endpoint.get("/api/v1/services").await["kind"], "ServiceList");
    assert_eq!(
        endpoint.get("/apis/events.k8s.io/v1/events").await["apiVersion"],
        "events.k8s.io/v1"
    );
    let (_, table) = endpoint.send(Method::GET, "/api/v1/pods", TABLE, "").await;
    assert_eq!(table["rows"][0]["cells"][0], "web-vm");
    let missing = endpoint
        .refused(Method::GET, "/api/v1/namespaces/default/pods/web")
        .await;
    assert_eq!(missing, (404, "pods \"web\" not found".to_owned()));
}

#[tokio::test]
async fn a_long_list_comes_in_parts() {
    let endpoint = endpoint();
    endpoint.changing.pods.send_modify(|report| {
        let report = std::sync::Arc::make_mut(report);
        for name in ["a", "b", "c"] {
            let pod = fixture::pod("default", name).into();
            report.pods.insert(fixture::name("default", name), pod);
        }
    });
    let (mut names, mut query, mut versions) = (Vec::new(), "limit=3".to_owned(), Vec::new());
    loop {
        let list = endpoint.get(&format!("/api/v1/pods?{query}")).await;
        let items = list["items"].as_array().unwrap();
        names.extend(
            items
                .iter()
                .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()),
        );
        versions.push(list["metadata"]["resourceVersion"].clone());
        let Some(next) = list["metadata"]["continue"].as_str() else {
            break;
        };
        assert_eq!(list["metadata"]["remainingItemCount"], 1);
        query = format!("limit=3&continue={next}");
        // A change in between does not disturb it.
        endpoint.changing.pods.send_modify(|report| {
            std::sync::Arc::make_mut(report)
                .pods
                .remove(&fixture::name("default", "a"));
        });
    }
    assert_eq!(names, ["a", "b", "c", "web-vm"]);
    assert_eq!(versions[0], versions[1]);
}

#[tokio::test]
async fn what_is_not_served_is_refused_with_a_sentence() {
    let endpoint = endpoint();
    let check = async |method: Method, path: &str, code: u16, part: &str| {
        let (is, message) = endpoint.refused(method.clone(), path).await;
        assert!(
            is == code && message.contains(part),
            "{method} {path}: {is} {message}"
        );
    };
    let pod = "/api/v1/namespaces/default/pods/web-vm";
    check(Method::DELETE, "/api/v1/namespaces/default/pods", 405, "name one").await;
    check(Method::POST, "/api/v1/pods", 405, "in its namespace").await;
    check(Method::POST, "/api/v1/nodes", 405, "gantry's configuration").await;
    check(
        Method::POST,
        "/api/v1/namespaces/default/pods",
        400,
        "is not JSON",
    )
    .await;
    check(
        Method::PUT,
        &format!("{pod}/ephemeralcontainers"),
        405,
        "not served without a cluster",
    )
    .await;
    check(Method::POST, &format!("{pod}/log"), 405, "not served").await;
    check(Method::GET, &format!("{pod}/proxy"), 404, "could not find").await;
    check(Method::POST, "/version", 405, "can only be read").await;
    check(Method::GET, "/openapi/v3/apis/apps/v1", 404, "could not find").await;
    check(Method::GET, "/apis/apps/v1/deployments", 404, "could not find").await;
    check(
        Method::GET,
        "/api/v1/pods?fieldSelector=spec.x%3Dy",
        400,
        "field label not supported: spec.x",
    )
    .await;
    check(
        Method::GET,
        "/api/v1/pods?labelSelector=%3D",
        400,
        "labelSelector: unable to parse requirement",
    )
    .await;
    check(
        Method::GET,
        "/api/v1/pods?resourceVersion=1&resourceVersionMatch=Exact",
        410,
        "too old",
    )
    .await;
    check(
        Method::GET,
        &format!("{pod}/log?container=x"),
        400,
        "container x is not valid",
    )
    .await;
    check(Method::POST, &format!("{pod}/exec?stdout=true"), 400, "command").await;
    check(
        Method::POST,
        &format!("{pod}/attach"),
        400,
        "at least one of stdin",
    )
    .await;
    let wrong = endpoint
        .send(Method::GET, "/api/v1/pods", "application/yaml", "")
        .await;
    assert_eq!(wrong.0, StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test]
async fn a_client_may_ask_what_it_may_do() {
    let endpoint = endpoint();
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let ask = async |verb: &str, resource: &str| {
        let body = json!({
            "kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {},
            "spec": {"resourceAttributes": {"verb": verb, "resource": resource}},
        });
        let (_, answer) = endpoint
            .send(Method::POST, path, "application/json", &body.to_string())
            .await;
        answer["status"]["allowed"].clone()
    };
    assert_eq!(ask("get", "pods").await, true);
    assert_eq!(ask("delete", "pods").await, true);
    assert_eq!(ask("delete", "nodes").await, false);
    let (code, _) = endpoint
        .send(Method::POST, path, "application/json", "no JSON")
        .await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn numbers_are_those_of_the_samples() {
    let endpoint = endpoint();
    let list = endpoint.get("/apis/metrics.k8s.io/v1beta1/pods").await;
    assert_eq!(list["kind"], "PodMetricsList");
    let (code, _) = endpoint
        .send(
            Method::GET,
            "/apis/metrics.k8s.io/v1beta1/nodes/other",
            "application/json",
            "",
        )
        .await;
    assert_eq!(code, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn health_is_answered_under_each_of_its_names() {
    let endpoint = endpoint();
    for path in ["/healthz", "/livez", "/readyz"] {
        let (code, text) = endpoint.send(Method::GET, path, "*/*", "").await;
        assert_eq!((code, text.as_str()), (StatusCode::OK, Some("ok")), "{path}");
    }
}
