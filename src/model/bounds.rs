//! The bounds of what others may make large: pods' authors, registries, the API server. Each says what it bounds,
//! where the number comes from, and what the pod's owner is told; whatever is within them is worked through in linear
//! time.

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

/// What the commands and environments of all containers that one plan creates may take together. It bounds the memory
/// of the plan; ten full environments fit.
pub const POD_EXEC_TOTAL: usize = 64 << 20;

/// The longest path that a system call takes, its terminating zero included (`PATH_MAX`).
pub const PATH: usize = 4096;

/// The files that the volumes of one pod may have together, each counted as often as a source names it: the keys of one
/// ConfigMap are at most some 160,000.
pub const POD_FILES: usize = 200_000;

/// The bytes that those files may have together.
pub const POD_FILE_BYTES: usize = 256 << 20;

/// The most containers, init containers, ephemeral containers and volumes that a pod may have of each: no node could run
/// more, and what compares each with each stays short.
pub const OF_EACH: usize = 500;

/// The ConfigMaps, Secrets, tokens and trust anchors that one pod may refer to, each of which is watched and kept.
pub const POD_REFERENCES: usize = 1_000;

/// The credentials that are tried for one image: each may cost a request.
pub const CREDENTIALS: usize = 100;

/// The longest message that is kept of a failure, logged, and reported in a status: names and paths in it may be as long
/// as their object.
pub const MESSAGE: usize = 4096;

/// What a string of the given length takes of [`EXEC_TOTAL`]: its zero and its pointer are counted too.
pub const fn exec_bytes(length: usize) -> usize {
    length + 1 + size_of::<usize>()
}

/// What is said of an environment or a command that Linux cannot pass to the container's program.
pub fn exec_total_exceeded(container: &str) -> String {
    format!(
        "command, arguments and environment of container {container:?} are larger than {EXEC_TOTAL} bytes together, the \
         most that Linux passes to a program: shorten them, or mount the ConfigMap or Secret as a volume"
    )
}

/// What is said where all containers of a pod together exceed [`POD_EXEC_TOTAL`].
pub fn pod_exec_total_exceeded() -> String {
    format!(
        "commands, arguments and environments of the pod's containers are larger than {POD_EXEC_TOTAL} bytes together, \
         the most that gantry makes at once: shorten them, or mount the ConfigMap or Secret as a volume"
    )
}

/// What is said of one string that Linux cannot pass; `what` names it: `environment variable "A"`.
pub fn exec_string_exceeded(what: &str) -> String {
    format!(
        "{what} is longer than {EXEC_STRING} bytes, the most that Linux passes to a program in one piece: shorten it, or \
         mount the ConfigMap or Secret as a volume"
    )
}

/// What is said of a list with more than [`OF_EACH`] items.
pub fn of_each_exceeded() -> String {
    format!("has more than {OF_EACH} items, which no node could run")
}

/// What is said of a pod with more than [`POD_REFERENCES`].
pub fn references_exceeded() -> String {
    format!(
        "names more than {POD_REFERENCES} ConfigMaps, Secrets and their like, the most that are kept for one pod"
    )
}

/// What is said where the Services of a namespace alone exceed [`EXEC_TOTAL`].
pub fn services_exceeded() -> String {
    format!(
        "the variables of the namespace's Services are larger than {EXEC_TOTAL} bytes, the most that Linux passes to a \
         program: set enableServiceLinks to false"
    )
}

/// What is said where a pod's Secrets have more than [`CREDENTIALS`] for one image.
pub fn credentials_exceeded() -> String {
    format!(
        "imagePullSecrets have more than {CREDENTIALS} credentials for the image, the most that are tried"
    )
}

/// What is said of a volume with whose files a pod exceeds [`POD_FILES`].
pub fn files_exceeded() -> String {
    format!(
        "the pod's volumes have more than {POD_FILES} files together, the most that gantry writes for a pod"
    )
}

/// What is said of a volume with whose files a pod exceeds [`POD_FILE_BYTES`].
pub fn file_bytes_exceeded() -> String {
    format!(
        "the files of the pod's volumes have more than {POD_FILE_BYTES} bytes together, the most that gantry writes for \
         a pod"
    )
}

/// A text cut to so many bytes, at a character's border, with a sign that something is missing.
pub fn shortened(mut text: String, most: usize) -> String {
    const MISSING: &str = "…";
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most.saturating_sub(MISSING.len())));
        text.push_str(MISSING);
    }
    text
}

/// Notes steps of work whose number others choose. Tests count them where seconds would prove nothing; elsewhere this
/// is nothing.
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

    /// How many steps some work takes, with its result.
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
