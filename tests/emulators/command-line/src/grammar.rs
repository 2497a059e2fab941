//! From an argument vector to the options and arguments of one subcommand.

use std::collections::BTreeMap;

use crate::{FORMS, Flag, Form, Takes, UsageError, Version};

/// One command line, taken apart.
#[derive(Debug)]
pub struct Matches {
    /// The subcommand.
    pub form: &'static Form,
    /// The given options, by their first name, with their values; an option without a value has an empty one.
    pub options: BTreeMap<&'static str, Vec<String>>,
    /// The arguments after the options.
    pub arguments: Vec<String>,
}

impl Matches {
    /// Returns true if the option was given.
    pub fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    /// Returns the value of an option.
    pub fn one(&self, name: &str) -> Option<String> {
        self.options.get(name).and_then(|values| values.last()).cloned()
    }

    /// Returns the values of an option that may be given several times.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.options.get(name).cloned().unwrap_or_default()
    }

    /// Returns the number of an option, whose form was checked before.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.one(name).and_then(|value| value.parse().ok())
    }
}

/// Takes a command line apart; anything that [`FORMS`] does not list for this version is an error.
pub fn matches_of(arguments: &[String], version: Version) -> Result<Matches, UsageError> {
    let form = form_of(arguments, version)?;
    let mut rest = arguments[form.path.len()..].iter();
    let mut matches = Matches { form, options: BTreeMap::new(), arguments: Vec::new() };
    while let Some(word) = rest.next() {
        let plugin = form.least == 0 && form.passes_rest;
        if plugin || !word.starts_with('-') || word == "-" {
            matches.arguments.push(word.clone());
            matches.arguments.extend(rest.cloned());
            break;
        }
        if word == "--debug" {
            continue;
        }
        // The only pair of short options that the reference writes as one word.
        let names: &[&str] = if word == "-it" { &["-i", "-t"] } else { &[word.as_str()] };
        for name in names {
            let flag = flag_of(form, name, version)?;
            let value = value_of(flag, name, &mut rest)?;
            let values = matches.options.entry(flag.names[0]).or_default();
            if !values.is_empty() && !flag.repeats {
                return Err(UsageError(format!("the option '{name}' was given more than once")));
            }
            values.push(value);
        }
    }
    check_arguments(&matches)?;
    Ok(matches)
}

fn form_of(arguments: &[String], version: Version) -> Result<&'static Form, UsageError> {
    FORMS
        .iter()
        .find(|form| {
            form.since <= version
                && arguments.len() >= form.path.len()
                && form.path.iter().zip(arguments).all(|(expected, given)| expected == given)
        })
        .ok_or_else(|| UsageError(format!("unexpected command '{}'", arguments.join(" "))))
}

fn flag_of(form: &Form, name: &str, version: Version) -> Result<&'static Flag, UsageError> {
    let mut flags = form.flags.iter().copied().flatten();
    flags
        .find(|flag| flag.names.contains(&name) && flag.since <= version)
        .ok_or_else(|| UsageError(format!("Unknown option '{name}' of '{}'", form.path.join(" "))))
}

fn value_of<'a>(flag: &Flag, name: &str, rest: &mut impl Iterator<Item = &'a String>) -> Result<String, UsageError> {
    if flag.takes == Takes::Nothing {
        return Ok(String::new());
    }
    let value = rest
        .next()
        .filter(|value| !value.starts_with('-') && !value.is_empty())
        .ok_or_else(|| UsageError(format!("Missing value for '{name}'")))?;
    let right = match flag.takes {
        Takes::Nothing | Takes::Text => true,
        Takes::Number => value.bytes().all(|byte| byte.is_ascii_digit()) && value.parse::<u32>().is_ok(),
        Takes::Memory => crate::memory_in_bytes(value).is_some(),
        Takes::Format => ["json", "table", "yaml", "toml"].contains(&value.as_str()),
        Takes::OneOf(words) => words.contains(&value.as_str()),
    };
    if right { Ok(value.clone()) } else { Err(UsageError(format!("The value '{value}' is invalid for '{name}'"))) }
}

fn check_arguments(matches: &Matches) -> Result<(), UsageError> {
    let (form, arguments) = (matches.form, &matches.arguments);
    let name = form.path.join(" ");
    if arguments.len() < form.least {
        return Err(UsageError(format!("Missing expected argument of '{name}'")));
    }
    if arguments.len() > form.most {
        return Err(UsageError(format!("{} unexpected arguments of '{name}'", arguments.len() - form.most)));
    }
    if !form.passes_rest && arguments.iter().any(|argument| argument.starts_with('-') && argument != "-") {
        return Err(UsageError(format!("options of '{name}' have to precede its arguments")));
    }
    if arguments.first().is_some_and(String::is_empty) {
        return Err(UsageError(format!("an argument of '{name}' is empty")));
    }
    Ok(())
}
