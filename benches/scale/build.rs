//! Writes the tests: `BENCH_SCALE_TESTS` of each of the three kinds.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs, io};

const COUNT: &str = "BENCH_SCALE_TESTS";

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-env-changed={COUNT}");
    let count: usize = match env::var(COUNT) {
        Ok(text) => text.parse().map_err(|_| io::Error::other(format!("{COUNT} must be a number, not `{text}`")))?,
        Err(_) => 0,
    };
    let directory =
        env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("OUT_DIR is not set: run this under cargo"))?;
    fs::write(Path::new(&directory).join("tests.rs"), source(count).map_err(io::Error::other)?)
}

fn source(count: usize) -> Result<String, std::fmt::Error> {
    let (mut own, mut shared, mut empty) = (String::new(), String::new(), String::new());
    for number in 0..count {
        // The namespace has the same name in every cluster of a test's own: in one that is not pristine, it would be
        // taken.
        writeln!(own, "    #[kina::test]")?;
        writeln!(own, "    async fn t{number:05}(client: kube::Client) -> anyhow::Result<()> {{")?;
        writeln!(own, "        kina_bench_scale::work(&client, \"scale\").await")?;
        writeln!(own, "    }}")?;
        writeln!(shared, "    #[test]")?;
        writeln!(shared, "    fn t{number:05}() -> anyhow::Result<()> {{")?;
        writeln!(shared, "        kina_bench_scale::work_on_shared_cluster(\"scale-{number:05}\")")?;
        writeln!(shared, "    }}")?;
        writeln!(empty, "    #[test]")?;
        writeln!(empty, "    fn t{number:05}() {{}}")?;
    }
    Ok(format!("mod own {{\n{own}}}\n\nmod shared {{\n{shared}}}\n\nmod empty {{\n{empty}}}\n"))
}
