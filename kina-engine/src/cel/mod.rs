//! Conditions on Kubernetes objects in CEL (Common Expression Language): `status.readyReplicas == spec.replicas`.
//!
//! An [`Expression`] is compiled once, bound to any number of objects, and evaluated. No other module uses the crate
//! that interprets CEL.
//!
//! Differences from CEL in API servers:
//!
//! - The top-level fields of the object are names of their own, beside `object` (and `self`), the whole object. Names
//!   that no kind of Kubernetes has at the top level are errors when the expression is compiled; a custom resource's
//!   own fields are reached by `object.theirName`.
//! - **A condition that depends on a missing field is false**, not an error: most fields of a status are missing until
//!   they are known. `has(a.b.c)` is false wherever the chain breaks. A field that is `null` counts as missing.
//! - Comparing values that can never be equal, such as a map and a number, is an error. Only a number and a string may
//!   be compared, because some fields of Kubernetes are either.
//! - A literal pattern of `matches` is compiled with the expression, and its mistakes are found then.
//!
//! Modules: `check` finds mistakes that show without an object, and prepares the compiled form; `value` makes values of
//! objects; `prepared` is the text for the parser; `functions` holds the functions that the interpreter lacks; `parts`
//! and `explain` find the false parts of a condition.

mod check;
mod error;
mod explain;
mod functions;
mod parts;
mod prepared;
mod roots;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use ::cel::common::ast::IdedExpr;
use ::cel::{Context, ExecutionError, Value};

use error::{EvaluationError, ExpressionError};
use explain::Part;
use functions::Pattern;
use prepared::Prepared;

/// The longest text of an expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 10_000;

/// A compiled condition.
///
/// ```
/// use kina_engine::CelExpression;
/// use serde_json::json;
///
/// let is_ready = CelExpression::compile("status.readyReplicas == spec.replicas")?;
/// let deployment = json!({"spec": {"replicas": 3}, "status": {"readyReplicas": 1}});
/// assert!(!is_ready.bind(&deployment).evaluate()?);
/// let parts = is_ready.explain(&deployment);
/// assert_eq!(parts[0].to_string(), "`status.readyReplicas == spec.replicas` was false: 1 == 3");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Expression {
    text: String,
    root: IdedExpr,
    /// The object's top-level fields that it uses; `None` if it uses the object as a whole.
    fields: Option<BTreeSet<String>>,
    /// The literal patterns of `matches`, by their names in the compiled form.
    patterns: Vec<Pattern>,
}

/// An expression together with the object that it is evaluated on.
pub struct Bound<'a> {
    expression: &'a Expression,
    object: &'a serde_json::Value,
    context: Context<'a, 'a>,
}

impl Expression {
    /// Compiles a condition, and finds the mistakes that show without an object.
    ///
    /// # Errors
    /// If it cannot be parsed, uses a name that no object has, or is not a condition.
    pub fn compile(text: &str) -> Result<Self, ExpressionError> {
        Self::compile_as(text, check::Wanted::Condition)
    }

    /// Compiles an expression of any type, for one side of a comparison.
    fn compile_value(text: &str) -> Result<Self, ExpressionError> {
        Self::compile_as(text, check::Wanted::Anything)
    }

    fn compile_as(text: &str, wanted: check::Wanted) -> Result<Self, ExpressionError> {
        if EXPRESSION_BYTES_MAX < text.len() {
            return Err(ExpressionError::too_long(text));
        }
        let parser = functions::environment().parser().enable_ident_escape_syntax(true);
        let prepared = Prepared::new(text);
        let parsed = parser.parse_with_source_info(&prepared.text);
        let (mut root, positions) = parsed.map_err(|errors| ExpressionError::from_parser(text, &prepared, &errors))?;
        let place = |id| positions.offset_for(id).map(|(start, _)| prepared.original(start as usize));
        let findings = check::check(text, &mut root, &place, wanted)?;
        Ok(Self { text: text.to_owned(), root, fields: findings.fields, patterns: findings.patterns })
    }

    /// The text that it was made from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Prepares the fields of the object that the expression uses, and no others.
    pub fn bind<'a>(&'a self, object: &'a serde_json::Value) -> Bound<'a> {
        let mut context = Context::with_env(functions::environment());
        context.add_variable_as_val(check::OBJECT, value::of_fields(object, self.fields.as_ref()));
        for pattern in &self.patterns {
            context.add_variable_as_val(pattern.name.clone(), Box::new(pattern.clone()));
        }
        Bound { expression: self, object, context }
    }

    /// Returns the parts of the condition that the object does not meet; none if it meets the condition.
    ///
    /// Meant for messages: each part is compiled anew.
    pub fn explain(&self, object: &serde_json::Value) -> Vec<Part> {
        explain::explain(&self.text, object)
    }
}

impl Bound<'_> {
    /// Returns true if the object meets the condition.
    ///
    /// # Errors
    /// If the condition does not fit the object's types, for example if it compares a map with a number.
    pub fn evaluate(&self) -> Result<bool, EvaluationError> {
        match self.run() {
            Ok(Evaluated::Value(Value::Bool(is_met))) => Ok(is_met),
            Ok(Evaluated::Missing) => Ok(false),
            Ok(Evaluated::Value(other)) => {
                Err(self.error(&format!("it is not a condition, but {}", value::described(&other))))
            }
            Err(error) => Err(self.error(&error::of_execution(&error))),
        }
    }

    fn run(&self) -> Result<Evaluated, ExecutionError> {
        match Value::resolve_val(&self.expression.root, &self.context) {
            // The usual result needs no copy.
            Ok(result) => match result.downcast_ref::<::cel::common::types::CelBool>() {
                Some(boolean) => Ok(Evaluated::Value(Value::Bool(*boolean.inner()))),
                None => Ok(Evaluated::Value(Value::try_from(result.as_ref())?)),
            },
            Err(error) if error::is_missing(&error) => Ok(Evaluated::Missing),
            Err(error) => Err(error),
        }
    }

    fn error(&self, problem: &str) -> EvaluationError {
        let part = explain::first_error(&self.expression.text, self.object);
        EvaluationError::new(&self.expression.text, part, problem)
    }
}

/// The result of an expression.
enum Evaluated {
    Value(Value),
    /// A field that it depends on is missing.
    Missing,
}

impl std::fmt::Debug for Bound<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Bound").field("expression", &self.expression.text).finish_non_exhaustive()
    }
}
