//! The pool, which knows nothing of the rest.

use super::tree::Tree;

/// Returns the edges out of the module `pool` of the engine. One to what contains it is one, too.
pub(super) fn edges_out(tree: &Tree) -> Vec<String> {
    let is_pool = |path: &[String]| path.starts_with(&["kina_engine", "pool"].map(str::to_owned));
    let mut edges = Vec::new();
    for (from, module) in tree.modules.iter().filter(|(path, _)| is_pool(path)) {
        for reference in &module.references {
            let Some(destination) = tree.destination(from, &reference.segments) else { continue };
            if !is_pool(&destination.module) {
                let (from, to, file) = (from.join("::"), destination.module.join("::"), module.file.display());
                let named = reference.segments.join("::");
                edges.push(format!(
                    "an edge out of the pool:\n    {from} -> {to} ({file}:{}: `{named}`)",
                    reference.line
                ));
            }
        }
    }
    edges
}
