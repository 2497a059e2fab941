//! `cargo kina assets`

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use kina_engine::doctor::binaries_platform;
use kina_engine::{
    AssetPruning, AssetRequest, Assets, AssetsError, KubernetesMinor, Platform, Profile, ProviderName, StoredAssets,
};
use serde::Serialize;

use super::output::{Format, Paint, Style, bytes_text, print_json, print_lines, print_progress};
use super::situation::{Situation, UserError, client_of, runtime};
use super::table::{Cell, Table};

/// Commands on the binaries.
#[derive(Debug, Subcommand)]
pub enum AssetsCommand {
    /// List the available binaries, in kina's store and elsewhere
    List {
        /// Output format
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Get binaries into the store: by a download or, if that is not possible, by a build with Go
    Fetch(Wanted),
    /// Build binaries with Go into the store, even if they could be downloaded
    Build(Wanted),
    /// Print the directory of the binaries that tests would use
    Path(Wanted),
    /// Remove binaries that no test would use from kina's store: older patches, and incomplete ones
    Prune {
        /// Remove everything
        #[arg(long)]
        all: bool,
        /// Only print what would be removed
        #[arg(long)]
        dry_run: bool,
    },
}

/// A selection of binaries.
#[derive(Debug, Args)]
pub struct Wanted {
    /// Kubernetes minor, such as 1.36 [default: from the workspace's settings]
    #[arg(long, value_name = "MINOR")]
    kubernetes: Option<KubernetesMinor>,
    /// Also kube-controller-manager, kube-scheduler and kwok [default: from the workspace's settings]
    #[arg(long)]
    controllers: bool,
    /// Operating system and processor, such as linux/arm64 [default: those of the provider's clusters]
    #[arg(long, value_name = "OS/ARCH", value_parser = platform)]
    platform: Option<Platform>,
}

#[derive(Serialize)]
struct Listed<'a> {
    source: String,
    directory: &'a PathBuf,
    version: Option<String>,
    platform: Option<String>,
    components: &'a [&'static str],
    problem: Option<&'a str>,
    size_bytes: u64,
}

/// Runs the command.
pub(super) fn run(provider: Option<ProviderName>, command: AssetsCommand) -> anyhow::Result<()> {
    let situation = Situation::of_this_process(provider)?;
    match command {
        AssetsCommand::List { format } => list(&kina_engine::stored_assets(&situation.request(None)?), format),
        AssetsCommand::Fetch(wanted) => provide(without_named_directories(situation.request(Some(&wanted))?)),
        AssetsCommand::Build(wanted) => {
            let mut request = without_named_directories(situation.request(Some(&wanted))?);
            request.build_only = true;
            provide(request)
        }
        AssetsCommand::Path(wanted) => {
            let mut request = situation.request(Some(&wanted))?;
            request.offline = true;
            match kina_engine::provide_assets(&request, &|_| {}) {
                Err(AssetsError::NoSource(missing)) => Err(UserError(format!(
                    "the binaries of Kubernetes {} for {} are missing: get them with `cargo kina assets fetch`",
                    missing.minor, missing.platform
                ))
                .into()),
                found => print_directory(&found?),
            }
        }
        AssetsCommand::Prune { all, dry_run } => {
            let request = situation.request(None)?;
            prune(&request, if all { AssetPruning::All } else { AssetPruning::Superseded }, dry_run)
        }
    }
}

impl Situation {
    /// The request that tests here would make, changed by the options.
    fn request(&self, wanted: Option<&Wanted>) -> anyhow::Result<AssetRequest> {
        let of_settings = self.settings.kubernetes.as_deref().map(str::parse).transpose()?;
        let minor = wanted.and_then(|wanted| wanted.kubernetes).or(of_settings).unwrap_or_default();
        let cache_directory = client_of(self.provider())?.paths().cache_directory.clone();
        let mut request = AssetRequest::from_environment(minor, cache_directory, &|name| std::env::var_os(name));
        request.explicit_directory.clone_from(&self.settings.assets_directory);
        let platform = match wanted.and_then(|wanted| wanted.platform.clone()) {
            Some(platform) => platform,
            None => binaries_platform(self.provider())?,
        };
        let with_controllers =
            wanted.is_some_and(|wanted| wanted.controllers) || self.settings.profile == Profile::Controllers;
        Ok(request.for_platform(platform).for_controllers(with_controllers))
    }
}

