//! The source of the supervisor's Linux program.
//!
//! The supervisor is PID 1 of the image, a static Linux program, but kina also runs on Macs where Rust is the only
//! means of making Linux programs. So kina carries the supervisor's source and compiles it where it is needed, with the
//! one compiler that every user of kina has: `rustc`, which contains the linker `rust-lld`, and whose standard library
//! for `…-linux-musl` contains a C library. No C compiler, no cargo, no network; one second, once. Rejected
//! alternatives: a finished program in the package (its content could not be checked, and there would be one for each
//! processor), a download (needs a server, and one more thing to trust), and a build in a builder VM (slow, and needs a
//! registry).
//!
//! The order: `KINA_SUPERVISOR`, a program made elsewhere; the cache, by source and compiler; a build. If no build is
//! possible, one by another compiler from the same source is used.
//!
//! Builds by the same compiler are identical to the byte on every machine.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::architecture::Architecture;
use super::error::SupervisorError;
use super::rustc::Rustc;
use crate::assets::program_kind;
use crate::hex;
use crate::sha256::Sha256;
use crate::trust::search_path;

/// The files of the supervisor, by their names.
const SOURCES: [(&str, &str); 7] = [
    ("component.rs", include_str!("../../supervisor/component.rs")),
    ("events.rs", include_str!("../../supervisor/events.rs")),
    ("layout.rs", include_str!("../../supervisor/layout.rs")),
    ("main.rs", include_str!("../../supervisor/main.rs")),
    ("probe.rs", include_str!("../../supervisor/probe.rs")),
    ("supervise.rs", include_str!("../../supervisor/supervise.rs")),
    ("system.rs", include_str!("../../supervisor/system.rs")),
];
/// The compiler's options besides source, target and output.
const OPTIONS: [&str; 9] = [
    "--edition=2024",
    "--crate-name=kina_supervisor",
    "--crate-type=bin",
    "-Clinker=rust-lld",
    "-Clinker-flavor=ld.lld",
    "-Cpanic=abort",
    "-Copt-level=s",
    "-Ccodegen-units=1",
    "-Cstrip=symbols",
];
const SCRATCH_PREFIX: &str = "scratch.";
/// No compilation takes this long.
const SCRATCH_AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// The number of supervisors that are kept: for two processors, and the newest few compilers and sources.
const KEPT_MAX: usize = 8;

/// The possible sources of a supervisor.
#[derive(Clone, Debug)]
pub(super) struct SupervisorSource {
    /// A finished program that the user named.
    pub(super) given: Option<PathBuf>,
    /// The compiler.
    pub(super) rustc: Rustc,
}

/// A supervisor for one processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Supervisor {
    pub(super) path: PathBuf,
    pub(super) size_bytes: u64,
    /// The SHA-256 of the program, in hexadecimal digits.
    pub(super) digest: String,
}

