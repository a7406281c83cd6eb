//! A fake API server at the HTTP wire: lists, watches, strategic patches, deletions with preconditions; what it is
//! asked is counted, and it can be away.

mod signer;
mod tls;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::authority::{Authority, Life};
pub(crate) use signer::{OF_PODS, REQUESTS};
use tls::Peer;

/// Where the API server says whether it has ClusterTrustBundles.
pub(crate) const BUNDLES_ARE_SERVED: &str = "/apis/certificates.k8s.io/v1beta1";

/// A change, as a watch sends it.
struct Change {
    version: u64,
    kind: &'static str,
    verb: &'static str,
    object: Value,
}

#[derive(Default)]
pub(crate) struct Content {
    version: u64,
    objects: BTreeMap<(&'static str, String, String), Value>,
    changes: Vec<Change>,
    /// Watches from before this version are answered with 410.
    forgotten: u64,
    is_away: bool,
    /// Kinds that the node may not read, and those whose requests wait for their answer.
    forbidden: BTreeSet<&'static str>,
    silent: BTreeSet<&'static str>,
    /// How long the tokens are valid that it gives, where not as long as they are asked for; and how many it gave.
    pub token_life: Option<i64>,
    pub tokens: usize,
    /// The watches that are open, by what they asked.
    watches: Vec<String>,
    pub requests: Vec<String>,
    /// Who has asked, where it is asked over TLS: the user, once for each change.
    pub users: Vec<String>,
    /// The certificates that were shown, each once.
    pub shown: Vec<Vec<u8>>,
    /// The tokens that are accepted.
    pub accepted: Vec<String>,
    /// Requests for certificates are signed at once, for so long.
    pub signs: Option<Life>,
    /// What the server says is the time.
    pub date: Option<String>,
    /// Texts that everybody may read, by their paths.
    pub texts: BTreeMap<String, String>,
    /// Whether it has ClusterTrustBundles.
    pub serves_bundles: bool,
}

#[derive(Clone)]
struct Shared {
    content: Arc<Mutex<Content>>,
    /// Counts changes, and ends of connections.
    news: watch::Sender<u64>,
    /// Where it is asked over TLS.
    authority: Option<Arc<Authority>>,
}

pub(crate) struct FakeApi {
    shared: Shared,
    address: std::net::SocketAddr,
}

impl FakeApi {
    pub(crate) async fn start() -> FakeApi {
        let shared = Shared {
            content: Arc::default(),
            news: watch::channel(0).0,
            authority: None,
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = axum::Router::new().fallback(answer).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        FakeApi { shared, address }
    }

    /// The same over TLS, with a certificate authority of its own: who asks must be known.
    pub(crate) async fn start_secure() -> FakeApi {
        let authority = Arc::new(Authority::new("kubernetes"));
        let shared = Shared {
            content: Arc::default(),
            news: watch::channel(0).0,
            authority: Some(authority.clone()),
        };
        let (listener, address) = tls::listen(&authority).await;
        let app = axum::Router::new().fallback(answer).with_state(shared.clone());
        let service = app.into_make_service_with_connect_info::<Peer>();
        tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        FakeApi { shared, address }
    }

    /// Host and port.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Who signs, where it is asked over TLS.
    pub(crate) fn authority(&self) -> &Authority {
        self.shared.authority.as_ref().expect("it is asked over TLS")
    }

    /// Makes an object, or writes over it.
    pub(crate) fn put(&self, kind: &'static str, namespace: &str, name: &str, mut object: Value) {
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!(namespace);
        self.shared.put(kind, namespace, name, object);
    }

    pub(crate) fn client(&self) -> kube::Client {
        // Another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = kube::Config::new(format!("http://{}", self.address).parse().unwrap());
        kube::Client::try_from(config).unwrap()
    }

    /// The file that leads to it.
    pub(crate) fn kubeconfig(&self) -> String {
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{{name: a, context: {{cluster: a, user: \
             a}}}}]\nusers: [{{name: a, user: {{}}}}]\nclusters: [{{name: a, cluster: {{server: \"http://{}\"}}}}]\n",
            self.address
        )
    }

    pub(crate) fn content(&self) -> MutexGuard<'_, Content> {
        self.shared.content.lock().unwrap()
    }

    /// A pod bound to the node, as a user and a scheduler make it.
    pub(crate) fn bind(&self, name: &str, uid: &str, image: &str) {
        self.bind_asking(name, uid, image, json!({}));
    }

    /// The same with more in its specification.
    pub(crate) fn bind_asking(&self, name: &str, uid: &str, image: &str, more: Value) {
        let mut object = json!({
            "metadata": {"name": name, "namespace": "default", "uid": uid},
            "spec": {"nodeName": "node", "containers": [{"name": "c", "image": image}]},
            "status": {"phase": "Pending", "conditions": [{"type": "example.org/own", "status": "True"}]},
        });
        merge(&mut object["spec"], &more);
        self.shared.put("pods", "default", name, object);
    }

    /// Asks for a deletion with a grace, as a user does.
    pub(crate) fn delete_gracefully(&self, name: &str, grace: i64) {
        let until = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(grace);
        let until = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(until);
        let marks = json!({"deletionTimestamp": until, "deletionGracePeriodSeconds": grace});
        self.patch("pods", name, &json!({"metadata": marks}));
    }

    /// Patches an object as another client does: what the node writes at the same time is not lost.
    pub(crate) fn patch(&self, kind: &'static str, name: &str, patch: &Value) {
        let key = (kind, namespace(kind).to_owned(), name.to_owned());
        let patched = self.shared.patch(key, patch, |_| Ok(()));
        patched.expect("there is such an object");
    }

    /// Takes an object away at once.
    pub(crate) fn remove(&self, kind: &'static str, name: &str) {
        let namespace = namespace(kind);
        self.shared.remove(kind, namespace, name);
    }

    pub(crate) fn get(&self, kind: &'static str, name: &str) -> Option<Value> {
        let key = (kind, namespace(kind).to_owned(), name.to_owned());
        self.content().objects.get(&key).cloned()
    }

    /// Answers nothing any more and ends all watches, or is back.
    pub(crate) fn set_away(&self, is_away: bool) {
        self.content().is_away = is_away;
        self.shared.news.send_modify(|news| *news += 1);
    }

    /// Makes or replaces an object, in the namespace `default` where its kind has namespaces.
    pub(crate) fn write(&self, kind: &'static str, name: &str, mut object: Value) {
        object["metadata"]["name"] = json!(name);
        object["metadata"]["namespace"] = json!(namespace(kind));
        self.shared.put(kind, namespace(kind), name, object);
    }

    /// Writes into the Node what others write there.
    pub(crate) fn mark_node(&self, marks: Value) {
        self.patch("nodes", "node", &marks);
    }

    /// Lets the node read objects of a kind, or answers with 403.
    pub(crate) fn set_forbidden(&self, kind: &'static str, is: bool) {
        let mut content = self.content();
        match is {
            true => content.forbidden.insert(kind),
            false => content.forbidden.remove(kind),
        };
    }

    /// Answers requests about a kind, or lets them wait.
    pub(crate) fn set_silent(&self, kind: &'static str, is: bool) {
        let mut content = self.content();
        match is {
            true => content.silent.insert(kind),
            false => content.silent.remove(kind),
        };
        drop(content);
        self.shared.news.send_modify(|news| *news += 1);
    }

    /// How many watches are open that ask so.
    pub(crate) fn watches(&self, asked: &str) -> usize {
        let content = self.content();
        content.watches.iter().filter(|watch| *watch == asked).count()
    }

    /// Forgets what has changed: a watch that was interrupted has to list again.
    pub(crate) fn compact(&self) {
        let mut content = self.content();
        content.version += 10;
        content.forgotten = content.version;
        content.changes.clear();
    }

    /// All objects of a kind.
    pub(crate) fn all(&self, kind: &'static str) -> Vec<Value> {
        let content = self.content();
        let of_kind = content.objects.iter().filter(|((of, _, _), _)| *of == kind);
        of_kind.map(|(_, object)| object.clone()).collect()
    }

    /// How many requests there were that begin so.
    pub(crate) fn count(&self, request: &str) -> usize {
        let content = self.content();
        content
            .requests
            .iter()
            .filter(|asked| asked.starts_with(request))
            .count()
    }
}

fn namespace(kind: &str) -> &'static str {
    match kind {
        "nodes" | "runtimeclasses" | "clustertrustbundles" | "persistentvolumes" | "csinodes" | REQUESTS => {
            ""
        }
        "leases" => "kube-node-lease",
        _ => "default",
    }
}

impl Shared {
    fn change(
        &self,
        content: &mut Content,
        kind: &'static str,
        verb: &'static str,
        mut object: Value,
    ) -> Value {
        content.version += 1;
        let version = content.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let reported = object.clone();
        content.changes.push(Change {
            version,
            kind,
            verb,
            object,
        });
        self.news.send_modify(|news| *news += 1);
        reported
    }

    fn put(&self, kind: &'static str, namespace: &str, name: &str, mut object: Value) -> Value {
        let mut content = self.content.lock().unwrap();
        let key = (kind, namespace.to_owned(), name.to_owned());
        let verb = match content.objects.contains_key(&key) {
            true => "MODIFIED",
            false => "ADDED",
        };
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("made-{}", content.version + 1));
        }
        let object = self.change(&mut content, kind, verb, object);
        content.objects.insert(key, object.clone());
        object
    }

