//! `gantry version`.

use crate::cli::Report;
use crate::cli::kubelet_version::{OWN, architecture};
use crate::config::KUBERNETES_VERSION;

/// What `gantry version` prints.
pub fn own(form: Report) -> String {
    match form {
        Report::Text => format!(
            "gantry {OWN} (Kubernetes {KUBERNETES_VERSION}, linux/{})\n",
            architecture()
        ),
        Report::Json => {
            let value = serde_json::json!({
                "gantry": OWN,
                "kubernetes": KUBERNETES_VERSION,
                "platform": format!("linux/{}", architecture()),
            });
            format!("{value:#}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_tell_both_versions() {
        assert!(own(Report::Text).contains(KUBERNETES_VERSION));
        let json: serde_json::Value = serde_json::from_str(&own(Report::Json)).unwrap();
        assert_eq!(json["gantry"], OWN);
        assert_eq!(json["kubernetes"], KUBERNETES_VERSION);
    }
}
