//! Bounded sets of threads for calls that something outside the agent can block: a silent name server, a file system
//! whose server is gone, a FIFO without a writer.
//!
//! Such a call cannot be ended, only abandoned. So each kind of call has its own bulkhead: the caller of a call that
//! does not return in time gets an error that says so, while the call keeps its slot until it returns; an owner whose
//! slots are all taken cannot make another call. Other owners are not affected. The threads of the asynchronous runtime
//! carry none of these calls, and the agent's shutdown does not wait for them.

pub mod program;
mod series;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use self::program::{Attended, Ended, Fate, ProgramError};

/// The stack of each thread: the calls neither recurse deeply nor keep large values on it.
const STACK: usize = 512 << 10;

/// The limits of concurrent calls, including those that were abandoned and have not returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For all owners together.
    pub total: usize,
    /// For one owner, so that one pod takes at most its share.
    pub per_owner: usize,
}

/// Why a call has no result. The texts do not change while a call hangs, so a repeated event is counted instead of
/// stored again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    /// It has not returned in time.
    #[error("{subject}: no answer within {} s", patience.as_secs())]
    Late {
        /// The subject of the call.
        subject: String,
        /// How long the caller waited.
        patience: Duration,
    },
    /// An earlier call about the same subject was abandoned and still has not returned.
    #[error("{subject}: an earlier call has not returned; no other call is made until it does")]
    Same {
        /// The subject of the call.
        subject: String,
    },
    /// The owner's slots are taken.
    #[error(
        "{calls} calls for this pod have not returned, the oldest for {subject}; no other call is made until one \
         returns"
    )]
    OwnerFull {
        /// Their number.
        calls: usize,
        /// The subject of the oldest call.
        subject: String,
    },
    /// All slots are taken.
    #[error("all {total} slots for {kind} are taken by calls that have not returned")]
    Full {
        /// What the slots are for.
        kind: &'static str,
        /// Their number.
        total: usize,
    },
    /// The thread cannot be started.
    #[error("cannot start a thread: {0}")]
    NoThread(String),
    /// The thread ended without a result.
    #[error("{0}: its thread panicked; this is a bug in gantry")]
    Died(String),
}

/// The threads for one kind of call. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Bulkhead(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    kind: &'static str,
    limits: Limits,
    calls: Mutex<Calls>,
    /// Wakes the callers that wait for a slot whenever one becomes free.
    freed: Notify,
}

/// The calls that have not returned. There are at most a few hundred, so they are counted by iteration.
#[derive(Debug, Default)]
struct Calls {
    next: u64,
    under_way: BTreeMap<u64, Call>,
}

#[derive(Debug)]
struct Call {
    owner: String,
    subject: String,
    /// Its caller no longer waits for it.
    given_up: bool,
}

/// The answer to a call that requests a slot.
enum Admission {
    Admitted(u64),
    /// There is hope for one.
    Wait(Stuck),
    Refused(Stuck),
}

/// Whether a call that holds a slot still has a waiting caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hope {
    Some,
    None,
}

impl Bulkhead {
    /// No thread is started before it is needed or kept afterwards. `kind` is what the calls are about, for names of
    /// threads and errors.
    pub fn new(kind: &'static str, limits: Limits) -> Bulkhead {
        Bulkhead(Arc::new(Shared {
            kind,
            limits,
            calls: Mutex::default(),
            freed: Notify::new(),
        }))
    }

    /// Makes a call for an owner in a thread of its own and waits for its result for at most `patience`, including the
    /// wait for a slot. `subject` is what the call is about (a path, a name): while a call about a subject hangs, no
    /// second one is made. A call that is abandoned, also by dropping the future, runs on, and its result is dropped.
    pub async fn run<T: Send + 'static>(
        &self,
        owner: &str,
        subject: &str,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stuck> {
        let deadline = Instant::now() + patience;
        let place = self.place(owner, subject, deadline).await?;
        let waits = Waits {
            shared: self.0.clone(),
            call: place.call,
        };
        let (answer, answered) = oneshot::channel();
        self.start(move || {
            let result = work();
            // Free the slot before the result is sent, so that the caller finds it free.
            drop(place);
            // Its caller may have abandoned it.
            let _ = answer.send(result);
        })?;
        let result = timeout_at(deadline, answered).await;
        drop(waits);
        match result {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(Stuck::Died(subject.to_owned())),
            Err(_) => Err(Stuck::Late {
                subject: subject.to_owned(),
                patience,
            }),
        }
    }

