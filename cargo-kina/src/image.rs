//! `cargo kina image`

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use kina_engine::{
    Architecture, AssetRequest, AssetsError, BuiltImage, EnginePaths, ImageError, KubernetesMinor, UnknownArchitecture,
    UnknownMinor,
};
use serde::Serialize;

use super::Format;
use super::output::print_progress;

/// Commands on the image.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Make the image, or find an existing one
    Build {
        #[command(flatten)]
        wanted: Wanted,
        /// Write a copy of the archive to this file
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Output format
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Print the path of the archive that was made or requested last
    Path {
        #[command(flatten)]
        wanted: Wanted,
    },
}

/// A selection of images.
#[derive(Debug, Args)]
pub struct Wanted {
    /// The processor of the virtual machine [default: this machine's]
    #[arg(long, value_parser = PossibleValuesParser::new(["amd64", "arm64"]).try_map(|name| name.parse::<Architecture>()))]
    architecture: Option<Architecture>,
    /// Kubernetes minor, such as 1.36
    #[arg(long, value_name = "MINOR")]
    kubernetes: Option<String>,
}

/// No image has been made yet.
#[derive(Debug, thiserror::Error)]
#[error("no image for {architecture}{} has been made in `{}`: make one with `cargo kina image build`", OfMinor(*.minor), directory.display())]
struct NoImage {
    architecture: Architecture,
    minor: Option<KubernetesMinor>,
    directory: PathBuf,
}

struct OfMinor(Option<KubernetesMinor>);

#[derive(Serialize)]
struct Report<'a> {
    reference: &'a str,
    archive: &'a Path,
    digest: &'a str,
    size_bytes: u64,
    architecture: &'a str,
    kubernetes: &'a str,
    supervisor: &'a str,
}

/// Runs the command.
pub(super) fn run(command: ImageCommand) -> anyhow::Result<()> {
    let cache_directory = EnginePaths::from_environment(kina_engine::ProviderName::default())?.cache_directory;
    let directory = kina_engine::image_directory(&cache_directory);
    match command {
        ImageCommand::Build { wanted, output, format } => {
            let architecture = wanted.architecture()?;
            let mut request =
                AssetRequest::from_environment(wanted.minor()?.unwrap_or_default(), cache_directory, &|name| {
                    std::env::var_os(name)
                });
            request.explicit_directory = std::env::var_os("KINA_ASSETS_DIR").map(PathBuf::from);
            let request = request.for_platform(architecture.platform());
            let assets = kina_engine::provide_assets(&request, &|progress| print_progress(&progress.text))?;
            let mut built = kina_engine::build_and_describe_image(&assets, architecture, &directory)?;
            if let Some(output) = output {
                copy(&built.image.archive, &output)?;
                built.image.archive = std::path::absolute(output)?;
            }
            print(&built, format)
        }
        ImageCommand::Path { wanted } => {
            let (architecture, minor) = (wanted.architecture()?, wanted.minor()?);
            let image = kina_engine::last_used_image(architecture, minor, &directory).ok_or(NoImage {
                architecture,
                minor,
                directory,
            })?;
            println!("{}", image.archive.display());
            Ok(())
        }
    }
}

/// Returns true if `error` is an error of this command that the user can fix.
pub(super) fn is_user_error(error: &anyhow::Error) -> bool {
    error.is::<NoImage>()
        || error.is::<UnknownArchitecture>()
        || error.is::<UnknownMinor>()
        || error.downcast_ref::<ImageError>().is_some_and(ImageError::is_user_error)
        || error.downcast_ref::<AssetsError>().is_some_and(AssetsError::is_user_error)
}

impl Wanted {
    fn architecture(&self) -> Result<Architecture, UnknownArchitecture> {
        self.architecture.map_or_else(Architecture::host, Ok)
    }

    fn minor(&self) -> Result<Option<KubernetesMinor>, UnknownMinor> {
        self.kubernetes.as_deref().map(str::parse).transpose()
    }
}

/// Copies to a temporary file and renames, so that readers never see an incomplete file.
fn copy(archive: &Path, output: &Path) -> anyhow::Result<()> {
    let directory = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = || format!("copying the image to `{}` failed: name a file that can be written", output.display());
    let mut staged = tempfile::NamedTempFile::new_in(directory).with_context(failed)?;
    let mut archive = std::fs::File::open(archive).with_context(failed)?;
    std::io::copy(&mut archive, &mut staged).with_context(failed)?;
    // Unlike other temporary files, this one is readable by all users.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    staged.as_file().set_permissions(mode).with_context(failed)?;
    staged.persist(output).map(drop).with_context(failed)
}

fn print(built: &BuiltImage, format: Format) -> anyhow::Result<()> {
    let BuiltImage { image, architecture, kubernetes, supervisor } = built;
    match format {
        Format::Json => {
            let report = Report {
                reference: &image.reference,
                archive: &image.archive,
                digest: &image.digest,
                size_bytes: image.size_bytes,
                architecture,
                kubernetes,
                supervisor,
            };
            println!("{}", serde_json::to_string(&report)?);
        }
        Format::Text => {
            println!("{}", image.reference);
            println!("archive     {}", image.archive.display());
            println!("size        {} MB", image.size_bytes.div_ceil(1_000_000));
            println!("digest      {}", image.digest);
            println!("supervisor  {supervisor}");
            println!("load it with `container image load -i FILE` or `podman load -i FILE`");
        }
    }
    Ok(())
}

impl std::fmt::Display for OfMinor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(minor) => write!(formatter, " with Kubernetes {minor}"),
            None => Ok(()),
        }
    }
}
