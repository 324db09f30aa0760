//! The machines that a root filesystem can be made for.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// `e_machine` in the header of an ELF file, and `p_type` in that of a segment, elf(5).
const EM_X86_64: u64 = 62;
const EM_AARCH64: u64 = 183;
const PT_INTERP: u64 = 3;

/// A machine, and what is known by its name.
pub struct Arch {
    /// The kernel's and Alpine's word for it.
    pub name: &'static str,
    /// Debian's word for it.
    pub debian: &'static str,
    /// The sha256 of Alpine's minirootfs, from the `.sha256` beside it.
    pub alpine_sha256: &'static str,
    /// `e_machine` of its programs, elf(5).
    machine: u64,
}

const ARCHES: [Arch; 2] = [
    Arch {
        name: "x86_64",
        debian: "amd64",
        alpine_sha256: "b50bf42e519420ca2be48dd0efa22aa087c708d0602b67d413406533bef9dab5",
        machine: EM_X86_64,
    },
    Arch {
        name: "aarch64",
        debian: "arm64",
        alpine_sha256: "0a6c278a906bb7dc1c14f3dae426b4494280cdc421697977459bd37f91287d09",
        machine: EM_AARCH64,
    },
];

impl Arch {
    /// The machine of that name.
    pub fn named(name: &str) -> Result<&'static Self> {
        let arch = ARCHES.iter().find(|arch| arch.name == name);
        arch.with_context(|| format!("no root filesystem for {name}: x86_64 or aarch64"))
    }
}

/// What the kernel needs to know of a program before it can run it, elf(5).
pub struct Program {
    machine: u64,
    /// It needs an interpreter, ld.so(8), and with it shared libraries.
    pub dynamic: bool,
}

impl Program {
    /// Reads the headers of an ELF file.
    pub fn read(file: &Path) -> Result<Self> {
        let bytes = fs::read(file)?;
        let number = |at: usize, length: usize| -> Result<u64> {
            let field = bytes.get(at..at + length).context("it is cut short")?;
            Ok(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
        };
        // 64 bits, the lowest first: so are all machines that we know.
        ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "it is no program");
        let (start, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        let mut dynamic = false;
        for i in 0..count {
            let segment = start.checked_add(i * size).context("it is cut short")?;
            dynamic |= number(usize::try_from(segment)?, 4)? == PT_INTERP;
        }
        Ok(Self { machine: number(18, 2)?, dynamic })
    }

    /// Fails if another machine is the one that can run it.
    pub fn built_for(&self, arch: &Arch) -> Result<()> {
        let of = ARCHES.iter().find(|arch| arch.machine == self.machine);
        let of = of.map_or("another machine", |arch| arch.name);
        ensure!(self.machine == arch.machine, "is built for {of}, not for {}", arch.name);
        Ok(())
    }
}
