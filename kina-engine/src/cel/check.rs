//! The check of an expression without an object, and its compiled form.
//!
//! One walk through the expression does both. It infers types as far as possible, and rewrites the expression for the
//! interpreter: top-level fields become fields of one variable, `==` becomes the equality that detects mistakes,
//! literal patterns are compiled, and chains in `has` tolerate missing links.

use std::collections::BTreeSet;

use ::cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};

use super::error::ExpressionError;
use super::functions::{DIFFERS, EQUALS, MATCHES, Pattern};
use super::roots;

/// The variable that the object is bound to. No expression can spell it.
pub(super) const OBJECT: &str = "@object";
/// The prefix of the names of variables that hold patterns.
const PATTERN: &str = "@pattern";

/// The type that an expression must have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Wanted {
    Condition,
    Anything,
}

/// The results of a check.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) fields: Option<BTreeSet<String>>,
    pub(super) patterns: Vec<Pattern>,
}

/// A value's type, as far as it is known without an object.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Known {
    Condition,
    Number,
    Text,
    Bytes,
    Null,
    List,
    Map,
    Type,
    /// It depends on the object.
    Nothing,
}

struct Check<'a> {
    text: &'a str,
    /// The place of a node in the text, in characters.
    place: &'a dyn Fn(u64) -> Option<usize>,
    /// Variables of comprehensions, the innermost last.
    scope: Vec<(String, Known)>,
    fields: BTreeSet<String>,
    uses_whole_object: bool,
    patterns: Vec<Pattern>,
}

/// Checks the expression and rewrites it into its compiled form.
pub(super) fn check(
    text: &str,
    root: &mut IdedExpr,
    place: &dyn Fn(u64) -> Option<usize>,
    wanted: Wanted,
) -> Result<Findings, ExpressionError> {
    let mut check = Check {
        text,
        place,
        scope: Vec::new(),
        fields: BTreeSet::new(),
        uses_whole_object: false,
        patterns: Vec::new(),
    };
    let known = check.expression(root)?;
    if wanted == Wanted::Condition && !known.may_be_condition() {
        return Err(ExpressionError::no_condition(text, known.name()));
    }
    let fields = (!check.uses_whole_object).then_some(check.fields);
    Ok(Findings { fields, patterns: check.patterns })
}

impl Known {
    fn may_be_condition(self) -> bool {
        matches!(self, Self::Condition | Self::Nothing)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Condition => "a condition",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Bytes => "bytes",
            Self::Null => "null",
            Self::List => "a list",
            Self::Map => "a map",
            Self::Type => "a type",
            Self::Nothing => "a value of the object",
        }
    }

    fn may_meet(self, other: Self) -> bool {
        self == other || self == Self::Nothing || other == Self::Nothing
    }
}

