//! Decisions in the five applications of the Cedar benchmark of OOPSLA 2024, beside Cedar's plain authoriser: small
//! sets, two of them with a policy for each of hundreds of links.
//!
//! ```text
//! cargo bench --profile release --bench oopsla
//! ```
//! Both sides take turns in one loop; every answer is compared before anything is measured.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench that cannot be set up has failed, and its figures go to stdout"
)]

#[path = "../tests/support/oopsla.rs"]
mod oopsla;

use std::hint::black_box;
use std::time::{Duration, Instant};

use oopsla::{APPLICATIONS, Application, DATA};

/// The binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const REQUESTS: usize = 200;
const TURN: Duration = Duration::from_millis(10);
const TURNS: usize = 15;

fn main() {
    if !std::path::Path::new(DATA).exists() {
        println!("skipped: the applications are not at {DATA}");
        return;
    }
    println!(
        "{:<18} {:>4} {:>9} {:>9} {:>9} {:>7}",
        "application", "N", "policies", "ours µs", "Cedar µs", "ratio"
    );
    for application in APPLICATIONS {
        for size in [5, 50] {
            let loaded = Application::load(application, size, 1, REQUESTS);
            let (differing, _) = loaded.compare();
            assert_eq!(differing, [], "{application:?}");
            let (mut ours, mut cedars) = (Vec::new(), Vec::new());
            for _ in 0..TURNS {
                let requests = || loaded.requests.iter();
                ours.push(turn(|| {
                    requests().for_each(|(query, _)| drop(black_box(loaded.bundle.decide_json(query))));
                }));
                cedars.push(turn(|| {
                    requests().for_each(|(_, request)| drop(black_box(loaded.cedar(request))));
                }));
            }
            let (ours, cedars) = (median(ours), median(cedars));
            let policies = loaded.bundle.policies().filter(|policy| !policy.is_template).count();
            let ratio = cedars / ours;
            println!("{:<18} {size:>4} {policies:>9} {ours:>9.2} {cedars:>9.2} {ratio:>6.1}x", application.0);
        }
    }
}

/// Microseconds for one request.
fn turn(pass: impl Fn()) -> f64 {
    let (begun, mut passes) = (Instant::now(), 0_u32);
    while passes == 0 || begun.elapsed() < TURN {
        pass();
        passes += 1;
    }
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(passes) / REQUESTS as f64
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
