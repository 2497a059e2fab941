//! The workspace's root package. It has no code of its own: it owns `examples/`, `tests/` and `benches/`.

/// The program in the README is compiled and run like those in the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;

/// The same of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../docs/tutorial.md")]
struct TutorialDoctests;
