//! The built-in sandbox image, so that a machine without a registry can run pods.
//!
//! Its only program waits forever. It is PID 1 of the sandbox, and of all containers if the pod shares its PID
//! namespace, so orphans become its children: it ignores SIGCHLD, so that the kernel reaps them (wait(2), *Linux
//! notes*). It is small enough to be written here as machine instructions, which avoids a second toolchain for a static
//! program.

use super::blob::{ArchiveImage, Blob, BlobSource};
use super::oci;

/// `rt_sigaction(SIGCHLD, {SIG_IGN, SA_NOCLDWAIT}, NULL, 8)`, then `pause()` forever.
const X86_64: &[u8] = &[
    0xb8, 0x0d, 0x00, 0x00, 0x00, // mov eax, 13 (rt_sigaction)
    0xbf, 0x11, 0x00, 0x00, 0x00, // mov edi, 17 (SIGCHLD)
    0x48, 0x8d, 0x35, 0x17, 0x00, 0x00, 0x00, // lea rsi, [rip + 0x17] (the action below)
    0x31, 0xd2, // xor edx, edx
    0x41, 0xba, 0x08, 0x00, 0x00, 0x00, // mov r10d, 8 (the size of a signal set)
    0x0f, 0x05, // syscall
    0xb8, 0x22, 0x00, 0x00, 0x00, // mov eax, 34 (pause)
    0x0f, 0x05, // syscall
    0xeb, 0xf7, // jmp back to the mov before
    0x90, 0x90, 0x90, 0x90, // nop: the action lies at 40
];

/// The same for arm64, which has no `pause` system call, so `ppoll(NULL, 0, NULL, NULL, 0)`.
const AARCH64: [u32; 14] = [
    0xd280_0220, // mov x0, #17 (SIGCHLD)
    0x1000_01a1, // adr x1, the action below
    0xd280_0002, // mov x2, #0
    0xd280_0103, // mov x3, #8
    0xd280_10c8, // mov x8, #134 (rt_sigaction)
    0xd400_0001, // svc #0
    0xd280_0000, // mov x0, #0
    0xd280_0001, // mov x1, #0
    0xd280_0002, // mov x2, #0
    0xd280_0003, // mov x3, #0
    0xd280_0004, // mov x4, #0
    0xd280_0928, // mov x8, #73 (ppoll)
    0xd400_0001, // svc #0
    0x17ff_fff9, // b seven instructions back
];

/// `struct sigaction` of the kernel: handler SIG_IGN, flags SA_NOCLDWAIT, no restorer, an empty mask.
const ACTION: [u64; 4] = [1, 2, 0, 0];

/// The ELF machine number and the code for an architecture (Go's name); `None` if there is no code.
fn machine_code(architecture: &str) -> Option<(u16, Vec<u8>)> {
    let (machine, mut code) = match architecture {
        "amd64" => (62_u16, X86_64.to_vec()),
        "arm64" => (
            183_u16,
            AARCH64.iter().flat_map(|word| word.to_le_bytes()).collect(),
        ),
        _ => return None,
    };
    code.extend(ACTION.iter().flat_map(|word| word.to_le_bytes()));
    Some((machine, code))
}

/// A static ELF program: header, one segment, the code (*Tool Interface Standard, ELF*, version 1.2).
fn program(architecture: &str) -> Option<Vec<u8>> {
    const HEADERS: u64 = 64 + 56;
    const LOADED_AT: u64 = 0x40_0000;
    let (machine, code) = machine_code(architecture)?;
    let size = HEADERS + code.len() as u64;
    let mut elf = Vec::with_capacity(256);
    elf.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]); // 64 bits, little endian
    elf.extend(2_u16.to_le_bytes()); // an executable
    elf.extend(machine.to_le_bytes());
    elf.extend(1_u32.to_le_bytes());
    elf.extend((LOADED_AT + HEADERS).to_le_bytes()); // entry
    elf.extend(64_u64.to_le_bytes()); // where the program headers are
    elf.extend(0_u64.to_le_bytes()); // no section headers
    elf.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(1_u32.to_le_bytes()); // PT_LOAD
    elf.extend(5_u32.to_le_bytes()); // readable, executable
    for word in [0, LOADED_AT, LOADED_AT, size, size, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    Some(elf)
}

/// The sandbox image under the name that the runtime expects, for an architecture (Go's name). `None` if the agent has
/// no program for that architecture.
pub fn image(name: &str, architecture: &str) -> Option<ArchiveImage> {
    let layer = layer(&program(architecture)?);
    let config = serde_json::json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Entrypoint": ["/pause"], "User": "65535:65535" },
        "rootfs": { "type": "layers", "diff_ids": [oci::digest(&layer)] },
    })
    .to_string()
    .into_bytes();
    let layer = Blob::new(
        oci::LAYER,
        BlobSource::Inline(layer.clone()),
        oci::digest(&layer),
        layer.len() as u64,
    );
    let config = Blob::new(
        oci::CONFIG,
        BlobSource::Inline(config.clone()),
        oci::digest(&config),
        config.len() as u64,
    );
    Some(oci::assemble(
        vec![name.to_owned()],
        oci::MANIFEST,
        config,
        vec![layer],
    ))
}

/// A tar archive that holds the program as `/pause`; the same bytes each time.
fn layer(program: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive
        .append_data(&mut header, "pause", program)
        .expect("a vector takes every write");
    archive.into_inner().expect("a vector takes every write")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_action_lies_where_the_code_looks_for_it() {
        // lea: the displacement counts from the end of the instruction at 17.
        assert_eq!(X86_64.len(), 17 + 0x17);
        // adr: immhi << 2 counts from the instruction at 4.
        assert_eq!(
            AARCH64.len() * 4,
            4 + ((AARCH64[1] >> 5 & 0x7_ffff) << 2) as usize
        );
    }

    #[test]
    fn the_program_runs_and_waits() {
        use std::os::unix::fs::PermissionsExt;
        let Some(elf) = program(crate::images::architecture()) else {
            panic!("no sandbox program for {}", std::env::consts::ARCH);
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pause");
        std::fs::write(&path, elf).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = std::process::Command::new(&path).spawn().unwrap();
        let stat = format!("/proc/{}/wchan", child.id());
        let status = format!("/proc/{}/status", child.id());
        let deadline = std::time::Duration::from_secs(10);
        let begun = std::time::SystemTime::now();
        // SigIgn has SIGCHLD (bit 16) once the first system call is done.
        loop {
            let text = std::fs::read_to_string(&status).unwrap();
            let ignored = text
                .lines()
                .find_map(|l| l.strip_prefix("SigIgn:"))
                .unwrap()
                .trim();
            if u64::from_str_radix(ignored, 16).unwrap() & (1 << 16) != 0 {
                break;
            }
            assert!(
                begun.elapsed().unwrap() < deadline,
                "SIGCHLD is not ignored: {text} {stat}"
            );
            std::thread::yield_now();
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
