//! Refusals that come too early: the parts of the API server that authorize a node's requests learn of its pods a little
//! later than the node does.

use std::time::Duration;

use tokio::time::Instant;

/// For this long such refusals are not reported, and the request is repeated this soon.
const NEWS_TRAVELS: Duration = Duration::from_secs(2);
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(50);

/// The Node authorizer's answer while it has not seen a new pod yet, and for ever about a volume that does not exist.
const NO_RELATIONSHIP: &str = "no relationship found between node";

/// The time in which a refusal may be outdated.
pub(super) struct News {
    travels_until: Instant,
}

impl News {
    /// It begins when something is requested first.
    pub(super) fn begins(now: Instant) -> News {
        News {
            travels_until: now + NEWS_TRAVELS,
        }
    }

    /// Whether the pod may still be news to the API server.
    pub(super) fn travels(&self, now: Instant) -> bool {
        now < self.travels_until
    }
}

/// Whether the Node authorizer does not know what the node has to do with the object.
pub(super) fn is_of_authorizer(why: &str) -> bool {
    why.contains(NO_RELATIONSHIP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_excused_for_two_seconds() {
        let now = Instant::now();
        let news = News::begins(now);
        assert!(news.travels(now + Duration::from_millis(1999)));
        assert!(!news.travels(now + NEWS_TRAVELS));
        let why =
            "persistentvolumes \"pv\" is forbidden: no relationship found between node 'n' and this object";
        assert!(is_of_authorizer(why));
        assert!(!is_of_authorizer("persistentvolumes \"pv\" is forbidden"));
    }
}
