//! systemd slices over D-Bus: `org.freedesktop.systemd1.Manager` (man 5 org.freedesktop.systemd1), used as by the
//! kubelet's library (`github.com/opencontainers/cgroups/systemd`).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cgroups_rs::systemd as names;
use tokio_stream::StreamExt;
use zbus::zvariant::{ObjectPath, OwnedObjectPath, Value};

use super::error::CgroupError;
use crate::model::memory_rules::MemoryProtection;
use crate::model::node::{CgroupName, CgroupVersion};
use crate::model::request::CgroupSetting;

/// The timeout of a call or a job. Starting or stopping a slice takes milliseconds.
const DEADLINE: Duration = Duration::from_secs(30);

/// "No limit" in systemd's properties.
const INFINITY: u64 = u64::MAX;

type Property = (&'static str, Value<'static>);

#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1",
    gen_blocking = false
)]
trait Manager {
    fn subscribe(&self) -> zbus::Result<()>;
    fn start_transient_unit(
        &self,
        name: &str,
        mode: &str,
        properties: &[(&str, Value<'_>)],
        aux: &[(&str, &[(&str, Value<'_>)])],
    ) -> zbus::Result<OwnedObjectPath>;
    fn set_unit_properties(
        &self,
        name: &str,
        runtime: bool,
        properties: &[(&str, Value<'_>)],
    ) -> zbus::Result<()>;
    fn stop_unit(&self, name: &str, mode: &str) -> zbus::Result<OwnedObjectPath>;
    fn reset_failed_unit(&self, name: &str) -> zbus::Result<()>;
    #[zbus(property)]
    fn version(&self) -> zbus::Result<String>;
    #[zbus(signal)]
    fn job_removed(&self, id: u32, job: ObjectPath<'_>, unit: &str, result: &str) -> zbus::Result<()>;
}

/// A connection to systemd that is re-established after a loss.
#[derive(Clone)]
pub(super) struct Systemd {
    version: CgroupVersion,
    link: Arc<Mutex<Option<Link>>>,
}

#[derive(Clone)]
struct Link {
    manager: ManagerProxy<'static>,
    /// Whether systemd accepts a CFS period (since version 242).
    takes_period: bool,
}

impl Systemd {
    pub(super) async fn connect(version: CgroupVersion) -> Result<Systemd, CgroupError> {
        let systemd = Systemd {
            version,
            link: Arc::default(),
        };
        systemd.link().await?;
        Ok(systemd)
    }

    /// Starts the slice if it does not exist, and sets its properties.
    pub(super) async fn ensure_slice(
        &self,
        setting: &CgroupSetting,
        exists: bool,
    ) -> Result<(), CgroupError> {
        let unit = setting.name.slice();
        let link = self.link().await?;
        let limits = limits(setting, self.version, link.takes_period);
        if !exists {
            let mut properties = identity(&setting.name, self.version);
            properties.extend(limits.iter().cloned());
            if self.start(&link.manager, &unit, &properties).await? {
                return Ok(());
            }
        }
        if limits.is_empty() {
            return Ok(());
        }
        let set = link.manager.set_unit_properties(&unit, true, &limits).await;
        set.map_err(|source| self.failed("set the properties of", &unit, source))
    }

    /// Whether the slice was started now; `false`: it existed already.
    async fn start(
        &self,
        manager: &ManagerProxy<'_>,
        unit: &str,
        properties: &[Property],
    ) -> Result<bool, CgroupError> {
        let failed = |source| self.failed("start", unit, source);
        // Subscribe before the job starts, or its end could be missed.
        let mut ended = manager.receive_job_removed().await.map_err(failed)?;
        let job = manager
            .start_transient_unit(unit, names::UNIT_MODE_REPLACE, properties, &[])
            .await;
        match job {
            Ok(job) => wait(&mut ended, &job, "start", unit).await.map(|()| true),
            Err(source) if is(&source, "org.freedesktop.systemd1.UnitExists") => Ok(false),
            Err(source) => Err(failed(source)),
        }
    }

    /// Stops the slice, which kills everything in it. A missing slice is not an error.
    pub(super) async fn remove_slice(&self, name: &CgroupName) -> Result<(), CgroupError> {
        let unit = &name.slice();
        let manager = self.link().await?.manager;
        let failed = |source| self.failed("stop", unit, source);
        let mut ended = manager.receive_job_removed().await.map_err(failed)?;
        match manager.stop_unit(unit, names::UNIT_MODE_REPLACE).await {
            Ok(job) => wait(&mut ended, &job, "stop", unit).await?,
            Err(source) if is(&source, names::NO_SUCH_UNIT) => return Ok(()),
            Err(source) => return Err(failed(source)),
        }
        // A failed unit stays loaded until this call; any other is gone, and systemd answers so.
        match manager.reset_failed_unit(unit).await {
            Err(source) if !is(&source, names::NO_SUCH_UNIT) => Err(failed(source)),
            _ => Ok(()),
        }
    }

    /// The existing connection, or a new one.
    async fn link(&self) -> Result<Link, CgroupError> {
        if let Some(link) = self.slot().clone() {
            return Ok(link);
        }
        let failed = |source| CgroupError::Bus(Box::new(source));
        let bus = zbus::connection::Builder::system().map_err(failed)?;
        // systemd's private socket, which needs no bus, is no alternative: its messages carry a sender name that the
        // D-Bus specification does not allow there.
        let connection = bus.method_timeout(DEADLINE).build().await.map_err(failed)?;
        let link = Link::over(&connection).await.map_err(failed)?;
        *self.slot() = Some(link.clone());
        Ok(link)
    }

    /// Any error but an answer from systemd means that the connection can no longer be trusted: the next attempt opens
    /// a new one.
    fn failed(&self, action: &'static str, unit: &str, source: zbus::Error) -> CgroupError {
        if !matches!(source, zbus::Error::MethodError(..)) {
            *self.slot() = None;
        }
        error(action, unit, source)
    }

    fn slot(&self) -> MutexGuard<'_, Option<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    async fn over(connection: &zbus::Connection) -> zbus::Result<Link> {
        let manager = ManagerProxy::builder(connection)
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await?;
        // Without a subscription systemd does not announce finished jobs.
        manager.subscribe().await?;
        let version = manager.version().await.unwrap_or_default();
        Ok(Link {
            manager,
            takes_period: major(&version).is_none_or(|version| version >= 242),
        })
    }
}

async fn wait(
    ended: &mut JobRemovedStream,
    job: &OwnedObjectPath,
    action: &'static str,
    unit: &str,
) -> Result<(), CgroupError> {
    let as_result = |result: &str| match result {
        "done" => Ok(()),
        other => Err(CgroupError::Job {
            action,
            unit: unit.to_owned(),
            result: other.to_owned(),
        }),
    };
    let end = async {
        while let Some(signal) = ended.next().await {
            let args = signal.args().map_err(|source| error(action, unit, source))?;
            if args.job.as_str() == job.as_str() {
                return as_result(args.result);
            }
        }
        as_result("unknown: lost the connection to systemd")
    };
    tokio::time::timeout(DEADLINE, end)
        .await
        .unwrap_or_else(|_| as_result("unknown: not finished after 30 s"))
}

/// The slice's directory below the mount point: each level of the name is a directory.
pub(super) fn path(name: &CgroupName) -> PathBuf {
    (1..=name.0.len())
        .map(|depth| CgroupName(name.0[..depth].to_vec()).slice())
        .collect()
}

/// systemd stores a quota as whole percents of a CPU. It is rounded up here already, so that the value written to the
/// cgroup and the one that systemd writes at its next reload are the same, and a container's quota always fits into its
/// pod's.
pub(super) fn round_quota((quota, period): (i64, u64)) -> (i64, u64) {
    match quota_per_second(quota, period) {
        INFINITY => (quota, period),
        per_second => {
            let rounded = u128::from(per_second) * u128::from(period) / 1_000_000;
            (i64::try_from(rounded).unwrap_or(quota), period)
        }
    }
}

/// Microseconds of CPU time in a second, rounded up to 1 % of a CPU.
fn quota_per_second(quota: i64, period: u64) -> u64 {
    match u64::try_from(quota) {
        Ok(quota) if period > 0 => (quota.saturating_mul(1_000_000) / period).div_ceil(10_000) * 10_000,
        _ => INFINITY,
    }
}

/// The properties that define the slice.
fn identity(name: &CgroupName, version: CgroupVersion) -> Vec<Property> {
    let above = name.0.split_last().map_or(&[][..], |(_, above)| above);
    let parent = CgroupName(above.to_vec()).slice();
    let io_accounting = match version {
        CgroupVersion::V1 => names::BLOCK_IO_ACCOUNTING,
        CgroupVersion::V2 => names::IO_ACCOUNTING,
    };
    vec![
        (
            names::DESCRIPTION,
            Value::from(format!("Kubernetes pods, {}", name.0.join("/"))),
        ),
        // A slice's location follows from its name. It wants its parent and cannot be placed elsewhere; delegation is
        // for scopes and services.
        (names::WANTS, Value::from(vec![parent])),
        (names::DEFAULT_DEPENDENCIES, Value::from(false)),
        // With these, systemd creates the cgroup in the hierarchies of the controllers.
        (names::MEMORY_ACCOUNTING, Value::from(true)),
        (names::CPU_ACCOUNTING, Value::from(true)),
        (names::TASKS_ACCOUNTING, Value::from(true)),
        (io_accounting, Value::from(true)),
    ]
}

/// The limits of the slice. systemd does not support huge pages; the agent alone writes them.
fn limits(setting: &CgroupSetting, version: CgroupVersion, takes_period: bool) -> Vec<Property> {
    let or_infinity = |value: i64| Value::from(u64::try_from(value).unwrap_or(INFINITY));
    let mut properties = Vec::new();
    let (cpu, share) = match version {
        CgroupVersion::V1 => (names::CPU_SHARES, setting.cpu_shares),
        CgroupVersion::V2 => (names::CPU_WEIGHT, setting.cpu_weight()),
    };
    properties.extend(share.map(|share| (cpu, Value::from(share))));
    if let Some((quota, period)) = setting.cpu_quota {
        if takes_period {
            properties.push((names::CPU_QUOTA_PERIOD_US, Value::from(period)));
        }
        let quota = quota_per_second(quota, period);
        properties.push((names::CPU_QUOTA_PER_SEC_US, Value::from(quota)));
    }
    if let Some(limit) = setting.memory_limit {
        properties.push(match version {
            CgroupVersion::V1 => (names::MEMORY_LIMIT, or_infinity(limit)),
            CgroupVersion::V2 => (names::MEMORY_MAX, or_infinity(limit)),
        });
    }
    if version == CgroupVersion::V2 {
        let MemoryProtection { min, low } = setting.memory_protection;
        properties.extend(min.map(|bytes| ("MemoryMin", or_infinity(bytes))));
        properties.extend(low.map(|bytes| ("MemoryLow", or_infinity(bytes))));
    }
    if let Some(max) = setting.pids_max {
        properties.push((names::TASKS_MAX, or_infinity(max)));
    }
    properties
}

/// The leading number of a version such as `252.39-1~deb12u1`.
fn major(version: &str) -> Option<u32> {
    let digits = version.trim_start_matches('v');
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().ok()
}

fn is(error: &zbus::Error, name: &str) -> bool {
    matches!(error, zbus::Error::MethodError(actual, _, _) if actual.as_str() == name)
}

fn error(action: &'static str, unit: &str, source: zbus::Error) -> CgroupError {
    CgroupError::Systemd {
        action,
        unit: unit.to_owned(),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use zbus::object_server::SignalEmitter;

    use super::*;
    use crate::model::resources::Bytes;

    fn setting(name: &[&str]) -> CgroupSetting {
        CgroupSetting {
            name: CgroupName(name.iter().map(|&part| part.to_owned()).collect()),
            cpu_shares: Some(1024),
            cpu_quota: Some((20_500, 100_000)),
            memory_limit: Some(64 << 20),
            memory_protection: Default::default(),
            pids_max: Some(-1),
            hugepages: vec![(Bytes(2 << 20), 0)],
        }
    }

    fn show(properties: &[Property]) -> String {
        properties
            .iter()
            .map(|(name, value)| format!("{name}={value}\n"))
            .collect()
    }

    #[test]
    fn limits_as_properties() {
        let check = |version, takes_period, expect: Expect| {
            expect.assert_eq(&show(&limits(&setting(&["kubepods"]), version, takes_period)));
        };
        check(
            CgroupVersion::V1,
            true,
            expect![[r#"
                CPUShares=uint64 1024
                CPUQuotaPeriodUSec=uint64 100000
                CPUQuotaPerSecUSec=uint64 210000
                MemoryLimit=uint64 67108864
                TasksMax=uint64 18446744073709551615
            "#]],
        );
        check(
            CgroupVersion::V2,
            false,
            expect![[r#"
                CPUWeight=uint64 39
                CPUQuotaPerSecUSec=uint64 210000
                MemoryMax=uint64 67108864
                TasksMax=uint64 18446744073709551615
            "#]],
        );
    }

    #[test]
    fn protected_memory_is_a_property_on_v2() {
        let mut protected = CgroupSetting::untouched(CgroupName(Vec::new()));
        protected.memory_protection.min = Some(4096);
        protected.memory_protection.low = Some(0);
        let shown = |version| show(&limits(&protected, version, true));
        assert_eq!(shown(CgroupVersion::V1), "");
        let expected = "MemoryMin=uint64 4096\nMemoryLow=uint64 0\n";
        assert_eq!(shown(CgroupVersion::V2), expected);
    }

    #[test]
    fn a_slice_wants_its_parent() {
        let check = |name: &[&str], expect: Expect| {
            let all = show(&identity(&setting(name).name, CgroupVersion::V2));
            let two: String = all.lines().take(2).map(|line| format!("{line}\n")).collect();
            expect.assert_eq(&two);
        };
        check(
            &["kubepods"],
            expect![[r#"
                Description="Kubernetes pods, kubepods"
                Wants=["-.slice"]
            "#]],
        );
        check(
            &["kubepods", "burstable", "pod1-2"],
            expect![[r#"
                Description="Kubernetes pods, kubepods/burstable/pod1-2"
                Wants=["kubepods-burstable.slice"]
            "#]],
        );
    }

    #[test]
    fn directories_of_slices() {
        assert_eq!(
            path(&setting(&["kubepods", "burstable", "pod1-2"]).name),
            PathBuf::from("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice")
        );
    }

    #[test]
    fn quotas_are_whole_percents_rounded_up() {
        assert_eq!(round_quota((20_000, 100_000)), (20_000, 100_000));
        assert_eq!(round_quota((20_500, 100_000)), (21_000, 100_000));
        assert_eq!(round_quota((1000, 3000)), (1020, 3000));
        assert_eq!(round_quota((-1, 100_000)), (-1, 100_000));
    }

    #[test]
    fn versions() {
        assert_eq!(major("252.39-1~deb12u1"), Some(252));
        assert_eq!(major("v241"), Some(241));
        assert_eq!(major(""), None);
    }

    /// A fake systemd: records its calls and finishes every job at once.
    #[derive(Default, Clone)]
    struct FakeManager {
        calls: Arc<Mutex<Vec<String>>>,
    }

    impl FakeManager {
        fn note(&self, call: String) -> usize {
            let mut calls = self.calls.lock().unwrap();
            calls.push(call);
            calls.len()
        }

        async fn end_job(&self, emitter: &SignalEmitter<'_>, number: usize, unit: &str) -> OwnedObjectPath {
            let job = ObjectPath::try_from(format!("/org/freedesktop/systemd1/job/{number}")).unwrap();
            // The job of another unit ends first.
            let other = ObjectPath::from_static_str_unchecked("/org/freedesktop/systemd1/job/9999");
            for (path, result) in [(other, "failed"), (job.clone(), "done")] {
                emitter.job_removed(7, path, unit, result).await.unwrap();
            }
            job.into()
        }
    }

    #[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
    impl FakeManager {
        fn subscribe(&self) {
            self.note("subscribe".to_owned());
        }

        async fn start_transient_unit(
            &self,
            #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
            name: String,
            mode: String,
            properties: Vec<(String, zbus::zvariant::OwnedValue)>,
            aux: Vec<(String, Vec<(String, zbus::zvariant::OwnedValue)>)>,
        ) -> zbus::fdo::Result<OwnedObjectPath> {
            assert!(aux.is_empty());
            let count = properties.len();
            let number = self.note(format!("start {name} {mode} with {count} properties"));
            Ok(self.end_job(&emitter, number, &name).await)
        }

        fn set_unit_properties(
            &self,
            name: String,
            runtime: bool,
            properties: Vec<(String, zbus::zvariant::OwnedValue)>,
        ) {
            self.note(format!("set {} of {name} runtime={runtime}", properties.len()));
        }

        async fn stop_unit(
            &self,
            #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
            name: String,
            mode: String,
        ) -> zbus::fdo::Result<OwnedObjectPath> {
            let number = self.note(format!("stop {name} {mode}"));
            Ok(self.end_job(&emitter, number, &name).await)
        }

        fn reset_failed_unit(&self, name: String) {
            self.note(format!("reset {name}"));
        }

        #[zbus(property)]
        fn version(&self) -> String {
            "252.39-1~deb12u1".to_owned()
        }

        #[zbus(signal)]
        async fn job_removed(
            emitter: &SignalEmitter<'_>,
            id: u32,
            job: ObjectPath<'_>,
            unit: &str,
            result: &str,
        ) -> zbus::Result<()>;
    }

    async fn faked(manager: &FakeManager) -> (Systemd, zbus::Connection) {
        let (ours, theirs) = tokio::net::UnixStream::pair().unwrap();
        let server = zbus::connection::Builder::unix_stream(theirs)
            .server(zbus::Guid::generate())
            .unwrap()
            .p2p()
            .serve_at("/org/freedesktop/systemd1", manager.clone())
            .unwrap()
            .build();
        let client = zbus::connection::Builder::unix_stream(ours).p2p().build();
        let (server, client) = tokio::try_join!(server, client).unwrap();
        let link = Link::over(&client).await.unwrap();
        let systemd = Systemd {
            version: CgroupVersion::V2,
            link: Arc::new(Mutex::new(Some(link))),
        };
        (systemd, server)
    }

    #[tokio::test]
    async fn a_slice_is_started_once_then_changed_then_stopped() {
        let manager = FakeManager::default();
        let (systemd, _server) = faked(&manager).await;
        let setting = setting(&["kubepods", "pod1-2"]);
        systemd.ensure_slice(&setting, false).await.unwrap();
        systemd.ensure_slice(&setting, true).await.unwrap();
        systemd.remove_slice(&setting.name).await.unwrap();
        expect![[r#"
            [
                "subscribe",
                "start kubepods-pod1_2.slice replace with 12 properties",
                "set 5 of kubepods-pod1_2.slice runtime=true",
                "stop kubepods-pod1_2.slice replace",
                "reset kubepods-pod1_2.slice",
            ]
        "#]]
        .assert_debug_eq(&manager.calls.lock().unwrap());
    }

    #[tokio::test]
    async fn a_lost_connection_is_not_used_again() {
        let (systemd, server) = faked(&FakeManager::default()).await;
        server.close().await.unwrap();
        let lost = systemd.ensure_slice(&setting(&["kubepods"]), true).await;
        assert!(matches!(lost, Err(CgroupError::Systemd { .. })), "{lost:?}");
        assert!(systemd.slot().is_none());
    }
}