    /// Merges a patch into an object; `Err` is the answer where that is refused.
    fn patch(
        &self,
        key: (&'static str, String, String),
        patch: &Value,
        admit: impl FnOnce(&Value) -> Result<(), u16>,
    ) -> Result<Value, u16> {
        let mut content = self.content.lock().unwrap();
        let mut object = content.objects.get(&key).cloned().ok_or(404u16)?;
        let uid = &patch["metadata"]["uid"];
        if !uid.is_null() && *uid != object["metadata"]["uid"] {
            return Err(409);
        }
        merge(&mut object, patch);
        admit(&object)?;
        let object = self.change(&mut content, key.0, "MODIFIED", object);
        content.objects.insert(key, object.clone());
        Ok(object)
    }

    fn remove(&self, kind: &'static str, namespace: &str, name: &str) {
        let mut content = self.content.lock().unwrap();
        let key = (kind, namespace.to_owned(), name.to_owned());
        if let Some(object) = content.objects.remove(&key) {
            self.change(&mut content, kind, "DELETED", object);
        }
    }
}

fn refuse(code: u16, reason: &str) -> Response {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
        "reason": reason, "message": reason, "metadata": {}});
    let code = StatusCode::from_u16(code).unwrap();
    (code, axum::Json(status)).into_response()
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    if let Err((code, reason)) = admit(&shared, &request) {
        return refuse(code, reason);
    }
    let date = shared.content.lock().unwrap().date.clone();
    let mut response = serve(shared, request).await;
    if let Some(date) = date {
        response.headers_mut().insert("date", date.parse().unwrap());
    }
    response
}

