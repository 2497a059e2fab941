//! Planted trees with one fault each: the checks find it, and print its path.

use std::path::Path;

use super::surface::Surface;
use super::tree::{Planted, Tree};
use super::{page, pool};

/// The engine's library alone, with these files.
fn engine(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::default();
    tree.add_crate(&Planted(files), "kina_engine", Path::new("src/lib.rs"));
    tree
}

#[track_caller]
fn expect_circle(files: &[(&str, &str)], expected: &str) {
    let circles: Vec<String> = engine(files).circles().iter().map(ToString::to_string).collect();
    assert_eq!(circles, [expected]);
}

#[test]
fn a_circle_by_use() {
    expect_circle(
        &[
            ("src/lib.rs", "mod daemon;\nmod provider;\nmod rewind;\n"),
            ("src/daemon.rs", "use crate::provider::Provider;\n\nfn start(_: Provider) {}\n"),
            ("src/provider.rs", "pub struct Provider;\n\nuse crate::rewind::plan::{self, Plan};\n"),
            ("src/rewind/mod.rs", "pub mod plan;\n"),
            ("src/rewind/plan.rs", "pub struct Plan;\n\n\nuse super::super::daemon;\n"),
        ],
        "a circle in kina_engine of daemon, provider, rewind:\n    \
         kina_engine::daemon -> kina_engine::provider (src/daemon.rs:1: `crate::provider::Provider`)\n    \
         kina_engine::provider -> kina_engine::rewind::plan (src/provider.rs:3: `crate::rewind::plan`)\n    \
         kina_engine::rewind::plan -> kina_engine::daemon (src/rewind/plan.rs:4: `super::super::daemon`)",
    );
}

#[test]
fn a_circle_by_an_inline_path() {
    expect_circle(
        &[
            ("src/lib.rs", "mod client { pub mod lease; pub mod starter; }\n"),
            ("src/client/lease.rs", "pub struct Lease;\n\nfn f() { super::starter::start(); }\n"),
            ("src/client/starter.rs", "pub fn start() {\n    let _: Option<crate::client::lease::Lease> = None;\n}\n"),
        ],
        "a circle in kina_engine::client of lease, starter:\n    \
         kina_engine::client::lease -> kina_engine::client::starter (src/client/lease.rs:3: `super::starter::start`)\n    \
         kina_engine::client::starter -> kina_engine::client::lease (src/client/starter.rs:2: `crate::client::lease::Lease`)",
    );
}

#[test]
fn a_circle_by_a_path_in_a_macro() {
    expect_circle(
        &[
            ("src/lib.rs", "mod a; mod b;\n"),
            ("src/a.rs", "pub const NAME: &str = \"a\";\nuse crate::b;\n"),
            ("src/b.rs", "fn f() {\n    println!(\"{}\", crate::a::NAME);\n}\n"),
        ],
        "a circle in kina_engine of a, b:\n    \
         kina_engine::a -> kina_engine::b (src/a.rs:2: `crate::b`)\n    \
         kina_engine::b -> kina_engine::a (src/b.rs:2: `crate::a::NAME`)",
    );
}

#[test]
fn a_circle_through_names_of_the_parent() {
    expect_circle(
        &[
            ("src/lib.rs", "mod a; mod b;\npub use a::A;\nuse b::B as Other;\n"),
            ("src/a.rs", "pub struct A;\nuse crate::Other;\n"),
            ("src/b.rs", "pub struct B;\nuse super::*;\nfn f() -> A { A }\n"),
        ],
        "a circle in kina_engine of a, b:\n    \
         kina_engine::a -> kina_engine::b (src/a.rs:2: `crate::Other`)\n    \
         kina_engine::b -> kina_engine::a (src/b.rs:3: `A`)",
    );
}

#[test]
fn no_circle() {
    let tree = engine(&[
        ("src/lib.rs", "mod a; mod b; #[cfg(test)] mod tests;\n"),
        // Code for tests, another crate and a variable of a module's name are no edges.
        ("src/a.rs", "#[cfg(test)]\nmod tests { use crate::b::B; }\nuse b::B as Of;\nfn f() { let b = 1; g(b); }\n"),
        (
            "src/b.rs",
            "pub struct B;\nuse crate::a;\n#[cfg(all(test, unix))]\nfn f() {}\nuse std::fmt;\nuse fmt::a::b;\n",
        ),
    ]);
    let circles: Vec<String> = tree.circles().iter().map(ToString::to_string).collect();
    assert!(circles.is_empty(), "{circles:?}");
    assert_eq!(tree.edges().len(), 1, "the one of `b` to `a`");
}

#[test]
fn an_edge_out_of_the_pool() {
    let tree = engine(&[
        ("src/lib.rs", "mod paths; mod pool;\n"),
        ("src/paths.rs", "pub struct Paths;\n"),
        ("src/pool/mod.rs", "mod slot;\nuse std::time::Duration;\nuse slot::Slot;\n"),
        ("src/pool/slot.rs", "pub struct Slot;\nfn f() -> crate::paths::Paths { loop {} }\n"),
    ]);
    let expected = "an edge out of the pool:\n    kina_engine::pool::slot -> kina_engine::paths (src/pool/slot.rs:2: \
                    `crate::paths::Paths`)";
    assert_eq!(pool::edges_out(&tree), [expected]);
}

