use super::*;
use crate::model::security::GroupChange;

#[test]
fn only_a_directory_or_a_device_is_mounted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let check = |path: &Path, want: Result<Source, &str>| {
        let got = look(path).map_err(|error| error.to_string());
        assert_eq!(got.as_ref().copied().map_err(String::as_str), want);
    };
    check(dir.path(), Ok(Source::Directory));
    check(&file, Err("only directory and block device are supported"));
    check(
        Path::new("/dev/null"),
        Err("only directory and block device are supported"),
    );
    let missing = look(&dir.path().join("missing")).unwrap_err();
    assert_eq!(missing.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_bind_mount_gets_its_options_beside_those_of_its_source() {
    let volume = |options: &[&str], access| LocalVolume {
        source: "/mnt/disk".into(),
        global: "/g/pv".into(),
        path: "/p/pv".into(),
        access,
        fs_type: "ext4".to_owned(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
        group: Some((2000, GroupChange::Always)),
    };
    let check = |volume: LocalVolume, of_source: &[&str], want: &str| {
        assert_eq!(remount_options(&volume, of_source).join(","), want);
    };
    check(volume(&["noexec"], Access::ReadWrite), &[], "bind,remount,noexec");
    check(
        volume(&["bind", "nodev", "noexec"], Access::ReadOnly),
        &["nosuid", "nodev", "relatime"],
        "bind,remount,nosuid,nodev,relatime,noexec,ro",
    );
}
