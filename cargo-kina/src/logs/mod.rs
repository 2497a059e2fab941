//! `cargo kina logs`
//!
//! - `tail`: one file that may grow.

mod tail;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use kina_engine::{EnginePaths, ProviderName, WorkspaceSettings};

use self::tail::Tail;
use super::output::{Paint, Style, print_bytes};
use super::situation::UserError;

/// The interval at which followed files are read.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Limit of the names in an error.
const NAMED_MAX: usize = 10;

/// Print the log of the engine, or the logs of one cluster
///
/// Logs outlive their clusters for a while: those of the newest 40 are kept, the newest 16 MB of an engine and 64 MB of each component at most.
#[derive(Clone, Debug, Args)]
pub struct LogsArguments {
    /// Name of a cluster, as `cargo kina status` shows it, or the end of the name; without one, the engine's own log
    cluster: Option<String>,
    /// Keep printing new lines, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Begin with this many last lines of each file [default: all]
    #[arg(short = 'n', long, value_name = "LINES")]
    lines: Option<usize>,
    /// Only this component of the cluster, such as kube-apiserver
    #[arg(long, requires = "cluster")]
    component: Option<String>,
}

/// Runs the command.
pub(super) fn run(provider: Option<ProviderName>, arguments: &LogsArguments) -> anyhow::Result<()> {
    // Invalid settings are no reason to withhold a log.
    let provider = provider.or_else(|| WorkspaceSettings::of_this_process().ok().map(|settings| settings.provider));
    let paths = EnginePaths::from_environment(provider.unwrap_or_default())?;
    let component = arguments.component.as_deref();
    let source = match &arguments.cluster {
        None => Source::File(paths.log),
        Some(name) => Source::Directory(find_cluster(&paths.cluster_log_directory, name)?),
    };
    let files = source.earlier_files(component).into_iter().chain(source.files(component)?);
    let mut tails: Vec<Tail> = files.map(Tail::new).collect();
    if tails.is_empty() && !arguments.follow {
        return Err(source.nothing_there(component).into());
    }
    for tail in &mut tails {
        tail.skip_to_last(arguments.lines)?;
    }
    loop {
        print_new(&mut tails, !arguments.follow)?;
        if !arguments.follow {
            return Ok(());
        }
        // New lines in these files were printed already.
        tails.retain(|tail| !is_earlier(tail.path()));
        std::thread::sleep(POLL_INTERVAL);
        for path in source.files(component)? {
            if !tails.iter().any(|tail| tail.path() == path) {
                tails.push(Tail::new(path));
            }
        }
    }
}

/// The source of logs.
enum Source {
    File(PathBuf),
    Directory(PathBuf),
}

impl Source {
    /// The existing files.
    fn files(&self, component: Option<&str>) -> anyhow::Result<Vec<PathBuf>> {
        let directory = match self {
            Self::File(path) => return Ok(path.exists().then(|| path.clone()).into_iter().collect()),
            Self::Directory(directory) => directory,
        };
        files_in(directory, component).with_context(|| format!("reading {} failed", directory.display()))
    }

    /// The files with the lines of earlier leases, or with the older part of a long log.
    fn earlier_files(&self, component: Option<&str>) -> Vec<PathBuf> {
        match self {
            Self::File(path) => {
                let beside = path.parent().zip(path.file_name());
                let earlier =
                    beside.map(|(directory, name)| directory.join(kina_engine::EARLIER_LOG_DIRECTORY).join(name));
                earlier.filter(|earlier| earlier.exists()).into_iter().collect()
            }
            Self::Directory(directory) => {
                files_in(&directory.join(kina_engine::EARLIER_LOG_DIRECTORY), component).unwrap_or_default()
            }
        }
    }

    fn nothing_there(&self, component: Option<&str>) -> UserError {
        UserError(match (self, component) {
            (Self::File(path), _) => {
                format!("there is no log yet at {}: no engine has run; the first test starts one", path.display())
            }
            (Self::Directory(directory), None) => format!("there is no log in {}", directory.display()),
            (Self::Directory(directory), Some(component)) => {
                let there = self.files(None).unwrap_or_default();
                let there: Vec<_> = there.iter().map(|path| label_of(path)).collect();
                format!("there is no log of `{component}` in {}, only of {}", directory.display(), there.join(", "))
            }
        })
    }
}

fn files_in(directory: &Path, component: Option<&str>) -> std::io::Result<Vec<PathBuf>> {
    let mut files: Vec<_> = std::fs::read_dir(directory)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_file() && component.is_none_or(|component| label_of(path) == component))
        .collect();
    files.sort();
    Ok(files)
}