/// Over TLS only known clients are served, except for the one object that everyone may read.
fn admit(shared: &Shared, request: &Request) -> Result<(), (u16, &'static str)> {
    let Some(authority) = &shared.authority else {
        return Ok(());
    };
    let peer = request.extensions().get::<axum::extract::ConnectInfo<Peer>>();
    let peer = peer.map(|peer| peer.0.clone()).unwrap_or_default();
    let mut content = shared.content.lock().unwrap();
    let user = match tls::user(authority, &peer, &content.accepted, request.headers()) {
        Ok(Some(user)) => user,
        Ok(None)
            if request
                .uri()
                .path()
                .ends_with("/kube-public/configmaps/cluster-info")
                || content.texts.contains_key(request.uri().path()) =>
        {
            "nobody".to_owned()
        }
        Ok(None) => return Err((403, "Forbidden")),
        Err(()) => return Err((401, "Unauthorized")),
    };
    if content.users.last() != Some(&user) {
        content.users.push(user);
    }
    if let Some(shown) = peer.0.filter(|shown| !content.shown.contains(shown)) {
        content.shown.push(shown);
    }
    Ok(())
}

async fn serve(shared: Shared, request: Request) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let query: BTreeMap<String, String> =
        form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
    let body = axum::body::to_bytes(request.into_body(), 1 << 24).await.unwrap();
    let selector = query.get("fieldSelector").cloned().unwrap_or_default();
    let asked = format!("{path} {selector}").trim_end().to_owned();
    {
        let mut content = shared.content.lock().unwrap();
        let verb = match query.contains_key("watch") {
            true => "WATCH".to_owned(),
            false => method.to_string(),
        };
        content.requests.push(format!("{verb} {asked}"));
        if content.is_away {
            return refuse(503, "ServiceUnavailable");
        }
    }
    let text = shared.content.lock().unwrap().texts.get(&path).cloned();
    if let Some(text) = text {
        return text.into_response();
    }
    let rest = path
        .trim_start_matches("/api/v1/")
        .trim_start_matches("/apis/coordination.k8s.io/v1/")
        .trim_start_matches("/apis/node.k8s.io/v1/")
        .trim_start_matches("/apis/storage.k8s.io/v1/")
        .trim_start_matches("/apis/certificates.k8s.io/v1/")
        .trim_start_matches("/apis/certificates.k8s.io/v1beta1/");
    let parts: Vec<&str> = rest.split('/').collect();
    let (namespace, parts) = match parts[..] {
        ["namespaces", namespace, ref rest @ ..] => (namespace, rest),
        ref rest => ("", rest),
    };
    if path == BUNDLES_ARE_SERVED {
        let resource = json!({"name": "clustertrustbundles", "singularName": "", "namespaced": false,
            "kind": "ClusterTrustBundle", "verbs": ["get", "list", "watch"]});
        let list = json!({"kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": "certificates.k8s.io/v1beta1", "resources": [resource]});
        return match shared.content.lock().unwrap().serves_bundles {
            true => axum::Json(list).into_response(),
            false => refuse(404, "NotFound"),
        };
    }
    if let ["serviceaccounts", account, "token"] = parts[..] {
        return token(&shared, namespace, account, &body);
    }
    let kind = match parts[0] {
        "pods" => "pods",
        "nodes" => "nodes",
        "leases" => "leases",
        "events" => "events",
        "secrets" => "secrets",
        "services" => "services",
        "runtimeclasses" => "runtimeclasses",
        "clustertrustbundles" => "clustertrustbundles",
        "configmaps" => "configmaps",
        "persistentvolumeclaims" => "persistentvolumeclaims",
        "persistentvolumes" => "persistentvolumes",
        "csinodes" => "csinodes",
        "serviceaccounts" => "serviceaccounts",
        OF_PODS => OF_PODS,
        REQUESTS => REQUESTS,
        _ => return refuse(404, "NotFound"),
    };
    speaks(&shared, kind).await;
    // As the Node authorizer has it: objects of pods by their name alone.
    let is_read_by_name = parts.get(1).is_some() || selector.starts_with("metadata.name=");
    let by_name = match kind {
        "configmaps" | "secrets" => is_read_by_name,
        // And these cannot be watched at all.
        "persistentvolumeclaims" | "persistentvolumes" | "csinodes" if method == Method::GET => {
            parts.get(1).is_some()
        }
        _ => true,
    };
    if !by_name || shared.content.lock().unwrap().forbidden.contains(kind) {
        return refuse(403, "Forbidden");
    }
    match parts.get(1) {
        None if method == Method::POST => create(&shared, kind, namespace, &body),
        None if query.contains_key("watch") => watching(shared, kind, namespace, &query, asked),
        None => list(&shared, kind, namespace, &query),
        Some(name) => one(&shared, &method, (kind, namespace, name), &body),
    }
}

