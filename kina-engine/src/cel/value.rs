//! Conversion of JSON to the interpreter's values, and of those to text.

use std::collections::{BTreeSet, HashMap};

use ::cel::Value;
use ::cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt};
use ::cel::common::value::Val;
use serde_json::Value as Json;

/// The largest length of a value in a message, in characters.
const TEXT_CHARACTERS_MAX: usize = 200;

/// The object with these top-level fields, or with all of them. Strings are not copied.
pub(super) fn of_fields<'a>(object: &'a Json, fields: Option<&BTreeSet<String>>) -> Box<dyn Val + 'a> {
    match (object, fields) {
        (Json::Object(all), Some(fields)) => {
            let used = fields.iter().filter_map(|field| all.get_key_value(field));
            Box::new(map_of(used, fields.len()))
        }
        (object, _) => of(object),
    }
}

fn of(json: &Json) -> Box<dyn Val + '_> {
    match json {
        Json::Null => Box::new(CelNull),
        Json::Bool(boolean) => Box::new(CelBool::from(*boolean)),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => Box::new(CelInt::from(integer)),
            (None, Some(integer)) => Box::new(CelUInt::from(integer)),
            (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Json::String(text) => Box::new(CelString::from(text.as_str())),
        Json::Array(items) => Box::new(CelList::from(items.iter().map(of).collect::<Vec<_>>())),
        Json::Object(fields) => Box::new(map_of(fields, fields.len())),
    }
}

/// A map of the fields that are not null: null counts as missing.
fn map_of<'a>(fields: impl IntoIterator<Item = (&'a String, &'a Json)>, capacity: usize) -> CelMap<'a> {
    let mut map: HashMap<CelMapKey<'a>, Box<dyn Val + 'a>> = HashMap::with_capacity(capacity);
    for (name, value) in fields {
        if !value.is_null() {
            map.insert(CelMapKey::String(CelString::from(name.as_str())), of(value));
        }
    }
    CelMap::from(map)
}

/// A value as JSON, shortened.
pub(super) fn shown(value: &Value) -> String {
    let text = match value.json() {
        Ok(json) => json.to_string(),
        // Types and the like, which no object contains.
        Err(_) => format!("{value:?}"),
    };
    match text.char_indices().nth(TEXT_CHARACTERS_MAX) {
        Some((index, _)) => format!("{}…", &text[..index]),
        None => text,
    }
}

/// A value with its type: `the number 3`.
pub(super) fn described(value: &Value) -> String {
    let shown = shown(value);
    match value {
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => format!("the number {shown}"),
        Value::String(_) => format!("the string {shown}"),
        Value::List(_) => format!("the list {shown}"),
        Value::Map(_) => format!("the map {shown}"),
        Value::Bool(_) | Value::Null => shown,
        _ => format!("the value {shown}"),
    }
}
