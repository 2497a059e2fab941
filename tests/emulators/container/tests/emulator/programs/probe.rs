//! The program inside the test's image: static, std only. It becomes PID 1 of a machine, or carries out one command.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["exit", code] => std::process::exit(code.parse().expect("a number")),
        ["read", path] => print!("{}", std::fs::read_to_string(path).expect("the file is there")),
        ["write", path, text] => std::fs::write(path, text).expect("the path can be written"),
        ["environment"] => std::env::vars().for_each(|(key, value)| println!("{key}={value}")),
        ["echo"] => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).expect("stdin can be read");
            print!("{text}");
            eprint!("to stderr");
        }
        ["garbage"] => {
            std::io::stdout().write_all(&[0xff, 0xfe, b'\n']).expect("stdout can be written");
            serve();
        }
        ["wait"] => loop {
            std::thread::park();
        },
        _ => {
            println!("serving as {} with {arguments:?}", std::process::id());
            serve();
        }
    }
}

/// Serves port 6443 on every address: sends its host name, then echoes the client's text.
fn serve() {
    let listener = TcpListener::bind("0.0.0.0:6443").expect("the port is this machine's own");
    for client in listener.incoming() {
        std::thread::spawn(move || answer(client.expect("a connection")));
    }
}

fn answer(mut client: TcpStream) {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let _ = write!(client, "{}:", name.trim());
    let mut text = Vec::new();
    let _ = client.read_to_end(&mut text);
    let _ = client.write_all(&text);
}