/// Waits until requests about the kind are answered.
async fn speaks(shared: &Shared, kind: &str) {
    let mut news = shared.news.subscribe();
    // Not `wait_for`, which holds the news while it looks: whoever changes the content sends news while it holds the
    // content, and both would wait for ever.
    while shared.content.lock().unwrap().silent.contains(kind) {
        if news.changed().await.is_err() {
            return;
        }
    }
}

fn selected(object: &Value, namespace: &str, query: &BTreeMap<String, String>) -> bool {
    if !namespace.is_empty() && object["metadata"]["namespace"] != namespace {
        return false;
    }
    let fields = query.get("fieldSelector").map_or("", String::as_str).split(',');
    let mut fields = fields.filter_map(|field| field.split_once('='));
    fields.all(|field| match field {
        ("spec.nodeName", node) => object["spec"]["nodeName"] == node,
        ("metadata.name", name) => object["metadata"]["name"] == name,
        ("spec.signerName", signer) => object["spec"]["signerName"] == signer && labelled(object, query),
        _ => true,
    })
}

/// Whether the labels are those that are asked for, as far as that is by equality.
fn labelled(object: &Value, query: &BTreeMap<String, String>) -> bool {
    let asked = query.get("labelSelector").map_or("", String::as_str);
    let mut pairs = asked.split(',').filter_map(|pair| pair.split_once('='));
    pairs.all(|(key, value)| object["metadata"]["labels"][key] == value)
}

