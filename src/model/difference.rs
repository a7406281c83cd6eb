//! The differences between two maps. Pure.
//!
//! The maps that modules exchange keep the `Arc` of unchanged values and share their names, so comparing two of them
//! compares pointers.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::pod::PodName;

/// The names whose values differ or that are in only one map; sorted, each once.
pub fn differing<'a, V>(
    old: &'a BTreeMap<PodName, Arc<V>>,
    new: &'a BTreeMap<PodName, Arc<V>>,
) -> impl Iterator<Item = &'a PodName> {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    std::iter::from_fn(move || {
        loop {
            let order = match (old.peek(), new.peek()) {
                (Some((before, _)), Some((after, _))) => before.cmp(after),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return None,
            };
            let (name, is_same) = match order {
                Ordering::Less => (old.next()?.0, false),
                Ordering::Greater => (new.next()?.0, false),
                Ordering::Equal => {
                    let ((_, before), (name, after)) = (old.next()?, new.next()?);
                    (name, Arc::ptr_eq(before, after))
                }
            };
            if !is_same {
                return Some(name);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn map(numbers: &BTreeMap<u8, u8>, values: &[Arc<u8>]) -> BTreeMap<PodName, Arc<u8>> {
        let entry = |(name, value): (&u8, &u8)| {
            let name = PodName::new("ns", name.to_string());
            (name, values[usize::from(*value)].clone())
        };
        numbers.iter().map(entry).collect()
    }

    proptest! {
        #[test]
        fn what_differs_is_told_and_nothing_else(
            old in proptest::collection::btree_map(0..20u8, 0..3u8, 0..12),
            new in proptest::collection::btree_map(0..20u8, 0..3u8, 0..12),
        ) {
            let values: Vec<Arc<u8>> = (0..3).map(Arc::new).collect();
            let (before, after) = (map(&old, &values), map(&new, &values));
            let found: Vec<String> = differing(&before, &after).map(|name| name.name.clone()).collect();
            let names: BTreeSet<u8> = old.keys().chain(new.keys()).copied().collect();
            let mut wanted: Vec<String> = names
                .into_iter()
                .filter(|name| old.get(name) != new.get(name))
                .map(|name| name.to_string())
                .collect();
            wanted.sort();
            prop_assert_eq!(found, wanted);
        }
    }
}
