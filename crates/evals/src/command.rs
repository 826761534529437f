//! `eval run`, `eval compare` and `eval leaderboard` for the command line: everything but the parsing of flags.

use std::io::Write;
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
    // Read before the long part: a wrong path should not cost minutes.
    let baseline = args.baseline.as_deref().map(Report::read).transpose()?;
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
    let Some(baseline) = baseline else { return Ok(Ended::Done) };
    let options =
        CompareOptions { seed: args.options.seed, resamples: args.options.resamples, ..CompareOptions::default() };
    let comparison = compare(&baseline, &report, &options);
    print(out, &format!("\nagainst the baseline:\n{}", comparison.to_text(5)))?;
    let decisive = decisive();
    let names: Vec<&str> = decisive.iter().map(String::as_str).collect();
    let regressed = !comparison.regressions(&names).is_empty();
    Ok(if regressed { Ended::Regressed } else { Ended::Done })
}

/// Compares two reports, writes the JSON if asked for, and prints what changed to `out`.
pub fn compare_command(args: &CompareArgs, out: &mut dyn Write) -> Result<Comparison, Error> {
    let (before, after) = (Report::read(&args.before)?, Report::read(&args.after)?);
    let comparison = compare(&before, &after, &args.options);
    if comparison.pairs.is_empty() {
        let arms = |report: &Report| report.arms.iter().map(|a| a.arm.clone()).collect::<Vec<_>>().join(", ");
        let reason = format!("no arms to compare: {} there, {} here", arms(&before), arms(&after));
        return Err(Error::Report { path: args.after.clone(), reason });
    }
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

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text).map_err(|source| Error::Write { path: path.into(), source })
}

fn print(out: &mut dyn Write, text: &str) -> Result<(), Error> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|source| Error::Write { path: "standard output".into(), source })
}
