//! `caxton policy`: check policies and run their tests, offline, on files.

pub mod analyze;
pub mod bench;
pub mod bundle;
mod changes;
mod checks;
pub mod coverage;
pub mod decision;
pub mod diff;
pub mod explain;
mod files;
pub mod fmt;
mod folders;
pub mod gateway;
mod git;
pub mod history;
mod html;
pub mod import;
pub mod init;
mod junit;
pub mod lint;
pub mod list;
pub mod matrix;
pub mod mutate;
pub mod promote;
pub mod proofs;
pub mod prove;
pub mod publish;
pub mod render;
pub mod repl;
pub mod replay;
pub mod schema;
pub mod scope;
pub mod sign;
pub mod store;
mod test;
mod validate;
mod versions;
mod watch;

use std::path::{Path, PathBuf};

use super::output::{Exit, Output};
use crate::policy::PolicyProblem;
use crate::workbench::diagnostics;
use crate::workbench::run::Settings;
pub use folders::PolicyFolders;
pub use gateway::WorldOptions;

/// Work on policies; needs no gateway.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Check every policy against the schema, strictly, and report all problems in one run.
    #[command(after_help = "Example:\n  caxton policy validate --policies ./policies --schemas ./schemas")]
    Validate {
        /// Where the policies and the schema are.
        #[command(flatten)]
        folders: PolicyFolders,
    },
    /// List the policies, and what is made of templates.
    #[command(after_help = "Example:\n  caxton policy list --config caxton.yaml")]
    List(list::ListOptions),
    /// Run policy tests and name each row with an unexpected decision.
    #[command(after_help = "Example:\n  caxton policy test --filter \"tools:\" policy-tests/tools.test.yaml")]
    Test {
        /// Test files or folders of them [default: `policy-tests`, else the built-in tests]
        files: Vec<PathBuf>,
        /// Run only tests whose `suite: name` contains this text.
        #[arg(long, value_name = "TEXT")]
        filter: Option<String>,
        /// Write the results as JUnit XML to this file as well.
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
        /// Run them again whenever policies, schemas or tests change.
        #[arg(long, conflicts_with = "from_log")]
        watch: bool,
        /// From the decision log.
        #[command(flatten)]
        from: FromLog,
        /// What the gateway knows.
        #[command(flatten)]
        world: WorldOptions,
        /// Where the policies and the schema are.
        #[command(flatten)]
        folders: PolicyFolders,
    },
    /// Show which parts of policies were never true, or never false, in a test.
    #[command(after_help = "Example:\n  caxton policy coverage --min 95 --html coverage.html")]
    Coverage(coverage::CoverageOptions),
    /// Explain a decision: the policies that determined it and those that nearly matched, with the value of each clause.
    #[command(
        after_help = "Example:\n  caxton policy explain --principal 'Agent::\"a\"' --action tool:list --resource 'Gateway::\"g\"'"
    )]
    Explain(explain::ExplainOptions),
    /// Find legal policies that are most likely mistakes; `docs/lint.md` has every rule with its reason.
    #[command(after_help = "Example:\n  caxton policy lint --sarif lint.sarif")]
    Lint(lint::LintOptions),
    /// Mutation testing: change the policies in small ways, one at a time, and show the changes that no test detects.
    #[command(after_help = "Example:\n  caxton policy mutate --min 95")]
    Mutate(mutate::MutateOptions),
    /// Compare two versions: changed policies, and changed decisions for the tests' requests, the permission
    /// matrix and recorded traffic.
    #[command(
        after_help = "Example:\n  caxton policy diff origin/main\n  caxton policy diff origin/main --log audit.log --last 7d"
    )]
    Diff(Box<diff::DiffOptions>),
    /// Prove what holds for every possible request; needs the solver cvc5. See `docs/proof.md`.
    #[command(
        after_help = "Example:\n  caxton policy analyze no-more-permissive origin/main --except memory:read"
    )]
    Analyze(analyze::AnalyzeOptions),
    /// Prove the statements under `prove` in the test files; needs the solver cvc5.
    #[command(after_help = "Example:\n  caxton policy prove policy-tests/memory.test.yaml")]
    Prove(prove::ProveOptions),
    /// Replay recorded decisions with other policies and show those that change. Exit code 1 when one does.
    #[command(
        after_help = "Example:\n  caxton policy replay --log audit.log --last 7d --candidate ../proposal"
    )]
    Replay(Box<replay::ReplayOptions>),
    /// Print what editors need: JSON Schemas of test files, and the whole Cedar schema in one.
    #[command(after_help = "Example:\n  caxton policy schema tests > .vscode/caxton-tests.schema.json")]
    Schema(schema::SchemaOptions),
    /// Interactive session: set entities, evaluate requests, change policies in memory.
    #[command(after_help = "Example:\n  caxton policy repl --entities policy-tests/common.fixtures.yaml")]
    Repl(repl::ReplOptions),
    /// Format the policies; comments stay, and a file whose meaning would change is left as it is.
    #[command(after_help = "Example:\n  caxton policy fmt --check")]
    Fmt(fmt::FmtOptions),
    /// Lay out a repository of your own policies beside the shipped ones: policies, tests, workflow and hook.
    #[command(after_help = "Example:\n  caxton policy init company-policies")]
    Init(init::InitOptions),
    /// Write the shipped policies, schema and tests out as files, to change them.
    #[command(after_help = "Example:\n  caxton policy eject company-policies")]
    Eject(init::EjectOptions),
    /// Convert the rules of another product to policies and tests; exit code 1 when a rule cannot be expressed.
    #[command(after_help = "Example:\n  caxton policy import --from toolhive authz-config.json")]
    Import(import::ImportOptions),
    /// Convert a `roles.yaml` to policies and tests; exit code 1 when a rule cannot be expressed.
    #[command(after_help = "Example:\n  caxton policy import-roles roles.yaml --name team-roles")]
    ImportRoles(import::Roles),
    /// Show the permission matrix: every role, action and resource type, as a table to keep and to compare.
    #[command(after_help = "Example:\n  caxton policy matrix --check policy-tests/matrix.md")]
    Matrix(matrix::MatrixOptions),
    /// Benchmark decisions for the tests' requests, compared with Cedar's own authorizer, at several set sizes.
    #[command(after_help = "Example:\n  caxton policy bench --sizes 100,10000")]
    Bench(bench::BenchOptions),
    /// Check a policy set and publish it as a version for gateways; refused unless it passes every check.
    #[command(
        after_help = "Example:\n  caxton policy publish --message \"auditors read the log\" --key ops.key"
    )]
    Publish(Box<publish::PublishOptions>),
    /// Show what was published: who, when, why, and what it had passed.
    #[command(after_help = "Example:\n  caxton policy history --show 5")]
    History(history::HistoryOptions),
    /// Make an older version live again; with no VERSION the one before.
    #[command(
        after_help = "Example:\n  caxton policy rollback @12 --message \"@13 locked the auditors out\""
    )]
    Rollback(publish::Rollback),
    /// Write a published version out as files.
    #[command(after_help = "Example:\n  caxton policy checkout previous ../before")]
    Checkout(history::Checkout),
    /// Create a key that signs versions; prints its public key.
    #[command(
        after_help = "Example:\n  caxton policy keygen ops-2026 --out ops.key --expires-in 365d > trusted-keys.json"
    )]
    Keygen(sign::Keygen),
    /// Sign a published version.
    #[command(after_help = "Example:\n  caxton policy sign current --key ops.key")]
    Sign(sign::Sign),
    /// Verify a version's digests and signatures. Exit code 1 when they are not valid.
    #[command(after_help = "Example:\n  caxton policy verify --all --trusted-keys trusted-keys.json")]
    Verify(sign::Verify),
    /// Publish a candidate that a gateway has evaluated; first shows the decisions that it would have changed.
    #[command(
        after_help = "Example:\n  caxton policy promote --candidate ../next --log audit.log -m \"watched for a week\""
    )]
    Promote(Box<promote::PromoteOptions>),
    /// Carry a version in one file. Example: `caxton policy bundle build --out policies.bundle`
    #[command(subcommand)]
    Bundle(bundle::Command),
}

