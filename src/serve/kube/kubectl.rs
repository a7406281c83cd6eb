//! What the answers to kubectl are made from.

use super::feed::Feed;
use crate::serve::world::Served;

/// What answers are made from.
#[derive(Debug, Clone)]
pub(super) struct Kubectl {
    pub(super) served: Served,
    pub(super) feed: Feed,
}