impl Check<'_> {
    fn expression(&mut self, ided: &mut IdedExpr) -> Result<Known, ExpressionError> {
        let id = ided.id;
        match &mut ided.expr {
            Expr::Literal(literal) => Ok(known_literal(literal)),
            Expr::Ident(_) => self.name(ided),
            Expr::Select(_) => self.select(ided),
            Expr::Call(call) => self.call(id, call),
            Expr::Comprehension(comprehension) => self.comprehension(id, comprehension),
            Expr::List(list) => {
                list.elements.iter_mut().try_for_each(|element| self.expression(element).map(drop))?;
                Ok(Known::List)
            }
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        self.expression(&mut entry.key)?;
                        self.expression(&mut entry.value)?;
                    }
                }
                Ok(Known::Map)
            }
            Expr::Struct(structure) => {
                let message = format!("there is no message type `{}`", structure.type_name);
                Err(self.error(id, message, Some("write a map: {'name': value}".to_owned())))
            }
            Expr::Unspecified => Err(self.error(id, "something is missing".to_owned(), None)),
        }
    }

    /// A name by itself: a variable of a comprehension, the object, a field of it, or a type.
    fn name(&mut self, ided: &mut IdedExpr) -> Result<Known, ExpressionError> {
        let Expr::Ident(name) = &ided.expr else { return Ok(Known::Nothing) };
        if let Some(known) = self.variable(name) {
            return Ok(known);
        }
        let name = name.trim_start_matches('.').to_owned();
        if roots::WHOLE.contains(&name.as_str()) {
            self.uses_whole_object = true;
            ided.expr = Expr::Ident(OBJECT.to_owned());
            return Ok(Known::Map);
        }
        if roots::FIELDS.contains(&name.as_str()) {
            ided.expr = self.field_of_object(ided.id, name);
            return Ok(Known::Nothing);
        }
        if roots::TYPES.contains(&name.as_str()) {
            return Ok(Known::Type);
        }
        let hint = match roots::meant(&name) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!(
                "a condition begins with a field of the object, like `status` or `spec`; for a field that only your \
                 kind has, write `object.{name}`"
            ),
        };
        Err(self.error(ided.id, format!("there is no `{name}`"), Some(hint)))
    }

    fn field_of_object(&mut self, id: u64, field: String) -> Expr {
        self.fields.insert(field.clone());
        let operand = Box::new(IdedExpr { id, expr: Expr::Ident(OBJECT.to_owned()) });
        Expr::Select(SelectExpr { operand, field, test: false })
    }

    fn select(&mut self, ided: &mut IdedExpr) -> Result<Known, ExpressionError> {
        let id = ided.id;
        let Expr::Select(select) = &mut ided.expr else { return Ok(Known::Nothing) };
        let is_test = select.test;
        if self.is_object(&select.operand) {
            self.fields.insert(select.field.clone());
            select.operand.expr = Expr::Ident(OBJECT.to_owned());
        } else {
            let known = self.expression(&mut select.operand)?;
            if !matches!(known, Known::Map | Known::Nothing) {
                let message = format!("{} has no field `{}`", known.name(), select.field);
                return Err(self.error(id, message, None));
            }
        }
        if is_test {
            forgive_missing_links(&mut select.operand);
        }
        Ok(if is_test { Known::Condition } else { Known::Nothing })
    }

    fn is_object(&self, ided: &IdedExpr) -> bool {
        matches!(&ided.expr, Expr::Ident(name)
            if roots::WHOLE.contains(&name.as_str()) && self.variable(name).is_none())
    }

    fn variable(&self, name: &str) -> Option<Known> {
        if name.starts_with(PATTERN) {
            return Some(Known::Text);
        }
        self.scope.iter().rev().find(|(variable, _)| variable == name).map(|(_, known)| *known)
    }

    fn comprehension(&mut self, id: u64, comprehension: &mut ComprehensionExpr) -> Result<Known, ExpressionError> {
        let range = self.expression(&mut comprehension.iter_range)?;
        if !matches!(range, Known::List | Known::Map | Known::Nothing) {
            return Err(self.error(id, format!("{} has no elements", range.name()), None));
        }
        let accumulator = self.expression(&mut comprehension.accu_init)?;
        let depth = self.scope.len();
        self.scope.push((comprehension.accu_var.clone(), accumulator));
        // The elements of a map are its keys.
        let element = if range == Known::Map { Known::Text } else { Known::Nothing };
        self.scope.push((comprehension.iter_var.clone(), element));
        self.scope.extend(comprehension.iter_var2.clone().map(|variable| (variable, Known::Nothing)));
        self.expression(&mut comprehension.loop_cond)?;
        self.expression(&mut comprehension.loop_step)?;
        let result = self.expression(&mut comprehension.result);
        self.scope.truncate(depth);
        result
    }

    fn call(&mut self, id: u64, call: &mut CallExpr) -> Result<Known, ExpressionError> {
        if call.func_name.chars().all(char::is_alphanumeric) {
            // Before its arguments: if the name is misspelt, errors about the arguments would mislead.
            self.function(id, &call.func_name, None)?;
        }
        if call.func_name == "matches" {
            self.compile_pattern(id, call)?;
        }
        let is_namespace = |target: &IdedExpr| matches!(&target.expr, Expr::Ident(name) if matches!(name.as_str(), "optional" | "strings"));
        let target = match &mut call.target {
            Some(target) if is_namespace(target) => None,
            Some(target) => Some(self.expression(target)?),
            None => None,
        };
        let is_member = call.target.is_some();
        let mut arguments = Vec::with_capacity(call.args.len());
        for argument in &mut call.args {
            arguments.push(self.expression(argument)?);
        }
        match (is_member, arguments.as_slice()) {
            (false, [operand]) => self.unary(id, call, *operand),
            (false, [left, right]) => self.binary(id, call, *left, *right),
            (false, [condition, left, right]) if call.func_name == operators::CONDITIONAL => {
                self.expect_condition(id, "?:", *condition)?;
                Ok(if left == right { *left } else { Known::Nothing })
            }
            _ => self.function(id, &call.func_name, target),
        }
    }

    fn unary(&self, id: u64, call: &CallExpr, operand: Known) -> Result<Known, ExpressionError> {
        match call.func_name.as_str() {
            operators::LOGICAL_NOT => self.expect_condition(id, "!", operand),
            operators::NOT_STRICTLY_FALSE => Ok(Known::Condition),
            operators::NEGATE if matches!(operand, Known::Number | Known::Nothing) => Ok(Known::Number),
            operators::NEGATE => {
                Err(self.error(id, format!("`-` needs a number, but this is {}", operand.name()), None))
            }
            name => self.function(id, name, None),
        }
    }

    fn binary(&self, id: u64, call: &mut CallExpr, left: Known, right: Known) -> Result<Known, ExpressionError> {
        let name = call.func_name.clone();
        let name = name.as_str();
        let operator = name.trim_matches('_');
        match name {
            operators::LOGICAL_AND | operators::LOGICAL_OR => {
                self.expect_condition(id, operator, left)?;
                self.expect_condition(id, operator, right)
            }
            operators::EQUALS | operators::NOT_EQUALS => {
                if [left, right].contains(&Known::Null) {
                    let hint = "a field that is null counts as missing: write `!has(…)` or `has(…)`";
                    return Err(self.error(id, "nothing can be compared with null".to_owned(), Some(hint.to_owned())));
                }
                if !left.may_meet(right) {
                    return Err(self.mismatch(id, "are never equal", left, right));
                }
                call.func_name = if name == operators::EQUALS { EQUALS } else { DIFFERS }.to_owned();
                Ok(Known::Condition)
            }
            operators::LESS | operators::LESS_EQUALS | operators::GREATER | operators::GREATER_EQUALS => {
                let has_order = |side| !matches!(side, Known::Null | Known::List | Known::Map | Known::Type);
                if !left.may_meet(right) || !has_order(left) || !has_order(right) {
                    return Err(self.mismatch(id, "have no order", left, right));
                }
                Ok(Known::Condition)
            }
            operators::IN => {
                if !matches!(right, Known::List | Known::Map | Known::Nothing) {
                    return Err(self.error(
                        id,
                        format!("`in` needs a list or map, but this is {}", right.name()),
                        None,
                    ));
                }
                Ok(Known::Condition)
            }
            operators::ADD if left.may_meet(right) => Ok(if left == Known::Nothing { right } else { left }),
            operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO
                if left.may_meet(right) && left.may_meet(Known::Number) =>
            {
                Ok(Known::Number)
            }
            operators::ADD | operators::SUBSTRACT | operators::MULTIPLY | operators::DIVIDE | operators::MODULO => {
                Err(self.mismatch(id, &format!("do not go together with `{operator}`"), left, right))
            }
            operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT => {
                if !matches!(left, Known::List | Known::Map | Known::Nothing) {
                    return Err(self.error(id, format!("{} has no elements", left.name()), None));
                }
                Ok(Known::Nothing)
            }
            name => self.function(id, name, None),
        }
    }

    /// The type of a named function's result.
    fn function(&self, id: u64, name: &str, target: Option<Known>) -> Result<Known, ExpressionError> {
        const OF_TEXT: [&str; 16] = [
            "charAt",
            "contains",
            "endsWith",
            "format",
            "indexOf",
            "lastIndexOf",
            "lowerAscii",
            "matches",
            "replace",
            "reverse",
            "split",
            "startsWith",
            "substring",
            "trim",
            "upperAscii",
            MATCHES,
        ];
        if let Some(target) = target
            && OF_TEXT.contains(&name)
            && !target.may_meet(Known::Text)
        {
            return Err(self.error(id, format!("`{name}` needs a string, but this is {}", target.name()), None));
        }
        match name {
            "bool" | "contains" | "endsWith" | "hasValue" | "matches" | "startsWith" | MATCHES => Ok(Known::Condition),
            "double" | "indexOf" | "int" | "lastIndexOf" | "size" | "uint" => Ok(Known::Number),
            "charAt" | "format" | "join" | "lowerAscii" | "quote" | "replace" | "reverse" | "string" | "substring"
            | "trim" | "upperAscii" => Ok(Known::Text),
            "split" => Ok(Known::List),
            "bytes" => Ok(Known::Bytes),
            "type" => Ok(Known::Type),
            "dyn" | "of" | "none" | "ofNonZeroValue" | "or" | "orValue" | "value" => Ok(Known::Nothing),
            "has" | "all" | "exists" | "exists_one" | "existsOne" | "map" | "filter" => {
                let hint = "`has(a.b)` takes a field; the others are called on a list or map, with a name and an expression: \
                            `items.all(item, item.ready)`";
                Err(self.error(id, format!("`{name}` is not used like this"), Some(hint.to_owned())))
            }
            "timestamp" | "duration" | "now" => {
                let hint = "conditions have no notion of time: compare strings, or use a predicate in Rust";
                Err(self.error(id, format!("there is no function `{name}`"), Some(hint.to_owned())))
            }
            _ => {
                let hint = "there are size, startsWith, endsWith, contains, matches, lowerAscii, split, string, int, has, \
                            all, exists, exists_one, map, filter and more of CEL's";
                Err(self.error(id, format!("there is no function `{name}`"), Some(hint.to_owned())))
            }
        }
    }

    /// Replaces a literal pattern with a variable that holds the compiled pattern.
    fn compile_pattern(&mut self, id: u64, call: &mut CallExpr) -> Result<(), ExpressionError> {
        let is_literal = |argument: Option<&IdedExpr>| {
            argument.is_some_and(|argument| matches!(argument.expr, Expr::Literal(LiteralValue::String(_))))
        };
        let arguments_wanted = if call.target.is_some() { 1 } else { 2 };
        if call.args.len() != arguments_wanted || !is_literal(call.args.last()) {
            return Ok(());
        }
        let Some(IdedExpr { expr: Expr::Literal(LiteralValue::String(text)), .. }) = call.args.last() else {
            return Ok(());
        };
        let regex = regex::Regex::new(text.inner()).map_err(|error| {
            let reason = error.to_string();
            let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            self.error(id, format!("`{}` is not a regular expression: {reason}", text.inner()), None)
        })?;
        let name = format!("{PATTERN}{}", self.patterns.len());
        if let Some(argument) = call.args.last_mut() {
            argument.expr = Expr::Ident(name.clone());
        }
        if let Some(target) = call.target.take() {
            call.args.insert(0, *target);
        }
        call.func_name = MATCHES.to_owned();
        self.patterns.push(Pattern { name, regex });
        Ok(())
    }

    fn expect_condition(&self, id: u64, operator: &str, known: Known) -> Result<Known, ExpressionError> {
        if known.may_be_condition() {
            Ok(Known::Condition)
        } else {
            Err(self.error(id, format!("`{operator}` needs conditions, but this is {}", known.name()), None))
        }
    }

    fn mismatch(&self, id: u64, problem: &str, left: Known, right: Known) -> ExpressionError {
        self.error(id, format!("{} and {} {problem}", left.name(), right.name()), None)
    }

    fn error(&self, id: u64, problem: String, hint: Option<String>) -> ExpressionError {
        ExpressionError::at_offset(self.text, (self.place)(id), problem, hint)
    }
}

fn known_literal(literal: &LiteralValue) -> Known {
    match literal {
        LiteralValue::Boolean(_) => Known::Condition,
        LiteralValue::Bytes(_) => Known::Bytes,
        LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_) => Known::Number,
        LiteralValue::Null => Known::Null,
        LiteralValue::String(_) => Known::Text,
    }
}

/// Makes the selections of a chain optional, so that none of them fails: `a.b` becomes `a.?b`.
fn forgive_missing_links(ided: &mut IdedExpr) {
    let id = ided.id;
    let Expr::Select(select) = &mut ided.expr else { return };
    if select.test {
        return;
    }
    forgive_missing_links(&mut select.operand);
    let field = LiteralValue::String(std::mem::take(&mut select.field).into());
    let field = IdedExpr { id, expr: Expr::Literal(field) };
    let operand = std::mem::take(&mut *select.operand);
    ided.expr =
        Expr::Call(CallExpr { func_name: operators::OPT_SELECT.to_owned(), target: None, args: vec![operand, field] });
}