/// A record that becomes a test.
#[derive(Debug, Default, clap::Args)]
pub struct FromLog {
    /// Run nothing: print a record of the decision log (its `decision_id`, or its number) as a test.
    #[arg(long, value_name = "ID", conflicts_with_all = ["files", "filter", "junit"])]
    pub from_log: Option<String>,
    /// The decision log [default: `.caxton/audit.log`]
    #[arg(long, value_name = "FILE", requires = "from_log")]
    pub log: Option<PathBuf>,
}

/// Runs a command in the working directory.
pub fn run(command: Command, output: &Output) -> anyhow::Result<Exit> {
    run_in(Path::new(""), command, output)
}

/// Runs a command with its default folders below `base`.
pub fn run_in(base: &Path, command: Command, output: &Output) -> anyhow::Result<Exit> {
    match command {
        Command::Validate { folders } => validate::run(base, &folders, output),
        Command::Test { from: FromLog { from_log: Some(id), log }, folders, .. } => {
            replay::from_log(base, &id, log.as_deref(), &folders, output)
        }
        Command::Test { files, filter, junit, watch, world, folders, .. } => {
            let once = || {
                let Some(bundle) = folders.load(base, output)? else { return Ok(Exit::Usage) };
                let suites = folders.tests(base, &files, output)?;
                let known = gateway::known_world(&folders, &world, output)?;
                let settings = Settings { filter: filter.clone(), known, ..Settings::default() };
                test::run(&bundle, &suites, &settings, junit.as_deref(), output)
            };
            if watch { watch::watch(base, &files, &folders, output, once) } else { once() }
        }
        Command::Coverage(options) => coverage::run(base, &options, output),
        Command::Explain(options) => explain::run(base, &options, output),
        Command::Lint(options) => lint::run(base, &options, output),
        Command::Mutate(options) => mutate::run(base, &options, output),
        Command::Diff(options) => diff::run(base, &options, output),
        Command::Analyze(options) => analyze::run(base, &options, output),
        Command::Prove(options) => prove::run(base, &options, output),
        Command::Replay(options) => replay::run(base, &options, output),
        Command::Schema(options) => schema::run(base, &options, output),
        Command::Repl(options) => repl::run(base, &options, output),
        Command::Fmt(options) => fmt::run(base, &options, output),
        Command::Init(options) => init::init(base, &options, output),
        Command::Eject(options) => init::eject(base, &options, output),
        Command::Import(options) => import::run(base, &options, output),
        Command::ImportRoles(options) => import::roles(base, &options, output),
        Command::Matrix(options) => matrix::run(base, &options, output),
        Command::Bench(options) => bench::run(base, &options, output),
        Command::Publish(options) => publish::run(base, &options, output),
        Command::List(options) => list::run(base, &options, output),
        Command::History(options) => history::run(base, &options, output),
        Command::Rollback(options) => publish::rollback(base, &options, output),
        Command::Checkout(options) => history::checkout(base, &options, output),
        Command::Keygen(options) => sign::keygen(base, &options, output),
        Command::Sign(options) => sign::sign(base, &options, output),
        Command::Verify(options) => sign::verify(base, &options, output),
        Command::Promote(options) => promote::run(base, &options, output),
        Command::Bundle(command) => bundle::run(base, &command, output),
    }
}

fn show(problems: &[PolicyProblem], output: &Output) {
    for problem in diagnostics::in_order(problems) {
        output.say(diagnostics::render(problem, render::WIDTH).trim_end());
        output.say("");
    }
}