fn list(shared: &Shared, kind: &'static str, namespace: &str, query: &BTreeMap<String, String>) -> Response {
    let content = shared.content.lock().unwrap();
    let items: Vec<&Value> = content
        .objects
        .iter()
        .filter(|((of, _, _), object)| *of == kind && selected(object, namespace, query))
        .map(|(_, object)| object)
        .collect();
    let metadata = json!({"resourceVersion": content.version.to_string()});
    axum::Json(json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}))
        .into_response()
}

/// A watch that is open.
struct Open {
    shared: Shared,
    asked: String,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut content = self.shared.content.lock().unwrap();
        let place = content.watches.iter().position(|watch| *watch == self.asked);
        content.watches.remove(place.unwrap());
    }
}

fn watching(
    shared: Shared,
    kind: &'static str,
    namespace: &str,
    query: &BTreeMap<String, String>,
    asked: String,
) -> Response {
    let from: u64 = query["resourceVersion"].parse().unwrap();
    let (query, namespace) = (query.clone(), namespace.to_owned());
    shared.content.lock().unwrap().watches.push(asked.clone());
    let open = Open {
        shared: shared.clone(),
        asked,
    };
    let state = (shared.news.subscribe(), from, shared);
    let lines = futures::stream::unfold(state, move |(mut news, from, shared)| {
        // Moved in: it ends with the stream.
        let _ = &open;
        let (query, namespace) = (query.clone(), namespace.clone());
        async move {
            loop {
                news.borrow_and_update();
                {
                    let content = shared.content.lock().unwrap();
                    if content.is_away {
                        return None;
                    }
                    if from < content.forgotten {
                        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                            "code": 410, "reason": "Expired", "message": "too old resource version", "metadata": {}});
                        let line = format!("{}\n", json!({"type": "ERROR", "object": status}));
                        drop(content);
                        return Some((Ok::<_, std::io::Error>(line), (news, u64::MAX, shared)));
                    }
                    let next = content.changes.iter().find(|change| {
                        change.version > from
                            && change.kind == kind
                            && selected(&change.object, &namespace, &query)
                    });
                    if let Some(change) = next {
                        let line = format!("{}\n", json!({"type": change.verb, "object": change.object}));
                        let version = change.version;
                        drop(content);
                        return Some((Ok(line), (news, version, shared)));
                    }
                }
                if news.changed().await.is_err() {
                    return None;
                }
            }
        }
    });
    Body::from_stream(lines).into_response()
}

/// A token for a service account that there is, bound to a pod that there is.
fn token(shared: &Shared, namespace: &str, account: &str, body: &Bytes) -> Response {
    let mut asked: Value = serde_json::from_slice(body).unwrap();
    let mut content = shared.content.lock().unwrap();
    let key = |kind, name: &str| (kind, namespace.to_owned(), name.to_owned());
    if !content.objects.contains_key(&key("serviceaccounts", account)) {
        return refuse(404, "NotFound");
    }
    let bound = &asked["spec"]["boundObjectRef"];
    let pod = content.objects.get(&key("pods", bound["name"].as_str().unwrap()));
    if pod.is_none_or(|pod| pod["metadata"]["uid"] != bound["uid"]) {
        return refuse(409, "Conflict");
    }
    content.tokens += 1;
    let seconds = content
        .token_life
        .or(asked["spec"]["expirationSeconds"].as_i64())
        .unwrap();
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    asked["spec"]["expirationSeconds"] = json!(seconds);
    let audience = asked["spec"]["audiences"][0]
        .as_str()
        .unwrap_or("default")
        .to_owned();
    asked["status"] = json!({
        "token": format!("geheim-{audience}-{}", content.tokens),
        "expirationTimestamp": k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(until),
    });
    axum::Json(asked).into_response()
}

