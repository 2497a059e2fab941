//! The system's answer at a port that is bound and at which no process listens.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::ProviderError;
use super::port::ReservedPort;
use crate::loopback;

/// The behaviour of the system at silent ports. It is found out and not assumed, so that one program fits every system,
/// and a benchmark can change it by the rules of a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SilentPorts {
    /// A connection is refused at once, as by Linux. A component that dials too early tries again at once.
    Refuse,
    /// A connection gets no answer, as by xnu. A component that dials too early learns nothing for a second.
    Ignore,
}

impl SilentPorts {
    /// Finds out how this system behaves, within [`loopback::CONNECT_TIMEOUT`]. If that is not possible, the behaviour is
    /// taken for the one that needs more care.
    pub(super) async fn of_this_system() -> Self {
        match silent_port_refusal(loopback::CONNECT_TIMEOUT).await {
            Ok(Some(_)) => Self::Refuse,
            Ok(None) => Self::Ignore,
            Err(error) => {
                let error = crate::error_text::with_causes(&error);
                tracing::warn!(error, "the system's answer at silent ports is not known: etcd is waited for first");
                Self::Ignore
            }
        }
    }
}

/// Measures the time in which the system refuses a connection to a port that is bound and silent; `None` if there is no
/// answer within the limit.
///
/// # Errors
/// If no port can be reserved.
pub async fn silent_port_refusal(time_limit: Duration) -> Result<Option<Duration>, ProviderError> {
    let port = ReservedPort::reserve()?;
    let start = Instant::now();
    let answered = tokio::time::timeout(time_limit, TcpStream::connect(port.address())).await;
    Ok(answered.ok().map(|_| start.elapsed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_measured_refusal_is_within_the_limit_and_decides() {
        let time_limit = Duration::from_secs(5);
        let refusal = silent_port_refusal(time_limit).await.expect("a loopback port is free");
        assert!(refusal.is_none_or(|refusal| refusal <= time_limit), "{refusal:?}");
        let expected = if refusal.is_some() { SilentPorts::Refuse } else { SilentPorts::Ignore };
        assert_eq!(SilentPorts::of_this_system().await, expected);
    }
}
