//! The first process of a machine that only answers questions: `cargo kina apple-probe`.
//!
//! No cluster runs in such a machine. The host asks for one thing after the other, over the published port or by
//! signals: appends to files in the directory of logs, and memory that is filled and freed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::layout::{API_PORT, PROBE_LOG, PROBE_SYNCED_LOG, Root};
use crate::system::{self, Signals};

/// The memory that is filled and freed: so many blocks.
const BLOCKS: usize = 512;
const BLOCK_BYTES: usize = 1 << 20;
/// A machine whose host has forgotten it ends after this time.
const LIFE_MAX: Duration = Duration::from_secs(900);
/// Time limit of a connection on which nothing is asked.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// The things that can be asked for.
struct Answers {
    plain: Appended,
    synced: Appended,
    filled: Vec<u64>,
}

/// A file to which numbered lines are appended.
struct Appended {
    file: File,
    lines: u64,
}

/// Answers below `root` until it is asked to end.
pub fn run(root: &Root) -> ExitCode {
    match answer_all(root) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("the probe failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn answer_all(root: &Root) -> io::Result<()> {
    let signals = Signals::hold_back()?;
    let answers = Answers {
        plain: Appended::create(root, PROBE_LOG)?,
        synced: Appended::create(root, PROBE_SYNCED_LOG)?,
        filled: Vec::new(),
    };
    let answers = Arc::new(Mutex::new(answers));
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, API_PORT))?;
    let of_connections = Arc::clone(&answers);
    std::thread::spawn(move || {
        // One after the other: the host has one.
        for stream in listener.incoming().flatten() {
            if let Err(error) = serve(&stream, &of_connections) {
                println!("a connection ended: {error}");
            }
        }
    });
    println!("the probe answers");
    let start = Instant::now();
    while start.elapsed() < LIFE_MAX {
        match signals.wait(LIFE_MAX.saturating_sub(start.elapsed()))? {
            Some(system::TERMINATE | system::INTERRUPT) => return Ok(()),
            Some(system::USER_1) => answer(&answers, "append").map(drop)?,
            Some(system::HANGUP) => answer(&answers, "append-synced").map(drop)?,
            _ => {}
        }
    }
    Ok(())
}

fn serve(stream: &TcpStream, answers: &Mutex<Answers>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    let mut writer = stream.try_clone()?;
    for line in BufReader::new(stream).lines() {
        let said = answer(answers, line?.trim())?;
        writer.write_all(said.as_bytes())?;
    }
    Ok(())
}

/// Does what is asked for, and returns a line once it is done.
fn answer(answers: &Mutex<Answers>, command: &str) -> io::Result<String> {
    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
    let number = match command {
        "hello" => 0,
        "append" => answers.plain.append()?,
        "append-synced" => {
            let number = answers.synced.append()?;
            answers.synced.file.sync_all()?;
            number
        }
        "fill" => {
            answers.filled = filled();
            (BLOCKS * BLOCK_BYTES) as u64
        }
        "free" => {
            answers.filled = Vec::new();
            0
        }
        _ => return Ok(format!("unknown: {command}\n")),
    };
    Ok(format!("done: {command} {number}\n"))
}

/// Returns memory of which each page is written, with numbers that do not repeat in it, so that no host can compress it.
fn filled() -> Vec<u64> {
    let mut number = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        number
    };
    let block: Vec<u64> = (0..BLOCK_BYTES / size_of::<u64>()).map(|_| next()).collect();
    let mut filled = Vec::with_capacity(BLOCKS * block.len());
    for _ in 0..BLOCKS {
        filled.extend_from_slice(&block);
    }
    filled
}

impl Appended {
    fn create(root: &Root, name: &str) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(root.log_file(name))?;
        Ok(Self { file, lines: 0 })
    }

    fn append(&mut self) -> io::Result<u64> {
        self.lines += 1;
        self.file.write_all(format!("{}\n", self.lines).as_bytes())?;
        Ok(self.lines)
    }
}
