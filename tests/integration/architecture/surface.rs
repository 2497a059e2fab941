//! The public surface of a library: the names that its `lib.rs` lists, and their use.

use std::collections::BTreeMap;
use std::path::Path;

use syn::{Ident, Item, ItemMod, UseTree, Visibility};

use super::attributes::{is_exported, is_for_tests_only, is_hidden};
use super::names::Destination;
use super::tree::{Sources, Tree};

/// The names that a `lib.rs` lists.
pub(super) struct Surface<'a> {
    tree: &'a Tree,
    library: &'static str,
    root: String,
    /// Each path of a name, with its line.
    entries: BTreeMap<Vec<String>, usize>,
    /// The lines that make something public without listing names.
    unlisted: Vec<String>,
}

impl<'a> Surface<'a> {
    /// Reads the `lib.rs` of this library of the tree. The module that is hidden from the documentation is no part of the
    /// surface.
    pub(super) fn read(tree: &'a Tree, sources: &dyn Sources, library: &'static str, file: &Path) -> Self {
        let text = sources.read(file).unwrap_or_else(|| panic!("{}: no such file", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let root = file.display().to_string();
        let mut surface = Self { tree, library, root, entries: BTreeMap::new(), unlisted: Vec::new() };
        surface.add_items(&[], &parsed.items);
        surface
    }

    /// Returns what is wrong with the surface, and with its use by these crates of the tree.
    pub(super) fn problems(&self, users: &[&str]) -> Vec<String> {
        let mut problems = self.unlisted.clone();
        let mut unused = self.entries.clone();
        for (from, module) in self.tree.modules.iter().filter(|(path, _)| users.contains(&path[0].as_str())) {
            for reference in &module.references {
                let Some(path) = self.tree.path_in(self.library, from, &reference.segments) else { continue };
                unused.retain(|entry, _| !path.starts_with(entry));
                let is_listed = self.entries.keys().any(|entry| path.starts_with(entry) || entry.starts_with(&path));
                if !is_listed {
                    let (place, library, path) = (module.file.display(), self.library, path.join("::"));
                    problems.push(format!(
                        "{place}:{}: {} takes `{library}::{path}`, which {} does not list",
                        reference.line,
                        from.join("::"),
                        self.root
                    ));
                }
            }
        }
        problems.extend(unused.iter().map(|(entry, line)| {
            format!("{}:{line}: `{}::{}` is listed, but no user takes it", self.root, self.library, entry.join("::"))
        }));
        problems
    }

    fn add_items(&mut self, prefix: &[String], items: &[Item]) {
        let is_shown =
            |module: &ItemMod| is_public(&module.vis) && !is_hidden(&module.attrs) && !is_for_tests_only(&module.attrs);
        for item in items {
            match item {
                Item::Use(item) if is_public(&item.vis) => self.add_use(prefix, &mut Vec::new(), &item.tree),
                Item::Mod(module) if is_shown(module) => match &module.content {
                    Some((_, items)) => self.add_items(&[prefix, &[module.ident.to_string()]].concat(), items),
                    None => self.add_whole(prefix, &module.ident),
                },
                Item::ExternCrate(item) if is_public(&item.vis) => self.add_whole(prefix, &item.ident),
                // Nothing but the compiler sees the names in its expansion.
                Item::Macro(item) if item.ident.is_none() => {
                    let line = item.mac.path.segments.first().map_or(0, |segment| segment.ident.span().start().line);
                    self.add_unlisted(line, "a macro could make any name public");
                }
                item => public_name(item).into_iter().for_each(|name| self.add(prefix, name)),
            }
        }
    }

    /// Adds the names of a `pub use` in the module `prefix`, after these segments.
    fn add_use(&mut self, prefix: &[String], segments: &mut Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                segments.push(path.ident.to_string());
                self.add_use(prefix, segments, &path.tree);
                segments.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_use(prefix, segments, tree)),
            UseTree::Name(name) => self.add_imported(prefix, segments, &name.ident, &name.ident),
            UseTree::Rename(rename) => self.add_imported(prefix, segments, &rename.ident, &rename.rename),
            UseTree::Glob(glob) => {
                let line = glob.star_token.spans[0].start().line;
                self.add_unlisted(line, "all names of a module would be public");
            }
        }
    }

    fn add_imported(&mut self, prefix: &[String], segments: &[String], imported: &Ident, name: &Ident) {
        let scope = [&[self.library.to_owned()], prefix].concat();
        let mut target = segments.to_vec();
        target.extend((imported != "self").then(|| imported.to_string()));
        match self.tree.destination(&scope, &target) {
            Some(Destination { item: None, .. }) => self.add_whole(prefix, name),
            _ => self.add(prefix, name),
        }
    }

    /// Adds a module or a crate as a whole: it is public with names that `lib.rs` does not list.
    fn add_whole(&mut self, prefix: &[String], name: &Ident) {
        let path = [&[self.library.to_owned()], prefix, &[name.to_string()]].concat().join("::");
        self.add_unlisted(name.span().start().line, &format!("all names of `{path}` would be public"));
        self.add(prefix, name);
    }

    fn add_unlisted(&mut self, line: usize, fault: &str) {
        self.unlisted.push(format!("{}:{line}: {fault}: list them", self.root));
    }

    fn add(&mut self, prefix: &[String], name: &Ident) {
        self.entries.insert([prefix, &[name.to_string()]].concat(), name.span().start().line);
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Returns the name of an item that is public by itself.
fn public_name(item: &Item) -> Option<&Ident> {
    let (visibility, name) = match item {
        Item::Macro(item) => return item.ident.as_ref().filter(|_| is_exported(&item.attrs)),
        Item::Const(item) => (&item.vis, &item.ident),
        Item::Enum(item) => (&item.vis, &item.ident),
        Item::Fn(item) => (&item.vis, &item.sig.ident),
        Item::Static(item) => (&item.vis, &item.ident),
        Item::Struct(item) => (&item.vis, &item.ident),
        Item::Trait(item) => (&item.vis, &item.ident),
        Item::Type(item) => (&item.vis, &item.ident),
        Item::Union(item) => (&item.vis, &item.ident),
        _ => return None,
    };
    is_public(visibility).then_some(name)
}
