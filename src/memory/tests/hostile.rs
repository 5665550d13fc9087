//! Text that breaks parsers, logs and databases is only text here.

use super::*;

/// The big list of naughty strings, or nothing when the test data is not beside the project.
fn naughty() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/testdata/naughty-strings/blns.json");
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap(),
        Err(error) => {
            eprintln!("skipped, `{}` is not there: {error}", path.display());
            Vec::new()
        }
    }
}

/// Ours: what ends a text, a string, a line or a character.
fn ours() -> Vec<String> {
    let texts = [
        "\u{0}",
        "\u{0}a",
        "a\u{0}",
        "a\u{0}b",
        "'",
        "\"",
        "''",
        "\"\"",
        "';--",
        "a' OR 'a'='a",
        ":scope_id",
        "?1",
        "--",
        "a--b",
        "/* ",
        "%",
        "_",
        "*",
        "\\",
        "\r\n",
        "\u{feff}",
        "\u{202e}evil",
        "\u{d7ff}",
        "\u{10ffff}",
        "e\u{301}",
        "\u{e9}",
        "ﬁ",
        "Ⓐ",
        "İ",
        "ß",
        "ǅ",
        "𝒳",
        "ا",
        "語",
        "NULL",
        "NEAR",
        "AND",
        "{name} : x",
    ];
    texts.map(str::to_owned).into()
}

#[tokio::test]
async fn naughty_text_comes_back_as_it_was() {
    let World { memory, metrics, .. } = &World::with(|settings| settings.max_name_bytes = 1024);
    let scope = agent("ada");
    let all: BTreeSet<String> = naughty().into_iter().chain(ours()).collect();
    let observed: Vec<&str> = all.iter().map(String::as_str).take(64).collect();
    for text in &all {
        let written = put(memory, &scope, text, &[text, "", text]).await;
        if text.is_empty() {
            assert_eq!(written.unwrap_err().to_string(), "the name is empty");
            continue;
        }
        assert_eq!(&*written.unwrap().name, text.as_str());
        assert_eq!(observations(memory, &scope, text).await, [text.as_str(), "", text], "{text:?}");
        let related = join(memory, &scope, text, text, text).await.unwrap();
        assert_eq!(
            (&*related.from, &*related.kind, &*related.to),
            (text.as_str(), text.as_str(), text.as_str())
        );
        match find(memory, &scope, text).await {
            Ok(_) | Err(MemoryError::EmptySearch | MemoryError::TooLarge { .. }) => {}
            Err(error) => panic!("{text:?}: {error:?}"),
        }
    }
    put(memory, &scope, "all of it", &observed).await.unwrap();
    assert_eq!(observations(memory, &scope, "all of it").await, observed);
    for text in all.iter().filter(|text| !text.is_empty()) {
        forget(memory, &scope, MemoryKind::Entity, text).await.unwrap();
    }
    assert_eq!(names(release_all(list(memory, &scope).await)), ["all of it"]);
    assert_eq!(metrics.sqlite_events.get(), 0);
}

#[tokio::test]
async fn a_word_that_stands_alone_is_found_again() {
    let World { memory, .. } = &World::new();
    let scope = agent("ada");
    for text in ["語", "naïve", "Ω", "привет", "مرحبا", "42", "o'clock", "C-3PO", "a.b"] {
        put(memory, &scope, "thing", &[text]).await.unwrap();
        assert_eq!(find(memory, &scope, text).await.unwrap(), ["thing"], "{text}");
    }
}

#[tokio::test]
async fn names_that_look_alike_stay_two() {
    let World { memory, .. } = &World::new();
    let twins = ["e\u{301}", "\u{e9}", "E\u{301}", "a", "A", "a ", "\u{430}"];
    for name in twins {
        put(memory, &agent("ada"), name, &[name]).await.unwrap();
    }
    assert_eq!(list(memory, &agent("ada")).await.len(), twins.len());
    for name in twins {
        assert_eq!(observations(memory, &agent("ada"), name).await, [name]);
    }
}

#[tokio::test]
async fn a_message_cannot_forge_a_line() {
    let World { memory, .. } = &World::new();
    let name = format!("x\n\u{202e}{}", "y".repeat(200));
    let error = fetch(memory, &agent("ada"), MemoryKind::Entity, &name).await.unwrap_err().to_string();
    assert!(error.starts_with("there is no `x\\n\\u{202e}yyy"), "{error}");
    assert!(error.len() < 160, "{error}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(256))]

    /// Whatever the words are, what reaches the full-text engine is a sequence of quoted strings.
    #[test]
    fn no_word_leaves_its_quotes(text in "[\\PC\\x00\"*:(){}^ -]{0,80}") {
        let Ok(words) = FtsQuery::parse(&MemoryScope::Global, &text, &Settings::default()) else { return Ok(()) };
        for (expression, columns) in [(&words.anywhere, "name kind observations"), (&words.in_name, "name")] {
            let head = format!("scope : \"{}\" AND {{{columns}}} : (", fts_query::scope_word(&MemoryScope::Global));
            let body = expression.strip_prefix(&head).and_then(|rest| rest.strip_suffix(')')).unwrap();
            // Without its doubled quotes, a string ends at the next quote.
            let outside: String = body.replace("\"\"", "").split('"').step_by(2).collect();
            proptest::prop_assert!(outside.split(" AND ").all(str::is_empty), "{expression}");
            proptest::prop_assert!(!expression.bytes().any(|byte| byte == 0));
        }
    }
}
