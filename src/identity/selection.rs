//! Which client certificate the node uses for its API server. Pure.

use jiff::Timestamp;

use super::certificate::Certificate;

/// Where the selected certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// In the store.
    Stored(Certificate),
    /// The file that the kubeconfig refers to.
    Stated(Certificate),
    /// No certificate can be used; the reason, as the end of a sentence.
    None(String),
}

/// The candidates.
#[derive(Debug)]
pub struct Offer<'a> {
    /// The one that the kubeconfig names or holds.
    pub stated: Option<&'a Certificate>,
    /// The one in the store.
    pub stored: Option<&'a Certificate>,
    /// The certificate authorities of the kubeconfig's cluster; empty if not stated.
    pub authorities: &'a [Certificate],
    /// The node's name.
    pub node: &'a str,
}

/// Selects one. The stored one is newer, so it is taken if it is as good: not expired, this node's, and not of another
/// cluster while the kubeconfig's own is of this one.
pub fn choose(offer: &Offer<'_>, now: Timestamp) -> Choice {
    let usable = |certificate: &&Certificate| why_not(certificate, offer.node, now).is_none();
    let is_of_cluster = |certificate: &Certificate| certificate.is_signed_by(offer.authorities);
    match (offer.stored.filter(usable), offer.stated.filter(usable)) {
        (Some(stored), None) => Choice::Stored(stored.clone()),
        (Some(stored), Some(stated)) if is_of_cluster(stored) || !is_of_cluster(stated) => {
            Choice::Stored(stored.clone())
        }
        (_, Some(stated)) => Choice::Stated(stated.clone()),
        (None, None) => {
            let reason = offer.stored.or(offer.stated);
            let reason = reason.and_then(|certificate| why_not(certificate, offer.node, now));
            Choice::None(reason.unwrap_or_else(|| "does not exist".to_owned()))
        }
    }
}

/// Why a certificate cannot be used, as the end of a sentence.
fn why_not(certificate: &Certificate, node: &str, now: Timestamp) -> Option<String> {
    if certificate.is_over(now) {
        return Some(format!("expired at {}", certificate.not_after));
    }
    // A certificate that is not a node's may be intended, for example an administrator's.
    let name = certificate.common_name.strip_prefix("system:node:")?;
    (name != node).then(|| format!("belongs to the node {name}, but this node is {node}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::certificate::certificates;
    use crate::identity::certificate::tests::Authority;

    #[test]
    fn the_newer_one_unless_it_is_worse() {
        let (ours, others) = (Authority::new("ca"), Authority::new("ca"));
        let read = |pem: &str| certificates(pem.as_bytes()).unwrap().remove(0);
        let make = |authority: &Authority, name: &str, to| read(&authority.issue(name, -100, to).0);
        let good = make(&ours, "system:node:n", 50);
        let other = make(&ours, "system:node:n", 60);
        let foreign = make(&others, "system:node:n", 50);
        let over = make(&ours, "system:node:n", -1);
        let named = make(&ours, "system:node:m", 50);
        let admin = make(&ours, "kubernetes-admin", 50);
        let authorities = [read(&ours.pem)];
        let check = |stated: Option<&Certificate>, stored: Option<&Certificate>, expected: &str| {
            let offer = Offer {
                stated,
                stored,
                authorities: &authorities,
                node: "n",
            };
            let chosen = match choose(&offer, Timestamp::now()) {
                Choice::Stored(_) => "stored".to_owned(),
                Choice::Stated(_) => "stated".to_owned(),
                Choice::None(why) => why.split(" at ").next().unwrap_or_default().to_owned(),
            };
            assert_eq!(chosen, expected);
        };
        check(Some(&good), Some(&other), "stored");
        check(Some(&good), None, "stated");
        check(Some(&good), Some(&over), "stated");
        check(Some(&good), Some(&foreign), "stated");
        check(Some(&foreign), Some(&foreign), "stored");
        check(None, Some(&foreign), "stored");
        check(Some(&admin), None, "stated");
        check(Some(&admin), Some(&good), "stored");
        check(Some(&over), None, "expired");
        check(Some(&named), None, "belongs to the node m, but this node is n");
        check(None, None, "does not exist");
    }
}
