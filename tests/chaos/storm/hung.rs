//! A file system that stops answering, as one does whose server is gone: FUSE, with nobody who answers. Whoever asks it
//! something waits, and cannot be killed once the question was read.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// The first question, which has to be answered before the kernel asks anything else (`FUSE_INIT` of linux/fuse.h).
const INIT: u32 = 26;
/// The kernel refuses to read into less.
const LARGEST: usize = 1 << 17;
/// `struct fuse_in_header`, and `fuse_out_header` with `fuse_init_out`.
const QUESTION: usize = 40;
const ANSWER: usize = 16 + 64;

/// The file system, until it is dropped: then every question fails, and nobody waits any more.
pub struct Hung {
    at: PathBuf,
    reader: Option<JoinHandle<()>>,
}

impl Hung {
    /// Mounts it, on a directory that is made if it is missing.
    pub fn mount(at: &Path) -> Hung {
        std::fs::create_dir_all(at).expect("a private directory");
        let device = File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .expect("the kernel has FUSE");
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        mount(
            Some("hung"),
            at,
            Some("fuse"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .expect("root may mount");
        Hung {
            at: at.to_owned(),
            reader: Some(std::thread::spawn(move || read(device))),
        }
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        // Forced, all questions fail, and the connection ends, which the reader sees.
        let _ = umount2(&self.at, MntFlags::MNT_FORCE);
        let _ = umount2(&self.at, MntFlags::MNT_DETACH);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Reads every question, and answers the first one alone.
fn read(mut device: File) {
    let mut question = vec![0; LARGEST];
    while let Ok(length) = device.read(&mut question) {
        let of = |at: usize| u32::from_ne_bytes(question[at..at + 4].try_into().expect("four bytes"));
        if length >= QUESTION && of(4) == INIT {
            let unique: [u8; 8] = question[8..16].try_into().expect("eight bytes");
            if device.write_all(&answer(unique)).is_err() {
                return;
            }
        }
    }
}

/// That this speaks version 7.31, and nothing else.
fn answer(unique: [u8; 8]) -> Vec<u8> {
    let mut answer = Vec::with_capacity(ANSWER);
    answer.extend(u32::try_from(ANSWER).expect("a small number").to_ne_bytes());
    answer.extend(0_u32.to_ne_bytes());
    answer.extend(unique);
    answer.extend([7_u32, 31].iter().flat_map(|number| number.to_ne_bytes()));
    answer.resize(ANSWER, 0);
    answer
}
