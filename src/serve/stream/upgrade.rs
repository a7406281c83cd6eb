//! The beginning of a stream: an HTTP request that asks for another protocol on its connection.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The header that lists the protocols which the client speaks over SPDY, and names the chosen one.
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// The header that lists what the server speaks, if there is nothing in common.
const ACCEPTED_VERSIONS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
/// The value of `Upgrade` for SPDY.
pub(crate) const SPDY: &str = "SPDY/3.1";
/// How many protocols of a client are looked at; kubectl lists five.
const MAX_OFFERS: usize = 32;

/// What the client wants to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// SPDY/3.1
    Spdy,
    /// WebSocket
    WebSocket,
}

/// Why a connection is not upgraded: the status code and the text, which kubectl prints.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotUpgraded {
    code: StatusCode,
    text: String,
    accepted: &'static [&'static str],
}

impl NotUpgraded {
    pub(crate) fn new(code: StatusCode, text: impl Into<String>) -> NotUpgraded {
        NotUpgraded {
            code,
            text: text.into(),
            accepted: &[],
        }
    }
}

impl IntoResponse for NotUpgraded {
    fn into_response(self) -> Response {
        let mut response = (self.code, self.text + "\n").into_response();
        for name in self.accepted {
            let value = HeaderValue::from_static(name);
            response.headers_mut().append(ACCEPTED_VERSIONS, value);
        }
        response
    }
}

/// What the request asks for. A request that asks for nothing else than HTTP gets the kubelet's answer.
pub(crate) fn wire(headers: &HeaderMap) -> Result<Wire, NotUpgraded> {
    let names = |header: HeaderName, word: &str| {
        let values = headers.get_all(header);
        let mut words = values.iter().filter_map(|value| value.to_str().ok());
        words.any(|value| value.to_ascii_lowercase().contains(word))
    };
    let bad = |text: &str| Err(NotUpgraded::new(StatusCode::BAD_REQUEST, text));
    if !names(header::CONNECTION, "upgrade") {
        // The kubelet passes such a request on, and reports the error of what it is passed to.
        let code = StatusCode::INTERNAL_SERVER_ERROR;
        return Err(NotUpgraded::new(code, "Upgrade request required"));
    }
    match () {
        () if names(header::UPGRADE, "websocket") => Ok(Wire::WebSocket),
        () if names(header::UPGRADE, "spdy/3.1") => Ok(Wire::Spdy),
        () => bad("unable to upgrade: the Upgrade header names neither SPDY/3.1 nor websocket"),
    }
}

/// The protocols that a header of the client lists, over all its lines.
pub(super) fn offers(headers: &HeaderMap, name: HeaderName) -> Vec<&str> {
    let values = headers.get_all(name);
    values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|offer| !offer.is_empty())
        .take(MAX_OFFERS)
        .collect()
}

/// Chooses the first protocol of the client that the server speaks, too (`httpstream.Handshake`).
pub(crate) fn choose_spdy(
    headers: &HeaderMap,
    spoken: &'static [&'static str],
) -> Result<&'static str, NotUpgraded> {
    let offers = offers(headers, PROTOCOL_VERSION);
    if offers.is_empty() {
        let text = "unable to upgrade: header X-Stream-Protocol-Version names no protocol";
        return Err(NotUpgraded::new(StatusCode::BAD_REQUEST, text));
    }
    let common = offers
        .iter()
        .find_map(|offer| spoken.iter().find(|name| *name == offer));
    common.copied().ok_or_else(|| NotUpgraded {
        code: StatusCode::FORBIDDEN,
        text: format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
            offers.join(" "),
            spoken.join(" ")
        ),
        accepted: spoken,
    })
}

/// The answer that begins SPDY with this protocol.
pub(crate) fn begin_spdy(protocol: &'static str) -> Response {
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static(SPDY)),
        (PROTOCOL_VERSION, HeaderValue::from_static(protocol)),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        let pair =
            |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        list.iter().map(pair).collect()
    }

    #[test]
    fn the_request_says_what_it_speaks() {
        let check = |list: &[(&str, &str)], expected: Result<Wire, u16>| {
            let is = wire(&headers(list)).map_err(|refused| refused.code.as_u16());
            assert_eq!(is, expected, "{list:?}");
        };
        check(
            &[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")],
            Ok(Wire::Spdy),
        );
        check(
            &[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")],
            Ok(Wire::WebSocket),
        );
        check(
            &[
                ("connection", "keep-alive"),
                ("connection", "upgrade"),
                ("upgrade", "WebSocket"),
            ],
            Ok(Wire::WebSocket),
        );
        check(&[("upgrade", "SPDY/3.1")], Err(500));
        check(&[("connection", "Upgrade"), ("upgrade", "h2c")], Err(400));
        check(&[("connection", "Upgrade")], Err(400));
        check(&[], Err(500));
    }

    #[test]
    fn the_clients_first_protocol_that_the_server_speaks_is_chosen() {
        const SPOKEN: &[&str] = &["v4.channel.k8s.io", "channel.k8s.io"];
        let check = |values: &[&str], expected: Result<&str, u16>| {
            let list: Vec<_> = values
                .iter()
                .map(|value| ("x-stream-protocol-version", *value))
                .collect();
            let is = choose_spdy(&headers(&list), SPOKEN).map_err(|refused| refused.code.as_u16());
            assert_eq!(is, expected, "{values:?}");
        };
        check(&["v4.channel.k8s.io", "channel.k8s.io"], Ok("v4.channel.k8s.io"));
        check(&["channel.k8s.io, v4.channel.k8s.io"], Ok("channel.k8s.io"));
        check(
            &["v9.channel.k8s.io", "v4.channel.k8s.io"],
            Ok("v4.channel.k8s.io"),
        );
        check(&["v9.channel.k8s.io"], Err(403));
        check(&["", " , "], Err(400));
        check(&[], Err(400));
    }

    #[test]
    fn a_client_without_a_common_protocol_learns_the_spoken_ones() {
        let refused =
            choose_spdy(&headers(&[("x-stream-protocol-version", "v9")]), &["v4", "v3"]).unwrap_err();
        let response = refused.into_response();
        let accepted: Vec<_> = response.headers().get_all(ACCEPTED_VERSIONS).iter().collect();
        assert_eq!(accepted, ["v4", "v3"]);
    }
}
