//! The structure of the sources: no circles between sibling modules, a pool that depends on nothing, a public surface
//! of listed names that users take, and ARCHITECTURE.md as the sources are.
//!
//! - `tree`: the modules of a crate, from files or planted. `attributes`: the code that does not count.
//! - `references`: the paths that code names. `names`: the modules that they lead to.
//! - `circles`: circles between siblings. `pool`: edges out of the pool. `surface`: the names in a `lib.rs`.
//! - `page`: ARCHITECTURE.md.
//! - `planted`: trees with one fault each.

mod attributes;
mod circles;
mod names;
mod page;
mod planted;
mod pool;
mod references;
mod surface;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use surface::Surface;
use tree::{Files, Tree};

/// The crates that are checked: their names in paths, and their roots.
const CRATES: [(&str, &str); 7] = [
    ("kina_engine", "kina-engine/src/lib.rs"),
    ("kina", "kina-test/src/lib.rs"),
    ("kina_test_macros", "kina-test-macros/src/lib.rs"),
    ("cargo_kina", "cargo-kina/src/lib.rs"),
    ("program", "cargo-kina/src/main.rs"),
    ("kina_lab", "kina-lab/src/main.rs"),
    ("kina_supervisor", "kina-engine/supervisor/main.rs"),
];
/// Those for which the engine has its public surface: the others take names of its module `lab` as well.
const USERS: [&str; 4] = ["kina", "kina_test_macros", "cargo_kina", "program"];

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    std::fs::read_to_string(repository().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md")
}

/// All of them, which takes a second or two to read.
static TREE: LazyLock<Tree> = LazyLock::new(|| {
    let mut tree = Tree::default();
    for (name, root) in CRATES.into_iter().filter(|(_, root)| repository().join(root).exists()) {
        tree.add_crate(&Files(&repository()), name, Path::new(root));
    }
    tree
});

fn expect_none(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn siblings_do_not_depend_on_each_other_in_circles() {
    let circles: Vec<String> = TREE.circles().iter().map(ToString::to_string).collect();
    expect_none(&circles);
}

#[test]
fn the_pool_depends_on_nothing() {
    assert!(TREE.has_module(&["kina_engine", "pool"].map(str::to_owned)), "there is no pool");
    expect_none(&pool::edges_out(&TREE));
}

#[test]
fn the_engine_shows_the_names_that_its_users_take_and_no_other() {
    let surface = Surface::read(&TREE, &Files(&repository()), "kina_engine", Path::new("kina-engine/src/lib.rs"));
    expect_none(&surface.problems(&USERS));
}

#[test]
fn the_architecture_page_answers_ten_questions() {
    expect_none(&page::unanswered(&page(), &Files(&repository())));
}

#[test]
fn the_architecture_page_names_modules_that_exist() {
    expect_none(&page::missing_modules(&page(), &TREE, &Files(&repository())));
}
