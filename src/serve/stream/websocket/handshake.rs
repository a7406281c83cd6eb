//! The beginning: the client's key is answered, and one of its protocols is chosen (RFC 6455, section 4.2).

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::serve::stream::upgrade::{NotUpgraded, offers};

/// What the answer to a key is made with.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The client's key.
pub(crate) fn key(headers: &HeaderMap) -> Result<&HeaderValue, NotUpgraded> {
    let bad = |text: &str| NotUpgraded::new(StatusCode::BAD_REQUEST, text);
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version != "13") {
        return Err(bad("unable to upgrade: Sec-WebSocket-Version must be 13"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    key.ok_or_else(|| bad("unable to upgrade: Sec-WebSocket-Key is missing"))
}

/// Chooses the first protocol of the client that is spoken here, too. A client that names none speaks the one without a
/// name, if there is one.
pub(crate) fn choose(headers: &HeaderMap, spoken: &[&'static str]) -> Result<&'static str, NotUpgraded> {
    let mut offers = offers(headers, header::SEC_WEBSOCKET_PROTOCOL);
    if offers.is_empty() {
        offers.push("");
    }
    let common = offers
        .iter()
        .find_map(|offer| spoken.iter().find(|name| *name == offer));
    common.copied().ok_or_else(|| {
        let spoken: Vec<&str> = spoken.iter().copied().filter(|name| !name.is_empty()).collect();
        let text = format!(
            "unable to upgrade: requested protocol(s) are not supported: [{}]; supports [{}]",
            offers.join(" "),
            spoken.join(" ")
        );
        NotUpgraded::new(StatusCode::FORBIDDEN, text)
    })
}

/// The answer that begins the WebSocket with this protocol; one without a name is not answered.
pub(crate) fn begin(key: &HeaderValue, protocol: &'static str) -> Response {
    let accept = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key.as_bytes(), GUID].concat());
    let accept = STANDARD.encode(accept);
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (
            header::SEC_WEBSOCKET_ACCEPT,
            HeaderValue::from_str(&accept).expect("base64 has no control characters"),
        ),
    ];
    let mut response = (StatusCode::SWITCHING_PROTOCOLS, headers).into_response();
    if !protocol.is_empty() {
        let protocol = HeaderValue::from_static(protocol);
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
}
