//! Texts that stand in files: what they say is part of what is promised, and a change of one is to be looked at.
#![allow(dead_code, unreachable_pub, clippy::panic, reason = "a helper of tests")]

use std::path::Path;

/// Compares with a file of the checkout; `UPDATE_GOLDEN=1` writes it.
#[track_caller]
pub fn golden(file: impl AsRef<Path>, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
    #[expect(clippy::disallowed_methods, reason = "the switch that rewrites golden files")]
    let update = std::env::var("UPDATE_GOLDEN").is_ok();
    if update {
        path.parent().into_iter().for_each(|folder| std::fs::create_dir_all(folder).unwrap_or_default());
        std::fs::write(&path, found).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    let file = file.as_ref().display();
    assert_eq!(found, wanted, "`{file}` differs; UPDATE_GOLDEN=1 rewrites it");
}
