//! Circles between sibling modules.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use super::tree::{ModulePath, Tree};

/// A place at which the code below one sibling names something below another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) from: ModulePath,
    pub(super) to: ModulePath,
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) named: String,
}

impl fmt::Display for Edge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Edge { from, to, file, line, named } = self;
        write!(formatter, "{} -> {} ({file}:{line}: `{named}`)", from.join("::"), to.join("::"))
    }
}

/// The edges between the children of each module, the first place of each.
pub(super) type Siblings = BTreeMap<ModulePath, BTreeMap<(String, String), Edge>>;

impl Tree {
    /// Returns every edge between modules of the tree, in the order of the modules and their lines. One between a
    /// module and the one that contains it is none.
    pub(super) fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        for (from, module) in &self.modules {
            for reference in &module.references {
                let Some(destination) = self.destination(from, &reference.segments) else { continue };
                if !from.starts_with(&destination.module) && !destination.module.starts_with(from) {
                    edges.push(Edge {
                        from: from.clone(),
                        to: destination.module,
                        file: module.file.display().to_string(),
                        line: reference.line,
                        named: reference.segments.join("::"),
                    });
                }
            }
        }
        edges
    }

    /// Returns the edges, each at the level where its two paths part.
    pub(super) fn siblings(&self) -> Siblings {
        let mut siblings = Siblings::new();
        for edge in self.edges() {
            let shared = edge.from.iter().zip(&edge.to).take_while(|(from, to)| from == to).count();
            let pair = (edge.from[shared].clone(), edge.to[shared].clone());
            siblings.entry(edge.from[..shared].to_vec()).or_default().entry(pair).or_insert(edge);
        }
        siblings
    }

    /// Returns a shortest circle for each set of siblings that depend on each other.
    pub(super) fn circles(&self) -> Vec<Circle> {
        let mut circles = Vec::new();
        for (parent, edges) in self.siblings() {
            let ways = Ways::new(&edges);
            let mut seen = BTreeSet::new();
            for start in ways.modules() {
                let members: BTreeSet<&str> = ways.circle_through(start);
                if !members.is_empty() && seen.is_disjoint(&members) {
                    let shortest = members.iter().filter_map(|member| ways.shortest(member, member));
                    let path = shortest.min_by_key(Vec::len).unwrap_or_default();
                    let path = path.into_iter().map(|(from, to)| edges[&(from.to_owned(), to.to_owned())].clone());
                    circles.push(Circle {
                        parent: parent.clone(),
                        members: members.iter().map(|member| (*member).to_owned()).collect(),
                        path: path.collect(),
                    });
                    seen.extend(members);
                }
            }
        }
        circles
    }
}

/// Sibling modules that depend on each other.
pub(super) struct Circle {
    parent: ModulePath,
    members: BTreeSet<String>,
    path: Vec<Edge>,
}

impl fmt::Display for Circle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members: Vec<&str> = self.members.iter().map(String::as_str).collect();
        write!(formatter, "a circle in {} of {}:", self.parent.join("::"), members.join(", "))?;
        self.path.iter().try_for_each(|edge| write!(formatter, "\n    {edge}"))
    }
}

/// The ways between siblings.
struct Ways<'a> {
    next: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Ways<'a> {
    fn new(edges: &'a BTreeMap<(String, String), Edge>) -> Self {
        let mut next = BTreeMap::<_, Vec<_>>::new();
        for (from, to) in edges.keys() {
            next.entry(from.as_str()).or_default().push(to.as_str());
        }
        Self { next }
    }

    fn modules(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.next.keys().copied()
    }

    /// Returns the siblings that can be reached from one and from which it can be reached.
    fn circle_through(&self, start: &'a str) -> BTreeSet<&'a str> {
        let from_start = self.before_each(start);
        let members = from_start.keys().copied().filter(|member| self.before_each(member).contains_key(start));
        members.collect()
    }

    /// Returns the edges of a shortest way, of at least one edge.
    fn shortest(&self, from: &'a str, to: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
        let before = self.before_each(from);
        let mut way = vec![(*before.get(to)?, to)];
        while way[0].0 != from {
            way.insert(0, (before[way[0].0], way[0].0));
        }
        Some(way)
    }

    /// Returns the siblings that can be reached from one, each with the last before it on a shortest way.
    fn before_each(&self, from: &'a str) -> BTreeMap<&'a str, &'a str> {
        let mut before = BTreeMap::new();
        let mut queue = VecDeque::from([from]);
        while let Some(module) = queue.pop_front() {
            for next in self.next.get(module).into_iter().flatten() {
                if !before.contains_key(next) {
                    before.insert(*next, module);
                    queue.push_back(next);
                }
            }
        }
        before
    }
}
