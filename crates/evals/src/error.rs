//! What can go wrong with an eval, by what one would do about it.

use std::path::PathBuf;

use toolscout_core::{Fault, Retry};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is missing or unreadable: check the path.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// One line of an input file breaks the format: mend that line.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it; quotes no more than a preview of the line.
        reason: String,
    },
    /// A file holds nothing to work with: give another.
    #[error("{}: {reason}", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A suite file, or its labels, are not as they have to be: mend what is named.
    #[error("{}: {}", path.display(), faults.join("\n  "))]
    Suite {
        /// The suite's file.
        path: PathBuf,
        /// Each thing that is wrong.
        faults: Vec<String>,
    },
    /// A report that is to be compared is no report, or two reports have nothing in common.
    #[error("{}: {reason}", path.display())]
    Report {
        /// The report's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No arm has this name: take one of those listed.
    #[error("unknown arm `{name}`")]
    UnknownArm {
        /// The name given, cleaned for showing.
        name: String,
    },
    /// An arm ranks by vectors, and no embedding model is loaded: drop the arm, or give a model.
    #[error("arm `{arm}` needs an embedding model")]
    NeedsModel {
        /// The arm.
        arm: &'static str,
    },
    /// The run's options contradict each other or are out of range: change them.
    #[error("{0}")]
    Options(String),
    /// A result could not be written: check folder and space.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A crate below failed while the catalog was built, indexed or embedded.
    #[error("{step}")]
    Build {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Wraps another crate's error with the step it happened in.
    pub(crate) fn build<E>(step: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |source| Self::Build { step, source: source.into() }
    }

    /// Who has to act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Read { .. }
            | Self::Line { .. }
            | Self::Nothing { .. }
            | Self::Suite { .. }
            | Self::Report { .. }
            | Self::UnknownArm { .. }
            | Self::NeedsModel { .. }
            | Self::Options(_) => Fault::Caller,
            Self::Write { .. } | Self::Build { .. } => Fault::Ours,
        }
    }

    /// Whether the same command may go better later. A full disk may empty; everything else stays as it is.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Write { .. } => Retry::Later,
            _ => Retry::Never,
        }
    }

    /// What to do about it, where we know.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownArm { .. } => {
                let names: Vec<&str> = crate::Arm::all().into_iter().map(crate::Arm::name).collect();
                let groups: Vec<&str> = crate::arm::GROUPS.iter().map(|(group, _)| *group).collect();
                Some(format!("arms are {}; groups {}", names.join(", "), groups.join(", ")))
            }
            Self::NeedsModel { .. } => {
                Some("leave out the arms that rank by vectors, or run with the built-in model".into())
            }
            Self::Line { .. } | Self::Suite { .. } => Some("the formats are described in evals/README.md".into()),
            _ => None,
        }
    }
}
