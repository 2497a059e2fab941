//! `cargo kina metrics`

use super::situation::Situation;

/// Prints what the engine counts and measures, as a scraper would get it.
pub(super) async fn run(situation: &Situation) -> anyhow::Result<()> {
    match situation.client()?.metrics().await? {
        Some(metrics) => {
            print!("{}", metrics.text);
            if let Some(address) = metrics.address {
                eprintln!("kina: Prometheus can scrape this from http://{address}/metrics");
            }
        }
        // An exposition without families: whoever reads it need not know the difference.
        None => {
            println!("# EOF");
            eprintln!("kina: no engine is running; the first test starts it");
        }
    }
    Ok(())
}