    /// Runs a program like a call, without a thread: its slot is taken until it has ended, also if it is abandoned.
    pub async fn run_program(
        &self,
        owner: &str,
        subject: &str,
        patience: Duration,
        (program, fate): (Command, Fate),
    ) -> Result<Result<Ended, ProgramError>, Stuck> {
        let deadline = Instant::now() + patience;
        let place = self.place(owner, subject, deadline).await?;
        let waits = Waits {
            shared: self.0.clone(),
            call: place.call,
        };
        let running = match Attended::start(program, fate) {
            Ok(running) => running,
            Err(error) => return Ok(Err(error)),
        };
        let (answer, answered) = oneshot::channel();
        tokio::spawn(async move {
            running.attend(deadline, answer).await;
            drop(place);
        });
        let result = timeout_at(deadline, answered).await;
        drop(waits);
        match result {
            Ok(Ok(result)) => Ok(result),
            // It is told to end when this is told that it is late, by the same clock.
            Ok(Err(_)) | Err(_) => Err(Stuck::Late {
                subject: subject.to_owned(),
                patience,
            }),
        }
    }

    fn start(&self, work: impl FnOnce() + Send + 'static) -> Result<(), Stuck> {
        let thread = std::thread::Builder::new()
            .name(self.0.kind.to_owned())
            .stack_size(STACK);
        let started = thread.spawn(work);
        started.map_err(|error| Stuck::NoThread(error.to_string()))?;
        Ok(())
    }

    async fn place(&self, owner: &str, subject: &str, deadline: Instant) -> Result<Place, Stuck> {
        loop {
            let freed = self.0.freed.notified();
            tokio::pin!(freed);
            // From here on a freed slot is noticed.
            freed.as_mut().enable();
            let wait = match self.0.admit(owner, subject) {
                Admission::Admitted(call) => {
                    let shared = self.0.clone();
                    return Ok(Place { shared, call });
                }
                Admission::Refused(stuck) => return Err(stuck),
                Admission::Wait(stuck) => stuck,
            };
            if timeout_at(deadline, freed).await.is_err() {
                return Err(wait);
            }
        }
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().expect("no holder of this lock can panic")
    }

    fn admit(&self, owner: &str, subject: &str) -> Admission {
        let mut calls = self.calls();
        match calls.refusal(self.limits, None, owner, subject) {
            None => {}
            Some((stuck, Hope::None)) => return Admission::Refused(stuck),
            Some((stuck, Hope::Some)) => return Admission::Wait(stuck),
        }
        if calls.under_way.len() >= self.limits.total {
            return Admission::Wait(Stuck::Full {
                kind: self.kind,
                total: self.limits.total,
            });
        }
        let id = calls.next;
        calls.next += 1;
        let call = Call {
            owner: owner.to_owned(),
            subject: subject.to_owned(),
            given_up: false,
        };
        calls.under_way.insert(id, call);
        Admission::Admitted(id)
    }
}

impl Calls {
    /// Why an owner can make no call about this subject; the call `own` does not count.
    fn refusal(&self, limits: Limits, own: Option<u64>, owner: &str, subject: &str) -> Option<(Stuck, Hope)> {
        let others = || self.under_way.iter().filter(|(id, _)| Some(**id) != own);
        if others().any(|(_, call)| call.given_up && call.subject == subject) {
            let subject = subject.to_owned();
            return Some((Stuck::Same { subject }, Hope::None));
        }
        let of_owner: Vec<&Call> = others()
            .map(|(_, call)| call)
            .filter(|call| call.owner == owner)
            .collect();
        // The map is ordered by start time.
        let oldest = of_owner.first().filter(|_| of_owner.len() >= limits.per_owner)?;
        let stuck = Stuck::OwnerFull {
            calls: of_owner.len(),
            subject: oldest.subject.clone(),
        };
        let hope = match of_owner.iter().all(|call| call.given_up) {
            true => Hope::None,
            false => Hope::Some,
        };
        Some((stuck, hope))
    }
}

/// A slot, taken until the call returns.
struct Place {
    shared: Arc<Shared>,
    call: u64,
}

