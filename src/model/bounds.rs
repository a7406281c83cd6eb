//! Limits on input whose size others choose: pod authors, registries, the API server. Each says what it limits, where
//! the number comes from, and which message the pod's owner gets. Work within the limits takes linear time.

/// The longest string that Linux passes to a program, its terminating zero included (`MAX_ARG_STRLEN` in
/// `include/uapi/linux/binfmts.h`: 32 pages). Only x86_64 has the same page size everywhere.
pub const EXEC_STRING: usize = 32
    * if cfg!(target_arch = "x86_64") {
        4 << 10
    } else {
        64 << 10
    };

/// The most that Linux passes to a program in all: command, arguments and environment, each string with its zero and
/// its pointer (`bprm_stack_limits` in `fs/exec.c`: three quarters of 8 MiB, however large the stack may be).
pub const EXEC_TOTAL: usize = 6 << 20;

/// The total size of the commands and environments of all containers that one plan creates. It bounds the memory of the
/// plan; ten full environments fit.
pub const POD_EXEC_TOTAL: usize = 64 << 20;

/// The longest path that a system call takes, its terminating zero included (`PATH_MAX`).
pub const PATH: usize = 4096;

/// The number of files in all volumes of one pod, each counted as often as a source names it: one ConfigMap has at most
/// some 160,000 keys.
pub const POD_FILES: usize = 200_000;

/// The total size of those files in bytes.
pub const POD_FILE_BYTES: usize = 256 << 20;

/// The size of a file with environment variables: as much as a ConfigMap has at most.
pub const ENV_FILE: usize = 1 << 20;

/// The most containers, init containers, ephemeral containers and volumes, each counted apart, that a pod may have: no
/// node could run more, and pairwise comparisons stay cheap.
pub const OF_EACH: usize = 500;

/// The number of ConfigMaps, Secrets, tokens and trust bundles that one pod may refer to. Each of them is watched and
/// held in memory.
pub const POD_REFERENCES: usize = 1_000;

/// The number of credentials that are tried for one image: each may cost a request.
pub const CREDENTIALS: usize = 100;

/// The longest failure message that is remembered, logged and reported in a status. Names and paths in it may be as
/// long as their object.
pub const MESSAGE: usize = 4096;

/// The share of [`EXEC_TOTAL`] that a string of the given length uses, including its zero and its pointer.
pub const fn exec_bytes(length: usize) -> usize {
    length + 1 + size_of::<usize>()
}

/// The message for an environment or a command that Linux cannot pass to the container's program.
pub fn exec_total_exceeded(container: &str) -> String {
    format!(
        "command, arguments and environment of container {container:?} exceed {EXEC_TOTAL} bytes in total, the most \
         that Linux passes to a program: shorten them, or mount the ConfigMap or Secret as a volume"
    )
}

/// The message for containers of one pod that exceed [`POD_EXEC_TOTAL`] together.
pub fn pod_exec_total_exceeded() -> String {
    format!(
        "commands, arguments and environments of the pod's containers exceed {POD_EXEC_TOTAL} bytes in total, the \
         most that gantry builds at once: shorten them, or mount the ConfigMap or Secret as a volume"
    )
}

/// The message for one string that Linux cannot pass; `what` names it: `environment variable "A"`.
pub fn exec_string_exceeded(what: &str) -> String {
    format!(
        "{what} exceeds {EXEC_STRING} bytes, the most that Linux passes to a program in one string: shorten it, or \
         mount the ConfigMap or Secret as a volume"
    )
}

/// The message in the log for a file that exceeds [`ENV_FILE`].
pub fn env_file_exceeded() -> String {
    format!("it has more than {ENV_FILE} bytes")
}

/// The message for a list with more than [`OF_EACH`] items.
pub fn of_each_exceeded() -> String {
    format!("has more than {OF_EACH} items, more than any node could run")
}

/// The message for a pod with more than [`POD_REFERENCES`] references.
pub fn references_exceeded() -> String {
    format!(
        "refers to more than {POD_REFERENCES} ConfigMaps, Secrets, tokens and trust bundles, the most that gantry \
         watches for one pod"
    )
}

/// The message for a namespace whose Services alone exceed [`EXEC_TOTAL`].
pub fn services_exceeded() -> String {
    format!(
        "the environment variables of the namespace's Services exceed {EXEC_TOTAL} bytes, the most that Linux \
         passes to a program: set enableServiceLinks to false"
    )
}

/// The message for a pod whose Secrets have more than [`CREDENTIALS`] credentials for one image.
pub fn credentials_exceeded() -> String {
    format!(
        "imagePullSecrets have more than {CREDENTIALS} credentials for the image, the most that gantry tries"
    )
}

/// The message for the volume that makes a pod exceed [`POD_FILES`].
pub fn files_exceeded() -> String {
    format!(
        "the pod's volumes have more than {POD_FILES} files in total, the most that gantry writes for a pod"
    )
}

/// The message for the volume that makes a pod exceed [`POD_FILE_BYTES`].
pub fn file_bytes_exceeded() -> String {
    format!(
        "the files of the pod's volumes exceed {POD_FILE_BYTES} bytes in total, the most that gantry writes for a pod"
    )
}

/// Cuts a text to `most` bytes at a character boundary, and marks the cut.
pub fn shortened(mut text: String, most: usize) -> String {
    const MISSING: &str = "…";
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most.saturating_sub(MISSING.len())));
        text.push_str(MISSING);
    }
    text
}

/// Counts steps of work whose number others choose, so that tests can check it where timing would prove nothing. Does
/// nothing outside tests.
#[inline]
pub(crate) fn step() {
    #[cfg(test)]
    steps::STEPS.set(steps::STEPS.get() + 1);
}

/// Counts [`step`]s.
#[cfg(test)]
pub(crate) mod steps {
    use std::cell::Cell;

    thread_local! {
        pub(super) static STEPS: Cell<usize> = const { Cell::new(0) };
    }

    /// The number of steps that some work takes, with its result.
    pub(crate) fn of<T>(work: impl FnOnce() -> T) -> (usize, T) {
        let before = STEPS.get();
        let result = work();
        (STEPS.get() - before, result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_says_so() {
        let check = |text: &str, most: usize, want: &str| {
            assert_eq!(shortened(text.to_owned(), most), want, "{text:?} to {most}");
        };
        check("abcdef", 6, "abcdef");
        check("abcdefg", 6, "abc…");
        check("ääää", 7, "ää…");
        check("ääää", 6, "ä…");
        check("abcd", 0, "…");
    }
}
