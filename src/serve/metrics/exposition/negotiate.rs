//! Which format a client wants, by its `Accept` header.

use super::value::Format;

/// The format that is named with the highest weight, the first of several. A client that names none gets text.
pub(crate) fn negotiate(accept: &str) -> Format {
    let mut best: Option<(f64, Format)> = None;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let (mut weight, mut version, mut proto, mut encoding) = (1.0, "", "", "");
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim() {
                "q" => weight = value.parse().unwrap_or(0.0),
                "version" => version = value,
                "proto" => proto = value,
                "encoding" => encoding = value,
                _ => {}
            }
        }
        let format = match (kind, version) {
            ("application/vnd.google.protobuf", _)
                if proto == "io.prometheus.client.MetricFamily" && encoding == "delimited" =>
            {
                Format::Protobuf
            }
            ("application/openmetrics-text", "" | "1.0.0" | "0.0.1") => Format::OpenMetrics,
            ("text/plain", "" | "0.0.4") | ("text/*" | "*/*", _) => Format::Text,
            _ => continue,
        };
        if weight > 0.0 && best.is_none_or(|(best, _)| weight > best) {
            best = Some((weight, format));
        }
    }
    best.map_or(Format::Text, |(_, format)| format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_with_the_highest_weight_is_chosen() {
        let check = |accept: &str, format| assert_eq!(negotiate(accept), format, "{accept}");
        let protobuf =
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        check("", Format::Text);
        check("*/*", Format::Text);
        check("text/html, application/xml;q=0.9, */*;q=0.8", Format::Text);
        check(protobuf, Format::Protobuf);
        // Prometheus 2.42 of Debian 12, and Prometheus 3 when it wants protobuf first.
        check(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Format::OpenMetrics,
        );
        check(
            &format!(
                "{protobuf};q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,*/*;q=0.2"
            ),
            Format::Protobuf,
        );
        check(
            "application/openmetrics-text;version=2.0.0,text/plain;q=0.1",
            Format::Text,
        );
        check("application/vnd.google.protobuf", Format::Text);
        check("application/openmetrics-text;q=0,text/plain;q=nan", Format::Text);
    }
}
