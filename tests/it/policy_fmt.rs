//! Policies in one look: the shipped set has it, Cedar's own test data survives it, and what cannot be kept is left alone.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use caxton::cli::output::{Exit, Format, Output};
use caxton::cli::policy::{Command, fmt as command, run_in};
use caxton::workbench::format::format;

fn run(base: &Path, check: bool, files: &[PathBuf]) -> anyhow::Result<Exit> {
    let options = command::FmtOptions { files: files.to_vec(), check, ..command::FmtOptions::default() };
    run_in(base, Command::Fmt(options), &Output::new(Format::Table))
}

#[test]
fn the_shipped_policies_are_laid_out() {
    assert_eq!(run(Path::new(""), true, &[]).unwrap(), Exit::Fine);
}

/// 1,010 generated sets: each is laid out, says the same, and is laid out once and for all.
#[test]
fn cedars_test_data_survives() {
    let Ok(file) = fs::File::open("../shared/testdata/cedar-corpus.tar.gz") else {
        eprintln!("skipped: no ../shared/testdata/cedar-corpus.tar.gz");
        return;
    };
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut seen = 0;
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        if path.extension().is_none_or(|ending| ending != "cedar") {
            continue;
        }
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let formatted = format(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(format(&formatted).as_ref(), Ok(&formatted), "{}", path.display());
        seen += 1;
    }
    assert_eq!(seen, 1010);
}

#[test]
fn files_are_written_whole_and_only_when_they_change() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path();
    let file = base.join("policies/a.cedar");
    fs::create_dir_all(base.join("policies/below")).unwrap();
    let wild = "// why\n@id(\"t.a\")permit(principal,action,resource);";
    let neat = "// why\n@id(\"t.a\")\npermit (principal, action, resource);\n";
    fs::write(&file, wild).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(base.join("policies/below/b.cedar"), neat).unwrap();
    assert_eq!(run(base, true, &[]).unwrap(), Exit::Found);
    assert_eq!(fs::read_to_string(&file).unwrap(), wild, "a check writes nothing");
    assert_eq!(run(base, false, &[]).unwrap(), Exit::Fine);
    assert_eq!(fs::read_to_string(&file).unwrap(), neat);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(run(base, true, &[]).unwrap(), Exit::Fine);
    assert_eq!(fs::read_dir(base.join("policies")).unwrap().count(), 2, "nothing is left beside");
}

#[test]
fn what_cannot_be_kept_is_left_as_it_is_and_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path();
    let (broken, wild) = (base.join("broken.cedar"), base.join("wild.cedar"));
    fs::write(&broken, "permit (principal;").unwrap();
    fs::write(&wild, "permit(principal,action,resource);").unwrap();
    assert_eq!(run(base, false, &[broken.clone(), wild.clone()]).unwrap(), Exit::Usage);
    assert_eq!(fs::read_to_string(&broken).unwrap(), "permit (principal;");
    assert_eq!(fs::read_to_string(&wild).unwrap(), "permit (principal, action, resource);\n");
    assert!(
        format!("{:#}", run(base, false, &[]).unwrap_err()).starts_with("there is no folder `policies` here")
    );
    let missing = run(base, false, &[base.join("nothing.cedar")]).unwrap_err();
    assert!(format!("{missing:#}").starts_with("reading `"));
}
