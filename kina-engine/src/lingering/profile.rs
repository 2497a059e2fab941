//! Asking an API server for the stacks of its goroutines.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::api_client::{ApiClient, NoAnswer};
use crate::backoff::Backoff;
use crate::paths::SOCKET_PATH_BYTES_MAX;
use crate::provider::GoroutineProfile;

const PATH: &str = "/debug/pprof/goroutine?debug=1";
/// The beginning of every such text.
const BEGINNING: &str = "goroutine profile: total ";
/// The time limit of a look, which usually takes 10 to 30 ms.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The bound of an answer: a hundred kilobytes or more are usual, depending on the number of different stacks.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// The socket is opened a moment before or after the API server becomes ready.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
const DIAL_INTERVAL: Duration = Duration::from_millis(10);

/// The stacks could not be obtained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The socket did not answer.
    #[error("asking the API server's debug socket {socket} for its goroutines failed")]
    Socket {
        /// The socket.
        socket: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The API did not answer.
    #[error("asking the API server for its goroutines failed")]
    Api(#[source] NoAnswer),
    /// The answer was something else.
    #[error("the API server was asked for its goroutines, but answered: {answer}")]
    NoProfile {
        /// The beginning of the answer.
        answer: String,
    },
}

/// The stacks of everything that runs in an API server now.
pub(super) async fn take(profile: &GoroutineProfile, api: &ApiClient) -> Result<String, ProfileError> {
    let answer = match profile {
        GoroutineProfile::Socket(socket) => {
            let failed = |source| ProfileError::Socket { socket: socket.clone(), source };
            match tokio::time::timeout(TIMEOUT, ask_socket(socket)).await {
                Ok(answer) => answer.map_err(failed)?,
                Err(elapsed) => return Err(failed(elapsed.into())),
            }
        }
        GoroutineProfile::Api => api.get(PATH).await.map_err(ProfileError::Api)?.body,
    };
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match answer.find(BEGINNING) {
        // After the headers, if there are any.
        Some(start) => Ok(answer[start..].to_owned()),
        None => Err(ProfileError::NoProfile { answer: answer.chars().take(200).collect() }),
    }
}

/// A request in HTTP/1.0, which a server answers in one piece before it closes the connection.
fn question(path: &str) -> String {
    format!("GET {path} HTTP/1.0\r\n\r\n")
}

/// Returns the whole answer, headers included.
async fn ask_socket(socket: &Path) -> std::io::Result<Vec<u8>> {
    let dial = Backoff::poll(DIAL_INTERVAL, DIAL_TIMEOUT);
    let mut stream = dial.run(|| connect(socket), |_| true, |_, _| {}).await?;
    stream.write_all(question(PATH).as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Connects, even if the path is longer than the system's limit for sockets.
async fn connect(socket: &Path) -> std::io::Result<UnixStream> {
    if socket.as_os_str().as_bytes().len() <= SOCKET_PATH_BYTES_MAX {
        return UnixStream::connect(socket).await;
    }
    let (Some(directory), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(std::io::ErrorKind::InvalidInput.into());
    };
    // A private short path, removed once the connection is made.
    let shortcut = tempfile::tempdir_in("/tmp")?;
    let link = shortcut.path().join("d");
    std::os::unix::fs::symlink(directory, &link)?;
    UnixStream::connect(link.join(name)).await
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn a_socket_is_reached_however_long_its_path_is() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for length in [1, 200] {
            let directory = directory.path().join("x".repeat(length));
            std::fs::create_dir(&directory).expect("made");
            let socket = directory.join("s");
            // A short path to it, as a process that was started in that directory has.
            let link = tempfile::tempdir_in("/tmp").expect("a short path");
            std::os::unix::fs::symlink(&directory, link.path().join("d")).expect("linked");
            let listener = UnixListener::bind(link.path().join("d/s")).expect("listens");
            let serve = async {
                let (mut stream, _) = listener.accept().await?;
                stream.read_exact(&mut vec![0; question(PATH).len()]).await?;
                stream.write_all(b"HTTP/1.0 200 OK\r\n\r\ngoroutine profile: total 1\n").await
            };
            let (served, answer) = tokio::join!(serve, ask_socket(&socket));
            served.expect("asked");
            assert!(answer.expect("answered").ends_with(b"total 1\n"), "{length}");
        }
    }
}
