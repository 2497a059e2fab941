//! The names of clusters: the engine that makes them, and their number.

const PREFIX: &str = "cluster-";

/// The name of the `number`th cluster of the engine with this process id.
pub fn cluster_name(engine: u32, number: u64) -> String {
    format!("{PREFIX}{engine}-{number}")
}

/// The process id of the engine that made the cluster of this name; `None` if it is not a cluster's name.
pub fn engine_of(name: &str) -> Option<u32> {
    let (engine, number) = name.strip_prefix(PREFIX)?.split_once('-')?;
    number.parse::<u64>().ok().and(engine.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_contains_the_engine() {
        assert_eq!(engine_of(&cluster_name(71, 3)), Some(71));
        for other in ["cluster-71", "cluster--3", "cluster-71-", "cluster-x-3", "71-3", "cluster-71-3.log"] {
            assert_eq!(engine_of(other), None, "{other}");
        }
    }
}
