//! `caxton audit export`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::filter::FilterOptions;
use crate::audit::query::for_each;
use crate::cli::installation::LogFile;
use crate::cli::output::{Exit, Format, Output};
use crate::cli::remote::RemoteLog;
use crate::siem::export::{ExportFormat, ExportWriter};
use crate::siem::format::RecordFormat;

/// Which records, in which form, to which file.
#[derive(Debug, Args)]
pub struct ExportOptions {
    /// The file, which is replaced when all of it is there; `-` is standard output
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    filter: FilterOptions,
    /// Read every record, and do not use the index.
    #[arg(long)]
    no_index: bool,
    #[command(flatten)]
    remote: RemoteLog,
    #[command(flatten)]
    log: LogFile,
}

pub(super) fn run(asked: ExportOptions, output: &Output) -> anyhow::Result<Exit> {
    let format = form(output.format())?;
    let filter = asked.filter.filter()?;
    let mut target = Target::open(&asked.output)?;
    if asked.remote.is_named() {
        return of_gateway(&asked, format, target, output);
    }
    let log = asked.log.path(output)?;
    let mut writer = ExportWriter::new(format);
    let mut written = 0_u64;
    let mut failed = writer.write_head(&mut target.out).err();
    let unreadable = for_each(&log, &filter, !asked.no_index, &mut |record| {
        if failed.is_none() {
            failed = writer.write_record(&record, &mut target.out).err();
            written += 1;
        }
        if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    match failed {
        // The reader of the pipe is gone.
        Some(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Exit::Fine),
        Some(error) => return Err(error).context("the export could not be written"),
        None => target.finish()?,
    }
    if unreadable > 0 {
        output.warning(format_args!(
            "{unreadable} lines are not records, and are left out\nhelp: run `caxton audit verify {}`",
            log.display()
        ));
    }
    output.say(format_args!("{written} records"));
    Ok(Exit::Fine)
}

/// The form of the records for `--format`.
fn form(format: Format) -> anyhow::Result<ExportFormat> {
    match format {
        Format::Table | Format::Json => Ok(ExportFormat::JSON),
        Format::Csv => Ok(ExportFormat::Csv),
        Format::Ocsf => Ok(ExportFormat::Lines(RecordFormat::Ocsf)),
        Format::Cef => Ok(ExportFormat::Lines(RecordFormat::Cef)),
        Format::Leef => Ok(ExportFormat::Lines(RecordFormat::Leef)),
        Format::Ecs => Ok(ExportFormat::Lines(RecordFormat::Ecs)),
        Format::Asim => Ok(ExportFormat::Lines(RecordFormat::Asim)),
        Format::Junit | Format::Sarif => {
            anyhow::bail!("use `json`, `csv`, `ocsf`, `cef`, `leef`, `ecs` or `asim`")
        }
    }
}

/// The same from a gateway that runs.
fn of_gateway(
    asked: &ExportOptions,
    format: ExportFormat,
    mut target: Target,
    output: &Output,
) -> anyhow::Result<Exit> {
    let gateway = asked.remote.open(&asked.log)?;
    let mut parameters = asked.filter.parameters();
    parameters.push(("format", format.as_str().to_owned()));
    let answered = gateway.stream(&["v1", "audit", "export"], &parameters, &mut |piece| {
        target.out.write_all(piece)?;
        Ok(true)
    })?;
    match answered {
        Ok(()) => {
            target.finish()?;
            Ok(Exit::Fine)
        }
        Err((exit, why)) => {
            output.error(why);
            Ok(exit)
        }
    }
}

/// Where an export goes: a new file beside the one that it replaces, or standard output.
struct Target {
    out: BufWriter<Box<dyn Write>>,
    file: Option<NewFile>,
}

/// A file that gets its name when it is whole, and is removed when it never is.
struct NewFile {
    beside: PathBuf,
    path: PathBuf,
    file: File,
    is_named: bool,
}

impl Target {
    fn open(path: &Path) -> anyhow::Result<Self> {
        if path.as_os_str() == "-" {
            let out: Box<dyn Write> = Box::new(io::stdout());
            return Ok(Self { out: BufWriter::new(out), file: None });
        }
        let file =
            NewFile::open(path).with_context(|| format!("`{}` could not be written", path.display()))?;
        let out: Box<dyn Write> = Box::new(file.file.try_clone()?);
        Ok(Self { out: BufWriter::with_capacity(1 << 18, out), file: Some(file) })
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.out.flush().context("the export could not be written")?;
        match self.file {
            Some(file) => file.finish(),
            None => Ok(()),
        }
    }
}

impl NewFile {
    fn open(path: &Path) -> io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let beside = PathBuf::from(name);
        // The log is for few eyes, and so is what comes from it.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        Ok(Self { beside, path: path.to_owned(), file, is_named: false })
    }

    fn finish(mut self) -> anyhow::Result<()> {
        let written = self.file.sync_all().and_then(|()| fs::rename(&self.beside, &self.path));
        written.with_context(|| format!("`{}` could not be written", self.path.display()))?;
        self.is_named = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_named {
            // One that stays behind is named after what it is.
            let _ = fs::remove_file(&self.beside);
        }
    }
}
