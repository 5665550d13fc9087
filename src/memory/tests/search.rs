//! Search: sane order, nothing of other scopes, and no query language.

use super::*;

#[tokio::test]
async fn the_name_comes_first_then_words_in_names_then_the_newest() {
    let World { memory, clock, .. } = &World::new();
    let scope = agent("ada");
    for (name, text) in [
        ("compiler", "translates"),
        ("Grace and the compiler", "a story"),
        ("old", "she wrote a compiler"),
        ("new", "compilers, several of them"),
        ("unrelated", "nothing to see"),
    ] {
        put(memory, &scope, name, &[text]).await.unwrap();
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(
        find(memory, &scope, " Compiler ").await.unwrap(),
        ["compiler", "Grace and the compiler", "new", "old"]
    );
    assert_eq!(find(memory, &scope, "compiler wrote").await.unwrap(), ["old"]);
    assert_eq!(find(memory, &scope, "NOTE").await.unwrap().len(), 5, "the kind is searched too");
    assert_eq!(find(memory, &scope, "cömpiler").await.unwrap().len(), 4, "marks do not matter");
    assert!(find(memory, &scope, "compiler absent").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_search_never_leaves_its_scope() {
    let World { memory, .. } = &World::new();
    for scope in [agent("ada"), agent("bob"), workspace("ada"), MemoryScope::Global] {
        put(memory, &scope, "secret", &["treasure"]).await.unwrap();
    }
    put(memory, &agent("bob"), "only bob", &["treasure"]).await.unwrap();
    let scope_word = fts_query::scope_word(&agent("bob"));
    let tries = [
        "treasure".to_owned(),
        "treasure OR bob".to_owned(),
        format!("{scope_word} treasure"),
        format!("scope:{scope_word}"),
        format!("\" OR scope : \"{scope_word}"),
        format!("treasure\") OR scope : (\"{scope_word}"),
        "* treasure".to_owned(),
    ];
    for words in tries {
        let search = SearchMemory { scope: agent("ada"), words: words.clone(), limit: 100 };
        let found = memory.search(permit(search, ada())).await.unwrap();
        assert!(found.rows().iter().all(|row| row.scope == agent("ada")), "{words}");
        assert!(found.len() <= 1, "{words}");
    }
    assert_eq!(find(memory, &agent("bob"), "treasure").await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_order_does_not_tell_what_other_scopes_hold() {
    let World { memory, .. } = &World::new();
    put(memory, &agent("ada"), "one", &["apple apple pear"]).await.unwrap();
    put(memory, &agent("ada"), "two", &["apple pear pear"]).await.unwrap();
    let before = find(memory, &agent("ada"), "apple pear").await.unwrap();
    for number in 0..50 {
        put(memory, &agent("bob"), &format!("{number}"), &["apple apple apple"]).await.unwrap();
    }
    assert_eq!(find(memory, &agent("ada"), "apple pear").await.unwrap(), before);
}

#[tokio::test]
async fn words_are_only_words() {
    let World { memory, .. } = &World::new();
    let scope = agent("ada");
    put(memory, &scope, "alpha", &["first"]).await.unwrap();
    put(memory, &scope, "beta", &["second near the end"]).await.unwrap();
    let cases: [(&str, &[&str]); 12] = [
        ("alpha OR beta", &[]),
        ("alpha NOT beta", &[]),
        ("alp*", &[]),
        ("name:alpha", &[]),
        ("^alpha", &["alpha"]),
        ("-alpha", &["alpha"]),
        ("\"alpha\"", &["alpha"]),
        ("alpha \"", &["alpha"]),
        ("alpha\u{0}\"", &["alpha"]),
        ("NEAR(alpha beta)", &[]),
        ("near-the", &["beta"]),
        ("the-near", &[]),
    ];
    for (words, expected) in cases {
        assert_eq!(find(memory, &scope, words).await.unwrap(), expected, "{words}");
    }
}

#[tokio::test]
async fn a_search_for_nothing_or_for_too_much_is_refused() {
    let World { memory, metrics, .. } = &World::new();
    for words in ["", "  \t", "\"\" * - ()", "\u{0}", "😀"] {
        let error = find(memory, &agent("ada"), words).await.unwrap_err();
        assert_eq!(error.to_string(), "the search has no word", "{words:?}");
    }
    let error = find(memory, &agent("ada"), &"a ".repeat(17)).await.unwrap_err();
    assert_eq!(error.to_string(), "the search is 17 words, at most 16 are allowed");
    let error = find(memory, &agent("ada"), &"a".repeat(1025)).await.unwrap_err();
    assert_eq!(error.to_string(), "the search is 1025 bytes, at most 1024 are allowed");
    assert_eq!(metrics.sqlite_events.get(), 0);
}

#[tokio::test]
async fn the_index_follows_the_rows() {
    let World { memory, .. } = &World::new();
    let scope = workspace("w");
    put(memory, &scope, "thing", &["walnut"]).await.unwrap();
    put(memory, &scope, "thing", &["chestnut"]).await.unwrap();
    assert!(find(memory, &scope, "walnut").await.unwrap().is_empty());
    assert_eq!(find(memory, &scope, "chestnut").await.unwrap(), ["thing"]);
    forget(memory, &scope, MemoryKind::Entity, "thing").await.unwrap();
    put(memory, &agent("ada"), "other", &["hazel"]).await.unwrap();
    assert!(find(memory, &scope, "chestnut").await.unwrap().is_empty());
    assert!(find(memory, &scope, "hazel").await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_forgotten_is_not_in_the_file_any_more() {
    let world = World::new();
    let scope = agent("ada");
    let holds = |needle: &str| {
        let bytes = std::fs::read(world.database()).unwrap();
        bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
    };
    put(&world.memory, &scope, "kept", &["quizzaciously kept"]).await.unwrap();
    for number in 0..20 {
        put(&world.memory, &scope, &format!("other {number}"), &["zyzzyvaforgotten once"]).await.unwrap();
    }
    for number in 0..20 {
        forget(&world.memory, &scope, MemoryKind::Entity, &format!("other {number}")).await.unwrap();
    }
    world.memory.close().await;
    assert!(!world.directory.path().join("data/memory.db-wal").exists());
    assert!(holds("quizzaciously"));
    assert!(!holds("zyzzyvaforgotten"));
}
