//! Ports for programs that must be told theirs.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Child;
use std::time::Instant;

use super::PATIENCE;

/// Below the ports that the system gives to connections, so that none of them takes it before the program does, and
/// nobody who tries to reach the program is connected to itself.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// A port of loopback that is free for now.
pub fn free() -> SocketAddr {
    let random = RandomState::new();
    let ports = (0_u64..).map(|number| {
        let width = u64::from(PORTS.end - PORTS.start);
        PORTS.start + u16::try_from(random.hash_one(number) % width).unwrap()
    });
    let addresses = ports.take(1_000).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    addresses.into_iter().find(|address| TcpListener::bind(address).is_ok()).expect("a port is free")
}

/// Waits until the program takes connections there.
pub fn wait_for(child: &mut Child, address: SocketAddr) {
    let began = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert_eq!(child.try_wait().unwrap(), None, "the program ended");
        assert!(began.elapsed() < PATIENCE, "the program does not listen on {address}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
