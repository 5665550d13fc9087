//! Five applications of other people: the same answers as Cedar's own authoriser, to the last policy.

use crate::support::oopsla::{APPLICATIONS, Application, DATA};

#[test]
fn the_benchmark_applications_are_answered_as_by_cedar() {
    if !std::path::Path::new(DATA).exists() {
        eprintln!("skipped: the applications are not at {DATA}");
        return;
    }
    for application in APPLICATIONS {
        for (size, seed) in [(5, 1), (5, 2), (50, 1)] {
            let loaded = Application::load(application, size, seed, 40);
            let (differing, allowed) = loaded.compare();
            assert_eq!(differing, [], "{application:?} at {size}, seed {seed}");
            assert!(allowed > 0 && allowed < 40, "{application:?} at {size}, seed {seed}: {allowed} allowed");
        }
    }
}
