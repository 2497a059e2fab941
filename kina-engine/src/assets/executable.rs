//! The header of a program, which tells if the file is complete (another tool may have died while it wrote it, and the
//! size alone does not tell) and on which systems it can run.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::platform::Platform;

/// Headers lie at the beginning; those of real programs take well under a kilobyte.
const HEAD_BYTES_MAX: u64 = 16 << 10;

const ELF_MAGIC: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
const ELF_SEGMENT_TO_LOAD: u64 = 1;
/// Names the program that loads the libraries of a dynamically linked one.
const ELF_SEGMENT_INTERPRETER: u64 = 3;
const ELF_MACHINE_AMD64: u64 = 62;
const ELF_MACHINE_ARM64: u64 = 183;
const MACH_O_MAGIC: [u8; 4] = [0xcf, 0xfa, 0xed, 0xfe];
const MACH_O_SEGMENT: u64 = 0x19;
const MACH_O_HEADER_BYTES: usize = 32;
const MACH_O_PROCESSOR_AMD64: u64 = 0x0100_0007;
const MACH_O_PROCESSOR_ARM64: u64 = 0x0100_000c;

/// The systems that a program can run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProgramKind {
    /// The system and the processor that it was made for.
    pub(crate) platform: Platform,
    /// Set if it needs no other file to run.
    pub(crate) is_static: bool,
}

/// Returns true if the file at `path` ends before the program in it does.
///
/// Only 64-bit ELF and Mach-O files tell their length; anything else, such as a script, counts as complete.
pub(super) fn is_cut_off(path: &Path) -> io::Result<bool> {
    let length_bytes = std::fs::metadata(path)?.len();
    let head = read_head(path)?;
    let head = Head(&head);
    let end_bytes = if head.0.starts_with(&ELF_MAGIC) {
        head.elf_end()
    } else if head.0.starts_with(&MACH_O_MAGIC) {
        head.mach_o_end()
    } else {
        return Ok(false);
    };
    // Headers that cannot be read through are cut off, or no program.
    Ok(end_bytes.is_none_or(|end_bytes| length_bytes < end_bytes))
}

/// The systems that the program at `path` can run on.
///
/// `None` for anything but 64-bit ELF and Mach-O files, such as a script.
pub(crate) fn program_kind(path: &Path) -> io::Result<Option<ProgramKind>> {
    let head = read_head(path)?;
    let head = Head(&head);
    let (os, number, amd64, arm64) = if head.0.starts_with(&ELF_MAGIC) {
        ("linux", head.number(18, 2), ELF_MACHINE_AMD64, ELF_MACHINE_ARM64)
    } else if head.0.starts_with(&MACH_O_MAGIC) {
        ("darwin", head.number(4, 4), MACH_O_PROCESSOR_AMD64, MACH_O_PROCESSOR_ARM64)
    } else {
        return Ok(None);
    };
    let arch = match number {
        Some(number) if number == amd64 => "amd64".to_owned(),
        Some(number) if number == arm64 => "arm64".to_owned(),
        Some(number) => format!("processor {number}"),
        None => "unknown processor".to_owned(),
    };
    let is_static = os == "linux" && head.elf_has_segment(ELF_SEGMENT_INTERPRETER) == Some(false);
    Ok(Some(ProgramKind { platform: Platform { os: os.to_owned(), arch }, is_static }))
}

fn read_head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD_BYTES_MAX).read_to_end(&mut head)?;
    Ok(head)
}

/// The beginning of a file, as little-endian numbers.
struct Head<'a>(&'a [u8]);

