//! ARCHITECTURE.md against the sources.

use std::collections::BTreeSet;
use std::path::Path;

use syn::{ImplItem, Item, TraitItem};

use super::tree::{Sources, Tree, name_of};

/// The questions of a newcomer, as the first column of the table has them.
const QUESTIONS: [&str; 10] = [
    "add a provider",
    "add a Kubernetes minor",
    "add a kind of argument",
    "add a key that API servers own",
    "add a source of binaries",
    "add a command",
    "add a metric",
    "add a fault to the emulator",
    "change how long an idle cluster lives",
    "change a timeout of the test's client",
];

/// Words that stand before a verb and name no module, but functions, options and programs.
const NO_MODULES: [&str; 9] =
    ["apply_fixtures", "close", "container", "cut", "delay", "drop", "restore", "start", "strict"];

/// Returns the questions that the page does not answer with an item that the file beside it defines.
pub(super) fn unanswered(page: &str, sources: &dyn Sources) -> Vec<String> {
    let rows: Vec<Vec<&str>> = page.lines().filter(|line| line.starts_with("| ")).map(cells).collect();
    let answer = |question: &str| {
        let row = rows.iter().find(|row| row.first() == Some(&question)).ok_or("has no row")?;
        let [_, file, item] = row.as_slice() else { return Err("needs one file and one item") };
        let (file, item) = (file.trim_matches('`'), item.trim_matches('`'));
        let text = sources.read(Path::new(file)).ok_or("names a file that does not exist")?;
        let parsed = syn::parse_file(&text).map_err(|_| "names a file that is no Rust")?;
        if defines(&parsed.items, item) { Ok(()) } else { Err("names an item that its file does not define") }
    };
    let unanswered = QUESTIONS.into_iter().filter_map(|question| Some((question, answer(question).err()?)));
    unanswered.map(|(question, problem)| format!("ARCHITECTURE.md: \"{question}\" {problem}")).collect()
}

/// Returns the modules that the page names and the sources do not have: in the headings of the code map, before a verb,
/// and in every path of two words.
pub(super) fn missing_modules(page: &str, tree: &Tree, sources: &dyn Sources) -> Vec<String> {
    let (_, map) = page.split_once("\n## Code map\n").expect("ARCHITECTURE.md has a code map");
    let map = map.split("\n## ").next().unwrap_or_default();
    let names: BTreeSet<&str> = tree.modules.keys().flatten().map(String::as_str).collect();
    let has_module = |named: &str| {
        let named: Vec<&str> = named.split("::").collect();
        tree.modules.keys().any(|path| path.len() >= named.len() && path[path.len() - named.len()..] == named)
    };
    let mut missing = Vec::new();
    for line in map.lines() {
        for (word, rest) in words(line) {
            let is_wrong = match () {
                () if line.starts_with('#') => {
                    let is_place = ["Cargo.toml", "main.rs"].map(|file| sources.read(&Path::new(word).join(file)));
                    !has_module(word) && is_place.iter().all(Option::is_none)
                }
                () if !is_module_path(word) => false,
                () if word.contains("::") => !has_module(word) && !names_an_item(tree, word),
                () => comes_before_a_verb(rest) && !names.contains(word) && !NO_MODULES.contains(&word),
            };
            if is_wrong {
                missing.push(format!("ARCHITECTURE.md: there is no module `{word}`, in: {line}"));
            }
        }
    }
    missing
}

fn cells(row: &str) -> Vec<&str> {
    row.trim().trim_matches('|').split('|').map(str::trim).collect()
}

/// Returns true if a file defines an item: `name`, or `Type::name` for one of an `impl`, a trait or an enum.
fn defines(items: &[Item], wanted: &str) -> bool {
    let (owner, wanted) = wanted.split_once("::").map_or((None, wanted), |(owner, name)| (Some(owner), name));
    items.iter().any(|item| match (owner, item) {
        (_, Item::Mod(module)) => module.content.as_ref().is_some_and(|(_, items)| {
            defines(items, &owner.map_or_else(|| wanted.to_owned(), |owner| format!("{owner}::{wanted}")))
        }),
        (None, item) => name_of(item).is_some_and(|name| name == wanted),
        (Some(owner), Item::Impl(item)) => {
            let is_of_owner = matches!(&*item.self_ty, syn::Type::Path(path)
                if path.path.segments.last().is_some_and(|segment| segment.ident == owner));
            is_of_owner
                && item.items.iter().any(|item| match item {
                    ImplItem::Const(item) => item.ident == wanted,
                    ImplItem::Fn(item) => item.sig.ident == wanted,
                    _ => false,
                })
        }
        (Some(owner), Item::Trait(item)) => {
            item.ident == owner
                && item.items.iter().any(|item| matches!(item, TraitItem::Fn(item) if item.sig.ident == wanted))
        }
        (Some(owner), Item::Enum(item)) => {
            item.ident == owner && item.variants.iter().any(|variant| variant.ident == wanted)
        }
        _ => false,
    })
}

/// Returns the words in backticks, each with the text after it.
fn words(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = line;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once('`')?;
        let (word, after) = after.split_once('`')?;
        rest = after;
        Some((word, after))
    })
}

fn is_module_path(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|letter| letter.is_ascii_lowercase() || "_:".contains(letter))
}

/// Returns true if the word after is a verb in the third person: "`plan` is", "`find` locates".
fn comes_before_a_verb(rest: &str) -> bool {
    let next = rest.strip_prefix(' ').unwrap_or_default();
    let next: String = next.chars().take_while(char::is_ascii_lowercase).collect();
    next.len() > 1 && next.ends_with('s') && !["as", "its", "less", "always"].contains(&next.as_str())
}

fn names_an_item(tree: &Tree, path: &str) -> bool {
    let Some((module, item)) = path.rsplit_once("::") else { return false };
    let module: Vec<&str> = module.split("::").collect();
    tree.modules.iter().any(|(path, there)| {
        path.len() >= module.len() && path[path.len() - module.len()..] == module && {
            there.items.contains(item) || there.imports.iter().any(|import| import.name == item)
        }
    })
}
