use std::fmt::Write;

use kina_engine::{FixtureOverlay, FixtureSet, FixtureSource};

const FILE_BYTES: u64 = 8_000_000;
/// The keys of one object, and the length of their values: 100 to 400 kB an object.
const KEYS_PER_OBJECT: u64 = 25;
const VALUE_BYTES_MIN: u64 = 4_000;
const VALUE_BYTES_MAX: u64 = 16_000;
/// The letters of base64. Nothing that is drawn from them repeats.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const OBJECT_MARK: &str = "kind: ConfigMap\n";

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

/// A template of about this many megabytes, and no more: files with ConfigMaps in YAML.
pub(super) fn set(number: usize, megabytes: u64) -> FixtureSet {
    let mut numbers = Numbers(number as u64 + 1);
    let bytes_max = (megabytes * 1_000_000).saturating_sub(1_000);
    let (mut sources, mut bytes, mut objects) = (Vec::new(), 0, 0);
    while bytes < bytes_max {
        let mut text = String::new();
        let file_bytes = FILE_BYTES.min(bytes_max - bytes);
        loop {
            let value_bytes = VALUE_BYTES_MIN + numbers.next() % (VALUE_BYTES_MAX - VALUE_BYTES_MIN);
            let object = object(&object_name(number, objects), value_bytes, &mut numbers);
            // The first object is taken in any case.
            if 0 < objects && file_bytes < (text.len() + object.len()) as u64 {
                break;
            }
            text.push_str(&object);
            objects += 1;
        }
        if text.is_empty() {
            break;
        }
        bytes += text.len() as u64;
        sources.push(FixtureSource { name: format!("large-{number}/{:03}.yaml", sources.len()), text });
    }
    FixtureSet { overlays: vec![FixtureOverlay { name: format!("large-{number}"), sources }] }
}

/// The name of one of a template's objects.
pub(super) fn object_name(template: usize, object: usize) -> String {
    format!("large-{template}-{object:05}")
}

/// The number of a template's last object.
pub(super) fn last_object(set: &FixtureSet) -> usize {
    let sources = set.overlays.iter().flat_map(|overlay| &overlay.sources);
    let objects: usize = sources.map(|source| source.text.matches(OBJECT_MARK).count()).sum();
    objects.saturating_sub(1)
}

fn object(name: &str, value_bytes: u64, numbers: &mut Numbers) -> String {
    let mut text = format!("---\napiVersion: v1\n{OBJECT_MARK}metadata:\n  name: {name}\ndata:\n");
    for key in 0..KEYS_PER_OBJECT {
        // Writing to a string cannot fail.
        let _ = write!(text, "  part-{key:02}: \"");
        for _ in 0..value_bytes {
            text.push(char::from(LETTERS[(numbers.next() >> 58) as usize]));
        }
        text.push_str("\"\n");
    }
    text
}

impl Numbers {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kina_engine::FixtureGraph;

    #[test]
    fn a_template_has_the_size_that_was_asked_for_and_differs_from_all_others() {
        let [first, second] = [0, 1].map(|number| set(number, 1));
        assert!((600_000..=1_000_000).contains(&first.content_bytes()), "{}", first.content_bytes());
        assert_ne!(first.hash(), second.hash());
        assert_eq!(first.hash(), set(0, 1).hash());
        let graph = FixtureGraph::consume(first.clone()).expect("sound fixtures");
        let last = graph.objects().last().expect("objects");
        assert_eq!(last.name, object_name(0, last_object(&first)));
    }
}