impl Head<'_> {
    fn number(&self, offset: usize, length: usize) -> Option<u64> {
        let bytes = self.0.get(offset..offset.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Where the entries of the table of segments begin.
    fn elf_segments(&self) -> Option<impl Iterator<Item = Option<usize>>> {
        let table = usize::try_from(self.number(0x20, 8)?).ok()?;
        let entry_bytes = usize::try_from(self.number(0x36, 2)?).ok()?;
        let count = usize::try_from(self.number(0x38, 2)?).ok()?;
        Some((0..count).map(move |index| table.checked_add(index * entry_bytes)))
    }

    fn elf_has_segment(&self, kind: u64) -> Option<bool> {
        self.elf_segments()?.try_fold(false, |found, entry| Some(found || self.number(entry?, 4)? == kind))
    }

    /// The end of the last segment that is loaded; what comes after it is not needed to run.
    fn elf_end(&self) -> Option<u64> {
        self.elf_segments()?.try_fold(0, |end_bytes: u64, entry| {
            let entry = entry?;
            if self.number(entry, 4)? != ELF_SEGMENT_TO_LOAD {
                return Some(end_bytes);
            }
            let segment_end = self.number(entry.checked_add(8)?, 8)?.checked_add(self.number(entry + 32, 8)?)?;
            Some(end_bytes.max(segment_end))
        })
    }

    /// The end of the last segment; the signature that macOS requires is part of one.
    fn mach_o_end(&self) -> Option<u64> {
        let count = self.number(16, 4)?;
        let mut command = MACH_O_HEADER_BYTES;
        (0..count).try_fold(0, |end_bytes: u64, _| {
            let offset = command;
            // A command without a length would be read for ever.
            let command_bytes = usize::try_from(self.number(offset + 4, 4)?).ok().filter(|bytes| *bytes >= 8)?;
            command = offset.checked_add(command_bytes)?;
            if self.number(offset, 4)? != MACH_O_SEGMENT {
                return Some(end_bytes);
            }
            let segment_end = self.number(offset + 40, 8)?.checked_add(self.number(offset + 48, 8)?)?;
            Some(end_bytes.max(segment_end))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &[u8], is_expected_to_be_cut_off: bool) {
        let file = tempfile::NamedTempFile::new().expect("file");
        std::fs::write(file.path(), content).expect("write");
        assert_eq!(is_cut_off(file.path()).expect("read"), is_expected_to_be_cut_off, "{} bytes", content.len());
    }

    fn put(bytes: &mut [u8], offset: usize, number: u64, length: usize) {
        bytes[offset..offset + length].copy_from_slice(&number.to_le_bytes()[..length]);
    }

    #[test]
    fn a_script_is_taken_as_it_is() {
        check(b"#!/bin/sh\n", false);
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    fn this_very_program_is_whole_and_its_beginning_is_not() {
        let path = std::env::current_exe().expect("path");
        assert!(!is_cut_off(&path).expect("read"));
        let content = std::fs::read(&path).expect("read");
        for length in [64, 100, 5000, 500_000] {
            check(&content[..length], true);
        }
    }

    #[test]
    fn a_program_says_where_it_runs_and_a_script_does_not() {
        let kind = |content: &[u8]| {
            let file = tempfile::NamedTempFile::new().expect("file");
            std::fs::write(file.path(), content).expect("write");
            program_kind(file.path()).expect("read").map(|kind| (kind.platform.to_string(), kind.is_static))
        };
        let mut elf = vec![0; 200];
        elf[..6].copy_from_slice(&ELF_MAGIC);
        put(&mut elf, 18, ELF_MACHINE_ARM64, 2);
        put(&mut elf, 0x20, 64, 8);
        put(&mut elf, 0x36, 56, 2);
        put(&mut elf, 0x38, 1, 2);
        put(&mut elf, 64, ELF_SEGMENT_TO_LOAD, 4);
        assert_eq!(kind(&elf), Some(("linux-arm64".to_owned(), true)));
        put(&mut elf, 64, ELF_SEGMENT_INTERPRETER, 4);
        assert_eq!(kind(&elf), Some(("linux-arm64".to_owned(), false)));
        put(&mut elf, 18, 243, 2);
        assert_eq!(kind(&elf[..50]), Some(("linux-processor 243".to_owned(), false)));
        let mut mach_o = vec![0; 32];
        mach_o[..4].copy_from_slice(&MACH_O_MAGIC);
        put(&mut mach_o, 4, MACH_O_PROCESSOR_ARM64, 4);
        assert_eq!(kind(&mach_o), Some(("darwin-arm64".to_owned(), false)));
        assert_eq!(kind(b"#!/bin/sh\n"), None);
        let this = program_kind(&std::env::current_exe().expect("path")).expect("read").expect("known");
        assert_eq!(this.platform, Platform::host());
    }

    #[test]
    fn an_elf_program_ends_with_its_last_loaded_segment() {
        let mut program = vec![0; 1000];
        program[..6].copy_from_slice(&ELF_MAGIC);
        put(&mut program, 0x20, 64, 8);
        put(&mut program, 0x36, 56, 2);
        put(&mut program, 0x38, 2, 2);
        // A segment to load from 500 to 900, and one of another kind that lies beyond the end.
        put(&mut program, 64, ELF_SEGMENT_TO_LOAD, 4);
        put(&mut program, 64 + 8, 500, 8);
        put(&mut program, 64 + 32, 400, 8);
        put(&mut program, 120, 4, 4);
        put(&mut program, 120 + 8, 5000, 8);
        put(&mut program, 120 + 32, 5000, 8);
        for (length, is_cut_off) in [(1000, false), (900, false), (899, true), (130, true), (20, true)] {
            check(&program[..length], is_cut_off);
        }
    }

    #[test]
    fn a_mach_o_program_ends_with_its_last_segment() {
        let mut program = vec![0; 1000];
        program[..4].copy_from_slice(&MACH_O_MAGIC);
        put(&mut program, 16, 2, 4);
        put(&mut program, 32, 2, 4);
        put(&mut program, 36, 24, 4);
        put(&mut program, 56, MACH_O_SEGMENT, 4);
        put(&mut program, 60, 72, 4);
        put(&mut program, 56 + 40, 300, 8);
        put(&mut program, 56 + 48, 600, 8);
        for (length, is_cut_off) in [(1000, false), (900, false), (899, true), (90, true), (20, true)] {
            check(&program[..length], is_cut_off);
        }
        put(&mut program, 36, 0, 4);
        check(&program, true);
    }
}
