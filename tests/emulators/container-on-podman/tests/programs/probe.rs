//! The only program of the image: ends with the given code, or prints that it has started and keeps running.

fn main() {
    if let Some(code) = std::env::args().nth(1) {
        std::process::exit(code.parse().expect("a number"));
    }
    println!("started");
    loop { std::thread::park(); }
}
