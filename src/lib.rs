//! The workspace's root package. It has no code of its own: it owns `examples/`, `tests/` and `benches/`.

/// The program in the README is compiled and run like those in the book.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

/// The programs in the book.
#[cfg(doctest)]
mod book {
    #[doc = include_str!("../docs/tutorial.md")]
    struct Tutorial;

    #[doc = include_str!("../docs/how-to/write-tests.md")]
    struct WriteTests;

    #[doc = include_str!("../docs/how-to/fixtures.md")]
    struct Fixtures;

    #[doc = include_str!("../docs/how-to/kube.md")]
    struct Kube;

    #[doc = include_str!("../docs/how-to/waits.md")]
    struct Waits;

    #[doc = include_str!("../docs/how-to/network.md")]
    struct Network;
}
