//! Free ports on loopback for the nodes of a run. Outside of the range from which the kernel takes
//! ports for outgoing connections: within it, a connection of anybody could sit on a killed node's
//! port when it comes back, or a dial to it could meet itself.

use std::{
    io,
    net::TcpListener,
    sync::atomic::{AtomicU32, Ordering},
};

/// Ports below are for well-known services.
const LOWEST: u32 = 10_000;
/// Where the kernel's range begins if it does not tell.
const EPHEMERAL_FROM: u32 = 32_768;
/// How far two processes of the machine begin from each other.
const STRIDE: u32 = 97;

/// Where the search of this process goes on, so that it gives out no port twice in a row.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// `count` ports of 127.0.0.1 at which nobody listens now.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let range = LOWEST..ephemeral_from().max(LOWEST + 1);
    let size = range.end - range.start;
    let begin = std::process::id().wrapping_mul(STRIDE);
    let mut ports = Vec::with_capacity(count);
    for _ in 0..size {
        if ports.len() == count {
            break;
        }
        let step = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = (range.start + step % size) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            ports.push(port);
        }
    }
    if ports.len() < count {
        let why = format!("only {} of {count} ports are free in {range:?}", ports.len());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
    }
    Ok(ports)
}

/// The lowest port that the kernel gives to outgoing connections.
fn ephemeral_from() -> u32 {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(EPHEMERAL_FROM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_a_taken_one_is_left_out() {
        let first = free_ports(20).unwrap();
        let held: Vec<_> =
            first.iter().filter_map(|port| TcpListener::bind(("127.0.0.1", *port)).ok()).collect();
        let second = free_ports(20).unwrap();
        let all: std::collections::BTreeSet<_> = first.iter().chain(&second).collect();
        assert_eq!((all.len(), held.len()), (40, 20));
        assert!(free_ports(100_000).is_err());
    }
}
