//! All retry policies of kina in one place: number, pace and duration.
//!
//! Nothing else in kina counts tries or doubles delays. A [`Backoff`] is a plain value with a bound on each of its
//! dimensions; the caller decides which errors are worth another try, because only the caller knows.

use std::time::{Duration, Instant};

#[cfg(feature = "engine")]
use backon::BackoffBuilder;
use backon::{BlockingRetryable, ExponentialBuilder, Retryable};

/// A policy for repeating an operation until it succeeds, fails for good, or reaches a bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Backoff {
    /// The pause after the first failure.
    pub first_delay: Duration,
    /// The longest pause; pauses double until they reach it.
    pub longest_delay: Duration,
    /// The largest number of repetitions, not counting the first try.
    pub retries_max: usize,
    /// No further try begins once this much time has passed since the first one began.
    pub elapsed_max: Duration,
    /// Set if pauses are lengthened at random, so that many clients do not come back in step.
    pub jitter: bool,
}

impl Backoff {
    /// The policy for requests over a network to a server that others use too.
    #[cfg(feature = "engine")]
    pub const NETWORK: Self = Self {
        first_delay: Duration::from_millis(300),
        longest_delay: Duration::from_secs(5),
        retries_max: 3,
        elapsed_max: Duration::from_secs(60),
        jitter: true,
    };

    /// The policy for clusters that do not start.
    #[cfg(feature = "engine")]
    pub const PROVIDER: Self = Self {
        first_delay: Duration::from_millis(100),
        longest_delay: Duration::from_secs(5),
        retries_max: usize::MAX,
        elapsed_max: Duration::MAX,
        jitter: true,
    };

    /// A policy for waiting until something on this machine is ready or free: asks again after every `interval`, for at
    /// most `limit`.
    pub fn poll(interval: Duration, limit: Duration) -> Self {
        let interval = interval.max(Duration::from_millis(1));
        let asks = limit.as_nanos().div_ceil(interval.as_nanos());
        Self {
            first_delay: interval,
            longest_delay: interval,
            retries_max: usize::try_from(asks).unwrap_or(usize::MAX),
            elapsed_max: limit,
            jitter: false,
        }
    }

    /// The same policy with another number of retries.
    #[cfg(feature = "engine")]
    pub const fn with_retries_max(self, retries_max: usize) -> Self {
        Self { retries_max, ..self }
    }

    /// The same policy with another bound on the time after which no further try begins.
    #[cfg(feature = "engine")]
    pub const fn with_elapsed_max(self, elapsed_max: Duration) -> Self {
        Self { elapsed_max, ..self }
    }

    /// Runs `operation` on this thread until it succeeds, an error is not `is_transient`, or a bound is reached.
    ///
    /// `before_retry` receives each error that will be retried and the pause before the next try.
    pub fn run_blocking<T, E>(
        &self,
        operation: impl FnMut() -> Result<T, E>,
        mut is_transient: impl FnMut(&E) -> bool,
        before_retry: impl FnMut(&E, Duration),
    ) -> Result<T, E> {
        let started = Instant::now();
        operation
            .retry(self.builder())
            .when(|error| started.elapsed() < self.elapsed_max && is_transient(error))
            .notify(before_retry)
            .call()
    }

    /// Like [`Backoff::run_blocking`], for an asynchronous operation; the pauses are tokio's.
    pub async fn run<T, E, F: Future<Output = Result<T, E>>>(
        &self,
        operation: impl FnMut() -> F,
        mut is_transient: impl FnMut(&E) -> bool,
        before_retry: impl FnMut(&E, Duration),
    ) -> Result<T, E> {
        let started = tokio::time::Instant::now();
        operation
            .retry(self.builder())
            .when(|error| started.elapsed() < self.elapsed_max && is_transient(error))
            .notify(before_retry)
            .await
    }

    /// The first pauses, in milliseconds and without jitter, for callers that do their own waiting.
    #[cfg(feature = "engine")]
    pub fn pauses_ms<const COUNT: usize>(&self) -> [u64; COUNT] {
        let mut pauses = Self { jitter: false, ..*self }.builder().build();
        let longest_ms = self.longest_delay.as_millis();
        std::array::from_fn(|_| {
            let pause_ms = pauses.next().map_or(longest_ms, |pause| pause.as_millis());
            u64::try_from(pause_ms).unwrap_or(u64::MAX)
        })
    }

    fn builder(&self) -> ExponentialBuilder {
        let builder = ExponentialBuilder::new()
            .with_min_delay(self.first_delay)
            .with_max_delay(self.longest_delay)
            .with_factor(2.0)
            .with_max_times(self.retries_max);
        if self.jitter { builder.with_jitter() } else { builder }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Backoff = Backoff {
        first_delay: Duration::from_millis(1),
        longest_delay: Duration::from_millis(4),
        retries_max: 4,
        elapsed_max: Duration::from_secs(60),
        jitter: false,
    };

    #[test]
    fn an_operation_that_recovers_is_repeated_with_doubling_pauses_up_to_the_longest() {
        let mut tries = 0;
        let mut pauses_ms = Vec::new();
        let outcome = QUICK.run_blocking(
            || {
                tries += 1;
                if tries < 5 { Err("not yet") } else { Ok(tries) }
            },
            |_| true,
            |_, pause| pauses_ms.push(pause.as_millis()),
        );
        assert_eq!(outcome, Ok(5));
        assert_eq!(pauses_ms, [1, 2, 4, 4]);
    }

    #[test]
    fn an_operation_that_never_recovers_ends_after_the_last_retry() {
        let mut tries = 0;
        let outcome: Result<(), usize> = QUICK.run_blocking(
            || {
                tries += 1;
                Err(tries)
            },
            |_| true,
            |_, _| {},
        );
        assert_eq!(outcome, Err(5));
    }

    #[test]
    fn an_error_that_is_not_transient_is_final() {
        let mut tries = 0;
        let outcome: Result<(), &str> = QUICK.run_blocking(
            || {
                tries += 1;
                if tries == 1 { Err("transient") } else { Err("final") }
            },
            |error| *error == "transient",
            |_, _| {},
        );
        assert_eq!((outcome, tries), (Err("final"), 2));
    }

    #[test]
    fn no_try_begins_after_the_time_is_up() {
        let mut tries = 0;
        let outcome: Result<(), &str> = QUICK.with_elapsed_max(Duration::ZERO).run_blocking(
            || {
                tries += 1;
                Err("slow")
            },
            |_| true,
            |_, _| {},
        );
        assert_eq!((outcome, tries), (Err("slow"), 1));
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        assert_eq!(Backoff::PROVIDER.pauses_ms(), [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn a_poll_asks_until_its_limit_at_an_even_pace() {
        let poll = Backoff::poll(Duration::from_millis(100), Duration::from_secs(10));
        assert_eq!(poll.retries_max, 100);
        assert_eq!(poll.first_delay, poll.longest_delay);
        assert_eq!(Backoff::poll(Duration::ZERO, Duration::from_millis(5)).retries_max, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn the_asynchronous_form_keeps_the_same_bounds() {
        let started = tokio::time::Instant::now();
        let tries = std::cell::Cell::new(0);
        let poll = Backoff::poll(Duration::from_secs(1), Duration::from_secs(10));
        let outcome: Result<(), i32> = poll
            .run(
                || {
                    tries.set(tries.get() + 1);
                    let tries = tries.get();
                    async move { Err(tries) }
                },
                |_| true,
                |_, _| {},
            )
            .await;
        assert_eq!(outcome, Err(11));
        assert_eq!(started.elapsed(), Duration::from_secs(10));
    }
}
