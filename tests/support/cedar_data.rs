//! Cedar's own test data, which is not part of this project: without it a test says so and skips.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "data that cannot be read has failed the test")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/testdata/cedar-corpus.tar.gz");
const HANDWRITTEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/testdata/cedar-handwritten-tests");

/// Files of a data set by the path that the cases call them.
pub type Files = BTreeMap<String, String>;

/// The names of the cases.
pub fn cases(files: &Files) -> impl Iterator<Item = &String> {
    files.keys().filter(|name| name.ends_with(".json") && !name.ends_with("entities.json"))
}

/// The generated cases.
pub fn corpus() -> Option<Files> {
    let Ok(archive) = std::fs::File::open(CORPUS) else {
        println!("skipped: {CORPUS} is not there");
        return None;
    };
    let mut files = Files::new();
    for entry in tar::Archive::new(flate2::read::GzDecoder::new(archive)).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut text = String::new();
        if entry.header().entry_type().is_file() && entry.read_to_string(&mut text).is_ok() {
            files.insert(format!("corpus-tests/{name}"), text);
        }
    }
    Some(files)
}

/// The cases that people wrote.
pub fn handwritten() -> Option<Files> {
    if !Path::new(HANDWRITTEN).is_dir() {
        println!("skipped: {HANDWRITTEN} is not there");
        return None;
    }
    let mut files = Files::new();
    for area in std::fs::read_dir(HANDWRITTEN).unwrap() {
        collect(&area.unwrap().path(), &mut files);
    }
    Some(files)
}

/// The cases name their files from the root of the repository they came from.
fn collect(path: &Path, files: &mut Files) {
    if path.is_dir() {
        for inner in std::fs::read_dir(path).unwrap() {
            collect(&inner.unwrap().path(), files);
        }
    } else if let Ok(text) = std::fs::read_to_string(path) {
        let name = path.strip_prefix(HANDWRITTEN).unwrap().to_str().unwrap();
        let root = if name.starts_with("sample-data") { "" } else { "tests/" };
        files.insert(format!("{root}{name}"), text);
    }
}
