//! A browser without a window.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::timings::png::Image;

/// The reason of a test that is skipped.
pub const MISSING: &str = "there is no chromium on PATH: install it, or set KINA_TEST_CHROMIUM to its path";
/// The variable with the path of one, or `required`.
const VARIABLE: &str = "KINA_TEST_CHROMIUM";
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];
/// Time limit of a run, on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

pub struct Chromium(PathBuf);

impl Chromium {
    /// Finds a browser; `None` if there is none and none is required.
    pub fn find() -> Option<Self> {
        let named = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
        if let Some(path) = named.as_ref().filter(|value| *value != "required") {
            return Some(Self(path.into()));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .flat_map(|directory| NAMES.map(|name| directory.join(name)))
            .find(|path| path.is_file());
        assert!(found.is_some() || named.is_none(), "there is no chromium on PATH, and {VARIABLE} requires one");
        found.map(Self)
    }

    /// Returns the document after its scripts have run.
    pub fn dom(&self, page: &Path) -> String {
        String::from_utf8(self.run(page, &["--dump-dom".into()])).expect("text")
    }

    /// Returns the content of a window of this size.
    pub fn screenshot(&self, page: &Path, width: u32, height: u32) -> Image {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("page.png");
        let mut screenshot = OsString::from("--screenshot=");
        screenshot.push(&file);
        self.run(page, &[screenshot, format!("--window-size={width},{height}").into()]);
        Image::decode(&std::fs::read(&file).expect("a screenshot"))
    }

    /// Runs it and returns its output.
    fn run(&self, page: &Path, arguments: &[OsString]) -> Vec<u8> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut profile = OsString::from("--user-data-dir=");
        profile.push(directory.path());
        let mut command = Command::new(&self.0);
        command.args(["--headless", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--disable-dev-shm-usage"]);
        command.args(["--force-color-profile=srgb", "--disable-background-networking", "--disable-component-update"]);
        if rustix::process::getuid().is_root() {
            // Its sandbox does not work for root, and the page is trusted.
            command.arg("--no-sandbox");
        }
        let output = std::fs::File::create(directory.path().join("stdout")).expect("made");
        let errors = std::fs::File::create(directory.path().join("stderr")).expect("made");
        command.arg(profile).args(arguments).arg(page).env("HOME", directory.path());
        let mut child = command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().expect("chromium starts");
        let is_success = wait(&mut child);
        let read = |name: &str| std::fs::read(directory.path().join(name)).expect("readable");
        assert!(is_success, "chromium failed: {}", String::from_utf8_lossy(&read("stderr")));
        read("stdout")
    }
}

fn wait(child: &mut Child) -> bool {
    let start = Instant::now();
    while start.elapsed() < TIMEOUT {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status.success();
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    let _ = child.kill();
    let _ = child.wait();
    panic!("chromium took more than {} s", TIMEOUT.as_secs());
}
