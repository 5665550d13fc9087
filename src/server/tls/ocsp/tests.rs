use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SerialNumber};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use super::*;
use crate::clock::{Clock as _, ManualClock, SystemClock};

/// A certificate, its key, its authority, and an answer of the authority itself that OpenSSL has made.
fn answered() -> (CertificateDer<'static>, KeyPair, CertificateDer<'static>, Vec<u8>) {
    let place = tempfile::tempdir().unwrap();
    let (above, own) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&above).unwrap();
    std::fs::write(place.path().join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(place.path().join("ca.key"), above.serialize_pem()).unwrap();
    let mut params = CertificateParams::new(["gate.example".to_owned()]).unwrap();
    params.serial_number = Some(SerialNumber::from(7));
    let leaf = params.signed_by(&own, &Issuer::new(CertificateParams::default(), &above)).unwrap();
    let asked = CertificateQuery::new(leaf.der(), authority.der()).unwrap();
    std::fs::write(place.path().join("question"), asked.question().unwrap()).unwrap();
    std::fs::write(place.path().join("index"), "V\t400101000000Z\t\t07\tunknown\t/CN=gateway\n").unwrap();
    let made = Command::new("openssl")
        .args("ocsp -index index -CA ca.pem -rsigner ca.pem -rkey ca.key -reqin question -nmin 60 -respout answer".split(' '))
        .current_dir(place.path())
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let answer = std::fs::read(place.path().join("answer")).unwrap();
    (leaf.der().clone(), own, authority.der().clone(), answer)
}

#[test]
fn an_answer_holds_in_its_time_and_is_shown_no_longer() {
    let (leaf, key, authority, answer) = answered();
    let asked = CertificateQuery::new(&leaf, &authority).unwrap();
    let now = SystemClock.now_seconds();
    let staple = asked.check(answer.clone(), now).unwrap();
    assert!((now + 3590..=now + 3600).contains(&staple.until));
    for (moment, holds) in
        [(now - 290, true), (staple.until - 1, true), (now - 320, false), (staple.until, false)]
    {
        assert_eq!(asked.check(answer.clone(), moment).is_ok(), holds, "{}", moment - now);
    }
    // Every byte of it counts: changed anywhere, it says nothing, or the same.
    for place in (0..answer.len()).step_by(7) {
        let mut bent = answer.clone();
        bent[place] ^= 1;
        if let Ok(found) = asked.check(bent, now) {
            assert_eq!(found.until, staple.until, "at {place}");
        }
    }
    let clock = Arc::new(ManualClock::at_millis(now * 1000));
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let certified = CertifiedKey::from_der(vec![leaf], private, &provider).unwrap();
    let again = StapledResponse::new(certified.clone(), Arc::<ManualClock>::clone(&clock));
    let mut of_another = certified.clone();
    of_another.cert.insert(0, authority.clone());
    let of_another = StapledResponse::new(of_another, Arc::<ManualClock>::clone(&clock));
    let shown = StapledResponse::new(certified, Arc::<ManualClock>::clone(&clock));
    assert_eq!(shown.live().ocsp, None);
    shown.staple(&staple);
    assert_eq!(shown.live().ocsp, Some(answer.clone()));
    again.go_on_from(&shown);
    of_another.go_on_from(&shown);
    assert_eq!(
        (again.live().ocsp.clone(), of_another.live().ocsp.clone()),
        (Some(answer), None),
        "after a reload"
    );
    let left = u64::try_from(staple.until - clock.now_seconds()).unwrap();
    clock.advance(Duration::from_secs(left - 1));
    assert!(shown.live().ocsp.is_some());
    clock.advance(Duration::from_secs(1));
    assert_eq!(again.live().ocsp, None, "it keeps its end");
    assert_eq!(shown.live().ocsp, None, "an answer that has ended is shown to nobody");
}

#[test]
fn only_the_authority_of_the_certificate_is_asked_about_it() {
    let (leaf, _, authority, _) = answered();
    let (stranger, _, other, _) = answered();
    assert!(CertificateQuery::new(&leaf, &other).is_none(), "the name is right, the key is not");
    assert!(CertificateQuery::new(&stranger, &authority).is_none());
    assert!(CertificateQuery::new(&leaf, &leaf).is_none());
}
