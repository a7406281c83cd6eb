//! The signal that ends a container, as it is asked of the runtime (KEP-4960).

/// The names of the API's type `Signal`, in the order of CRI's enumeration, which begins with the runtime's default.
const NAMES: [&str; 65] = [
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGRTMIN",
    "SIGRTMIN+1",
    "SIGRTMIN+2",
    "SIGRTMIN+3",
    "SIGRTMIN+4",
    "SIGRTMIN+5",
    "SIGRTMIN+6",
    "SIGRTMIN+7",
    "SIGRTMIN+8",
    "SIGRTMIN+9",
    "SIGRTMIN+10",
    "SIGRTMIN+11",
    "SIGRTMIN+12",
    "SIGRTMIN+13",
    "SIGRTMIN+14",
    "SIGRTMIN+15",
    "SIGRTMAX-14",
    "SIGRTMAX-13",
    "SIGRTMAX-12",
    "SIGRTMAX-11",
    "SIGRTMAX-10",
    "SIGRTMAX-9",
    "SIGRTMAX-8",
    "SIGRTMAX-7",
    "SIGRTMAX-6",
    "SIGRTMAX-5",
    "SIGRTMAX-4",
    "SIGRTMAX-3",
    "SIGRTMAX-2",
    "SIGRTMAX-1",
    "SIGRTMAX",
];

/// `lifecycle.stopSignal`: an index of [`NAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopSignal(u8);

impl StopSignal {
    /// The signal of that name, which is one of the API's on Linux.
    pub fn named(name: &str) -> Option<StopSignal> {
        let index = NAMES.iter().position(|known| *known == name)?;
        u8::try_from(index).ok().map(StopSignal)
    }

    /// The signal with that number in CRI; `None` for the runtime's default, which is what a runtime answers that does
    /// not know the field.
    pub fn of_cri(number: i32) -> Option<StopSignal> {
        let index = u8::try_from(number.checked_sub(1)?).ok()?;
        (usize::from(index) < NAMES.len()).then_some(StopSignal(index))
    }

    /// Its number in CRI, which is not the kernel's.
    pub fn cri(self) -> i32 {
        i32::from(self.0) + 1
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        NAMES[usize::from(self.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_cri() {
        for (name, number) in [
            ("SIGABRT", 1),
            ("SIGTERM", 23),
            ("SIGUSR1", 29),
            ("SIGRTMIN", 35),
            ("SIGRTMIN+15", 50),
            ("SIGRTMAX-14", 51),
            ("SIGRTMAX", 65),
        ] {
            let signal = StopSignal::named(name).unwrap();
            assert_eq!((signal.cri(), signal.name()), (number, name));
            assert_eq!(StopSignal::of_cri(number), Some(signal));
        }
    }

    #[test]
    fn what_is_not_a_signal_of_the_api_is_none() {
        for name in ["", "TERM", "sigterm", "SIGRTMIN+16", "SIGEMT"] {
            assert_eq!(StopSignal::named(name), None, "{name}");
        }
        for number in [0, -1, i32::MIN, 66, i32::MAX] {
            assert_eq!(StopSignal::of_cri(number), None, "{number}");
        }
    }
}
