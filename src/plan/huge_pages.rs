//! The size of the pages of an emptyDir that consists of huge pages (`getPageSizeMountOption` in `pkg/volume/emptydir`).

use std::collections::BTreeSet;

use crate::model::pod::Pod;
use crate::model::resources::Bytes;

/// The size of the pages; or why it is not known. `stated` is the size in the medium, if there is one: the pod has to
/// request pages of that size, and otherwise pages of one size only.
pub(super) fn page_size(pod: &Pod, stated: Option<Bytes>) -> Result<Bytes, String> {
    let of_containers = pod.own_containers().map(|container| &container.resources);
    let requested = of_containers.chain(&pod.resources);
    let sizes: BTreeSet<Bytes> = requested
        .flat_map(|resources| resources.requests.hugepages.keys().copied())
        .collect();
    let medium = medium(stated);
    let none = || {
        format!(
            "medium {medium}: hugePages storage requested, but there is no resource request for huge pages"
        )
    };
    match stated {
        Some(size) if sizes.contains(&size) => Ok(size),
        None if sizes.len() > 1 => Err(format!(
            "medium: {medium} can't be used if container requests multiple huge page sizes"
        )),
        None => sizes.first().copied().ok_or_else(none),
        Some(_) => Err(none()),
    }
}

/// The medium as a manifest writes it.
fn medium(stated: Option<Bytes>) -> String {
    stated.map_or_else(
        || "HugePages".to_owned(),
        |size| format!("HugePages-{}", size.quantity()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pod::RestartPolicy;
    use crate::model::resources::{Amounts, Resources};
    use crate::model::sample;

    const SMALL: Bytes = Bytes(2 << 20);
    const LARGE: Bytes = Bytes(1 << 30);

    /// The sizes that the init container, the container and the pod as a whole request.
    fn check(
        init: &[Bytes],
        main: &[Bytes],
        whole: &[Bytes],
        stated: Option<Bytes>,
        expected: Result<Bytes, &str>,
    ) {
        let resources = |sizes: &[Bytes]| Resources {
            requests: Amounts {
                hugepages: sizes.iter().map(|size| (*size, LARGE)).collect(),
                ..Amounts::default()
            },
            ..Resources::default()
        };
        let mut pod = sample::pod(RestartPolicy::Always, &["i"], &["c"]);
        pod.init_containers[0].resources = resources(init);
        pod.containers[0].resources = resources(main);
        pod.resources = (!whole.is_empty()).then(|| resources(whole));
        assert_eq!(page_size(&pod, stated), expected.map_err(str::to_owned));
    }

    #[test]
    fn the_pages_are_those_that_the_pod_requests() {
        check(&[], &[SMALL], &[], None, Ok(SMALL));
        check(&[LARGE], &[], &[], None, Ok(LARGE));
        check(&[], &[], &[LARGE], None, Ok(LARGE));
        check(&[SMALL], &[LARGE], &[], Some(SMALL), Ok(SMALL));
        let several = "medium: HugePages can't be used if container requests multiple huge page sizes";
        check(&[SMALL], &[LARGE], &[], None, Err(several));
        let none =
            "medium HugePages: hugePages storage requested, but there is no resource request for huge pages";
        check(&[], &[], &[], None, Err(none));
        let other = "medium HugePages-2Mi: hugePages storage requested, but there is no resource request for huge pages";
        check(&[], &[LARGE], &[], Some(SMALL), Err(other));
    }
}
