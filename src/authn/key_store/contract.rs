//! What every implementation of [`KeyTable`] has to pass, and one that cannot be asked.

use super::*;

fn id(text: &str) -> KeyId {
    KeyId::parse(text).unwrap()
}

fn record(name: &str, holder: KeyHolder) -> KeyRecord {
    KeyRecord {
        id: id("unused"),
        name: ServiceName::parse(name).unwrap(),
        holder,
        permissions: vec![RoleName::parse("tool:call").unwrap()],
        created: 0,
        expires: 0,
        revoked: None,
        replaced_by: None,
    }
}

fn new<'a>(id: &'a KeyId, hash: &'a [u8; 32], created: i64) -> NewHash<'a> {
    NewHash { id, hash, created, expires: created + 1_000 }
}

/// Every promise of the port. `make` gives an empty table.
pub(super) async fn check<K: KeyTable>(make: impl Fn() -> K) {
    what_is_stored_is_found(&make()).await;
    a_revocation_is_seen_by_the_next_request(&make()).await;
    a_key_has_one_successor(make());
}

async fn what_is_stored_is_found(table: &impl KeyTable) {
    let (one, two) = (id("one"), id("two"));
    assert!(table.is_empty().unwrap() && table.list().unwrap().is_empty());
    assert!(table.lookup(&one).await.unwrap().is_none() && table.find(&one).unwrap().is_none());
    let agent = KeyHolder::Agent(AgentId::parse("clerk").unwrap());
    table.insert(&new(&two, &[2; 32], 20), &record("desk", agent.clone())).unwrap();
    table.insert(&new(&one, &[1; 32], 10), &record("ci", KeyHolder::Service)).unwrap();
    assert!(!table.is_empty().unwrap());
    let found = table.find(&two).unwrap().unwrap();
    let wanted = KeyRecord { id: two.clone(), created: 20, expires: 1_020, ..record("desk", agent) };
    assert_eq!(found, wanted);
    let looked_up = table.lookup(&two).await.unwrap().unwrap();
    assert_eq!((looked_up.hash, looked_up.record.unwrap()), ([2; 32], wanted.clone()));
    let listed: Vec<KeyId> = table.list().unwrap().into_iter().map(|key| key.id).collect();
    assert_eq!(listed, [one.clone(), two], "the oldest first");
    assert!(table.insert(&new(&one, &[9; 32], 30), &record("ci", KeyHolder::Service)).is_err());
    assert_eq!(table.lookup(&one).await.unwrap().unwrap().hash, [1; 32], "an id is taken once");
}

async fn a_revocation_is_seen_by_the_next_request(table: &impl KeyTable) {
    let one = id("one");
    assert!(!table.revoke(&one, 5).unwrap());
    table.insert(&new(&one, &[1; 32], 0), &record("ci", KeyHolder::Service)).unwrap();
    assert!(table.revoke(&one, 5).unwrap() && table.revoke(&one, 9).unwrap());
    let looked_up = table.lookup(&one).await.unwrap().unwrap().record.unwrap();
    assert_eq!(looked_up.revoked, Some(5), "the first instant stands");
    assert!(!table.replace(&one, &new(&id("two"), &[2; 32], 10), 20).unwrap(), "it has no successor");
    assert!(table.find(&id("two")).unwrap().is_none());
}

fn a_key_has_one_successor<K: KeyTable>(table: K) {
    let one = id("one");
    table.insert(&new(&one, &[1; 32], 0), &record("ci", KeyHolder::Service)).unwrap();
    assert!(!table.replace(&one, &new(&id("late"), &[2; 32], 1_000), 2_000).unwrap(), "its time is over");
    assert!(!table.replace(&id("unknown"), &new(&id("late"), &[2; 32], 10), 20).unwrap());
    let table = &table;
    let replaced: Vec<bool> = std::thread::scope(|scope| {
        let replace = |number: u8| {
            let successor = id(&format!("n{number}"));
            table.replace(&one, &new(&successor, &[number; 32], 10), 500).unwrap()
        };
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(move || replace(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(replaced.iter().filter(|replaced| **replaced).count(), 1);
    let old = table.find(&one).unwrap().unwrap();
    assert_eq!(old.expires, 500, "it ends sooner");
    let successor = table.find(&old.replaced_by.unwrap()).unwrap().unwrap();
    assert_eq!((successor.name.as_str(), successor.created, successor.expires), ("ci", 10, 1_010));
    assert_eq!(table.list().unwrap().len(), 2, "nothing is left of the others");
}

/// Keys that cannot be reached.
struct UnreachableKeys;

fn refused() -> Unavailable {
    Unavailable::new("api keys", "connection refused")
}

impl KeyTable for UnreachableKeys {
    fn lookup<'a>(&'a self, _: &'a KeyId) -> PortFuture<'a, Option<HashedKey>> {
        PortFuture::unavailable(refused())
    }
    fn is_empty(&self) -> Result<bool, AuthnError> {
        Err(refused().into())
    }
    fn find(&self, _: &KeyId) -> Result<Option<KeyRecord>, AuthnError> {
        Err(refused().into())
    }
    fn list(&self) -> Result<Vec<KeyRecord>, AuthnError> {
        Err(refused().into())
    }
    fn insert(&self, _: &NewHash<'_>, _: &KeyRecord) -> Result<(), AuthnError> {
        Err(refused().into())
    }
    fn replace(&self, _: &KeyId, _: &NewHash<'_>, _: i64) -> Result<bool, AuthnError> {
        Err(refused().into())
    }
    fn revoke(&self, _: &KeyId, _: i64) -> Result<bool, AuthnError> {
        Err(refused().into())
    }
    fn note(&self, _: &str, _: &str, _: i64) -> Result<(), AuthnError> {
        Err(refused().into())
    }
}

#[tokio::test]
async fn the_keys_of_a_data_directory_keep_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let number = std::cell::Cell::new(0);
    let make = || {
        number.set(number.get() + 1);
        LocalKeys::open(&directory.path().join(format!("{}.db", number.get()))).unwrap()
    };
    check(make).await;
}

#[tokio::test]
async fn keys_that_cannot_be_asked_let_no_caller_in() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings::in_directory(directory.path());
    assert!(KeyStore::over(Arc::new(UnreachableKeys), &settings).is_err(), "no pepper is made on a guess");
    let store = KeyStore::open(&settings).unwrap();
    let name = ServiceName::parse("ci").unwrap();
    let key = store.create(&name, &KeyHolder::Service, &[], 0, 1_000).unwrap();
    let store = KeyStore { table: Arc::new(UnreachableKeys), pepper: store.pepper };
    let presented = KeyText::parse(key.secret.expose()).unwrap();
    assert!(matches!(store.prove(&presented).await, Err(AuthnError::Unavailable(_))));
    assert!(store.create(&name, &KeyHolder::Service, &[], 0, 1_000).is_err());
    assert!(store.revoke(&key.id, 1).is_err(), "a revocation that was not stored is not reported as done");
}
