//! The known word nearest to a misspelt one.

/// Returns the known word that takes the fewest changed letters, and their number. The first of several equal ones.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<(&'a str, usize)> {
    known.into_iter().map(|candidate| (candidate, distance(word, candidate))).min_by_key(|(_, distance)| *distance)
}

/// The number of letters to add, leave out, replace, or swap with their neighbour to make one word of the other.
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    // Row by row: the distances of the first so many letters of `one` to every beginning of `other`.
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for row in 1..=one.len() {
        let mut current = vec![row; other.len() + 1];
        for column in 1..=other.len() {
            let is_same = one[row - 1] == other[column - 1];
            let mut best =
                (last[column] + 1).min(current[column - 1] + 1).min(last[column - 1] + usize::from(!is_same));
            let is_swapped =
                1 < row && 1 < column && one[row - 1] == other[column - 2] && one[row - 2] == other[column - 1];
            if is_swapped {
                best = best.min(before_last[column - 2] + 1);
            }
            current[column] = best;
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_changed_letters() {
        for (one, other, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("slots_max", "slots_max", 0),
            ("slot_max", "slots_max", 1),
            ("slots_amx", "slots_max", 1),
            ("slots-max", "slots_max", 1),
            ("max_slots", "slots_max", 8),
            ("kitten", "sitting", 3),
            ("ça", "ca", 1),
        ] {
            assert_eq!(distance(one, other), expected, "{one} and {other}");
            assert_eq!(distance(other, one), expected, "{other} and {one}");
        }
    }

    #[test]
    fn the_nearest_word_is_found_and_the_first_of_equal_ones() {
        assert_eq!(nearest("boot_max", ["slots_max", "boots_max"]), Some(("boots_max", 1)));
        assert_eq!(nearest("c", ["a", "b"]), Some(("a", 1)));
        assert_eq!(nearest("a", []), None);
    }
}
