//! The files in which a cgroup has its values.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::error::CgroupError;
use crate::model::memory_rules::MemoryProtection;
use crate::model::request::CgroupSetting;
use crate::model::resources::Bytes;

/// Sets the values of a cgroup of v1, whose directory is another one for each controller.
pub(super) fn set_v1(
    directory: impl Fn(&'static str) -> Option<PathBuf>,
    setting: &CgroupSetting,
) -> Result<(), CgroupError> {
    if let Some(cpu) = directory("cpu") {
        if let Some(shares) = setting.cpu_shares {
            write(&cpu.join("cpu.shares"), &shares.to_string())?;
        }
        if let Some((quota, period)) = setting.cpu_quota {
            set_quota_v1(&cpu, quota, period)?;
        }
    }
    if let (Some(memory), Some(limit)) = (directory("memory"), setting.memory_limit) {
        // memory.memsw.limit_in_bytes is never set for pods and stays at its maximum, so either may change
        // independently.
        write(&memory.join("memory.limit_in_bytes"), &limit.to_string())?;
    }
    if let (Some(pids), Some(max)) = (directory("pids"), setting.pids_max) {
        write(&pids.join("pids.max"), &or_max(max))?;
    }
    if let Some(hugetlb) = directory("hugetlb") {
        set_hugepages(&hugetlb, "limit_in_bytes", &setting.hugepages)?;
        set_hugepages(&hugetlb, "rsvd.limit_in_bytes", &setting.hugepages)?;
    }
    Ok(())
}

/// The kernel rejects a period under which the present quota would exceed the parent's; the quota then has to change
/// first.
fn set_quota_v1(cpu: &Path, quota: i64, period: u64) -> Result<(), CgroupError> {
    let period_file = cpu.join("cpu.cfs_period_us");
    let period = period.to_string();
    let first = write(&period_file, &period);
    write(&cpu.join("cpu.cfs_quota_us"), &quota.to_string())?;
    match first {
        Err(_) => write(&period_file, &period),
        Ok(()) => Ok(()),
    }
}

/// Sets the values of a cgroup of v2.
pub(super) fn set_v2(
    directory: impl Fn(&'static str) -> Option<PathBuf>,
    setting: &CgroupSetting,
) -> Result<(), CgroupError> {
    if let Some(cpu) = directory("cpu") {
        if let Some(weight) = setting.cpu_weight() {
            write(&cpu.join("cpu.weight"), &weight.to_string())?;
        }
        if let Some((quota, period)) = setting.cpu_quota {
            write(&cpu.join("cpu.max"), &format!("{} {period}", or_max(quota)))?;
        }
    }
    if let (Some(memory), Some(limit)) = (directory("memory"), setting.memory_limit) {
        write(&memory.join("memory.max"), &or_max(limit))?;
    }
    if let Some(memory) = directory("memory") {
        let MemoryProtection { min, low } = setting.memory_protection;
        for (file, value) in [("memory.min", min), ("memory.low", low)] {
            if let Some(value) = value {
                write(&memory.join(file), &value.to_string())?;
            }
        }
    }
    if let (Some(pids), Some(max)) = (directory("pids"), setting.pids_max) {
        write(&pids.join("pids.max"), &or_max(max))?;
    }
    if let Some(hugetlb) = directory("hugetlb") {
        set_hugepages(&hugetlb, "max", &setting.hugepages)?;
        set_hugepages(&hugetlb, "rsvd.max", &setting.hugepages)?;
    }
    Ok(())
}

/// Reservations (`rsvd`) are limited too, so that a mapping fails at once rather than by SIGBUS later; kernels before
/// 5.7 do not have these files.
fn set_hugepages(directory: &Path, suffix: &str, limits: &[(Bytes, i64)]) -> Result<(), CgroupError> {
    for (size, limit) in limits {
        let file = directory.join(format!("hugetlb.{}.{suffix}", size.page_size()));
        match write(&file, &limit.to_string()) {
            Err(CgroupError::File { source, .. })
                if source.kind() == ErrorKind::NotFound && suffix.starts_with("rsvd") => {}
            result => result?,
        }
    }
    Ok(())
}

fn or_max(value: i64) -> String {
    match value {
        ..0 => "max".to_owned(),
        _ => value.to_string(),
    }
}

/// Writes the value unless the file has it already.
pub(super) fn write(file: &Path, value: &str) -> Result<(), CgroupError> {
    if fs::read_to_string(file).is_ok_and(|current| current.trim() == value) {
        return Ok(());
    }
    overwrite(file, value).map_err(|error| CgroupError::file(format!("writing {value:?} to"), file, error))
}

/// Writes in a single call, as the kernel requires, and never creates a file.
pub(super) fn overwrite(file: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .open(file)?
        .write_all(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_equal_value_is_not_written() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("cpu.shares");
        fs::write(&file, "1024\n").unwrap();
        write(&file, "1024").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "1024\n");
        let absent = write(&root.path().join("absent"), "1").unwrap_err();
        assert!(absent.to_string().starts_with("writing \"1\" to "), "{absent}");
    }
}