impl SupervisorSource {
    /// The source that the environment chooses; `variable` reads the environment.
    pub(super) fn from_environment(variable: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> Self {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let in_search_path = || search_path::find("rustc", &variable("PATH").unwrap_or_default()).is_some();
        let where_rustup_puts_it = || {
            let home = path("CARGO_HOME").or_else(|| path("HOME").map(|home| home.join(".cargo")))?;
            Some(home.join("bin/rustc")).filter(|program| program.is_file() && !in_search_path())
        };
        let rustc = path("RUSTC").or_else(where_rustup_puts_it).unwrap_or_else(|| "rustc".into());
        Self { given: path("KINA_SUPERVISOR"), rustc: Rustc::new(rustc) }
    }

    /// Provides a supervisor for `architecture`. Compiled supervisors are kept in `directory`.
    pub(super) fn provide(&self, architecture: Architecture, directory: &Path) -> Result<Supervisor, SupervisorError> {
        if let Some(path) = &self.given {
            let given = |problem| SupervisorError::Given { path: path.clone(), problem, architecture };
            return Supervisor::at(path, architecture).map_err(given);
        }
        crate::trust::create_directories(directory)
            .map_err(|error| SupervisorError::store("create", directory, error))?;
        remove_abandoned(directory);
        let scratch = tempfile::Builder::new()
            .prefix(SCRATCH_PREFIX)
            .tempdir_in(directory)
            .map_err(|error| SupervisorError::store("create a directory in", directory, error))?;
        let prefix = format!("{architecture}-{}-", short_digest(&source_text(architecture)));
        match self.cached_or_compiled(architecture, directory, &prefix, scratch.path()) {
            Err(error @ (SupervisorError::NoCompiler { .. } | SupervisorError::NoTarget { .. })) => {
                let other = newest_first(directory, &prefix).into_iter();
                other.filter_map(|path| Supervisor::at(&path, architecture).ok()).next().ok_or(error)
            }
            provided => provided,
        }
    }

    fn cached_or_compiled(
        &self,
        architecture: Architecture,
        directory: &Path,
        prefix: &str,
        scratch: &Path,
    ) -> Result<Supervisor, SupervisorError> {
        let version = self.rustc.version(scratch)?;
        let path = directory.join(format!("{prefix}{}", short_digest(&version)));
        if let Ok(supervisor) = Supervisor::at(&path, architecture) {
            return Ok(supervisor);
        }
        let output = scratch.join("output");
        self.compile(architecture, scratch, &output)?;
        let compiled = Supervisor::at(&output, architecture)
            .map_err(|problem| SupervisorError::Unusable { problem, architecture })?;
        // Written elsewhere, then renamed, so that other processes see it only when it is complete.
        File::open(&output)
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::rename(&output, &path))
            .map_err(|error| SupervisorError::store("write", &path, error))?;
        for old in newest_first(directory, "").into_iter().filter(|old| *old != path).skip(KEPT_MAX - 1) {
            // Another process may have been quicker, and a leftover does no harm.
            let _ = std::fs::remove_file(old);
        }
        Ok(Supervisor { path, ..compiled })
    }

    fn compile(&self, architecture: Architecture, scratch: &Path, output: &Path) -> Result<(), SupervisorError> {
        let source = scratch.join("source");
        std::fs::create_dir(&source).map_err(|error| SupervisorError::store("create", &source, error))?;
        for (name, text) in SOURCES {
            let path = source.join(name);
            std::fs::write(&path, text).map_err(|error| SupervisorError::store("write", &path, error))?;
        }
        let main = source.join("main.rs");
        let mut remap = source.into_os_string();
        remap.push("=/kina/supervisor-source");
        let target = architecture.rust_target();
        let mut arguments: Vec<&OsStr> = OPTIONS.iter().map(OsStr::new).collect();
        let own: [&OsStr; 7] = [
            "--target".as_ref(),
            target.as_ref(),
            "--remap-path-prefix".as_ref(),
            &remap,
            "-o".as_ref(),
            output.as_os_str(),
            main.as_os_str(),
        ];
        arguments.extend(own);
        self.rustc.compile(target, &arguments, scratch)
    }
}

impl Supervisor {
    /// The program at `path`, or the problem with it.
    fn at(path: &Path, architecture: Architecture) -> Result<Self, String> {
        let unreadable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => "does not exist".to_owned(),
            _ => format!("cannot be read: {error}"),
        };
        if let Some(problem) = problem_of_program(path, architecture).map_err(unreadable)? {
            return Err(problem);
        }
        let content = std::fs::read(path).map_err(unreadable)?;
        let digest = hex::encode(&Sha256::digest(&content));
        Ok(Self { path: path.to_owned(), size_bytes: content.len() as u64, digest })
    }
}

