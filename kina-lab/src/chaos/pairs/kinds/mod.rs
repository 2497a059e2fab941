//! All kinds. Each family has a module of its own.

mod admission;
mod allocation;
mod authorization;
mod baseline;
mod definitions;
mod memory;
mod objects;
mod requests;
mod surroundings;
mod templates;

use super::kind::Kind;

/// All kinds, in the order in which they are listed.
pub(super) fn all() -> Vec<&'static Kind> {
    let families = [
        &objects::KINDS[..],
        &baseline::KINDS,
        &authorization::KINDS,
        &definitions::KINDS,
        &admission::KINDS,
        &allocation::KINDS,
        &memory::KINDS,
        &requests::KINDS,
        &surroundings::KINDS,
        &templates::KINDS,
    ];
    families.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kina_engine::lab::sabotage::Part;

    #[test]
    fn there_is_a_part_of_each_name_that_a_kind_gives() {
        for kind in all() {
            for part in kind.shown_without {
                assert!(Part::named(part).is_some(), "{} names {part}", kind.name);
            }
        }
    }

    #[test]
    fn kinds_have_names_of_their_own_and_say_what_they_are() {
        let mut names: Vec<_> = all().iter().map(|kind| kind.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all().len());
        for kind in all() {
            let is_plain = |character: char| character.is_ascii_lowercase() || character == '-';
            assert!(kind.name.chars().all(is_plain), "{}", kind.name);
            assert!(!kind.about.is_empty() && !kind.about.ends_with('.'), "{}", kind.name);
        }
    }
}
