//! Programs without an interpreter, which run under any root directory.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles the program whose main file is `main`, and returns its path in `directory`. A program is compiled once for
/// each content of the files beside `main`, and shared by all processes.
///
/// The target is that of this machine, which every Rust has. The program is linked statically by the C compiler, which
/// a Rust without rustup needs anyway. kina itself must compile for `…-linux-musl`, because it also runs on Macs.
///
/// # Panics
/// If the program cannot be compiled; the message names the requirements.
pub fn static_program(directory: &Path, main: &Path) -> PathBuf {
    let name = main.file_stem().expect("a source file").to_str().expect("UTF-8");
    let program = directory.join(format!("{name}-{:016x}", hash_of_directory(main.parent().expect("a source file"))));
    if program.is_file() {
        return program;
    }
    std::fs::create_dir_all(directory).expect("a directory can be made in the target directory");
    let scratch = tempfile::tempdir_in(directory).expect("a directory can be made in the target directory");
    let compiled = scratch.path().join(name);
    let mut command = rustc();
    command.args(["--edition=2024", "-Ctarget-feature=+crt-static", "-Cstrip=symbols", "-o"]).arg(&compiled).arg(main);
    let output = command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} made no static program: is there a C compiler with its static C library (Debian: gcc and libc6-dev, \
         Fedora: gcc and glibc-static)?\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // Another process may have made the same program meanwhile. The replacement is atomic.
    std::fs::rename(&compiled, &program).expect("a file can be renamed in its directory");
    program
}

/// Returns true if the compiler has the standard library that kina needs for the first process of its images.
///
/// # Panics
/// If the compiler cannot be asked.
pub fn can_compile_for_images() -> bool {
    let output = rustc().args(["--print", "sysroot"]).output().expect("rustc starts");
    let sysroot = String::from_utf8(output.stdout).expect("UTF-8");
    Path::new(sysroot.trim()).join("lib/rustlib").join(image_target()).is_dir()
}

/// Returns the target of programs in images for this machine.
pub fn image_target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

fn hash_of_directory(directory: &Path) -> u64 {
    let entries =
        std::fs::read_dir(directory).expect("the sources are there").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        (file.file_name(), std::fs::read(&file).expect("the sources can be read")).hash(&mut hasher);
    }
    hasher.finish()
}

fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}