/// The problems of a `lib.rs` with one user, beside files of modules that it may declare.
fn surface(library: &'static str, user: &'static str) -> Vec<String> {
    let files = [
        ("engine/lib.rs", library),
        ("engine/client.rs", "pub mod starter { pub struct Starter; }\npub struct Lease;\npub struct News;\n"),
        ("engine/news.rs", "pub struct News;\n"),
        ("engine/lab.rs", "pub mod pool { pub struct Pool; }\n"),
        ("user/lib.rs", user),
    ];
    let mut tree = Tree::default();
    tree.add_crate(&Planted(&files), "kina_engine", Path::new("engine/lib.rs"));
    tree.add_crate(&Planted(&files), "kina", Path::new("user/lib.rs"));
    Surface::read(&tree, &Planted(&files), "kina_engine", Path::new("engine/lib.rs")).problems(&["kina"])
}

#[test]
fn an_unused_entry_of_lib_rs() {
    let library =
        "mod client;\npub use client::{Lease, News};\npub mod paths {\n    pub use crate::client::Lease as Paths;\n}\n";
    let user =
        "mod a { use kina_engine::paths; fn f() { paths::Paths::new(); super::Lease; } }\nuse kina_engine::Lease;\n";
    assert_eq!(surface(library, user), ["engine/lib.rs:2: `kina_engine::News` is listed, but no user takes it"]);
    let test = "#[cfg(test)]\nmod tests { use kina_engine::{News, paths::Paths}; }\nuse kina_engine::Lease;\n";
    assert_eq!(surface(library, test).len(), 2, "a test is no user");
}

#[test]
fn an_unused_entry_under_another_name_or_of_one_feature() {
    let library = "mod client;\npub use client::{\n    Lease,\n    News as ClientNews,\n};\n\
                   pub mod doctor {\n    #[cfg(feature = \"engine\")]\n    pub use crate::client::News;\n}\n";
    // Neither a name that it does not have outside nor the module of an entry is a use of the entry.
    assert_eq!(
        surface(library, "use kina_engine::doctor;\nuse kina_engine::Lease;\nfn f() { kina_engine::News; }\n"),
        [
            "user/lib.rs:3: kina takes `kina_engine::News`, which engine/lib.rs does not list",
            "engine/lib.rs:4: `kina_engine::ClientNews` is listed, but no user takes it",
            "engine/lib.rs:8: `kina_engine::doctor::News` is listed, but no user takes it",
        ]
    );
}

#[test]
fn a_name_from_elsewhere_than_the_surface() {
    let library = "mod client;\npub use client::Lease;\n#[doc(hidden)]\npub mod lab;\n";
    let user = "use kina_engine::Lease;\nfn f() {\n    kina_engine::lab::pool::Pool::new();\n}\n";
    let expected = "user/lib.rs:3: kina takes `kina_engine::lab::pool::Pool::new`, which engine/lib.rs does not list";
    assert_eq!(surface(library, user), [expected]);
}

#[test]
fn a_public_module_of_lib_rs_without_a_list_of_its_names() {
    let library = "pub mod client;\npub mod news;\npub use news::*;\n";
    assert_eq!(
        surface(library, "use kina_engine::client::Lease;\n"),
        [
            "engine/lib.rs:1: all names of `kina_engine::client` would be public: list them",
            "engine/lib.rs:2: all names of `kina_engine::news` would be public: list them",
            "engine/lib.rs:3: all names of a module would be public: list them",
            "engine/lib.rs:2: `kina_engine::news` is listed, but no user takes it",
        ]
    );
}

#[test]
fn a_module_made_public_by_use_and_names_made_by_a_macro() {
    let library = "mod client;\npub mod parts {\n    pub use crate::client::starter as begin;\n}\n\
                   macro_rules! private { () => {} }\nprivate!();\n#[macro_export]\nmacro_rules! public { () => {} }\n";
    assert_eq!(
        surface(library, "use kina_engine::parts::begin::Starter;\n"),
        [
            "engine/lib.rs:3: all names of `kina_engine::parts::begin` would be public: list them",
            "engine/lib.rs:6: a macro could make any name public: list them",
            "engine/lib.rs:8: `kina_engine::public` is listed, but no user takes it",
        ]
    );
}

#[test]
fn a_question_without_an_answer() {
    let files = [("a.rs", "pub enum Names { One }\nimpl Default for Names { fn default() -> Self { Self::One } }\n")];
    let page = "| add a provider | `a.rs` | `Names` |\n| add a command | `a.rs` | `Names::default` |\n\
                | add a metric | `a.rs` | `Metrics` |\n| add a Kubernetes minor | `b.rs` | `Names` |\n";
    let unanswered = page::unanswered(page, &Planted(&files));
    assert_eq!(unanswered.len(), 8, "{unanswered:#?}");
    assert_eq!(unanswered[0], "ARCHITECTURE.md: \"add a Kubernetes minor\" names a file that does not exist");
    assert_eq!(unanswered[1], "ARCHITECTURE.md: \"add a kind of argument\" has no row");
    let metric = "ARCHITECTURE.md: \"add a metric\" names an item that its file does not define";
    assert!(unanswered.iter().any(|problem| problem == metric), "{unanswered:#?}");
}

#[test]
fn a_module_that_does_not_exist() {
    let tree = engine(&[("src/lib.rs", "mod pool { mod queue {} }\n")]);
    let page = "\n## Code map\n#### `pool`\n`queue` is the order, `slots` holds `String`s. See `pool::queue`, `pool::slots`.\n\
                #### `poll`\n## Errors\n`there` is none.\n";
    let missing = page::missing_modules(page, &tree, &Planted(&[]));
    let words: Vec<&str> = missing.iter().filter_map(|problem| problem.split('`').nth(1)).collect();
    assert_eq!(words, ["slots", "pool::slots", "poll"]);
}
