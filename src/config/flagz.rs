//! The value of every flag, as `/flagz` shows it. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::defaults::default_configuration;
use super::flag::{Kind, Target};
use super::flags;

/// What is shown instead of a value that may contain a credential.
const CLASSIFIED: &str = "CLASSIFIED";

/// Flags whose values may contain credentials.
const SECRET: [&str; 2] = ["manifest-url-header", "storage-driver-password"];

/// Every flag with its value on the command line, else with its default: that of its key in KubeletConfiguration. A flag
/// of gantry's own is empty until it is given, and sets nothing then. As in the kubelet, what a file sets is not in it:
/// `/configz` has the configuration in force.
pub(super) fn flagz(given: &BTreeMap<&'static str, Value>) -> BTreeMap<String, String> {
    let defaults = default_configuration();
    let values = flags::all().map(|flag| {
        let default = match flag.target {
            Target::Kubelet(key) => key.split('.').fold(&defaults, |value, key| &value[key]),
            Target::Own(_) | Target::Source | Target::Unused => &Value::Null,
        };
        let value = given.get(flag.name);
        let text = match (value, SECRET.contains(&flag.name)) {
            (Some(_), true) => CLASSIFIED.to_owned(),
            (value, _) => text(flag.kind, value.unwrap_or(default)),
        };
        (flag.name.to_owned(), text)
    });
    values.collect()
}

/// A value as the kubelet's flags print it.
fn text(kind: Kind, value: &Value) -> String {
    match value {
        Value::Null => match kind {
            Kind::Bool => "false".to_owned(),
            Kind::Int => "0".to_owned(),
            Kind::List => "[]".to_owned(),
            Kind::Text | Kind::Map | Kind::LessMap | Kind::BoolMap | Kind::MultiMap => String::new(),
        },
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| text(Kind::Text, item)).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(map) => {
            let separator = match kind {
                Kind::LessMap => '<',
                Kind::MultiMap => ':',
                _ => '=',
            };
            let pair = |(key, value)| format!("{key}{separator}{}", text(Kind::Text, value));
            map.iter().map(pair).collect::<Vec<_>>().join(",")
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_flag_has_its_own_value_or_its_default_and_no_secret() {
        let given = BTreeMap::from([
            ("max-pods", json!(50)),
            ("node-labels", json!({"b": "2", "a": "1"})),
            ("cluster-dns", json!(["10.96.0.10", "10.96.0.11"])),
            ("eviction-hard", json!({"memory.available": "100Mi"})),
            ("manifest-url-header", json!({"Authorization": ["Bearer abc"]})),
            ("storage-driver-password", json!("secret")),
        ]);
        let values = flagz(&given);
        let check = |flag: &str, value: &str| assert_eq!(values[flag], value, "{flag}");
        check("max-pods", "50");
        check("node-labels", "a=1,b=2");
        check("cluster-dns", "[10.96.0.10,10.96.0.11]");
        check("eviction-hard", "memory.available<100Mi");
        check("manifest-url-header", "CLASSIFIED");
        check("storage-driver-password", "CLASSIFIED");
        // Defaults.
        check("port", "10250");
        check("streaming-connection-idle-timeout", "4h0m0s");
        check("enable-debugging-handlers", "true");
        check("authorization-mode", "Webhook");
        check("allowed-unsafe-sysctls", "[]");
        check("root-dir", "");
        assert_eq!(values.len(), flags::all().count());
        assert!(!values.values().any(|value| value.contains("abc")));
    }
}
