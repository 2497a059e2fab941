//! Templates: each made once, by the first client to want it, and then shared.
//!
//! - `cache`: the templates that this engine has at hand, and those that are being made.
//! - `maker`: makes a template, on a bare cluster that is leased for it.
//! - `store`: templates on disk.

mod cache;
mod maker;
mod store;

pub(super) use self::cache::{Lookup, Making, TemplateCache};
pub(super) use self::maker::{TemplateMaker, TemplateRequest};
pub(super) use self::store::TemplateStore;
