//! To whom an element of a set of nftables belongs: its comment names the attachment that it was made for.

use std::collections::HashSet;

use crate::request::{Attachment, Request};
use crate::text::short_enough;

/// Whose something is that another pod has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The later pod's: it is the one that is alive.
    Later,
    /// The one's that has it.
    Present,
}

/// The name of the attachment that a request is about.
pub fn owner_of(request: &Request) -> String {
    owner(&request.network, &request.container_id, &request.ifname)
}

/// Whether an owner is an attachment to this network.
pub fn is_of_network(network: &str) -> impl Fn(&str) -> bool {
    let network = network_part(network);
    move |owner| owner.split(' ').next() == Some(network.as_str())
}

/// Whether an owner is an attachment to the request's network that no longer exists.
pub fn is_gone(request: &Request, valid: &[Attachment]) -> impl Fn(&str) -> bool {
    let is_of_network = is_of_network(&request.network);
    let valid: HashSet<String> = valid
        .iter()
        .map(|one| owner(&request.network, &one.container_id, &one.ifname))
        .collect();
    move |owner| is_of_network(owner) && !valid.contains(owner)
}

/// Shorter than the 128 bytes allowed for a comment.
fn owner(network: &str, container_id: &str, ifname: &str) -> String {
    format!(
        "{} {} {ifname}",
        network_part(network),
        short_enough(container_id, 64)
    )
}

fn network_part(network: &str) -> String {
    short_enough(network, 40)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_fit_into_a_comment() {
        let long = "x".repeat(255);
        assert!(owner(&long, &long, &"i".repeat(15)).len() < 127);
    }
}
