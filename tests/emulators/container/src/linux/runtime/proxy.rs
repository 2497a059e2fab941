//! Published ports: a listener in the host's network, and a connection to the machine's address in the machine's own.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use container_command_line::{Code, Failure, json, messages};

/// A listener and the machine's port behind it.
pub(super) type Listener = (TcpListener, u16);

/// Limit of simultaneous connections; any more are closed at once.
const MOST_CONNECTIONS: usize = 4096;

/// Binds every published port.
pub(super) fn listen(ports: &[json::PublishedPort], id: &str) -> Result<Vec<Listener>, Failure> {
    let mut listeners = Vec::new();
    for published in ports {
        let address: Ipv4Addr = published.host_address.parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
        for offset in 0..published.count {
            let port = published.host_port + offset;
            let listener = TcpListener::bind((address, port)).map_err(|error| match error.kind() {
                io::ErrorKind::AddrInUse => messages::port_taken(id),
                io::ErrorKind::PermissionDenied if port < 1024 => messages::privileged_port(port),
                _ => Failure::runtime(Code::InternalError, format!("failed to bind {address}:{port}: {error}")),
            })?;
            listeners.push((listener, published.container_port + offset));
        }
    }
    Ok(listeners)
}

/// Serves the listeners until the process ends.
pub(super) fn serve(listeners: Vec<Listener>, address: Ipv4Addr) {
    let open = Arc::new(AtomicUsize::new(0));
    for (listener, port) in listeners {
        let open = Arc::clone(&open);
        std::thread::spawn(move || accept(&listener, SocketAddr::from((address, port)), &open));
    }
}

fn accept(listener: &TcpListener, target: SocketAddr, open: &Arc<AtomicUsize>) {
    loop {
        let Ok((client, _)) = listener.accept() else {
            // No descriptor is free, but some will be closed.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        if open.fetch_add(1, Ordering::SeqCst) >= MOST_CONNECTIONS {
            open.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let count = Arc::clone(open);
        std::thread::spawn(move || {
            // If the machine does not listen, the client sees its connection close, as with the real proxy.
            if let Ok(machine) = TcpStream::connect(target) {
                let _ = join(&client, &machine);
            }
            count.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

fn join(client: &TcpStream, machine: &TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    machine.set_nodelay(true)?;
    std::thread::scope(|scope| {
        scope.spawn(|| pass(client, machine));
        pass(machine, client);
    });
    Ok(())
}

/// Relays one direction including its end; an error ends both directions.
fn pass(mut from: &TcpStream, mut to: &TcpStream) {
    if io::copy(&mut from, &mut to).is_ok() {
        // The other side may be gone already.
        let _ = to.shutdown(Shutdown::Write);
    } else {
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}
