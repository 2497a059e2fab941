//! The modules of a crate, as its sources declare them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::Item;

use super::attributes::{declared_path, is_for_tests_only};
use super::references::{Reference, References};

/// The path of a module: the name of its crate, then the names of the modules.
pub(super) type ModulePath = Vec<String>;

/// The sources that a check reads: files below a directory, or planted ones.
pub(super) trait Sources {
    /// Returns the text of a file, or `None` if there is no such file.
    fn read(&self, file: &Path) -> Option<String>;
}

/// The files of a directory.
pub(super) struct Files<'a>(pub(super) &'a Path);

impl Sources for Files<'_> {
    fn read(&self, file: &Path) -> Option<String> {
        std::fs::read_to_string(self.0.join(file)).ok()
    }
}

/// Files in memory, by their paths.
pub(super) struct Planted<'a>(pub(super) &'a [(&'a str, &'a str)]);

impl Sources for Planted<'_> {
    fn read(&self, file: &Path) -> Option<String> {
        self.0.iter().find(|(path, _)| Path::new(path) == file).map(|(_, text)| (*text).to_owned())
    }
}

/// An import of a module: `use a::b as name`.
pub(super) struct Import {
    pub(super) name: String,
    pub(super) target: Vec<String>,
}

/// A module without its code for tests.
#[derive(Default)]
pub(super) struct Module {
    pub(super) file: PathBuf,
    pub(super) items: BTreeSet<String>,
    pub(super) imports: Vec<Import>,
    pub(super) globs: Vec<Vec<String>>,
    pub(super) references: Vec<Reference>,
}

/// All modules of some crates.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) modules: BTreeMap<ModulePath, Module>,
}

impl Tree {
    /// Adds the crate with this name, whose root is this file. Panics where a module's file is missing or cannot be
    /// parsed, since a check that saw only a part of the sources would prove nothing.
    pub(super) fn add_crate(&mut self, sources: &dyn Sources, name: &str, root: &Path) {
        let directory = root.parent().expect("a file has a directory").to_owned();
        self.add_file(sources, vec![name.to_owned()], root.to_owned(), &directory);
    }

    pub(super) fn has_module(&self, path: &[String]) -> bool {
        self.modules.contains_key(path)
    }

    fn add_file(&mut self, sources: &dyn Sources, path: ModulePath, file: PathBuf, children: &Path) {
        let text = sources.read(&file).unwrap_or_else(|| panic!("{}: no such file", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        if !is_for_tests_only(&parsed.attrs) {
            self.add_items(sources, path, &file, &parsed.items, children);
        }
    }

    fn add_items(&mut self, sources: &dyn Sources, path: ModulePath, file: &Path, items: &[Item], children: &Path) {
        let mut found = References::default();
        let mut names = BTreeSet::new();
        for item in items {
            match item {
                Item::Mod(module) if is_for_tests_only(&module.attrs) => {}
                Item::Mod(module) => {
                    let name = module.ident.to_string();
                    let child = [path.as_slice(), std::slice::from_ref(&name)].concat();
                    match (&module.content, declared_path(&module.attrs)) {
                        (Some((_, items)), _) => {
                            self.add_items(sources, child, file, items, &children.join(&name));
                        }
                        (None, Some(declared)) => {
                            let file = file.parent().expect("a file has a directory").join(declared);
                            self.add_file(sources, child, file, &children.join(&name));
                        }
                        (None, None) => {
                            let below = children.join(&name);
                            let files = [children.join(format!("{name}.rs")), below.join("mod.rs")];
                            let found = files.into_iter().find(|file| sources.read(file).is_some());
                            let found = found.unwrap_or_else(|| panic!("{}: no file for `mod {name}`", file.display()));
                            self.add_file(sources, child, found, &below);
                        }
                    }
                }
                item => {
                    names.extend(name_of(item));
                    found.add(item);
                }
            }
        }
        let module = self.modules.entry(path).or_default();
        file.clone_into(&mut module.file);
        module.items.append(&mut names);
        module.imports.append(&mut found.imports);
        module.globs.append(&mut found.globs);
        module.references.append(&mut found.references);
    }
}

/// Returns the name that an item adds to its module, as far as other code can refer to it by a path.
pub(super) fn name_of(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Mod(item) => &item.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        _ => return None,
    };
    Some(name.to_string())
}
