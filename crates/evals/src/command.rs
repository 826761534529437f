//! `eval run`, `eval compare` and `eval leaderboard` for the command line: everything but the parsing of flags.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::compare::{CompareOptions, Comparison, compare, decisive};
use crate::error::Error;
use crate::leaderboard::{self, Edition};
use crate::report::Report;
use crate::run::{Progress, RunOptions, run};

/// What `eval run` is asked to do.
#[derive(Clone)]
pub struct RunArgs {
    /// What to measure.
    pub options: RunOptions,
    /// Where the JSON goes, if anywhere.
    pub json: Option<PathBuf>,
    /// Where the HTML page goes, if anywhere.
    pub html: Option<PathBuf>,
    /// An earlier report of the same set: the run fails if a decisive metric is clearly worse than there.
    pub baseline: Option<PathBuf>,
}

/// What `eval compare` is asked to do.
#[derive(Debug, Clone)]
pub struct CompareArgs {
    /// The earlier report.
    pub before: PathBuf,
    /// The later one.
    pub after: PathBuf,
    /// How.
    pub options: CompareOptions,
    /// Where the JSON goes, if anywhere.
    pub json: Option<PathBuf>,
    /// Queries that moved to show each way.
    pub n_moved: usize,
}

/// What `eval leaderboard` is asked to do.
#[derive(Debug, Clone)]
pub struct BoardArgs {
    /// The reports, a column each, in this order.
    pub reports: Vec<PathBuf>,
    /// Where the Markdown goes; printed if nowhere.
    pub out: Option<PathBuf>,
    /// Where the picture goes, if anywhere.
    pub svg: Option<PathBuf>,
    /// Where the HTML page goes, if anywhere.
    pub html: Option<PathBuf>,
    /// What was measured, when and where.
    pub edition: Edition,
}

/// How a command ended. `cli` makes exit codes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It did what was asked.
    Done,
    /// It did, and a decisive metric is clearly worse than the baseline's: exit code 1.
    Regressed,
    /// It did, and tools that policy denies showed in answers: exit code 1.
    Leaked,
}

/// Measures, writes the files asked for, and prints the table to `out`.
pub fn run_command(args: &RunArgs, out: &mut dyn Write, progress: &dyn Fn(Progress)) -> Result<Ended, Error> {
    // Before the long part: a wrong path, or a baseline that says nothing of this run, should not cost minutes.
    let baseline = args.baseline.as_deref().map(|path| baseline(path, &args.options)).transpose()?;
    for path in [&args.json, &args.html].into_iter().flatten() {
        can_write(path)?;
    }
    let report = run(&args.options, progress)?;
    if let Some(path) = &args.json {
        write(path, &report.to_json())?;
    }
    if let Some(path) = &args.html {
        write(path, &crate::html::page(&report))?;
    }
    print(out, &crate::table::table(&report))?;
    if report.arms.iter().filter_map(|arm| arm.policy).any(|policy| policy.n_leaks > 0) {
        return Ok(Ended::Leaked);
    }
    let (Some(baseline), Some(path)) = (baseline, &args.baseline) else { return Ok(Ended::Done) };
    let options =
        CompareOptions { seed: args.options.seed, resamples: args.options.resamples, ..CompareOptions::default() };
    let comparison = compare(&baseline, &report, &options);
    // Nothing compared is nothing found worse, and a check that passes on any report of any set checks nothing.
    has_pairs(path, &baseline, &report, &comparison)?;
    print(out, &format!("\nagainst the baseline:\n{}", comparison.to_text(5)))?;
    let decisive = decisive();
    let names: Vec<&str> = decisive.iter().map(String::as_str).collect();
    let regressed = !comparison.regressions(&names).is_empty();
    Ok(if regressed { Ended::Regressed } else { Ended::Done })
}

/// An earlier report that knows one of the arms that are to be measured.
fn baseline(path: &Path, options: &RunOptions) -> Result<Report, Error> {
    let report = Report::read(path)?;
    if report.arms.iter().any(|there| options.arms.iter().any(|arm| arm.name() == there.arm)) {
        return Ok(report);
    }
    let asked: Vec<&str> = options.arms.iter().map(|arm| arm.name()).collect();
    Err(no_arms(path, &arm_names(&report), &asked))
}

/// Whether there is anything that the two reports both say something about.
fn has_pairs(path: &Path, before: &Report, after: &Report, comparison: &Comparison) -> Result<(), Error> {
    if comparison.pairs.is_empty() {
        return Err(no_arms(path, &arm_names(before), &arm_names(after)));
    }
    if comparison.n_paired == 0 {
        let reason =
            format!("no query to compare: `{}` and `{}` have none in common, labelled alike", before.set, after.set);
        return Err(Error::Report { path: path.into(), reason });
    }
    Ok(())
}

fn no_arms(path: &Path, before: &[&str], after: &[&str]) -> Error {
    let reason = format!("no arms to compare: {} there, {} here", before.join(", "), after.join(", "));
    Error::Report { path: path.into(), reason }
}

fn arm_names(report: &Report) -> Vec<&str> {
    report.arms.iter().map(|arm| arm.arm.as_str()).collect()
}

/// Compares two reports, writes the JSON if asked for, and prints what changed to `out`.
pub fn compare_command(args: &CompareArgs, out: &mut dyn Write) -> Result<Comparison, Error> {
    let (before, after) = (Report::read(&args.before)?, Report::read(&args.after)?);
    let comparison = compare(&before, &after, &args.options);
    has_pairs(&args.after, &before, &after, &comparison)?;
    if let Some(path) = &args.json {
        let mut text = serde_json::to_string_pretty(&comparison).expect("only strings and finite numbers");
        text.push('\n');
        write(path, &text)?;
    }
    print(out, &comparison.to_text(args.n_moved))?;
    Ok(comparison)
}

/// Puts several reports into one page and one picture.
pub fn board_command(args: &BoardArgs, out: &mut dyn Write) -> Result<(), Error> {
    let reports = args.reports.iter().map(|path| Report::read(path)).collect::<Result<Vec<_>, _>>()?;
    let picture = args.svg.as_deref().map(|svg| seen_from(args.out.as_deref(), svg));
    let page = leaderboard::markdown(&reports, &args.edition, picture.as_deref());
    match &args.out {
        Some(path) => write(path, &page)?,
        None => print(out, &page)?,
    }
    if let Some(path) = &args.svg {
        write(path, &leaderboard::svg(&reports, &args.edition))?;
    }
    if let Some(path) = &args.html {
        write(path, &leaderboard::html(&reports, &args.edition))?;
    }
    Ok(())
}

/// How a page links to a file: by its name where both lie in one folder, else by the path given.
fn seen_from(page: Option<&Path>, file: &Path) -> String {
    let is_beside = page.is_some_and(|page| page.parent() == file.parent());
    let name = if is_beside { file.file_name().map(Path::new) } else { None };
    name.unwrap_or(file).display().to_string()
}

/// Whether there is a folder for the file, and no folder in its place: what goes wrong most, and is seen without touching
/// anything.
fn can_write(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Write { path: path.into(), source };
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    if !std::fs::metadata(folder).map_err(failed)?.is_dir() {
        return Err(failed(ErrorKind::NotADirectory.into()));
    }
    if path.is_dir() {
        return Err(failed(ErrorKind::IsADirectory.into()));
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(|source| Error::Write { path: path.into(), source })
}

fn print(out: &mut dyn Write, text: &str) -> Result<(), Error> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|source| Error::Write { path: "standard output".into(), source })
}
