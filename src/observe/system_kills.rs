//! Which processes the kernel killed because the machine was out of memory, by the records of its log. Pure.
//!
//! The kernel logs a kill in several records (`mm/oom_kill.c`, since Linux 5.0): which task asked for memory, much about
//! the memory, `oom-kill:constraint=…` with the cgroup whose limit was reached or `global_oom`, and at last
//! `Killed process PID (NAME)`. Kills in a cgroup are the ends of containers, which the runtime and
//! [`super::out_of_memory`] report; as with the kubelet (`pkg/kubelet/oom/oom_watcher_linux.go`) only the others are news
//! of the node.
//!
//! A record of `/dev/kmsg` begins with `PRIORITY,SEQUENCE,TIME,FLAGS;` (Linux `Documentation/ABI/testing/dev-kmsg`).
//! Records that programs have written there have another facility than the kernel, and are not read.

use crate::model::system_kill::SystemKill;

/// The limit that a kill keeps: `oom_memcg=` of the root cgroup has none.
const ROOT_CGROUP: &str = "/";

/// The records of kills, as far as they were read.
#[derive(Debug, Default)]
pub(super) struct SystemKills {
    report: Report,
}

/// What is known of the kill that is being logged.
#[derive(Debug, Default, Clone, Copy)]
enum Report {
    /// None is.
    #[default]
    None,
    /// One that, so far, belongs to no cgroup.
    System,
}

impl SystemKills {
    /// Takes the next line of the log. Returns the kill whose last record it is.
    pub(super) fn take(&mut self, line: &[u8]) -> Option<SystemKill> {
        let line = String::from_utf8_lossy(line);
        let message = kernel_message(&line)?;
        if message.contains(" invoked oom-killer:") {
            self.report = Report::System;
            return None;
        }
        match self.report {
            Report::None => return None,
            Report::System => {}
        }
        if limited_cgroup(message).is_some_and(|cgroup| cgroup != ROOT_CGROUP) {
            self.report = Report::None;
            return None;
        }
        let kill = killed(message)?;
        self.report = Report::None;
        Some(kill)
    }

    /// Records were lost: what was read of a kill has no end.
    pub(super) fn forget(&mut self) {
        self.report = Report::None;
    }
}

/// The text of a record if the kernel itself has written it. The lines of a record's properties begin with a space.
fn kernel_message(line: &str) -> Option<&str> {
    let (prefix, message) = line.split_once(';')?;
    let priority: u32 = prefix.split(',').next()?.parse().ok()?;
    let facility = priority >> 3;
    (facility == 0).then_some(message)
}

/// The cgroup whose limit was reached: `oom-kill:constraint=CONSTRAINT_MEMCG,…,oom_memcg=/a,task_memcg=/a/b,…`.
fn limited_cgroup(message: &str) -> Option<&str> {
    let of = message.strip_prefix("oom-kill:")?.split_once(",oom_memcg=")?.1;
    // The path may contain commas.
    let end = of.find(",task_memcg=").unwrap_or(of.len());
    Some(&of[..end])
}

/// The process in `Out of memory: Killed process 4711 (stress) total-vm:…`. Its name may contain parentheses, what follows
/// contains none.
fn killed(message: &str) -> Option<SystemKill> {
    let (_, process) = message.split_once("Killed process ")?;
    let (pid, rest) = process.split_once(" (")?;
    let name = rest.rsplit_once(')')?.0;
    Some(SystemKill {
        process: name.to_owned(),
        pid: pid.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ASKED: &str = "4,812,99100,-;web invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0, \
         oom_score_adj=0";
    const GLOBAL: &str = "6,813,99101,-;oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,\
                          global_oom,task_memcg=/user.slice,task=stress,pid=4711,uid=0";
    const KILLED: &str = "3,814,99102,-;Out of memory: Killed process 4711 (stress) total-vm:8kB, anon-rss:4kB, \
                          file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:40kB oom_score_adj:0";

    fn in_cgroup(cgroup: &str) -> String {
        format!(
            "6,813,99101,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,\
             oom_memcg={cgroup},task_memcg={cgroup}/a,task=stress,pid=4711,uid=0"
        )
    }

    fn stress() -> SystemKill {
        SystemKill {
            process: "stress".to_owned(),
            pid: 4711,
        }
    }

    fn kills<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<SystemKill> {
        let mut kills = SystemKills::default();
        lines
            .into_iter()
            .filter_map(|line| kills.take(line.as_bytes()))
            .collect()
    }

    #[test]
    fn a_kill_is_the_systems_unless_a_cgroup_was_at_its_limit() {
        let noise = "6,1,2,-;bridge: port 1 entered forwarding state";
        let property = " SUBSYSTEM=net";
        let in_pod = in_cgroup("/kubepods.slice/kubepods-burstable.slice/a,b");
        let in_root = in_cgroup("/");
        let by_program = KILLED.replacen('3', "11", 1);
        let no_victim = "0,1,2,-;Out of memory and no killable processes...";
        let check = |lines: &[&str], expected: &[SystemKill]| {
            assert_eq!(kills(lines.iter().copied()), expected, "{lines:#?}");
        };
        check(&[ASKED, noise, GLOBAL, property, KILLED], &[stress()]);
        check(
            &[ASKED, GLOBAL, KILLED, ASKED, GLOBAL, KILLED],
            &[stress(), stress()],
        );
        check(&[ASKED, &in_pod, KILLED], &[]);
        check(&[ASKED, &in_root, KILLED], &[stress()]);
        check(&[ASKED, &in_pod, KILLED, ASKED, GLOBAL, KILLED], &[stress()]);
        check(&[ASKED, GLOBAL, &by_program], &[]);
        check(&[ASKED, no_victim, ASKED, &in_pod, KILLED], &[]);
        check(&[GLOBAL, KILLED], &[]);
        // The other processes of the victim's cgroup, with `memory.oom.group`.
        check(&[ASKED, GLOBAL, KILLED, KILLED], &[stress()]);
    }

    #[test]
    fn after_lost_records_the_rest_of_a_kill_says_nothing() {
        let mut kills = SystemKills::default();
        assert_eq!(kills.take(ASKED.as_bytes()), None);
        kills.forget();
        assert_eq!(kills.take(KILLED.as_bytes()), None);
    }

    proptest! {
        #[test]
        fn whatever_is_read_a_kill_follows_a_request_of_the_kernel(
            lines in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..80),
                    "[0-9]{1,2},[0-9]{1,3},[0-9]{1,4},-;.{0,60}".prop_map(String::into_bytes),
                    Just(ASKED.as_bytes().to_vec()),
                    Just(KILLED.as_bytes().to_vec()),
                    Just(GLOBAL.as_bytes().to_vec()),
                    Just(in_cgroup("/a").into_bytes()),
                ],
                0..20,
            ),
        ) {
            let mut kills = SystemKills::default();
            let mut asked = 0;
            for line in &lines {
                asked += usize::from(line == ASKED.as_bytes());
                if kills.take(line).is_some() {
                    prop_assert!(asked > 0, "{lines:?}");
                    asked = 0;
                }
            }
        }

        #[test]
        fn every_name_of_a_process_is_read_whole(name in "[ -~]{1,15}", pid in 1..=4_194_304_u32) {
            let line = format!("3,1,2,-;Out of memory: Killed process {pid} ({name}) total-vm:8kB, UID:0");
            prop_assert_eq!(kills([ASKED, GLOBAL, &line]), [SystemKill { process: name, pid }]);
        }
    }
}
