//! The version of an engine depends on what it is made of, and on nothing else.

#[allow(dead_code, reason = "cargo calls `main` of the build script")]
#[path = "../../build.rs"]
mod build;

use std::fs;
use std::path::Path;

const SOURCE: &str = "src/pool/mod.rs";

/// Returns the hash of the package in `root`.
fn hash(root: &Path) -> u32 {
    build::hash(root, &build::sources(root).expect("listed")).expect("read")
}

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().expect("a directory")).expect("made");
    fs::write(path, text).expect("written");
}

#[test]
fn it_is_that_of_this_package() {
    let own = format!("+{:08x}", hash(Path::new(env!("CARGO_MANIFEST_DIR"))));
    assert!(kina_engine::VERSION.ends_with(&own), "{own} {}", kina_engine::VERSION);
}

#[test]
fn only_a_source_of_the_engine_changes_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let package = directory.path().join("kina-engine");
    let beside = [
        "tests/library/main.rs",
        "benches/pool.rs",
        "src/pool/tests.rs",
        "src/pool/tests/model.rs",
        "src/pool/machine_tests.rs",
        "../kina-lab/src/main.rs",
        "../cargo-kina/src/main.rs",
        "../tests/pool.rs",
    ];
    let sources = [SOURCE, "src/provider/simulation.yaml", "supervisor/main.rs"];
    for name in beside.iter().chain(&sources) {
        write(&package, name, "// one line\n");
    }
    let before = hash(&package);
    for name in beside {
        write(&package, name, "// one line\n// another\n");
        assert_eq!(hash(&package), before, "{name}");
    }
    for name in sources {
        write(&package, name, "// one line\n// another\n");
        assert_ne!(hash(&package), before, "{name}");
        write(&package, name, "// one line\n");
    }
    fs::rename(package.join(SOURCE), package.join("src/pool/other.rs")).expect("renamed");
    assert_ne!(hash(&package), before, "another name");
}
