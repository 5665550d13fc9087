//! Syslog: messages of RFC 5424 over UDP (RFC 5426), over TCP with octet counting (RFC 6587, section 3.4.1) and over TLS
//! (RFC 5425).
//!
//! Syslog has no acknowledgement. Over UDP a message counts as delivered when it is sent, and can be lost on the way. Over TCP
//! and TLS a batch counts as delivered when the connection was seen open for a while after it was written; when a connection
//! breaks later, the last messages are sent again on the next one ([`stream`]). Receivers see copies then, with the same `seq`.

mod message;
mod stream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use super::http::TlsFiles;
use super::{Acknowledged, OutgoingRecord, RefusedRecord, SendError, Sink, SinkSetupError};
use message::MessageHeader;
use stream::SyslogStream;

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyslogTransport {
    /// One datagram a message.
    Udp,
    /// Octet counting over TCP.
    Tcp,
    /// Octet counting over TLS.
    Tls,
}

/// A syslog receiver.
#[derive(Debug, Clone)]
pub struct SyslogSettings {
    /// Host and port.
    pub address: HostPort,
    /// How messages travel.
    pub transport: SyslogTransport,
    /// Facility of all messages; without it `authpriv` for authentications and `log audit` for the others.
    pub facility: Option<u8>,
    /// The longest message over UDP, in bytes. A longer one goes to the dead letters.
    pub max_datagram: usize,
    /// Certificates, for TLS; `ca_file` is needed.
    pub tls: TlsFiles,
}

/// A host name or address with a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    host: String,
    port: u16,
}

/// A text that is no host with a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write `HOST:PORT`, such as `logs.example.com:6514` or `[::1]:514`")]
pub struct HostPortError;

impl HostPort {
    /// The host, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether the host is this one.
    pub fn is_loopback(&self) -> bool {
        self.host() == "localhost" || self.host().parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl std::str::FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<Self, HostPortError> {
        let (host, port) = text.rsplit_once(':').ok_or(HostPortError)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let sound = match bare {
            Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.len() <= 253 && host.chars().all(legal),
        };
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(HostPortError)?;
        if sound { Ok(Self { host: host.to_owned(), port }) } else { Err(HostPortError) }
    }
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

enum SyslogConnection {
    Udp { socket: Option<UdpSocket>, max_datagram: usize },
    Stream(Box<SyslogStream>),
}

pub(in crate::siem) struct Syslog {
    address: HostPort,
    header: MessageHeader,
    connection: SyslogConnection,
    timeout: Duration,
}

impl Syslog {
    /// Reads files: call it off the async threads.
    pub(in crate::siem) fn new(
        settings: SyslogSettings,
        instance: Arc<str>,
        timeout: Duration,
    ) -> Result<Self, SinkSetupError> {
        let header = MessageHeader::new(instance, settings.facility);
        let connection = match settings.transport {
            SyslogTransport::Udp => {
                SyslogConnection::Udp { socket: None, max_datagram: settings.max_datagram }
            }
            SyslogTransport::Tcp => {
                SyslogConnection::Stream(Box::new(SyslogStream::tcp(settings.address.clone(), timeout)))
            }
            SyslogTransport::Tls => {
                let address = settings.address.clone();
                SyslogConnection::Stream(Box::new(SyslogStream::tls(address, &settings.tls, timeout)?))
            }
        };
        Ok(Self { address: settings.address, header, connection, timeout })
    }
}

#[async_trait::async_trait]
impl Sink for Syslog {
    async fn send(&mut self, batch: &[OutgoingRecord]) -> Result<Acknowledged, SendError> {
        let messages: Vec<String> = batch.iter().map(|record| self.header.message(record)).collect();
        match &mut self.connection {
            SyslogConnection::Stream(stream) => {
                stream.send(&messages).await?;
                Ok(Acknowledged::default())
            }
            SyslogConnection::Udp { socket, max_datagram } => {
                let sent = datagrams(socket, &self.address, &messages, *max_datagram);
                let sent =
                    timeout(self.timeout, sent).await.unwrap_or_else(|_| Err(SendError::retry("too slow")));
                if sent.is_err() {
                    *socket = None;
                }
                sent
            }
        }
    }
}

async fn datagrams(
    socket: &mut Option<UdpSocket>,
    address: &HostPort,
    messages: &[String],
    max_datagram: usize,
) -> Result<Acknowledged, SendError> {
    let failed = |error: std::io::Error| SendError::retry(format!("`{address}`: {error}"));
    let socket = match socket {
        Some(socket) => socket,
        None => socket.insert(connect_udp(address).await.map_err(failed)?),
    };
    let mut acknowledged = Acknowledged::default();
    for (index, message) in messages.iter().enumerate() {
        if message.len() > max_datagram {
            let reason = format!("{} bytes are more than `max_datagram` ({max_datagram})", message.len());
            acknowledged.refused.push(RefusedRecord { index, reason });
            continue;
        }
        // On a connected socket an ICMP error of an earlier message is reported here.
        socket.send(message.as_bytes()).await.map_err(failed)?;
    }
    Ok(acknowledged)
}

async fn connect_udp(address: &HostPort) -> std::io::Result<UdpSocket> {
    let target = resolve(address).await?;
    let any: SocketAddr = match target {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(target).await?;
    Ok(socket)
}

async fn resolve(address: &HostPort) -> std::io::Result<SocketAddr> {
    let mut found = lookup_host((address.host(), address.port)).await?;
    found.next().ok_or_else(|| std::io::Error::new(std::io::ErrorKind::NotFound, "the host has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_a_host_with_a_port() {
        for (text, host) in [
            ("logs.example.com:6514", "logs.example.com"),
            ("127.0.0.1:514", "127.0.0.1"),
            ("[::1]:514", "::1"),
        ] {
            let address: HostPort = text.parse().unwrap();
            assert_eq!((address.host(), address.to_string().as_str()), (host, text));
        }
        for wrong in [
            "",
            "host",
            "host:",
            "host:0",
            "host:70000",
            ":514",
            "::1:514",
            "[::1:514",
            "a b:1",
            "http://host:1",
        ] {
            assert!(wrong.parse::<HostPort>().is_err(), "{wrong}");
        }
    }
}
