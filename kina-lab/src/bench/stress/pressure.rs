//! A process that takes the processor and the memory, and ends with the one that started it.

use std::io::{Read, Write};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// No pressure lasts longer, even if the process that started it dies.
const PRESS_TIMEOUT: Duration = Duration::from_secs(1800);
/// Time limit for taking the memory.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(120);
const END_TIMEOUT: Duration = Duration::from_secs(10);
const PRESSING: &str = "pressing";
const PAGE_BYTES: usize = 4096;

/// The resources to take.
#[derive(Clone, Debug, Args)]
pub(crate) struct PressArguments {
    #[arg(long, default_value_t = 0)]
    burners: usize,
    #[arg(long, default_value_t = 0)]
    memory_mb: u64,
}

/// A process that presses. Ends when dropped.
pub(super) struct Pressure {
    child: Option<Child>,
}

impl Pressure {
    /// Returns once it has taken everything.
    pub(super) async fn begin(burners: usize, memory_mb: u64) -> anyhow::Result<Self> {
        if burners == 0 && memory_mb == 0 {
            return Ok(Self { child: None });
        }
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "probe", "press", "--burners", &burners.to_string()]);
        command.args(["--memory-mb", &memory_mb.to_string()]);
        Self::from_command(command).await
    }

    async fn from_command(mut command: Command) -> anyhow::Result<Self> {
        // It ends when it reads the end of its input, even if there is no process left to kill it.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("starting the process that takes processor and memory failed")?;
        let stdout = child.stdout.take().context("its output is a pipe")?;
        let mut lines = BufReader::new(stdout).lines();
        match tokio::time::timeout(BEGIN_TIMEOUT, lines.next_line()).await {
            Ok(Ok(Some(line))) if line == PRESSING => Ok(Self { child: Some(child) }),
            Ok(_) => bail!("the process that takes processor and memory ended early: there may be too little memory"),
            Err(_) => bail!("the memory was not taken within {} s", BEGIN_TIMEOUT.as_secs()),
        }
    }

    /// Returns once everything is given back.
    pub(super) async fn end(mut self) -> anyhow::Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        drop(child.stdin.take());
        if tokio::time::timeout(END_TIMEOUT, child.wait()).await.is_err() {
            child.kill().await?;
        }
        Ok(())
    }
}

/// Presses until standard input ends.
pub(in crate::bench) fn run(arguments: &PressArguments) -> anyhow::Result<()> {
    // If memory runs out, the kernel should kill this process. Only Linux has that, and a failure does no harm.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let (ended, end) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        drop(ended);
    });
    let deadline = Instant::now() + PRESS_TIMEOUT;
    let bytes = usize::try_from(arguments.memory_mb.saturating_mul(1_000_000)).context("that is too much memory")?;
    let mut memory = vec![0_u8; bytes];
    // Untouched memory is not allocated.
    memory.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
    for number in 0..arguments.burners {
        std::thread::spawn(move || burn(number, deadline));
    }
    println!("{PRESSING}");
    std::io::stdout().flush()?;
    // The end of input or of the time: either way the process ends, and all its threads with it.
    let _ = end.recv_timeout(PRESS_TIMEOUT);
    std::hint::black_box(&memory);
    Ok(())
}

fn burn(number: usize, deadline: Instant) {
    const BETWEEN_LOOKS: usize = 1 << 20;
    let mut sum = number;
    while Instant::now() < deadline {
        for _ in 0..BETWEEN_LOOKS {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn it_ends_when_its_input_ends() {
        let pressure = Pressure::from_command(shell("echo pressing; cat > /dev/null")).await.expect("it presses");
        let id = pressure.child.as_ref().and_then(Child::id).expect("it runs");
        pressure.end().await.expect("it ends");
        assert_eq!(kina_engine::lab::process_identity::start_of(id), None);
    }

    #[tokio::test]
    async fn one_that_could_not_take_its_memory_is_an_error() {
        let error = Pressure::from_command(shell("exit 1")).await.err().expect("it does not press");
        assert!(error.to_string().contains("ended early"), "{error}");
    }

    #[tokio::test]
    async fn without_anything_to_take_there_is_no_process() {
        let pressure = Pressure::begin(0, 0).await.expect("nothing to do");
        assert!(pressure.child.is_none());
        pressure.end().await.expect("nothing to end");
    }
}