fn is_earlier(path: &Path) -> bool {
    path.parent().is_some_and(|directory| directory.ends_with(kina_engine::EARLIER_LOG_DIRECTORY))
}

/// The logs of the cluster of that name, or of the only one whose name ends like that.
fn find_cluster(directory: &Path, name: &str) -> Result<PathBuf, UserError> {
    let mut known: Vec<_> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let modified = entry.metadata().ok()?.modified().ok()?;
            Some((std::cmp::Reverse(modified), entry.file_name().into_string().ok()?))
        })
        .collect();
    // Sorted so that the newest come first.
    known.sort();
    let names: Vec<_> = known.into_iter().map(|(_, known)| known).collect();
    if names.iter().any(|known| known == name) {
        return Ok(directory.join(name));
    }
    let mut ending: Vec<_> = names.iter().filter(|known| known.ends_with(&format!("-{name}"))).cloned().collect();
    match ending.len() {
        1 => Ok(directory.join(ending.swap_remove(0))),
        0 if names.is_empty() => Err(UserError(format!("there is no cluster `{name}`, nor any log of one"))),
        0 => Err(UserError(format!("there is no cluster `{name}`; the newest with logs are {}", list(&names)))),
        _ => Err(UserError(format!("several clusters end with `{name}`: {}; name one of them", list(&ending)))),
    }
}

fn list(names: &[String]) -> String {
    let mut shown = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    if NAMED_MAX < names.len() {
        shown.push_str(", …");
    }
    shown
}

/// Prints the new lines. With several components, each line names its component.
fn print_new(tails: &mut [Tail], is_last_time: bool) -> anyhow::Result<()> {
    let style = Style::of_stdout();
    let width = tails.iter().map(|tail| label_of(tail.path()).len()).max().unwrap_or_default();
    let has_labels = tails.iter().any(|tail| label_of(tail.path()) != label_of(tails[0].path()));
    for tail in tails {
        let label = has_labels.then(|| style.paint(Paint::Cold, &format!("{:<width$} | ", label_of(tail.path()))));
        tail.read_lines(is_last_time, &mut |line| {
            let mut bytes = label.clone().unwrap_or_default().into_bytes();
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
            print_bytes(&bytes)
        })?;
    }
    Ok(())
}

fn label_of(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_found_by_its_name_or_by_a_unique_ending() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path();
        let message = |name| find_cluster(path, name).expect_err("not found").0;
        assert!(message("1").contains("nor any log of one"));
        for name in ["cluster-10-1", "cluster-10-2", "cluster-20-1"] {
            std::fs::create_dir(path.join(name)).expect("made");
        }
        assert_eq!(find_cluster(path, "cluster-10-1").expect("by name"), path.join("cluster-10-1"));
        assert_eq!(find_cluster(path, "2").expect("by its end"), path.join("cluster-10-2"));
        assert_eq!(find_cluster(path, "20-1").expect("by its end"), path.join("cluster-20-1"));
        assert!(message("1").contains("several"), "{}", message("1"));
        assert!(message("cluster-30-1").contains("cluster-10-2"));
        assert!(find_cluster(path, "../../etc").is_err());
    }

    #[test]
    fn lines_of_earlier_leases_come_first() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let earlier = directory.path().join(kina_engine::EARLIER_LOG_DIRECTORY);
        let source = Source::Directory(directory.path().to_owned());
        assert!(source.earlier_files(None).is_empty());
        std::fs::create_dir(&earlier).expect("made");
        for directory in [directory.path(), &earlier] {
            std::fs::write(directory.join("etcd.log"), "").expect("written");
        }
        assert_eq!(source.earlier_files(Some("etcd")), [earlier.join("etcd.log")]);
        assert!(source.earlier_files(Some("kwok")).is_empty());
        assert_eq!(source.files(None).expect("read"), [directory.path().join("etcd.log")]);
        let engine = directory.path().join("engine.log");
        let source = Source::File(engine.clone());
        assert!(source.earlier_files(None).is_empty());
        std::fs::write(earlier.join("engine.log"), "").expect("written");
        assert_eq!(source.earlier_files(None), [earlier.join("engine.log")]);
        assert!(is_earlier(&earlier.join("etcd.log")) && !is_earlier(&directory.path().join("etcd.log")));
    }

    #[test]
    fn a_missing_component_is_an_error_that_names_the_existing_ones() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("etcd.log"), "").expect("written");
        let source = Source::Directory(directory.path().to_owned());
        assert_eq!(source.files(Some("etcd")).expect("read").len(), 1);
        assert!(source.files(Some("kubelet")).expect("read").is_empty());
        assert!(source.nothing_there(Some("kubelet")).0.ends_with("only of etcd"));
    }
}