fn create(shared: &Shared, kind: &'static str, namespace: &str, body: &Bytes) -> Response {
    let mut object: Value = serde_json::from_slice(body).unwrap();
    if let Some(begins) = object["metadata"]["generateName"].as_str() {
        let version = shared.content.lock().unwrap().version;
        object["metadata"]["name"] = json!(format!("{begins}{version}"));
    }
    let name = object["metadata"]["name"].as_str().unwrap().to_owned();
    let key = (kind, namespace.to_owned(), name.clone());
    if shared.content.lock().unwrap().objects.contains_key(&key) {
        return refuse(409, "AlreadyExists");
    }
    let signs = shared.content.lock().unwrap().signs.filter(|_| kind == REQUESTS);
    let made = shared.put(kind, namespace, &name, object);
    if let (Some(life), Some(authority)) = (signs, &shared.authority) {
        shared.put(
            kind,
            namespace,
            &name,
            signer::signed(authority, made.clone(), life),
        );
    }
    axum::Json(made).into_response()
}

fn one(
    shared: &Shared,
    method: &Method,
    (kind, namespace, name): (&'static str, &str, &str),
    body: &Bytes,
) -> Response {
    let key = (kind, namespace.to_owned(), name.to_owned());
    let Some(object) = shared.content.lock().unwrap().objects.get(&key).cloned() else {
        return refuse(404, "NotFound");
    };
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    let uid = match *method {
        Method::DELETE => &asked["preconditions"]["uid"],
        _ => &asked["metadata"]["uid"],
    };
    if !uid.is_null() && *uid != object["metadata"]["uid"] {
        return refuse(409, "Conflict");
    }
    let version = &asked["metadata"]["resourceVersion"];
    if *method == Method::PUT && !version.is_null() && *version != object["metadata"]["resourceVersion"] {
        return refuse(409, "Conflict");
    }
    match *method {
        Method::GET => axum::Json(object).into_response(),
        Method::PUT => axum::Json(shared.put(kind, namespace, name, asked)).into_response(),
        Method::PATCH => {
            let is_valid = |object: &Value| {
                let status = &object["status"];
                let first = &status["hostIPs"][0]["ip"];
                (first.is_null() || *first == status["hostIP"])
                    .then_some(())
                    .ok_or(422)
            };
            match shared.patch(key, &asked, is_valid) {
                Ok(object) => axum::Json(object).into_response(),
                Err(404) => refuse(404, "NotFound"),
                Err(409) => refuse(409, "Conflict"),
                Err(code) => refuse(code, "Invalid"),
            }
        }
        Method::DELETE => {
            shared.remove(kind, namespace, name);
            axum::Json(object).into_response()
        }
        _ => refuse(405, "MethodNotAllowed"),
    }
}

/// A strategic merge, as far as the node's patches use it.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in fields {
        match value {
            Value::Null => {
                target.as_object_mut().unwrap().remove(key);
            }
            Value::Array(items) if key == "conditions" => {
                let reported = target.as_object_mut().unwrap().entry(key).or_insert(json!([]));
                let reported = reported.as_array_mut().unwrap();
                for item in items {
                    if item["$patch"] == "delete" {
                        reported.retain(|reported| reported["type"] != item["type"]);
                        continue;
                    }
                    match reported
                        .iter_mut()
                        .find(|reported| reported["type"] == item["type"])
                    {
                        Some(reported) => merge(reported, item),
                        None => reported.push(item.clone()),
                    }
                }
            }
            Value::Array(items) => {
                let items = items.iter().filter(|item| item["$patch"].is_null());
                target[key] = items.cloned().collect();
            }
            value => merge(&mut target[key], value),
        }
    }
}
