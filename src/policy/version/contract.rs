//! What every implementation of [`VersionSource`] has to pass.

use std::sync::Arc;

use super::{Kind, Manifest, Published, SigningKey, VersionError, VersionSource, Wanted};
use crate::policy::{SourceKind, Sources};
use crate::shared_state::Unavailable;

fn policies(id: &str) -> Sources {
    let policy = format!("@id(\"{id}\")\npermit (principal, action, resource);\n");
    Sources::new().with_shipped(SourceKind::Schema).with_policy("a.cedar", &policy)
}

fn next(source: &impl VersionSource, sources: &Sources) -> Published {
    let manifest = Manifest::new(sources, Kind::Publish, "ada", "because", 1_768_039_200_000);
    Published { manifest: source.next(manifest).unwrap(), signatures: Vec::new() }
}

/// Every promise of the port. `make` gives a source in which nothing is published.
pub(crate) fn check<V: VersionSource>(make: impl Fn() -> V) {
    what_is_added_last_is_live(&make());
    signatures_come_later_and_nothing_else_does(&make());
    of_several_that_publish_at_once_one_takes_the_number(make());
}

fn what_is_added_last_is_live(source: &impl VersionSource) {
    assert!(source.numbers().unwrap().is_empty() && source.revision().unwrap().is_none());
    assert!(matches!(source.newest(), Err(VersionError::Empty(_))));
    let (first, second) = (policies("one"), policies("two"));
    let one = next(source, &first);
    source.add(&one, &first).unwrap();
    let revision = source.revision().unwrap();
    assert!(revision.is_some() && source.revision().unwrap() == revision);
    let two = next(source, &second);
    source.add(&two, &second).unwrap();
    assert_ne!(source.revision().unwrap(), revision);
    assert_eq!((one.manifest.sequence, two.manifest.sequence), (1, 2));
    assert_eq!(two.manifest.parent.as_ref(), Some(&one.manifest.version));
    assert_eq!(source.numbers().unwrap(), [1, 2]);
    assert_eq!((source.newest().unwrap(), source.read(1).unwrap()), (two.clone(), one.clone()));
    assert_eq!(source.find(&Wanted::Previous).unwrap(), one);
    assert_eq!(source.history().unwrap(), [two.clone(), one.clone()]);
    for (published, sources) in [(&one, &first), (&two, &second)] {
        let back = source.sources(&published.manifest).unwrap();
        let texts = |sources: &Sources| -> Vec<_> {
            sources.iter().map(|file| (file.name.clone(), file.text.clone())).collect()
        };
        assert_eq!((texts(&back), back.version()), (texts(sources), sources.version()));
    }
    assert!(matches!(source.read(3), Err(VersionError::NotFound(_))));
    assert!(matches!(source.add(&one, &first), Err(VersionError::Raced(1))), "a number is taken once");
    assert!(source.add(&next(source, &first), &second).is_err(), "other texts than those of the manifest");
    assert_eq!(source.numbers().unwrap(), [1, 2], "what is refused is not kept");
}

fn signatures_come_later_and_nothing_else_does(source: &impl VersionSource) {
    let sources = policies("one");
    let mut published = next(source, &sources);
    source.add(&published, &sources).unwrap();
    let before = source.revision().unwrap();
    SigningKey::generate("release").unwrap().sign(&mut published).unwrap();
    source.resign(&published).unwrap();
    assert_eq!(source.newest().unwrap(), published);
    assert_ne!(source.revision().unwrap(), before);
    let mut other = published.clone();
    other.manifest.message = "another".to_owned();
    assert!(source.resign(&other).is_err());
    assert_eq!(source.newest().unwrap(), published);
}

fn of_several_that_publish_at_once_one_takes_the_number(source: impl VersionSource) {
    let source = Arc::new(source);
    let added: Vec<(Published, bool)> = std::thread::scope(|scope| {
        let publish = |number: usize| {
            let sources = policies(&format!("p{number}"));
            let manifest = Manifest::new(&sources, Kind::Publish, "ada", "because", 0);
            let manifest = Manifest { sequence: 1, ..manifest };
            let published = Published { manifest, signatures: Vec::new() };
            let added = source.add(&published, &sources).is_ok();
            (published, added)
        };
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || publish(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let added: Vec<_> = added.into_iter().filter(|(_, added)| *added).collect();
    let [(winner, _)] = added.as_slice() else { panic!("{} took the number", added.len()) };
    assert_eq!(source.newest().unwrap(), *winner);
}

/// Published versions that cannot be reached.
#[derive(Debug)]
pub(crate) struct UnreachableVersions;

fn unreachable<T>() -> Result<T, VersionError> {
    Err(Unavailable::new("policy versions", "connection refused").into())
}

impl VersionSource for UnreachableVersions {
    fn numbers(&self) -> Result<Vec<u64>, VersionError> {
        unreachable()
    }

    fn read(&self, _: u64) -> Result<Published, VersionError> {
        unreachable()
    }

    fn sources(&self, _: &Manifest) -> Result<Sources, VersionError> {
        unreachable()
    }

    fn add(&self, _: &Published, _: &Sources) -> Result<(), VersionError> {
        unreachable()
    }

    fn resign(&self, _: &Published) -> Result<(), VersionError> {
        unreachable()
    }

    fn revision(&self) -> Result<Option<String>, VersionError> {
        unreachable()
    }

    fn place(&self) -> String {
        "elsewhere".to_owned()
    }
}