/// Leaves out directories named by the user, so that the store is used.
fn without_named_directories(mut request: AssetRequest) -> AssetRequest {
    for (name, directory) in
        [("KINA_ASSETS_DIR", &request.explicit_directory), ("KUBEBUILDER_ASSETS", &request.kubebuilder_assets)]
    {
        if let Some(directory) = directory {
            print_progress(&format!("tests here use {}, because {name} or kina.toml names it", directory.display()));
        }
    }
    (request.explicit_directory, request.kubebuilder_assets) = (None, None);
    request
}

fn provide(request: AssetRequest) -> anyhow::Result<()> {
    let found = kina_engine::provide_assets(&request, &|progress| print_progress(&progress.text))?;
    print_progress(&format!("from {}", found.source));
    print_directory(&found)
}

fn print_directory(found: &Assets) -> anyhow::Result<()> {
    let directory = found.kube_apiserver.parent().context("bug: a program without a directory")?;
    print_lines([directory.display().to_string()])
}

fn list(stored: &[StoredAssets], format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        let listed: Vec<_> = stored
            .iter()
            .map(|assets| Listed {
                source: assets.source.to_string(),
                directory: &assets.directory,
                version: assets.version.map(|version| version.to_string()),
                platform: assets.platform.as_ref().map(Platform::to_string),
                components: &assets.components,
                problem: assets.problem.as_deref(),
                size_bytes: assets.size_bytes,
            })
            .collect();
        return print_json(&listed);
    }
    if stored.is_empty() {
        return print_lines(["there are no binaries yet; the first test gets them, or `cargo kina assets fetch`"]);
    }
    let mut table = Table::new(&["KUBERNETES", "PLATFORM", "SIZE", "PROGRAMS", "DIRECTORY", "SOURCE"]);
    for assets in stored {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        table.push(vec![
            Cell::text(or_dash(assets.version.map(|version| version.to_string()))),
            Cell::text(or_dash(assets.platform.as_ref().map(Platform::to_string))),
            Cell::number(bytes_text(assets.size_bytes)),
            match &assets.problem {
                None => Cell::text(assets.components.join(" ")),
                Some(problem) => Cell::painted(problem, Paint::Bad),
            },
            Cell::text(assets.directory.display().to_string()),
            Cell::text(assets.source.to_string()),
        ]);
    }
    print_lines(table.lines(Style::of_stdout(), None))
}

fn prune(request: &AssetRequest, prune: AssetPruning, is_dry_run: bool) -> anyhow::Result<()> {
    let prunable = kina_engine::prunable_assets(request, prune);
    if prunable.is_empty() {
        return print_lines(["nothing to remove"]);
    }
    if !is_dry_run {
        expect_no_engine()?;
    }
    let verb = if is_dry_run { "would remove" } else { "removed" };
    for stored in prunable {
        if !is_dry_run {
            kina_engine::remove_assets(request, &stored, &|progress| print_progress(&progress.text))?;
        }
        print_lines([format!("{verb} {} ({})", stored.directory.display(), bytes_text(stored.size_bytes))])?;
    }
    Ok(())
}

/// An engine restarts its stopped clusters from the same binaries.
fn expect_no_engine() -> anyhow::Result<()> {
    let is_running = runtime()?.block_on(async {
        for provider in ProviderName::ALL {
            if client_of(provider)?.status(false).await?.is_some() {
                return anyhow::Ok(true);
            }
        }
        Ok(false)
    })?;
    if is_running {
        let text = "an engine is running, and its clusters may need these binaries: run `cargo kina stop` first";
        return Err(UserError(text.to_owned()).into());
    }
    Ok(())
}

fn platform(text: &str) -> Result<Platform, String> {
    let is_name = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match text.split_once(['/', '-']) {
        Some((os, arch)) if is_name(os) && is_name(arch) => Ok(Platform { os: os.to_owned(), arch: arch.to_owned() }),
        _ => Err("write it as OS/ARCH, such as linux/arm64".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_an_operating_system_and_a_processor() {
        for text in ["linux/arm64", "linux-arm64"] {
            assert_eq!(platform(text).expect("understood").to_string(), "linux-arm64");
        }
        for text in ["linux", "linux/", "/arm64", "linux/../arm64", "a/b/c"] {
            assert!(platform(text).is_err(), "{text}");
        }
    }
}
