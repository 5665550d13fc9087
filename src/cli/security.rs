//! `caxton security`: certificates for clients and for the gateway, from an authority of one's own.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::auth::lifetime;
use super::installation::DataDirectory;
use super::output::{Exit, Output};
use crate::authn::mtls::local_ca::{CertificateOrder, CertificatePurpose, IssuedEntry, LocalAuthority};
use crate::clock::{Clock as _, SystemClock};

/// Makes certificates.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Issue a client certificate: one file with certificate and key, as `curl --cert` takes it
    ///
    /// Example: `caxton security gen-client-cert --cn pay --spiffe spiffe://example.org/pay --output pay.pem`
    GenClientCert {
        /// The common name, for people; without `--spiffe` and `--dns` it must be a host name and names the holder
        #[arg(long, value_name = "NAME")]
        cn: String,
        /// The SPIFFE id that names the holder
        #[arg(long, value_name = "URI")]
        spiffe: Option<String>,
        /// A host name of the holder; may be given again
        #[arg(long, value_name = "HOST")]
        dns: Vec<String>,
        /// Where it goes
        #[command(flatten)]
        target: CertificateTarget,
    },
    /// Issue a certificate for the gateway itself: one file with certificate and key
    ///
    /// Example: `caxton security gen-server-cert --host localhost,127.0.0.1 --output server.pem`
    GenServerCert {
        /// Names and addresses under which the gateway is called
        #[arg(long, value_name = "HOST", value_delimiter = ',', default_value = "localhost,127.0.0.1,::1")]
        host: Vec<String>,
        /// Where it goes
        #[command(flatten)]
        target: CertificateTarget,
    },
}

/// Where a certificate goes, for how long, and from where.
#[derive(Debug, Args)]
pub struct CertificateTarget {
    /// The file; it must not exist yet, and is made with mode 0600
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Validity of the certificate, as in `90d` or `12h`; 825 days at most
    #[arg(long, default_value = "90d", value_parser = lifetime)]
    expires_in: Duration,
    /// Where the authority is: made once, in `ca`
    #[command(flatten)]
    data_dir: DataDirectory,
}

/// Runs the command.
pub fn run(command: Command, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Command::GenClientCert { cn, spiffe, dns, target } => {
            let hosts = if spiffe.is_none() && dns.is_empty() { vec![cn.clone()] } else { dns };
            let order = CertificateOrder {
                common_name: cn,
                uris: spiffe.into_iter().collect(),
                hosts,
                addresses: Vec::new(),
                purpose: CertificatePurpose::Client,
                lifetime: target.expires_in,
            };
            issue(&order, &target, output).context("no certificate was made")
        }
        Command::GenServerCert { host, target } => {
            let address = |host: &&String| host.parse::<IpAddr>().is_ok();
            let order = CertificateOrder {
                common_name: host.first().cloned().unwrap_or_default(),
                uris: Vec::new(),
                addresses: host.iter().filter_map(|host| host.parse().ok()).collect(),
                hosts: host.iter().filter(|host| !address(host)).cloned().collect(),
                purpose: CertificatePurpose::Server,
                lifetime: target.expires_in,
            };
            issue(&order, &target, output).context("no certificate was made")
        }
    }
}

#[derive(Serialize)]
struct CertificateFile<'a> {
    file: &'a Path,
    authority: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<String>,
    #[serde(flatten)]
    entry: &'a IssuedEntry,
}

fn issue(order: &CertificateOrder, target: &CertificateTarget, output: &Output) -> anyhow::Result<Exit> {
    let now = SystemClock.now_millis();
    let directory = target.data_dir.path(output)?.join("ca");
    // Before anything is issued: a certificate that cannot be handed out is one to be revoked.
    if target.output.exists() {
        bail!("`{}` exists: name another file, or move it away", target.output.display());
    }
    let (authority, new) = LocalAuthority::open(&directory, now)?;
    let issued = authority.issue(order, now)?;
    write(&target.output, issued.pem.as_bytes())?;

    let ca = LocalAuthority::certificate_path(&directory);
    if new {
        output.say(format_args!("made an authority in `{}`; keep its key to yourself", directory.display()));
    }
    let host = order.hosts.first().map(|host| host.to_ascii_lowercase());
    let holder = order.uris.first().cloned().or(host).filter(|_| order.purpose == CertificatePurpose::Client);
    let made = CertificateFile {
        file: &target.output,
        authority: &ca,
        principal: holder.map(|id| format!("Caxton::Workload::\"{id}\"")),
        entry: &issued.entry,
    };
    output.data(&made, table)?;
    match order.purpose {
        CertificatePurpose::Client => output.say(format_args!(
            "the gateway accepts it with `server.tls.ca_file: {}`; then: curl --cacert … --cert {} https://…",
            ca.display(),
            target.output.display()
        )),
        CertificatePurpose::Server => output.say(format_args!(
            "in the configuration: server: {{ tls: {{ cert_path: {0}, key_path: {0} }} }}; clients trust it with: curl --cacert {1} https://…",
            target.output.display(),
            ca.display()
        )),
    }
    Ok(Exit::Fine)
}

fn table(made: &CertificateFile<'_>) -> String {
    let mut table = super::output::table(["certificate", ""]);
    let file = made.file.display().to_string();
    let names = made.entry.names.join(", ");
    let mut row = |name: &str, value: &str| {
        table.add_row([name, value]);
    };
    row("file", &file);
    if let Some(principal) = &made.principal {
        row("principal", principal);
    }
    row("names", &names);
    row("serial number", &made.entry.serial);
    row("SHA-256", &made.entry.fingerprint);
    row("ends", &made.entry.ends);
    row("authority", &made.authority.display().to_string());
    table.to_string()
}

/// Writes certificate and key to a new file that only its owner can read; nothing is overwritten, and no link followed.
fn write(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    let shown = path.display();
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("`{shown}` exists: name another file")
        }
        Err(error) => return Err(error).with_context(|| format!("`{shown}` could not be made")),
    };
    file.write_all(text)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("`{shown}` could not be written"))
}
