//! Who may do what, as a table: the shipped one is held here, and a change of it is a diff.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};

use caxton::cli::output::{Exit, Format, Output};
use caxton::cli::policy::{Command, matrix as command, run_in};
use caxton::model::Outcome;
use caxton::policy::{Bundle, SourceKind, Sources};
use caxton::workbench::matrix::Matrix;

fn set(policies: &str) -> Bundle {
    let schema = Sources::new().with_shipped(SourceKind::Schema);
    Bundle::load(schema.with_policy("a.cedar", policies)).unwrap()
}

fn run(base: &Path, check: Option<&Path>, write: Option<&Path>) -> anyhow::Result<Exit> {
    let options = command::MatrixOptions {
        check: check.map(PathBuf::from),
        write: write.map(PathBuf::from),
        ..command::MatrixOptions::default()
    };
    run_in(base, Command::Matrix(options), &Output::new(Format::Table))
}

#[test]
fn the_shipped_table_is_the_golden_one() {
    let found = fs::read_to_string("policy-tests/matrix.md").unwrap_or_default();
    let wanted = Matrix::of(&Bundle::load(Sources::shipped()).unwrap()).markdown();
    assert_eq!(found, wanted, "`caxton policy matrix --write policy-tests/matrix.md` writes it anew");
    assert_eq!(run(Path::new(""), Some(Path::new("policy-tests/matrix.md")), None).unwrap(), Exit::Fine);
}

#[test]
fn roles_are_columns_and_permission_words_a_list() {
    let matrix = Matrix::of(&set(
        "@id(\"t.a\") permit (principal in Caxton::Role::\"chief\", action in Caxton::Action::\"agent:*\", resource is Caxton::Agent);
         @id(\"t.b\") permit (principal in Caxton::Role::\"audit:read\", action == Caxton::Action::\"audit:read\", resource);
         @id(\"t.c\") forbid (principal, action == Caxton::Action::\"agent:logs\", resource)
         unless { principal in Caxton::Role::\"boss|1`\" };",
    ));
    assert_eq!(matrix.principals, ["nobody", "boss|1`", "chief", "Agent::\"a\"", "System::\"gateway\""]);
    let row = |action: &str| matrix.rows.iter().find(|row| row.action == action).unwrap();
    let outcomes = |action: &str| row(action).cells.iter().map(|cell| cell.outcome).collect::<Vec<_>>();
    use Outcome::{Allow, DenyDefault, DenyExplicit};
    assert_eq!(outcomes("agent:view"), [DenyDefault, DenyDefault, Allow, DenyDefault, DenyDefault].map(Some));
    assert_eq!(
        outcomes("agent:logs"),
        [DenyExplicit, DenyDefault, DenyExplicit, DenyExplicit, DenyExplicit].map(Some)
    );
    assert_eq!(row("agent:view").cells[2].policies, ["t.a"]);
    // Only agents call the model.
    assert_eq!(outcomes("model:call"), [None, None, None, Some(DenyDefault), None]);
    let words: Vec<_> =
        matrix.words.iter().map(|word| (word.word.as_str(), word.permits.join(", "))).collect();
    assert_eq!(words, [("audit:read", "audit:read".to_owned())]);
    let text = matrix.markdown();
    assert!(text.contains("| `boss\\|1'` |"), "{text}");
    assert!(text.contains("## Permission words\n\n| word "), "{text}");
}

#[test]
fn what_a_word_gives_is_told_with_its_exceptions() {
    let matrix = Matrix::of(&Bundle::load(Sources::shipped()).unwrap());
    let permits = |word: &str| {
        matrix.words.iter().find(|found| found.word == word).map(|found| found.permits.join(", ")).unwrap()
    };
    assert_eq!(permits("agent:read"), "agent:read, agent:view, auth:logout, auth:token");
    assert_eq!(
        permits("memory:write"),
        "auth:logout, auth:token, memory:write except on MemoryEntity::\"global/row\" and MemoryRelation::\"global/row\" and MemoryScope::\"global\""
    );
}

#[test]
fn a_change_is_found_and_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path();
    let table = base.join("matrix.md");
    fs::create_dir(base.join("policies")).unwrap();
    let policy = |role: &str| {
        let text = format!(
            "@id(\"t.a\") permit (principal in Caxton::Role::\"{role}\", action == Caxton::Action::\"agent:list\", resource);"
        );
        fs::write(base.join("policies/a.cedar"), text).unwrap();
    };
    policy("chief");
    assert!(format!("{:#}", run(base, Some(&table), None).unwrap_err()).starts_with("reading `"));
    assert_eq!(run(base, None, Some(&table)).unwrap(), Exit::Fine);
    assert_eq!(run(base, Some(&table), None).unwrap(), Exit::Fine);
    policy("boss");
    assert_eq!(run(base, Some(&table), None).unwrap(), Exit::Found);
    assert_eq!(run(base, None, Some(&table)).unwrap(), Exit::Fine);
    assert_eq!(run(base, Some(&table), None).unwrap(), Exit::Fine);
    // Nothing is left beside it, and a set that is refused has no table.
    assert_eq!(fs::read_dir(base).unwrap().count(), 2);
    fs::write(base.join("policies/a.cedar"), "permit (principal);").unwrap();
    assert_eq!(run(base, Some(&table), None).unwrap(), Exit::Usage);
}

#[test]
fn resources_of_a_house_that_name_others_stand_beside_somebody_else() {
    let schema = "namespace Caxton {
        entity Order { owner: User, parent: Order };
        action \"order:read\" appliesTo { principal: [User], resource: [Order], context: { clerk: User } };
    }";
    let policies = "@id(\"t.own\") permit (principal, action == Caxton::Action::\"order:read\", resource)
        when { resource.owner == principal && principal in Caxton::Role::\"buyer\" };
        @id(\"t.desk\") permit (principal in Caxton::Role::\"desk\", action == Caxton::Action::\"order:read\", resource)
        when { resource.parent.owner.issuer != principal.issuer };";
    let sources = Sources::new().with_shipped(SourceKind::Schema).with_schema("order.cedarschema", schema);
    let matrix = Matrix::of(&Bundle::load(sources.with_policy("a.cedar", policies)).unwrap());
    let row = matrix.rows.iter().find(|row| row.action == "order:read").unwrap();
    let cells: Vec<_> =
        matrix.principals.iter().zip(&row.cells).map(|(name, cell)| (name.as_str(), cell.outcome)).collect();
    assert_eq!(
        cells,
        [
            ("nobody", Some(Outcome::DenyDefault)),
            ("buyer", Some(Outcome::DenyDefault)),
            ("desk", Some(Outcome::Allow)),
            ("Agent::\"a\"", None),
            ("System::\"gateway\"", None),
        ]
    );
}
