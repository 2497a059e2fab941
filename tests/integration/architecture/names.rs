//! From a path in the code to the module that it names.

use super::tree::{ModulePath, Tree};

/// The most imports that are followed for one path: more are a circle of imports.
const IMPORTS: usize = 32;

/// The destination of a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) module: ModulePath,
    /// The item in that module, or `None` if the path names the module itself.
    pub(super) item: Option<String>,
}

impl Tree {
    /// Returns the destination of a path that the code of a module names, or `None` if it is in none of the crates.
    ///
    /// An import is followed where it stands in the module or above it. Elsewhere the module with the import is the
    /// destination: the code depends on that one, and its own dependencies are its own.
    pub(super) fn destination(&self, from: &[String], segments: &[String]) -> Option<Destination> {
        self.follow(from, from, segments, IMPORTS)
    }

    /// Returns the destination of a path in the scope of a module, of code in `from`.
    fn follow(&self, from: &[String], scope: &[String], segments: &[String], imports: usize) -> Option<Destination> {
        let (first, rest) = segments.split_first()?;
        match first.as_str() {
            "crate" => self.descend(from, scope[..1].to_vec(), rest, imports),
            "self" => self.descend(from, scope.to_vec(), rest, imports),
            "super" => {
                let parent = &scope[..scope.len() - 1];
                let supers = rest.iter().take_while(|segment| *segment == "super").count();
                let ancestor = parent.get(..parent.len().checked_sub(supers)?)?;
                self.descend(from, ancestor.to_vec(), &rest[supers..], imports)
            }
            // A variable, a generic parameter or an item of a prelude is none of these.
            name if self.defines(scope, name, imports > 1) => self.descend(from, scope.to_vec(), segments, imports),
            _ if rest.is_empty() => None,
            name => self.descend(from, self.crate_root(name)?, rest, imports),
        }
    }

    fn descend(
        &self,
        from: &[String],
        mut module: ModulePath,
        segments: &[String],
        imports: usize,
    ) -> Option<Destination> {
        for (position, name) in segments.iter().enumerate() {
            let child = [module.as_slice(), std::slice::from_ref(name)].concat();
            if self.has_module(&child) {
                module = child;
                continue;
            }
            let this = self.modules.get(&module)?;
            if from.starts_with(&module) && !this.items.contains(name) && imports > 0 {
                let rest = &segments[position + 1..];
                let named = this.imports.iter().filter(|import| import.name == *name).map(|import| &import.target);
                let globs = this.globs.iter().filter(|_| imports > 1);
                let through_globs = globs.map(|glob| [glob.as_slice(), std::slice::from_ref(name)].concat());
                let through_globs = through_globs.filter(|target| self.leads_to_an_item(&module, target));
                for target in named.cloned().chain(through_globs) {
                    let target = [target.as_slice(), rest].concat();
                    if let Some(destination) = self.follow(from, &module, &target, imports - 1) {
                        return Some(destination);
                    }
                }
            }
            return Some(Destination { module, item: Some(name.clone()) });
        }
        Some(Destination { module, item: None })
    }

    /// Returns true if a module declares a name, imports it, or, if those count, has it from a glob import.
    fn defines(&self, module: &[String], name: &str, globs_count: bool) -> bool {
        let child = [module, &[name.to_owned()]].concat();
        self.has_module(&child)
            || self.modules.get(module).is_some_and(|this| {
                this.items.contains(name)
                    || this.imports.iter().any(|import| import.name == name && import.target[0] != name)
                    || globs_count
                        && this
                            .globs
                            .iter()
                            .any(|glob| self.leads_to_an_item(module, &[glob.as_slice(), &[name.to_owned()]].concat()))
            })
    }

    /// Returns true if the last segment of a path is a name of the module that the others name. Globs are not followed
    /// on the way, so that modules that import each other's names end.
    fn leads_to_an_item(&self, scope: &[String], path: &[String]) -> bool {
        let Some((name, module)) = path.split_last() else { return false };
        if module.is_empty() || module == ["self"] {
            return false;
        }
        let Some(Destination { module, item: None }) = self.follow(scope, scope, module, 1) else { return false };
        self.modules
            .get(&module)
            .is_some_and(|there| there.items.contains(name) || there.imports.iter().any(|import| import.name == *name))
            || self.has_module(&[module.as_slice(), std::slice::from_ref(name)].concat())
    }

    /// Returns the path in this library that a path in the code of a module names, as the code writes it: nothing that
    /// the library imports is followed.
    pub(super) fn path_in(&self, library: &str, from: &[String], segments: &[String]) -> Option<Vec<String>> {
        self.written(library, from, segments, IMPORTS)
    }

    fn written(&self, library: &str, scope: &[String], segments: &[String], imports: usize) -> Option<Vec<String>> {
        let (first, rest) = segments.split_first()?;
        match first.as_str() {
            "crate" => self.written_below(library, &scope[..1], rest, imports),
            "self" => self.written_below(library, scope, rest, imports),
            name if name == library && !self.defines(scope, name, false) => (!rest.is_empty()).then(|| rest.to_vec()),
            _ => self.written_below(library, scope, segments, imports),
        }
    }

    fn written_below(
        &self,
        library: &str,
        scope: &[String],
        segments: &[String],
        imports: usize,
    ) -> Option<Vec<String>> {
        let imports = imports.checked_sub(1)?;
        let (first, rest) = segments.split_first()?;
        if first == "super" {
            return self.written_below(library, scope.split_last()?.1, rest, imports);
        }
        let child = [scope, std::slice::from_ref(first)].concat();
        if self.has_module(&child) {
            return self.written_below(library, &child, rest, imports);
        }
        let module = self.modules.get(scope)?;
        if let Some(import) = module.imports.iter().find(|import| import.name == *first) {
            return self.written(library, scope, &[import.target.as_slice(), rest].concat(), imports);
        }
        module.globs.iter().find_map(|glob| match self.follow(scope, scope, glob, 1)? {
            Destination { module, item: None } if module != scope => {
                self.written_below(library, &module, segments, imports)
            }
            _ => None,
        })
    }

    fn crate_root(&self, name: &str) -> Option<ModulePath> {
        let root = vec![name.to_owned()];
        self.has_module(&root).then_some(root)
    }
}
