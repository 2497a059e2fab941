//! The paths that the code of a module names: in `use` lines, in code, and in what it passes to macros.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{
    Arm, Attribute, ExprStruct, Field, ImplItem, Item, ItemUse, Macro, Meta, Path, Stmt, UseTree, VisRestricted,
};

use super::attributes::is_for_tests_only;
use super::tree::Import;

/// A path that is named at one place.
pub(super) struct Reference {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
}

/// The references of a module so far.
#[derive(Default)]
pub(super) struct References {
    pub(super) references: Vec<Reference>,
    pub(super) imports: Vec<Import>,
    pub(super) globs: Vec<Vec<String>>,
}

impl References {
    /// Adds those of an item. Code for tests has none.
    pub(super) fn add(&mut self, item: &Item) {
        self.visit_item(item);
    }

    fn add_use(&mut self, prefix: &[String], tree: &UseTree) {
        let with = |name: &proc_macro2::Ident| [prefix, &[name.to_string()]].concat();
        let (name, imported) = match tree {
            UseTree::Path(path) => return self.add_use(&with(&path.ident), &path.tree),
            UseTree::Group(group) => return group.items.iter().for_each(|tree| self.add_use(prefix, tree)),
            UseTree::Glob(glob) => {
                let line = glob.star_token.spans[0].start().line;
                self.globs.push(prefix.to_vec());
                return self.references.push(Reference { segments: prefix.to_vec(), line });
            }
            UseTree::Name(name) => (&name.ident, &name.ident),
            UseTree::Rename(rename) => (&rename.rename, &rename.ident),
        };
        // `use a::b::{self}` imports `b`.
        let (name, target) = match imported == "self" {
            true if name == "self" => (prefix.last().cloned().unwrap_or_default(), prefix.to_vec()),
            true => (name.to_string(), prefix.to_vec()),
            false => (name.to_string(), with(imported)),
        };
        self.references.push(Reference { segments: target.clone(), line: imported.span().start().line });
        self.imports.push(Import { name, target });
    }

    /// Adds the paths in the tokens of a macro, which nothing but the macro itself can parse.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut segments: Vec<String> = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.end_path(&mut segments, line);
                    }
                    if segments.is_empty() {
                        line = ident.span().start().line;
                    }
                    segments.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                token => {
                    self.end_path(&mut segments, line);
                    colons = 0;
                    if let TokenTree::Group(group) = token {
                        self.add_tokens(group.stream());
                    }
                }
            }
        }
        self.end_path(&mut segments, line);
    }

    /// A single word in lower case is most often a variable or a field.
    fn end_path(&mut self, segments: &mut Vec<String>, line: usize) {
        let segments = std::mem::take(segments);
        let is_name = |first: &String| segments.len() > 1 || first.starts_with(char::is_uppercase);
        if segments.first().is_some_and(is_name) {
            self.references.push(Reference { segments, line });
        }
    }
}

impl<'ast> Visit<'ast> for References {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests_only(attributes_of(item)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes: &[Attribute] = match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            _ => &[],
        };
        if !is_for_tests_only(attributes) {
            syn::visit::visit_impl_item(self, item);
        }
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        let attributes: &[Attribute] = match statement {
            Stmt::Local(local) => &local.attrs,
            Stmt::Macro(statement) => &statement.attrs,
            Stmt::Expr(syn::Expr::Block(block), _) => &block.attrs,
            _ => &[],
        };
        if !is_for_tests_only(attributes) {
            syn::visit::visit_stmt(self, statement);
        }
    }

    fn visit_arm(&mut self, arm: &'ast Arm) {
        if !is_for_tests_only(&arm.attrs) {
            syn::visit::visit_arm(self, arm);
        }
    }

    fn visit_field(&mut self, field: &'ast Field) {
        if !is_for_tests_only(&field.attrs) {
            syn::visit::visit_field(self, field);
        }
    }

    fn visit_expr_struct(&mut self, expression: &'ast ExprStruct) {
        self.visit_path(&expression.path);
        let fields = expression.fields.iter().filter(|field| !is_for_tests_only(&field.attrs));
        fields.for_each(|field| self.visit_expr(&field.expr));
        expression.rest.iter().for_each(|rest| self.visit_expr(rest));
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_use(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let line = path.segments.first().map_or(0, |segment| segment.ident.span().start().line);
        self.references.push(Reference { segments, line });
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        self.visit_path(&invocation.path);
        self.add_tokens(invocation.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta {
            self.add_tokens(list.tokens.clone());
        }
    }

    // `pub(in …)` makes no code depend on a module.
    fn visit_vis_restricted(&mut self, _visibility: &'ast VisRestricted) {}
}

fn attributes_of(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
