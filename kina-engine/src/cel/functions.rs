//! Replacements for the interpreter's own `==`, `!=` and `matches`, and the environment with all functions.

use std::any::Any;
use std::sync::{Arc, LazyLock};

use ::cel::common::types::{CelBool, CelString, DYN_TYPE, Kind, STRING_TYPE, Type};
use ::cel::common::value::{CowVal, StaticVal, Val};
use ::cel::{Env, ExecutionError};

/// Equality that rejects operands that can never be equal. No expression can spell these names.
pub(super) const EQUALS: &str = "@equals";
pub(super) const DIFFERS: &str = "@differs";
/// `matches` with a compiled pattern.
pub(super) const MATCHES: &str = "@matches";

static PATTERN_TYPE: Type = Type::new_unspecified_type("kina.pattern");

static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib();
    let added = ::cel::extensions::strings(&mut environment)
        .and_then(|()| environment.add_overload(EQUALS, EQUALS, vec![DYN_TYPE, DYN_TYPE], equals))
        .and_then(|()| environment.add_overload(DIFFERS, DIFFERS, vec![DYN_TYPE, DYN_TYPE], differs))
        .and_then(|()| environment.add_overload(MATCHES, MATCHES, vec![STRING_TYPE, DYN_TYPE], matches));
    debug_assert!(added.is_ok(), "names are unique: {added:?}");
    Arc::new(environment)
});

/// A compiled regular expression, as a variable of the expression that contains it.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    pub(super) name: String,
    pub(super) regex: regex::Regex,
}

pub(super) fn environment() -> Arc<Env> {
    ENVIRONMENT.clone()
}

fn equals<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    are_equal("_==_", &arguments).map(|equal| CowVal::owned(CelBool::from(equal)))
}

fn differs<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    are_equal("_!=_", &arguments).map(|equal| CowVal::owned(CelBool::from(!equal)))
}

fn are_equal(operator: &str, arguments: &[CowVal<'_, '_>]) -> Result<bool, ExecutionError> {
    let [left, right] = arguments else {
        return Err(ExecutionError::invalid_argument_count(2, arguments.len()));
    };
    if may_be_equal(left.get_type().kind(), right.get_type().kind()) {
        Ok(left == right)
    } else {
        let types = [left, right].map(|side| side.get_type().name().to_owned());
        Err(ExecutionError::no_such_overload(operator, types.to_vec()))
    }
}

/// Numbers of all types are comparable, and so are a number and a string: fields like `targetPort` are either.
fn may_be_equal(left: Kind, right: Kind) -> bool {
    let number_or_string = |kind| matches!(kind, Kind::Int | Kind::UInt | Kind::Double | Kind::String);
    left == right
        || left == Kind::NullType
        || right == Kind::NullType
        || (number_or_string(left) && number_or_string(right))
}

fn matches<'b, 'v>(arguments: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [text, pattern] = arguments.as_slice() else {
        return Err(ExecutionError::invalid_argument_count(2, arguments.len()));
    };
    match (text.downcast_ref::<CelString>(), pattern.downcast_ref::<Pattern>()) {
        (Some(text), Some(pattern)) => Ok(CowVal::owned(CelBool::from(pattern.regex.is_match(text.inner())))),
        _ => Err(ExecutionError::function_error("matches", "it needs a string")),
    }
}

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        <Self as Val>::cel_type()
    }

    fn cel_type() -> &'static Type {
        &PATTERN_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}
