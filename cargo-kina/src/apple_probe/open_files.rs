//! The limit of open files for jobs of launchd. That of a shell does not reach them.

use super::super::doctor::program;
use super::question::Finding;

/// Asks the system.
pub(super) async fn open_files_max() -> Finding {
    if let Some(said) = program("/bin/launchctl", &["limit", "maxfiles"]).await {
        let most = program("/usr/sbin/sysctl", &["-n", "kern.maxfilesperproc"]).await;
        return match hard_limit(&said, most.as_deref()) {
            Some(limit) => Finding::Number(limit as f64),
            None => Finding::Unknown(format!("`launchctl limit maxfiles` says `{said}`")),
        };
    }
    // No Mac.
    match rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum {
        Some(limit) => Finding::Number(limit as f64),
        None => Finding::Unknown("there is no launchctl, and this process has no limit".to_owned()),
    }
}

/// Reads the second limit in `maxfiles  SOFT  HARD`; instead of `unlimited`, the most that the kernel gives a process.
fn hard_limit(said: &str, most: Option<&str>) -> Option<u64> {
    match said.split_whitespace().nth(2)? {
        "unlimited" => most?.trim().parse().ok(),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hard_limit_of_launchd_counts() {
        assert_eq!(hard_limit("\tmaxfiles    256            unlimited      ", Some("61440")), Some(61_440));
        assert_eq!(hard_limit("maxfiles 65536 200000", None), Some(200_000));
        assert_eq!(hard_limit("maxfiles 256 unlimited", None), None);
        assert_eq!(hard_limit("", Some("1")), None);
    }

    #[tokio::test]
    async fn this_machine_has_an_answer() {
        let limit = open_files_max().await;
        assert!(!matches!(limit, Finding::Never | Finding::Flag(_)), "{limit:?}");
    }
}