impl Place {
    /// The slot's next call is for this owner, and about it.
    fn turn_to(&self, owner: &str) -> Result<(), Stuck> {
        let mut calls = self.shared.calls();
        if let Some((stuck, _)) = calls.refusal(self.shared.limits, Some(self.call), owner, owner) {
            return Err(stuck);
        }
        if let Some(call) = calls.under_way.get_mut(&self.call) {
            call.owner = owner.to_owned();
            call.subject = owner.to_owned();
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.calls().under_way.remove(&self.call);
        self.shared.freed.notify_waiters();
    }
}

/// A caller waits for the call. On drop, a call that is still running is marked as abandoned.
struct Waits {
    shared: Arc<Shared>,
    call: u64,
}

impl Drop for Waits {
    fn drop(&mut self) {
        if let Some(call) = self.shared.calls().under_way.get_mut(&self.call) {
            call.given_up = true;
            // A caller that waits for one of this owner's slots may have to be refused now.
            self.shared.freed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LIMITS: Limits = Limits {
        total: 5,
        per_owner: 2,
    };
    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(20);

    /// Calls that hang until they are released.
    struct Hanging {
        bulkhead: Bulkhead,
        held: Vec<mpsc::Sender<()>>,
    }

    impl Hanging {
        fn new() -> Hanging {
            let bulkhead = Bulkhead::new("test", LIMITS);
            Hanging {
                bulkhead,
                held: Vec::new(),
            }
        }

        /// Abandons one.
        async fn hang(&mut self, owner: &str, subject: &str) -> Stuck {
            let (hold, held) = mpsc::channel();
            self.held.push(hold);
            let work = move || held.recv().is_err();
            self.bulkhead.run(owner, subject, SHORT, work).await.unwrap_err()
        }

        fn under_way(&self) -> usize {
            self.bulkhead.0.calls().under_way.len()
        }

        /// Releases all and waits until they are gone.
        async fn let_go(&mut self) {
            self.held.clear();
            let gone = async {
                loop {
                    let freed = self.bulkhead.0.freed.notified();
                    tokio::pin!(freed);
                    freed.as_mut().enable();
                    if self.under_way() == 0 {
                        return;
                    }
                    freed.await;
                }
            };
            tokio::time::timeout(LONG, gone).await.expect("all return");
        }
    }

    #[tokio::test]
    async fn a_call_that_returns_leaves_nothing_behind() {
        let hanging = Hanging::new();
        for n in 0..LIMITS.total * 2 {
            let result = hanging.bulkhead.run("pod", "x", LONG, move || n).await;
            assert_eq!(result, Ok(n));
            assert_eq!(
                hanging.under_way(),
                0,
                "whoever has the result finds the place free"
            );
        }
    }

    #[tokio::test]
    async fn a_call_that_hangs_is_given_up_and_keeps_its_place() {
        let mut hanging = Hanging::new();
        let stuck = hanging.hang("pod", "/mnt/a").await;
        assert_eq!(stuck.to_string(), "/mnt/a: no answer within 0 s");
        assert_eq!(hanging.under_way(), 1);
        let stuck = hanging
            .bulkhead
            .run("other", "/mnt/a", LONG, || ())
            .await
            .unwrap_err();
        assert!(matches!(stuck, Stuck::Same { .. }), "{stuck}");
        hanging.let_go().await;
        assert_eq!(hanging.bulkhead.run("other", "/mnt/a", LONG, || 7).await, Ok(7));
    }

    /// A program that a caller gives up as soon as it runs, and what it has done by its end.
    async fn given_up(fate: Fate) -> (Option<Stuck>, bool) {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for fifo in ["runs", "go"] {
            nix::unistd::mkfifo(&at(fifo), nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
        let mut program = Command::new("/bin/sh");
        let script = "echo runs >runs; read _ <go; echo done >done";
        program.args(["-c", script]).current_dir(dir.path());
        let bulkhead = Bulkhead::new("test", LIMITS);
        let runs = tokio::fs::read(at("runs"));
        tokio::select! {
            _ = bulkhead.run_program("pod", "/a", LONG, (program, fate)) => panic!("it waits"),
            runs = runs => assert_eq!(runs.unwrap(), b"runs\n"),
        }
        let mut refused = None;
        if fate == Fate::GoesOn {
            refused = bulkhead.run("other", "/a", LONG, || ()).await.err();
            tokio::fs::write(at("go"), "\n").await.unwrap();
        }
        // Its slot is free once it has ended.
        let ended = tokio::time::timeout(LONG, async {
            loop {
                let freed = bulkhead.0.freed.notified();
                if bulkhead.0.calls().under_way.is_empty() {
                    return;
                }
                freed.await;
            }
        });
        ended.await.unwrap();
        (refused, at("done").exists())
    }

    #[tokio::test]
    async fn a_program_keeps_its_slot_until_it_has_ended() {
        assert_eq!(given_up(Fate::Killed).await, (None, false));
        let subject = "/a".to_owned();
        assert_eq!(
            given_up(Fate::GoesOn).await,
            (Some(Stuck::Same { subject }), true)
        );
        let bulkhead = Bulkhead::new("test", LIMITS);
        let run = async |script: &str, patience, fate| {
            let mut program = Command::new("/bin/sh");
            program.args(["-c", script]);
            bulkhead.run_program("pod", "/b", patience, (program, fate)).await
        };
        let ended = run("echo out; exit 3", LONG, Fate::Killed)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((ended.status.code(), &*ended.printed), (Some(3), &b"out\n"[..]));
        let late = run("exec sleep 600", SHORT, Fate::Killed).await.unwrap_err();
        assert!(matches!(late, Stuck::Late { .. }), "{late}");
    }

    #[tokio::test]
    async fn an_owner_takes_no_more_than_its_share_and_the_others_go_on() {
        let mut hanging = Hanging::new();
        hanging.hang("bad", "/a").await;
        hanging.hang("bad", "/b").await;
        let begun = Instant::now();
        let stuck = hanging.bulkhead.run("bad", "/c", LONG, || ()).await.unwrap_err();
        let text = "2 calls for this pod have not returned, the oldest for /a; no other call is made until one returns";
        assert_eq!(stuck.to_string(), text);
        assert!(
            begun.elapsed() < LONG,
            "it is not waited for what nobody waits for"
        );
        assert_eq!(hanging.bulkhead.run("good", "/c", LONG, || 1).await, Ok(1));
        hanging.let_go().await;
        assert_eq!(hanging.bulkhead.run("bad", "/c", LONG, || 2).await, Ok(2));
    }

    #[tokio::test]
    async fn more_calls_than_places_wait_for_those_that_will_return() {
        let bulkhead = Bulkhead::new("test", LIMITS);
        let (hold, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let mut calls = Vec::new();
        for n in 0..LIMITS.per_owner + 3 {
            let (bulkhead, held) = (bulkhead.clone(), held.clone());
            let subject = format!("/{n}");
            calls.push(tokio::spawn(async move {
                bulkhead
                    .run("pod", &subject, LONG, move || held.lock().unwrap().recv().is_ok())
                    .await
            }));
        }
        for _ in 0..calls.len() {
            hold.send(()).unwrap();
        }
        for call in calls {
            assert_eq!(call.await.unwrap(), Ok(true));
        }
    }

    #[tokio::test]
    async fn there_is_an_end_to_all_of_them_together() {
        let mut hanging = Hanging::new();
        for n in 0..LIMITS.total {
            hanging.hang(&format!("pod-{n}"), &format!("/{n}")).await;
        }
        let stuck = hanging
            .bulkhead
            .run("late", "/late", SHORT, || ())
            .await
            .unwrap_err();
        let text = "all 5 slots for test are taken by calls that have not returned";
        assert_eq!(stuck.to_string(), text);
        assert_eq!(hanging.under_way(), LIMITS.total);
        hanging.let_go().await;
    }

    #[tokio::test]
    async fn a_caller_that_is_dropped_gives_its_call_up() {
        let mut hanging = Hanging::new();
        let (hold, held) = mpsc::channel::<()>();
        hanging.held.push(hold);
        let (began, begun) = oneshot::channel();
        let work = move || {
            let _ = began.send(());
            held.recv().is_err()
        };
        tokio::select! {
            _ = hanging.bulkhead.run("pod", "/a", LONG, work) => panic!("it hangs"),
            begun = begun => begun.unwrap(),
        }
        let stuck = hanging.bulkhead.run("pod", "/a", LONG, || ()).await.unwrap_err();
        assert!(matches!(stuck, Stuck::Same { .. }), "{stuck}");
        hanging.let_go().await;
    }

    #[tokio::test]
    async fn a_fault_in_a_call_is_an_error_and_frees_the_place() {
        let bulkhead = Bulkhead::new("test", LIMITS);
        let stuck = bulkhead.run("pod", "/a", LONG, || panic!("a test's own")).await;
        assert_eq!(stuck, Err::<(), _>(Stuck::Died("/a".to_owned())));
        assert_eq!(bulkhead.0.calls().under_way.len(), 0);
    }
}
