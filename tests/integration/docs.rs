//! The documentation: the targets of its links are there, its pages are in the book, and its programs are compiled.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Links out of the book, whose pages are published without the rest of the repository.
const REPOSITORY_PREFIXES: [&str; 2] =
    ["https://github.com/kina-rs/kina/blob/main/", "https://github.com/kina-rs/kina/tree/main/"];

const README_LINES_MAX: usize = 120;
/// Each reader of the README downloads all of them.
const PICTURES_BYTES_MAX: u64 = 300_000;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All pages, by path.
fn pages() -> Vec<(PathBuf, String)> {
    let names = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "kina-test/README.md",
        "kina-engine/README.md",
        "cargo-kina/README.md",
    ];
    let mut paths: Vec<PathBuf> = names.iter().map(|name| root().join(name)).collect();
    let mut directories = vec![root().join("docs")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                paths.push(path);
            }
        }
    }
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("readable");
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// A page without its fenced blocks.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The anchors of a page's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).lines().filter(|line| line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    let anchor = |heading: &String| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|character| character.is_alphanumeric() || " -_".contains(*character));
        kept.map(|character| if character == ' ' { '-' } else { character }).collect()
    };
    headings.iter().map(anchor).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    let mut count = 0;
    for (page, text) in pages() {
        let prose = prose(&text);
        let links = |opening: &'static str, closing: char| {
            prose.split(opening).skip(1).filter_map(move |rest| Some(rest.split_once(closing)?.0))
        };
        let targets = links("](", ')').chain(links("src=\"", '"')).chain(links("srcset=\"", '"'));
        for target in targets {
            let inside = REPOSITORY_PREFIXES.iter().find_map(|prefix| target.strip_prefix(prefix));
            if inside.is_none() && target.contains("://") {
                continue;
            }
            count += 1;
            let path = inside.unwrap_or(target);
            let (file, anchor) = path.split_once('#').map_or((path, None), |(file, anchor)| (file, Some(anchor)));
            let file = match inside {
                Some(_) => root().join(file),
                None if file.is_empty() => page.clone(),
                None => page.parent().expect("a parent").join(file),
            };
            let has_anchor = |name| std::fs::read_to_string(&file).is_ok_and(|text| anchors(&text).contains(name));
            if !file.exists() || anchor.is_some_and(|name| !has_anchor(name)) {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(30 < count, "the pages have links: {count}");
    assert_eq!(broken, [""; 0]);
}

#[test]
fn the_readme_is_short_and_its_pictures_are_small() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("readable");
    assert!(readme.lines().count() <= README_LINES_MAX, "move what only some readers need to docs/");
    let entries = std::fs::read_dir(root().join("docs/pictures")).expect("a directory");
    let pictures: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "svg" || extension == "png"))
        .collect();
    assert!(!pictures.is_empty(), "there are pictures");
    let bytes: u64 = pictures.iter().map(|path| std::fs::metadata(path).expect("a file").len()).sum();
    assert!(bytes <= PICTURES_BYTES_MAX, "{pictures:?} have {bytes} bytes");
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let summary = std::fs::read_to_string(root().join("docs/SUMMARY.md")).expect("readable");
    let missing: Vec<_> = pages()
        .into_iter()
        .filter_map(|(page, _)| Some(page.strip_prefix(root().join("docs")).ok()?.display().to_string()))
        .filter(|page| page != "SUMMARY.md" && !summary.contains(&format!("]({page})")))
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn no_page_of_the_book_links_to_a_file_outside_of_it() {
    for (page, text) in pages() {
        let Ok(inside) = page.strip_prefix(root().join("docs")) else { continue };
        let depth = inside.components().count() - 1;
        let outside = format!("]({}", "../".repeat(depth + 1));
        assert!(!prose(&text).contains(&outside), "{}: link by {}", inside.display(), REPOSITORY_PREFIXES[0]);
    }
}

#[test]
fn every_test_that_the_page_on_security_names_is_there() {
    let page = std::fs::read_to_string(root().join("SECURITY.md")).expect("readable");
    assert!(page.lines().count() <= 120, "the page is short");
    let mut sources = String::new();
    let mut directories: Vec<_> =
        ["tests", "kina-engine", "cargo-kina", "kina-lab"].iter().map(|name| root().join(name)).collect();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push_str(&std::fs::read_to_string(&path).expect("readable"));
            }
        }
    }
    let is_test_name = |name: &&str| {
        1 < name.matches('_').count() && name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
    };
    let names: BTreeSet<_> = page.split('`').skip(1).step_by(2).filter(is_test_name).collect();
    let missing: Vec<_> = names.iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert!(20 < names.len() && missing.is_empty(), "{} tests, without {missing:?}", names.len());
}

#[test]
fn every_program_in_the_documentation_is_compiled() {
    let compiled = std::fs::read_to_string(root().join("src/lib.rs")).expect("readable");
    for (page, text) in pages() {
        let Ok(page) = page.strip_prefix(root().join("docs")) else { continue };
        let is_program = |line: &str| line.starts_with("```rust") && !line.contains("ignore");
        if text.lines().any(is_program) {
            let included = format!("include_str!(\"../docs/{}\")", page.display());
            assert!(compiled.contains(&included), "src/lib.rs has no {included}");
        }
    }
}
