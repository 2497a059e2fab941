//! The workspace's root package. It has no code of its own: it owns `examples/`, `tests/` and `benches/`.
