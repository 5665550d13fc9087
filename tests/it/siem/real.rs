//! Receivers as people run them: rsyslog over TCP and TLS, and rotel. Started and killed by their own process ids.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::contracts;
use super::*;
use crate::support::pki::{Authority, Wish};
use crate::support::port;

const RSYSLOGD: &str = "/usr/sbin/rsyslogd";

/// The agent in the packages that `tests/run` installs.
fn rotel() -> PathBuf {
    let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv/lib");
    let pythons = std::fs::read_dir(&lib).into_iter().flatten().flatten();
    let agents = pythons.map(|python| python.path().join("site-packages/rotel/rotel-agent"));
    agents.into_iter().find(|agent| agent.exists()).unwrap_or(lib)
}

/// A child that does not outlive its test.
struct Receiver(Child);

impl Drop for Receiver {
    fn drop(&mut self) {
        // Both fail when it has ended, which is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Receiver {
    fn spawn(command: &mut Command, address: SocketAddr) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        port::wait_for(&mut child, address);
        Self(child)
    }
}

#[expect(clippy::disallowed_methods, reason = "`tests/run` sets it where what it installs has to be there")]
fn is_installed(path: &Path) -> bool {
    let installed = path.exists();
    assert!(installed || std::env::var("CAXTON_TESTS").is_err(), "{} is not there", path.display());
    if !installed {
        println!("skipped: {} is not there", path.display());
    }
    installed
}

struct Rsyslog {
    folder: PathBuf,
    address: SocketAddr,
    running: Option<Receiver>,
}

impl Rsyslog {
    /// `driver` is the configuration of the TLS driver; empty for TCP.
    fn new(folder: PathBuf, global: &str, driver: &str) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        let address = port::free();
        let (dir, port) = (folder.display(), address.port());
        let text = format!(
            "global(workDirectory=\"{dir}\" maxMessageSize=\"2m\"{global})\n\
             module(load=\"imtcp\" maxFrameSize=\"2097152\"{driver})\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
             template(name=\"record\" type=\"string\" string=\"%msg%\\n\")\n\
             action(type=\"omfile\" file=\"{dir}/records.jsonl\" template=\"record\" flushOnTXEnd=\"on\")\n"
        );
        std::fs::write(folder.join("rsyslog.conf"), text).unwrap();
        Self { folder, address, running: None }
    }

    fn start(&mut self) {
        let (pid, conf) = (self.folder.join("pid"), self.folder.join("rsyslog.conf"));
        // One that was killed leaves its file behind.
        let _ = std::fs::remove_file(&pid);
        let mut command = Command::new(RSYSLOGD);
        command.arg("-n").arg("-i").arg(pid).arg("-f").arg(conf);
        self.running = Some(Receiver::spawn(&mut command, self.address));
    }

    fn kill(&mut self) {
        self.running = None;
    }

    fn seqs(&self) -> Vec<u64> {
        lines(&self.folder.join("records.jsonl"))
            .iter()
            .map(|record| record["seq"].as_u64().unwrap())
            .collect()
    }
}

/// Kills the receiver and the gateway, at moments that a seed chooses, while records are made.
async fn kill_both(place: &Place, key: &str, rsyslog: &mut Rsyslog, rounds: u64) {
    for round in 0..rounds {
        let gateway = place.start();
        let moment = 80 + (round * 7_919) % 400;
        let during = async {
            tokio::time::sleep(Duration::from_millis(moment)).await;
            rsyslog.kill();
            tokio::time::sleep(Duration::from_millis(200)).await;
            rsyslog.start();
            tokio::time::sleep(Duration::from_millis(moment % 250)).await;
        };
        tokio::select! {
            () = make_records(&gateway, key, 100_000) => {}
            () = during => {}
        }
        gateway.process.kill();
    }
    let gateway = place.start();
    make_records(&gateway, key, 5).await;
    let ended = gateway.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(place.verify().code, Some(0));
}

