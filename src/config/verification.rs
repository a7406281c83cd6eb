//! For which images on the node a pod must present credentials (`validation.go` of Kubernetes v1.36). Pure.

use super::checks::Checks;
use super::defaults::{VERIFICATION, VERIFICATION_GATE};
use super::raw::KubeletConfiguration;
use crate::model::pull_policy::{Allowlist, Verification};

const ALLOWLIST: &str = "preloadedImagesVerificationAllowlist";

/// The policy; `None`: the feature gate is off.
pub(super) fn verification(written: &KubeletConfiguration, checks: &mut Checks<'_>) -> Option<Verification> {
    let patterns = written
        .preloaded_images_verification_allowlist
        .as_deref()
        .unwrap_or_default();
    let gate = VERIFICATION_GATE.rsplit('.').next().unwrap_or_default();
    let gates = written.feature_gates.as_ref();
    if gates.and_then(|gates| gates.get(gate)) == Some(&false) {
        for key in [VERIFICATION, ALLOWLIST] {
            if checks.is_stated(key) {
                let problem =
                    format!("needs the feature gate {gate}, which is off; remove one of the two settings");
                checks.wrong(key, problem);
            }
        }
        return None;
    }
    let list = Allowlist::read(patterns).unwrap_or_else(|problem| {
        checks.wrong(ALLOWLIST, problem);
        Allowlist::default()
    });
    let policy = written.image_pull_credentials_verification_policy.as_deref();
    if !patterns.is_empty() && policy != Some("NeverVerifyAllowlistedImages") {
        let problem = format!("needs `{VERIFICATION}: NeverVerifyAllowlistedImages`");
        checks.wrong(ALLOWLIST, problem);
    }
    Some(match policy {
        Some("NeverVerify") => Verification::Never,
        None | Some("NeverVerifyPreloadedImages") => Verification::Pulled,
        Some("NeverVerifyAllowlistedImages") => Verification::Unlisted(list),
        Some("AlwaysVerify") => Verification::Always,
        Some(other) => {
            let known = "NeverVerify, NeverVerifyPreloadedImages, NeverVerifyAllowlistedImages, AlwaysVerify";
            checks.wrong(VERIFICATION, format!("{other:?} is not one of {known}"));
            Verification::Always
        }
    })
}
