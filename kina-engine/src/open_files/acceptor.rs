//! Accepting, also where that fails.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::Instant;

use super::{OpenFiles, ToldOnce};

/// The pause after the first error, and after each that follows the double of the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A listener of some kind.
pub(crate) trait Listen {
    /// A connection that was accepted.
    type Connection;

    /// Accepts one. Dropping the future loses none.
    fn accept(&self) -> impl Future<Output = Result<Self::Connection, Error>> + Send;
}

/// A listener whose errors are told once and waited out.
pub(crate) struct Acceptor<L> {
    listener: L,
    name: &'static str,
    failures: Arc<ToldOnce>,
    /// The end of the pause under way, and how long that is. It is kept here, since the future of
    /// [`accept`](Self::accept) may be dropped at any time.
    pause: Option<(Instant, Duration)>,
}

impl<L: Listen> Acceptor<L> {
    /// Wraps a listener, which the log will call `name`.
    pub(crate) fn new(listener: L, name: &'static str, open_files: &OpenFiles) -> Self {
        Self { listener, name, failures: Arc::clone(&open_files.accept_failures), pause: None }
    }

    /// Waits for the next connection. Dropping the future loses none, and shortens no pause.
    pub(crate) async fn accept(&mut self) -> L::Connection {
        loop {
            if let Some((end, _)) = self.pause {
                tokio::time::sleep_until(end).await;
            }
            match self.listener.accept().await {
                Ok(connection) => {
                    self.pause = None;
                    return connection;
                }
                Err(error) => self.note(&error),
            }
        }
    }

    fn note(&mut self, error: &Error) {
        // The client has gone already. That says nothing about the next one.
        if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted) {
            return;
        }
        let pause = self.pause.map_or(FIRST_PAUSE, |(_, pause)| PAUSE_MAX.min(2 * pause));
        self.pause = Some((Instant::now() + pause, pause));
        if let Some(untold) = self.failures.note(std::time::Instant::now()) {
            tracing::warn!(
                %error,
                listener = self.name,
                untold,
                "cannot accept connections, most likely for lack of open files (`ulimit -n`): trying again, \
                 existing leases go on"
            );
        }
    }
}

impl Listen for TcpListener {
    type Connection = (TcpStream, SocketAddr);

    async fn accept(&self) -> Result<Self::Connection, Error> {
        Self::accept(self).await
    }
}

impl Listen for UnixListener {
    type Connection = UnixStream;

    async fn accept(&self) -> Result<Self::Connection, Error> {
        Ok(Self::accept(self).await?.0)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// A listener that gives prepared answers, and then none.
    struct Scripted {
        answers: RefCell<Vec<Result<u32, i32>>>,
        calls: Cell<u32>,
    }

    impl Listen for Scripted {
        type Connection = u32;

        fn accept(&self) -> impl Future<Output = Result<u32, Error>> + Send {
            self.calls.set(self.calls.get() + 1);
            let answer = self.answers.borrow_mut().pop();
            async move {
                match answer {
                    Some(answer) => answer.map_err(Error::from_raw_os_error),
                    None => std::future::pending().await,
                }
            }
        }
    }

    fn acceptor(answers: impl IntoIterator<Item = Result<u32, i32>>) -> Acceptor<Scripted> {
        let mut answers: Vec<_> = answers.into_iter().collect();
        answers.reverse();
        let listener = Scripted { answers: RefCell::new(answers), calls: Cell::new(0) };
        Acceptor::new(listener, "test", &OpenFiles::new(1024))
    }

    fn no_more_files() -> i32 {
        rustix::io::Errno::MFILE.raw_os_error()
    }

    #[tokio::test(start_paused = true)]
    async fn errors_are_waited_out_without_a_busy_loop() {
        let errors = std::iter::repeat_n(Err(no_more_files()), 20);
        let mut acceptor = acceptor(errors.chain([Ok(7), Ok(8)]));
        let start = Instant::now();
        assert_eq!(acceptor.accept().await, 7);
        assert_eq!(acceptor.listener.calls.get(), 21);
        let waited = start.elapsed();
        // 20, 40, 80, 160, 320, 640 ms, then a second each.
        assert!(Duration::from_secs(15) < waited && waited < Duration::from_secs(16), "{waited:?}");
        assert_eq!(acceptor.accept().await, 8);
        assert_eq!(start.elapsed(), waited, "no pause after a success");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_future_shortens_no_pause() {
        let mut acceptor = acceptor([Err(no_more_files()), Ok(7)]);
        // In all, less than the pause.
        for _ in 0..5 {
            let _ = tokio::time::timeout(FIRST_PAUSE / 20, acceptor.accept()).await;
        }
        assert_eq!(acceptor.listener.calls.get(), 1);
        assert_eq!(acceptor.accept().await, 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_gone_is_no_reason_for_a_pause() {
        let mut acceptor = acceptor([Err(rustix::io::Errno::CONNABORTED.raw_os_error()), Ok(7)]);
        let start = Instant::now();
        assert_eq!(acceptor.accept().await, 7);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn all_listeners_tell_of_one_failure_once() {
        let files = OpenFiles::new(1024);
        let error = Error::from_raw_os_error(no_more_files());
        let mut acceptors = [(); 3].map(|()| {
            let listener = Scripted { answers: RefCell::default(), calls: Cell::new(0) };
            Acceptor::new(listener, "test", &files)
        });
        for acceptor in &mut acceptors {
            acceptor.note(&error);
        }
        assert_eq!(files.accept_failures.note(std::time::Instant::now()), None, "it was told");
    }
}
