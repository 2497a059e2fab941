//! `cargo kina metrics`

use super::situation::Situation;

/// Prints the engine's metrics in the form that a scraper gets.
pub(super) async fn run(situation: &Situation) -> anyhow::Result<()> {
    match situation.client()?.metrics().await? {
        Some(metrics) => {
            print!("{}", metrics.text);
            if let Some(address) = metrics.address {
                eprintln!("kina: Prometheus can scrape this from http://{address}/metrics");
            }
        }
        // An exposition without families is valid for every reader.
        None => {
            println!("# EOF");
            eprintln!("kina: no engine is running; the first test starts it");
        }
    }
    Ok(())
}
