//! The command line: argv in, exit code out. stdout is data, stderr is talk.

pub mod admin;
pub mod agents;
pub mod audit;
pub mod auth;
pub mod config;
pub mod demo;
pub mod entities;
pub mod installation;
pub mod output;
pub mod policy;
pub mod roles;
pub mod security;
pub mod start;
pub mod tools;

mod auth_tokens;
mod login;
mod prepare;
mod reload_settings;
pub mod remote;
mod stored_login;

use std::sync::LazyLock;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::Environment;
use output::{Exit, Format, Output};

/// What `--version` prints after the name; release builds set `CAXTON_COMMIT`.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{} (commit {}, Cedar language {})",
        env!("CARGO_PKG_VERSION"),
        option_env!("CAXTON_COMMIT").unwrap_or("unknown"),
        crate::policy::language_version(),
    )
});

/// A policy-as-code security gateway for AI agents: no effect without a record, and access is denied on any error.
#[derive(Debug, Parser)]
#[command(name = "caxton", version = VERSION.as_str(), disable_help_subcommand = true)]
struct Arguments {
    /// How data is printed.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    /// The same as `--format json`.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway. Example: `caxton start --config caxton.yaml`
    Start(start::StartOptions),
    /// Run a temporary gateway and a dozen real calls, each with its decision. Example: `caxton demo --serve`
    Demo(demo::DemoOptions),
    /// Check agent files and how they may change. Example: `caxton agents validate-all`
    #[command(subcommand)]
    Agents(agents::Command),
    /// Check and test policies. Example: `caxton policy test`
    #[command(subcommand)]
    Policy(policy::Command),
    /// Explain a recorded decision by its id. Example: `caxton explain 01a1fc7c-3fe6-7149-bb80-52030ba4142f`
    Explain(Box<policy::decision::DecisionOptions>),
    /// Read and verify the decision log. Example: `caxton audit verify .caxton/audit.log`
    #[command(subcommand)]
    Audit(audit::Command),
    /// Create, replace and revoke API keys and tokens. Example: `caxton auth create-key --name ci --permissions tool:list,tool:call`
    #[command(subcommand)]
    Auth(auth::Command),
    /// Incident-response commands. Example: `caxton admin revoke-all-sessions`
    #[command(subcommand)]
    Admin(admin::Command),
    /// Query the status of a running gateway. Example: `caxton api auth-status`
    #[command(subcommand)]
    Api(admin::ApiCommand),
    /// Issue certificates for clients and for the gateway. Example: `caxton security gen-server-cert --output server.pem`
    #[command(subcommand)]
    Security(security::Command),
    /// Read and change the attributes of entities in a running gateway. Example: `caxton entities list --type User`
    Entities {
        #[command(flatten)]
        remote: remote::Remote,
        #[command(subcommand)]
        command: entities::Command,
    },
    /// Check and show the configuration. Example: `caxton config validate --config caxton.yaml`
    #[command(subcommand)]
    Config(config::Command),
    /// List, import and compare the tools of upstream servers. Example: `caxton tools list`
    Tools {
        #[command(flatten)]
        config: installation::ConfigFile,
        #[command(subcommand)]
        command: tools::Command,
    },
    /// Compile the WebAssembly module on standard input and throw the result away: the gateway runs this command in a
    /// process of its own, which it ends when compiling takes too long or too much memory.
    #[command(hide = true)]
    CompileModule,
    /// Print the completion script of a shell. Example: `caxton completion bash > caxton.bash`
    Completion {
        /// Which shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// Runs the command line; `main` returns what this returns.
pub fn run() -> std::process::ExitCode {
    // How much stack the first thread of a process has is the shell's choice.
    match crate::stack::spawn("caxton", run_here).map(std::thread::JoinHandle::join) {
        Ok(Ok(exit)) => exit,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(error) => {
            Output::new(Format::Table).say(format_args!("error: no thread could be started: {error}"));
            Exit::Usage.into()
        }
    }
}

fn run_here() -> std::process::ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Asking for help or the version is not an error; both go where clap sends them.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Fine }.into();
        }
    };
    let format = if arguments.json { Format::Json } else { arguments.format };
    let output = Output::new(format);
    if let Some(of) = arguments.command.has_no(format) {
        output
            .say(format_args!("error: that format is one of {of}; `table` and `json` are of every command"));
        return Exit::Usage.into();
    }
    match dispatch(arguments.command, &output) {
        Ok(exit) => exit.into(),
        Err(error) => {
            output.say(format_args!("error: {error:#}"));
            Exit::Usage.into()
        }
    }
}

