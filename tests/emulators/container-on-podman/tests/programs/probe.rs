//! The one program of the image: ends with the code that it is given, or says that it has started and stays.

fn main() {
    if let Some(code) = std::env::args().nth(1) {
        std::process::exit(code.parse().expect("a number"));
    }
    println!("started");
    loop { std::thread::park(); }
}