fn syslog_sink(address: SocketAddr, more: &str) -> String {
    format!(
        "    sinks:\n    - {{ name: syslog, type: syslog, address: \"{address}\", retry_max: 1s, {more} }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn rsyslog_has_every_record_after_both_were_killed() {
    if !is_installed(Path::new(RSYSLOGD)) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut rsyslog = Rsyslog::new(folder.path().join("rsyslog"), "", "");
    let (place, key) = place(&syslog_sink(rsyslog.address, "transport: tcp"));
    rsyslog.start();
    kill_both(&place, &key, &mut rsyslog, 6).await;
    let last = last_seq(&place);
    assert!(last > 50, "{last}");
    wait_until("rsyslog writes", || {
        let found = rsyslog.seqs();
        if found.last() == Some(&last) { Ok(()) } else { Err(format!("{:?} of {last}", found.last())) }
    })
    .await;
    assert_whole_and_in_order(&rsyslog.seqs(), last, "rsyslog");
    let sent = lines(&rsyslog.folder.join("records.jsonl"));
    let log = place.records();
    assert!(sent.iter().all(|record| log[record["seq"].as_u64().unwrap() as usize - 1] == *record));
}

#[tokio::test(flavor = "multi_thread")]
async fn rsyslog_over_tls_takes_a_sink_that_it_knows_and_is_known_by() {
    let driver = if cfg!(target_arch = "aarch64") { "aarch64-linux-gnu" } else { "x86_64-linux-gnu" };
    let driver = PathBuf::from(format!("/usr/lib/{driver}/rsyslog/lmnsd_ossl.so"));
    if !is_installed(Path::new(RSYSLOGD)) || !is_installed(&driver) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let authority = Authority::new("logs");
    let server = authority.sign(&Wish::server());
    let client = authority.sign(&Wish::client("gateway-1"));
    let stranger = Authority::new("stranger");
    let ca = file("ca.pem", &authority.pem);
    let global = format!(
        " DefaultNetstreamDriverCAFile=\"{ca}\" DefaultNetstreamDriverCertFile=\"{}\" DefaultNetstreamDriverKeyFile=\"{}\"",
        file("server.pem", &server.chain),
        file("server.key", &server.key),
    );
    let driver =
        " StreamDriver.Name=\"ossl\" StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"x509/certvalid\"";
    let mut rsyslog = Rsyslog::new(folder.path().join("rsyslog"), &global, driver);
    let (cert, client_key) = (file("client.pem", &client.chain), file("client.key", &client.key));
    // First with the certificate of an authority that did not sign the receiver's: nothing is sent.
    let other = file("other.pem", &stranger.pem);
    let sink = |ca: &str| {
        let more = format!("ca_file: {ca}, client_cert: {cert}, client_key: {client_key}");
        syslog_sink(rsyslog.address, &more)
    };
    let (wrong, right) = (sink(&other), sink(&ca));
    rsyslog.start();
    let (place, key) = place(&wrong);
    let gateway = place.start();
    make_records(&gateway, &key, 10).await;
    let text = metrics(&gateway).await;
    let failed = text.lines().any(|line| line.starts_with("caxton_audit_sink_errors_total{sink=\"syslog\"}"));
    assert!(failed, "{text}");
    gateway.stop();
    assert_eq!(rsyslog.seqs(), [0_u64; 0]);
    place.edit(&wrong, &right);
    let gateway = place.start();
    make_records(&gateway, &key, 20).await;
    gateway.stop();
    let last = last_seq(&place);
    wait_until("rsyslog writes", || {
        let found = rsyslog.seqs();
        if found.last() == Some(&last) { Ok(()) } else { Err(format!("{:?} of {last}", found.last())) }
    })
    .await;
    assert_whole_and_in_order(&rsyslog.seqs(), last, "rsyslog over TLS");
}

/// rotel takes the records and sends them on to the receiver that checks them strictly.
#[tokio::test(flavor = "multi_thread")]
async fn an_opentelemetry_collector_takes_the_records() {
    let rotel = rotel();
    if !rotel.is_file() {
        assert!(!is_installed(&rotel.join("rotel")), "it is not there");
        return;
    }
    let (url, shared) = contracts::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (http, grpc) = (port::free(), port::free());
    let mut command = Command::new(rotel);
    command
        .current_dir(folder.path())
        .args(["start", "--otlp-http-endpoint", &http.to_string(), "--otlp-grpc-endpoint", &grpc.to_string()])
        .args(["--log-file", "rotel.log", "--pid-file", "rotel.pid", "--exporter", "otlp"])
        .args([
            "--otlp-exporter-endpoint",
            &url,
            "--otlp-exporter-protocol",
            "http",
            "--logs-batch-timeout",
            "100ms",
        ]);
    let receiver = Receiver::spawn(&mut command, http);
    let (place, key) = place(&format!(
        "    sinks:\n    - {{ name: otlp, type: otlp, url: \"http://{http}/v1/logs\", format: ocsf }}\n"
    ));
    let gateway = place.start();
    make_records(&gateway, &key, 30).await;
    gateway.stop();
    let last = last_seq(&place);
    wait_until("rotel sends on", || {
        let received = shared.lock().unwrap();
        let seen: BTreeSet<u64> = received.seqs.get("otlp").into_iter().flatten().copied().collect();
        // The strict receiver does not take record 2, and says so to rotel.
        if seen.len() as u64 == last - 1 {
            Ok(())
        } else {
            Err(format!("{seen:?} of {last}: {:?}", received.faults))
        }
    })
    .await;
    assert_eq!(shared.lock().unwrap().faults, [""; 0]);
    drop(receiver);
}