impl Command {
    /// The command that alone prints in this format, when it is another one.
    fn has_no(&self, format: Format) -> Option<&'static str> {
        match (format, self) {
            (Format::Table | Format::Json, _)
            | (Format::Junit, Self::Policy(policy::Command::Test { .. }))
            | (Format::Sarif, Self::Policy(policy::Command::Lint(_)))
            | (
                Format::Csv | Format::Ocsf | Format::Cef | Format::Leef | Format::Ecs | Format::Asim,
                Self::Audit(audit::Command::Export(_)),
            ) => None,
            (Format::Junit, _) => Some("`caxton policy test`"),
            (Format::Sarif, _) => Some("`caxton policy lint`"),
            (Format::Csv | Format::Ocsf | Format::Cef | Format::Leef | Format::Ecs | Format::Asim, _) => {
                Some("`caxton audit export`")
            }
        }
    }
}

fn completion(shell: clap_complete::Shell, output: &Output) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "caxton", &mut script);
    output.line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Fine)
}

/// The program that compiles modules: this one, also when its file has been replaced since.
fn compile_worker() -> std::path::PathBuf {
    "/proc/self/exe".into()
}

/// The largest module that any configuration takes in.
const MOST_MODULE_BYTES: u64 = 256 << 20;

fn compile_module(output: &Output) -> anyhow::Result<Exit> {
    match crate::sandbox::compile_only(std::io::stdin().lock(), MOST_MODULE_BYTES) {
        Ok(()) => Ok(Exit::Fine),
        Err(why) => {
            output.say(format_args!("{why}"));
            Ok(Exit::Found)
        }
    }
}

fn dispatch(command: Command, output: &Output) -> anyhow::Result<Exit> {
    let environment = Environment::of_process();
    match command {
        Command::Start(options) => start::run(&options, &environment, output),
        Command::Demo(options) => demo::run(&options, output),
        Command::Agents(command) => agents::run(&command, output),
        Command::Policy(command) => policy::run(command, output),
        Command::Explain(options) => policy::decision::run_alone(*options, output),
        Command::Completion { shell } => completion(shell, output),
        Command::CompileModule => compile_module(output),
        Command::Audit(command) => audit::run(command, output),
        Command::Auth(command) => auth::run(command, output),
        Command::Admin(command) => admin::run(&command, output),
        Command::Api(command) => admin::ask(&command, output),
        Command::Security(command) => security::run(command, output),
        Command::Entities { remote, command } => entities::run(&remote, command, output),
        Command::Config(command) => config::run(&command, &environment, output),
        Command::Tools { config, command } => {
            let command = match command.ask_gateway(output) {
                Ok(done) => return done,
                Err(command) => *command,
            };
            if matches!(command, tools::Command::Import { .. }) {
                prepare::make_schema_dir(config.named(), &environment, output)?;
            }
            let prepared = match prepare::load(config.named(), &environment, output)? {
                Ok(prepared) => prepared,
                Err(exit) => return Ok(exit),
            };
            let mut settings = prepared.finish()?.settings;
            settings.sandbox.compile_worker = Some(compile_worker());
            tools::run(command, settings.tools, settings.sandbox, output)
        }
    }
}
