//! The configuration of `type: bandwidth`, as written and as parsed. <https://www.cni.dev/plugins/current/meta/bandwidth/>

use serde::Deserialize;
use serde_json::Value;

use crate::request::Request;
use crate::types::Error;

/// The parsed configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conf {
    /// For what the pod receives.
    pub ingress: Option<Limit>,
    /// For what the pod sends.
    pub egress: Option<Limit>,
}

/// A limit in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Bytes per second.
    pub rate: u64,
    /// How many bytes may pass at once.
    pub burst: u32,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    #[serde(flatten)]
    own: WrittenLimits,
    runtime_config: WrittenRuntime,
    shaped_subnets: Option<Vec<Value>>,
    unshaped_subnets: Option<Vec<Value>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WrittenRuntime {
    bandwidth: Option<WrittenLimits>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WrittenLimits {
    ingress_rate: Option<u64>,
    ingress_burst: Option<u64>,
    egress_rate: Option<u64>,
    egress_burst: Option<u64>,
}

impl WrittenLimits {
    fn is_set(&self) -> bool {
        [
            self.ingress_rate,
            self.ingress_burst,
            self.egress_rate,
            self.egress_burst,
        ]
        .iter()
        .any(Option::is_some)
    }
}

/// Reads and checks the configuration. The network's own limits, if it has any, take precedence over the runtime's, as in
/// the original.
pub fn read(request: &Request) -> Result<Conf, Error> {
    let written: Written = request.config()?;
    for (field, subnets) in [
        ("shapedSubnets", written.shaped_subnets),
        ("unshapedSubnets", written.unshaped_subnets),
    ] {
        if subnets.is_some_and(|subnets| !subnets.is_empty()) {
            request.note(format!(
                "{field} has no effect, as in the original since version 1.6.1: all packets are limited"
            ));
        }
    }
    let limits = if written.own.is_set() {
        written.own
    } else {
        written.runtime_config.bandwidth.unwrap_or_default()
    };
    Ok(Conf {
        ingress: read_limit("ingress", limits.ingress_rate, limits.ingress_burst)?,
        egress: read_limit("egress", limits.egress_rate, limits.egress_burst)?,
    })
}

/// Both are written in bits.
fn read_limit(direction: &str, rate: Option<u64>, burst: Option<u64>) -> Result<Option<Limit>, Error> {
    let (rate, burst) = (rate.unwrap_or(0), burst.unwrap_or(0));
    let error = |reason: &str| Err(Error::invalid(format!("{direction}{reason}")));
    match (rate, burst) {
        (0, 0) => return Ok(None),
        (0, _) => return error("Burst requires a rate; set both or neither"),
        (_, 0) => return error("Rate requires a burst; set both or neither"),
        (..8, _) => return error("Rate must be at least 8 bits per second"),
        (_, ..8) => return error("Burst must be at least 8 bits"),
        _ => {}
    }
    match u32::try_from(burst / 8) {
        Ok(burst) if burst < u32::MAX => Ok(Some(Limit {
            rate: rate / 8,
            burst,
        })),
        _ => error("Burst must be below 4 GiB"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::request::sample as request;

    #[test]
    fn limits_are_the_network_s_or_else_the_runtime_s() {
        let limit = |rate, burst| Some(Limit { rate, burst });
        let runtime = json!({"bandwidth": {"ingressRate": 8000, "ingressBurst": 2147483647u64}});
        for (config, ingress, egress) in [
            (json!({}), None, None),
            (
                json!({"runtimeConfig": runtime}),
                limit(1000, (1 << 28) - 1),
                None,
            ),
            (
                json!({"runtimeConfig": runtime, "egressRate": 80, "egressBurst": 80}),
                None,
                limit(10, 10),
            ),
            (
                json!({"runtimeConfig": runtime, "egressRate": 0, "egressBurst": 0}),
                None,
                None,
            ),
        ] {
            assert_eq!(
                read(&request(config.clone())).unwrap(),
                Conf { ingress, egress },
                "{config}"
            );
        }
    }

    #[test]
    fn half_a_limit_and_an_impossible_one_are_refused_by_name() {
        for (config, reason) in [
            (json!({"ingressRate": 8}), "ingressRate"),
            (json!({"egressBurst": 8}), "egressBurst"),
            (json!({"egressRate": 7, "egressBurst": 8}), "egressRate"),
            (json!({"egressRate": 8, "egressBurst": 7}), "egressBurst"),
            (
                json!({"egressRate": 8, "egressBurst": u64::MAX}),
                "egressBurst must be below",
            ),
            (json!({"egressRate": -1, "egressBurst": 8}), "invalid value"),
            (json!({"runtimeConfig": {"bandwidth": 5}}), "bandwidth"),
        ] {
            let error = read(&request(config.clone())).unwrap_err();
            assert!(error.msg.contains(reason), "{config}: {}", error.msg);
        }
    }

    #[test]
    fn subnets_that_are_not_told_apart_are_noted() {
        let request = request(json!({"unshapedSubnets": ["10.0.0.0/8"], "shapedSubnets": []}));
        read(&request).unwrap();
        let notes = request.notes.take();
        assert!(
            notes.len() == 1 && notes[0].starts_with("unshapedSubnets"),
            "{notes:?}"
        );
    }
}
