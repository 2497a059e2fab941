//! `cargo kina`: look at the engine, warm it up, stop it, measure it.

fn main() -> std::process::ExitCode {
    kina_engine::become_engine_if_asked();
    cargo_kina::main()
}
