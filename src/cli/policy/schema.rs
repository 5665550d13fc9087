//! `caxton policy schema`: what editors need.

use std::path::Path;

use super::{Places, load};
use crate::cli::output::{Exit, Output};
use crate::workbench::editor::{cedar_schema, fixtures_schema, test_schema};

/// Which schema.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Of {
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
pub struct Options {
    /// Which schema.
    #[arg(value_enum, default_value_t, value_name = "OF")]
    pub of: Of,
    /// Where the policies and the schema are.
    #[command(flatten)]
    pub places: Places,
}

pub(super) fn run(base: &Path, options: &Options, output: &Output) -> anyhow::Result<Exit> {
    let Some(bundle) = load(base, &options.places, output)? else { return Ok(Exit::Usage) };
    let schema = match options.of {
        Of::Tests => test_schema(&bundle),
        Of::Fixtures => fixtures_schema(),
        Of::Cedar => cedar_schema(&bundle).map_err(anyhow::Error::msg)?,
    };
    output.line(&serde_json::to_string_pretty(&schema)?)?;
    Ok(Exit::Fine)
}
