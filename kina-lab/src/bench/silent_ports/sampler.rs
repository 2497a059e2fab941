//! The process in one of the networks: it takes a sample for each line that it reads, and writes it as a line.

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use cargo_kina::interrupted;
use kina_engine::ProviderName;
use kina_engine::lab::journal::Journal;
use kina_engine::lab::provider::process::ProcessProvider;
use kina_engine::lab::provider::{Provider, SilentPorts, silent_port_refusal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::mpsc;

use super::double::Network;
use super::sample::{Sample, Scene};
use crate::private_provider::{PrivateProvider, binaries_of, bootstrap};

/// Time limit of a bootstrap or of a sample, each of which takes some seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
const END_TIMEOUT: Duration = Duration::from_secs(60);
/// Time in which a system that refuses connections to silent ports does so.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// A process that takes samples. When this value goes, it ends by itself.
pub(super) struct Sampler {
    process: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    kubernetes: String,
}

/// The first line of the process.
#[derive(Serialize, Deserialize)]
struct Premises {
    silent_ports_refuse: bool,
    kubernetes: String,
}

impl Sampler {
    /// Starts it, and waits until it is ready for samples.
    pub(super) async fn start(network: Network) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("finding this executable failed")?;
        let mut command = network.command(&program).map_err(anyhow::Error::msg)?;
        command.args(["bench", "probe", "silent-ports"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().context("starting a process in a network of its own failed")?;
        let requests = process.stdin.take().context("it has no standard input")?;
        let answers = BufReader::new(process.stdout.take().context("it has no standard output")?).lines();
        let mut sampler = Self { process, requests, answers, kubernetes: String::new() };
        let premises: Premises = sampler.answer().await?;
        // Otherwise both would measure the same.
        ensure!(
            premises.silent_ports_refuse == (network == Network::Plain),
            "in the network {network:?}, connections to silent ports are refused: {}",
            premises.silent_ports_refuse
        );
        Ok(Self { kubernetes: premises.kubernetes, ..sampler })
    }

    pub(super) fn kubernetes(&self) -> &str {
        &self.kubernetes
    }

    pub(super) async fn sample(&mut self) -> anyhow::Result<Sample> {
        use tokio::io::AsyncWriteExt;
        self.requests.write_all(b"sample\n").await.context("the process in a network of its own has ended")?;
        self.answer().await
    }

    /// Waits until it has removed everything that it made.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        let Self { mut process, requests, .. } = self;
        drop(requests);
        let ended = tokio::time::timeout(END_TIMEOUT, process.wait()).await;
        let status = ended.context("the process in a network of its own does not end")??;
        ensure!(status.success(), "the process in a network of its own has failed ({status})");
        Ok(())
    }

    async fn answer<Answer: DeserializeOwned>(&mut self) -> anyhow::Result<Answer> {
        let line = tokio::time::timeout(ANSWER_TIMEOUT, self.answers.next_line()).await;
        let line = line.context("the process in a network of its own does not answer")??;
        let line = line.context("the process in a network of its own has failed: its reason is above")?;
        Ok(serde_json::from_str(&line)?)
    }
}

/// Takes a sample for each line of standard input, until that ends.
pub(in super::super) fn serve() -> anyhow::Result<()> {
    cargo_kina::runtime()?.block_on(async {
        tokio::select! {
            served = serve_requests(requests()?) => served,
            () = interrupted() => bail!("interrupted"),
        }
    })
}

async fn serve_requests(mut requests: mpsc::Receiver<()>) -> anyhow::Result<()> {
    let private = PrivateProvider::prepare(ProviderName::Process, "silent")?;
    let connect = || {
        let paths = private.paths();
        let journal = Journal::start(&paths.journal_directory).context("beginning a journal failed")?;
        let (clusters, logs) = (paths.cluster_directory.clone(), paths.cluster_log_directory.clone());
        anyhow::Ok(ProcessProvider::new(clusters, logs, Arc::new(journal))?)
    };
    let silent_ports_refuse = silent_port_refusal(REFUSAL_TIMEOUT).await?.is_some();
    let provider: Arc<dyn Provider> = Arc::new(connect()?);
    let hasty: Arc<dyn Provider> = Arc::new(connect()?.assuming(SilentPorts::Refuse));
    let assets = binaries_of(&provider).await?;
    let snapshot = bootstrap(&provider, &assets, async |_| Ok(())).await?;
    let kubernetes = assets.version.as_ref().map_or(String::new(), |version| format!("v{version}"));
    // Where silent ports refuse, it would be an ordinary start.
    let hasty = if silent_ports_refuse { None } else { Some(Arc::clone(&hasty)) };
    let mut scene = Scene::prepare(Arc::clone(&provider), hasty, assets, snapshot).await?;
    print(&Premises { silent_ports_refuse, kubernetes })?;
    let mut served = Ok(());
    while served.is_ok() && requests.recv().await.is_some() {
        served = tokio::select! {
            sample = scene.sample() => sample.and_then(|sample| print(&sample)),
            // Nothing else is requested meanwhile, so its reader has gone.
            _ = requests.recv() => Err(anyhow::anyhow!("the measurement was given up")),
        };
    }
    scene.end().await;
    provider.wait_all_ended().await;
    served
}

/// One message for each line of standard input.
fn requests() -> anyhow::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(1);
    let read = move || {
        for line in std::io::stdin().lines() {
            if line.is_err() || sender.blocking_send(()).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("requests".to_owned()).spawn(read).context("starting a thread failed")?;
    Ok(receiver)
}

fn print(line: &impl Serialize) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", serde_json::to_string(line)?)?;
    Ok(output.flush()?)
}
