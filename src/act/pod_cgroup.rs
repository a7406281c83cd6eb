//! Steps about a pod's cgroup.

use super::effect::Effect;
use super::failure::failure;
use crate::cgroup::Cgroups;
use crate::model::error_chain::chain;
use crate::model::node::CgroupName;
use crate::model::outcome::StepError;
use crate::model::reason;
use crate::model::request::CgroupSetting;

/// Creates it with its limits, or sets them.
pub(super) async fn ensure(cgroups: &Cgroups, setting: &CgroupSetting) -> Result<Effect, StepError> {
    match cgroups.ensure(setting).await {
        Ok(()) => Ok(Effect::PLAIN),
        Err(error) => Err(failure(
            reason::pod::FAILED_CREATE_CGROUP,
            format!(
                "unable to ensure pod container exists: failed to create container for [{}] : {}",
                setting.name.0.join(" "),
                chain(&error)
            ),
        )),
    }
}

/// Ends what still runs in it and removes it.
pub(super) async fn remove(cgroups: &Cgroups, name: &CgroupName) -> Result<Effect, StepError> {
    match cgroups.remove(name).await {
        Ok(()) => Ok(Effect::PLAIN),
        Err(error) => Err(failure(
            reason::pod::FAILED_KILL_POD,
            format!("error killing pod: {}", chain(&error)),
        )),
    }
}
