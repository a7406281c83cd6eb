//! The path of a volume's part was put between quotes in a command line, and its content was executed. Here the kernel
//! opens a part, whatever its name. (Host paths: `tests/suite/cve/cve_2023_3676.rs`.)

use std::fs;

use super::Host;
use crate::act::sub_path;
use crate::disk::tests::in_own_mounts;
use crate::model::request::SubPathMount;

#[test]
fn cve_2023_3676_a_part_is_made_and_mounted_as_it_is_written() {
    if !in_own_mounts("act::tests::cve_2023_3676::cve_2023_3676_a_part_is_made_and_mounted_as_it_is_written")
    {
        return;
    }
    for hostile in [
        "$(touch run)",
        "`touch run`",
        "; touch run;",
        "& touch run &",
        "\n touch run\n",
        "' ; touch run; '",
        "\" ; touch run; \"",
        "-rf",
        "*",
        "~",
    ] {
        let host = Host::new();
        let part = SubPathMount {
            volume: "v".to_owned(),
            root: host.volume(),
            path: hostile.to_owned(),
            target: host.pod().join("volume-subpaths/v/c/0"),
        };
        sub_path::prepare(&part, "c").unwrap();
        fs::write(part.target.join("seen"), "").unwrap();
        assert!(host.volume().join(hostile).join("seen").exists(), "{hostile:?}");
        assert_eq!(fs::read_dir(host.volume()).unwrap().count(), 2, "{hostile:?}");
        assert!(fs::remove_file("run").is_err(), "{hostile:?} was run");
        crate::act::mount::unmount_beneath(&host.pod()).unwrap();
    }
}
