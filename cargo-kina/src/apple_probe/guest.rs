//! The talk with the program in the machine, through the published port.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Time for the machine to run its program.
const REACH_TIMEOUT: Duration = Duration::from_secs(30);
const REACH_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Time limit of the first answer on a connection. One that macOS lets nothing through accepts, and ends.
const HELLO_TIMEOUT: Duration = Duration::from_secs(2);
/// Time limit of an answer. Filling memory takes the longest.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to the program in the machine.
pub(super) struct Guest {
    stream: BufReader<TcpStream>,
}

impl Guest {
    /// Connects to this port of loopback, and again until the program answers.
    ///
    /// # Errors
    /// If it does not answer in time, with the last failure in words.
    pub(super) async fn reach(port: u16) -> Result<Self, String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut last = "no attempt has ended".to_owned();
        let reach = async {
            loop {
                match Self::hello(address).await {
                    Ok(guest) => return guest,
                    Err(failure) => last = failure,
                }
                tokio::time::sleep(REACH_POLL_INTERVAL).await;
            }
        };
        let reached = tokio::time::timeout(REACH_TIMEOUT, reach).await;
        reached.map_err(|_| format!("{address} gave no answer within {} s: {last}", REACH_TIMEOUT.as_secs()))
    }

    async fn hello(address: SocketAddr) -> Result<Self, String> {
        let attempt = async {
            let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
            let mut guest = Self { stream: BufReader::new(stream) };
            guest.ask("hello").await?;
            Ok(guest)
        };
        tokio::time::timeout(HELLO_TIMEOUT, attempt).await.unwrap_or_else(|elapsed| Err(elapsed.to_string()))
    }

    /// Asks for one thing, and returns when it is done: the number in the answer.
    ///
    /// # Errors
    /// If there is no answer, or an unexpected one, in words.
    pub(super) async fn ask(&mut self, command: &str) -> Result<u64, String> {
        let exchange = async {
            self.stream.write_all(format!("{command}\n").as_bytes()).await?;
            let mut line = String::new();
            self.stream.read_line(&mut line).await?;
            std::io::Result::Ok(line)
        };
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, exchange).await;
        let line = match answered {
            Ok(Ok(line)) => line,
            Ok(Err(error)) => return Err(format!("the connection to the machine failed at `{command}`: {error}")),
            Err(_) => return Err(format!("no answer to `{command}` within {} s", ANSWER_TIMEOUT.as_secs())),
        };
        let number = line.strip_prefix(&format!("done: {command} ")).and_then(|number| number.trim().parse().ok());
        number.ok_or_else(|| format!("the answer to `{command}` was `{}`", line.trim()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_port_that_accepts_and_ends_is_tried_again_until_there_is_an_answer() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let program = tokio::spawn(async move {
            drop(listener.accept().await.expect("accepted"));
            let (stream, _) = listener.accept().await.expect("accepted");
            let mut stream = BufReader::new(stream);
            let mut asked = String::new();
            for answer in ["done: hello 0\n", "done: append 7\n", "unknown: append\n"] {
                stream.read_line(&mut asked).await.expect("asked");
                stream.write_all(answer.as_bytes()).await.expect("answered");
            }
            asked
        });
        let mut guest = Guest::reach(port).await.expect("reached");
        assert_eq!(guest.ask("append").await, Ok(7));
        let error = guest.ask("append").await.expect_err("unknown");
        assert!(error.contains("`unknown: append`"), "{error}");
        assert_eq!(program.await.expect("ended"), "hello\nappend\nappend\n");
    }
}
