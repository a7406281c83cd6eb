//! When the node was registered (`pkg/kubelet/util/node_startup_latency_tracker.go`).

use std::sync::Mutex;

use jiff::Timestamp;

use super::family::lock;

/// The moments of a node's first registration. A node that was registered before has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moments {
    /// When the agent first tried to register the node.
    pub tried: Option<Timestamp>,
    /// When the API server had it.
    pub registered: Option<Timestamp>,
    /// When it was first ready.
    pub ready: Option<Timestamp>,
}

/// The moments so far. Each is the first of its kind.
#[derive(Debug, Default)]
pub struct Registration(Mutex<Moments>);

impl Registration {
    /// The agent tries to register the node.
    pub fn trying(&self, at: Timestamp) {
        lock(&self.0).tried.get_or_insert(at);
    }

    /// The node is registered.
    pub fn registered(&self, at: Timestamp) {
        let mut moments = lock(&self.0);
        if moments.tried.is_some() {
            moments.registered.get_or_insert(at);
        }
    }

    /// The node is ready.
    pub fn ready(&self, at: Timestamp) {
        let mut moments = lock(&self.0);
        if moments.registered.is_some() {
            moments.ready.get_or_insert(at);
        }
    }

    /// What is known.
    pub fn moments(&self) -> Moments {
        *lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_was_registered_before_has_no_moments() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let registration = Registration::default();
        registration.ready(at(1));
        registration.registered(at(1));
        assert_eq!(registration.moments(), Moments::default());
        for second in [2, 3] {
            registration.trying(at(second));
            registration.registered(at(second + 2));
            registration.ready(at(second + 4));
        }
        let moments = registration.moments();
        let expected = [Some(at(2)), Some(at(4)), Some(at(6))];
        assert_eq!([moments.tried, moments.registered, moments.ready], expected);
    }
}