/// The reason why the program at `path` cannot run in an image for `architecture`, if there is one.
pub(super) fn problem_of_program(path: &Path, architecture: Architecture) -> io::Result<Option<String>> {
    let Some(kind) = program_kind(path)? else { return Ok(Some("is not a program in a known format".to_owned())) };
    Ok(if kind.platform != architecture.platform() {
        Some(format!("is a program for {}", kind.platform))
    } else if !kind.is_static {
        Some("is linked dynamically".to_owned())
    } else {
        None
    })
}

/// The supervisors in `directory` whose names begin with `prefix`, the newest first.
fn newest_first(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)))
        .filter_map(|entry| {
            let metadata = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
            Some((metadata.modified().ok()?, entry.path()))
        })
        .collect();
    found.sort_unstable_by(|one, other| other.cmp(one));
    found.into_iter().map(|(_, path)| path).collect()
}

/// Removes the scratch directories of processes that were killed at work; one that cannot be removed does no harm.
fn remove_abandoned(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let is_scratch = entry.file_name().to_str().is_some_and(|name| name.starts_with(SCRATCH_PREFIX));
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        let age = modified.and_then(|modified| SystemTime::now().duration_since(modified).ok());
        if is_scratch && age.is_some_and(|age| age > SCRATCH_AGE_MAX) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// All inputs of a build except the compiler.
fn source_text(architecture: Architecture) -> String {
    let files = SOURCES.iter().map(|(name, text)| format!("{name}\0{text}\0"));
    files.chain([OPTIONS.join("\0"), architecture.rust_target().to_owned()]).collect()
}

fn short_digest(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes())[..8])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    const ARCHITECTURE: Architecture = Architecture::Amd64;

    /// A shell script in the place of the compiler, with scripted answers.
    struct EmulatedRustc {
        directory: TempDir,
    }

    impl EmulatedRustc {
        fn new() -> Self {
            let scene = Self { directory: tempfile::tempdir().expect("directory") };
            // A static Linux program for x86-64 that does nothing.
            let mut program = vec![0; 120];
            program[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
            program[18] = 62;
            program[0x20] = 64;
            program[0x36] = 56;
            program[0x38] = 1;
            program[64] = 1;
            std::fs::write(scene.path("program"), program).expect("write");
            scene
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        /// A compiler of this version, which runs `compile` with `$output` when asked for a program.
        fn compiler(&self, version: &str, compile: &str) -> SupervisorSource {
            let here = self.directory.path().display();
            let text = format!(
                "#!/bin/sh\ncase \"$*\" in\n-vV) echo rustc {version} ;;\n\"--print sysroot\") echo {here}/toolchains/{version} ;;\n\
                 *) while [ \"$1\" != -o ]; do shift; done; output=$2; echo {version} >> {here}/compiled; {compile} ;;\nesac\n"
            );
            let (script, program) = (self.path("rustc.sh"), self.path(&format!("rustc-{version}")));
            std::fs::write(&script, text).expect("write");
            std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("mode");
            // Another process makes the copy that is run: a file that this one wrote may still be open for writing in a
            // child that another test's thread is just starting, and would be "busy" then.
            let copied = std::process::Command::new("cp").arg("-p").args([&script, &program]).status();
            assert!(copied.expect("cp").success());
            SupervisorSource { given: None, rustc: Rustc::new(program) }
        }

        fn good_compiler(&self, version: &str) -> SupervisorSource {
            self.compiler(version, &format!("cp {} $output", self.path("program").display()))
        }

        fn provide(&self, source: &SupervisorSource) -> Result<Supervisor, SupervisorError> {
            source.provide(ARCHITECTURE, &self.path("supervisors"))
        }

        fn compiled(&self) -> String {
            std::fs::read_to_string(self.path("compiled")).unwrap_or_default()
        }
    }

    #[test]
    fn each_compiler_compiles_once() {
        let scene = EmulatedRustc::new();
        let (one, other) = (scene.good_compiler("1.0"), scene.good_compiler("2.0"));
        let first = scene.provide(&one).expect("supervisor");
        assert_eq!(scene.provide(&one).expect("supervisor"), first);
        assert_ne!(scene.provide(&other).expect("supervisor").path, first.path);
        assert_eq!(scene.compiled(), "1.0\n2.0\n");
        // A truncated file is not a program any more.
        std::fs::write(&first.path, "cut off").expect("write");
        assert_eq!(scene.provide(&one).expect("supervisor"), first);
        assert_eq!(scene.compiled(), "1.0\n2.0\n1.0\n");
    }

    #[test]
    fn without_a_working_compiler_an_earlier_build_is_used() {
        let scene = EmulatedRustc::new();
        let none = SupervisorSource { given: None, rustc: Rustc::new("/nowhere/rustc".into()) };
        let error = scene.provide(&none).expect_err("no compiler");
        assert!(matches!(error, SupervisorError::NoCompiler { .. }), "{error}");
        let without_target = scene.compiler("2.0", "exit 1");
        let error = scene.provide(&without_target).expect_err("no target");
        let SupervisorError::NoTarget { toolchain, target, .. } = &error else { panic!("{error}") };
        assert_eq!((toolchain.as_deref(), *target), (Some("2.0"), "x86_64-unknown-linux-musl"));

        let compiled = scene.provide(&scene.good_compiler("1.0")).expect("supervisor");
        assert_eq!(scene.provide(&none).expect("supervisor"), compiled);
        assert_eq!(scene.provide(&without_target).expect("supervisor"), compiled);
    }

    #[test]
    fn a_compiler_that_fails_is_quoted_and_leaves_nothing() {
        let scene = EmulatedRustc::new();
        let failing = scene.compiler("3.0", "echo error: no linker >&2; exit 1");
        std::fs::create_dir_all(scene.path("toolchains/3.0/lib/rustlib/x86_64-unknown-linux-musl")).expect("create");
        let error = scene.provide(&failing).expect_err("failed");
        let SupervisorError::Failed { said, command, .. } = &error else { panic!("{error}") };
        assert_eq!(said, "error: no linker");
        assert!(command.contains("--target x86_64-unknown-linux-musl"), "{command}");
        let error = scene.provide(&scene.compiler("4.0", "echo text > $output")).expect_err("no program");
        assert!(matches!(error, SupervisorError::Unusable { .. }), "{error}");
        assert_eq!(std::fs::read_dir(scene.path("supervisors")).expect("directory").count(), 0);
    }

    #[test]
    fn a_supervisor_named_by_the_user_is_used_as_it_is_or_refused() {
        let scene = EmulatedRustc::new();
        let named = |path: PathBuf| {
            let source = SupervisorSource::from_environment(&|name| match name {
                "KINA_SUPERVISOR" => Some(path.clone().into_os_string()),
                _ => None,
            });
            source.provide(ARCHITECTURE, &scene.path("supervisors"))
        };
        assert_eq!(named(scene.path("program")).expect("supervisor").path, scene.path("program"));
        let error = named(scene.path("absent")).expect_err("absent").to_string();
        assert!(error.contains("absent`, which does not exist: name a static Linux program for amd64"), "{error}");
        let script = std::env::current_exe().expect("path");
        let error = named(script).expect_err("dynamic or for another system");
        assert!(matches!(error, SupervisorError::Given { .. }), "{error}");
    }

    #[test]
    fn only_a_few_supervisors_are_kept_including_the_newest() {
        let scene = EmulatedRustc::new();
        let mut last = None;
        for version in 0..KEPT_MAX + 3 {
            last = Some(scene.provide(&scene.good_compiler(&version.to_string())).expect("supervisor").path);
        }
        assert_eq!(newest_first(&scene.path("supervisors"), "").len(), KEPT_MAX);
        assert!(last.expect("some").exists());
    }

    #[test]
    fn every_file_of_the_supervisor_is_compiled() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("supervisor");
        let entries = std::fs::read_dir(directory).expect("directory");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        assert_eq!(names, SOURCES.map(|(name, _)| name));
    }
}
