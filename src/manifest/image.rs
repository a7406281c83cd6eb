//! The messages for a manifest's author about an image reference that cannot be used.

use crate::model::image_ref::InvalidReference;

/// What is wrong with a reference.
pub(crate) fn complaint(error: &InvalidReference) -> &'static str {
    match error {
        InvalidReference::Empty => "has no name",
        InvalidReference::TooLong => "has a name longer than 255 characters",
        InvalidReference::Registry => "does not have a valid host before its first '/'",
        InvalidReference::Uppercase(_) => "has upper case letters in its name: image names are lower case",
        InvalidReference::Path => {
            "does not have a valid name: its parts are lower case letters and digits, separated by single '.', '_', \
             '__' or any number of '-'"
        }
        InvalidReference::Id(_) => "is an image ID: use a name, or write the digest as name@sha256:…",
        InvalidReference::Tag => {
            "does not have a valid tag: letters, digits, '_', '.' and '-', at most 128, not starting with '.' or '-'"
        }
        InvalidReference::Digest
        | InvalidReference::DigestLength
        | InvalidReference::DigestFormat
        | InvalidReference::DigestAlgorithm => {
            "does not have a valid digest (sha256: and 64 hexadecimal digits)"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::image_ref::ImageRef;

    #[test]
    fn each_fault_has_its_remedy() {
        let check = |image: &str, part: &str| {
            let error = ImageRef::parse(image).unwrap_err();
            let complaint = complaint(&error);
            assert!(complaint.contains(part), "{image:?}: {complaint}");
        };
        let id = "0123456789abcdef".repeat(4);
        for (part, images) in [
            ("has no name", &["", ":1"][..]),
            ("a valid host", &["x.y:port/a", "[::1/a", "http://a/b"]),
            ("upper case", &["A", "a/B:1"]),
            (
                "a valid name",
                &["a//b", "/a", "a/", "a b", "a..b", "a___b", "-a", "a-", "é"],
            ),
            ("an image ID", &[&id]),
            ("a valid tag", &["a:", "a:b:c", "a:-1"]),
            ("a valid digest", &["a@", "a@sha256:12", "a@sha1:0123"]),
        ] {
            for image in images {
                check(image, part);
            }
        }
        check(&"a".repeat(256), "longer than 255");
        check(&format!("a:{}", "b".repeat(129)), "a valid tag");
        check(&format!("a@md5:{id}"), "a valid digest");
    }
}
