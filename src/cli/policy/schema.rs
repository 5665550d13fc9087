//! `caxton policy schema`: what editors need.

use std::path::Path;

use super::folders::PolicyFolders;
use crate::cli::output::{Exit, Output};
use crate::workbench::editor::{cedar_schema, fixtures_schema, test_schema};

/// The schema to print.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum SchemaKind {
    /// JSON Schema of `*.test.yaml` files.
    #[default]
    Tests,
    /// JSON Schema of `*.fixtures.yaml` files.
    Fixtures,
    /// The whole Cedar schema as one document in Cedar's JSON form.
    Cedar,
}

/// Which schema, and of what.
#[derive(Debug, Default, clap::Args)]
pub struct SchemaOptions {
    /// The schema to print.
    #[arg(value_enum, default_value_t, value_name = "OF")]
    pub of: SchemaKind,
    /// Where the policies and the schema are.
    #[command(flatten)]
    pub folders: PolicyFolders,
}

pub(super) fn run(base: &Path, options: &SchemaOptions, output: &Output) -> anyhow::Result<Exit> {
    let Some(bundle) = options.folders.load_any(base, output)? else { return Ok(Exit::Usage) };
    let schema = match options.of {
        SchemaKind::Tests => test_schema(&bundle),
        SchemaKind::Fixtures => fixtures_schema(),
        SchemaKind::Cedar => cedar_schema(&bundle).map_err(anyhow::Error::msg)?,
    };
    output.line(&serde_json::to_string_pretty(&schema)?)?;
    Ok(Exit::Fine)
}
