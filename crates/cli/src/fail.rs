//! How a command ends: exit codes, and errors as people read them.

use std::fmt::Write as _;

use crate::backend::Refused;
use crate::config::Mistakes;

/// The exit codes of product.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Nothing matched.
    NoMatch = 3,
    /// Policy forbids it, or what matched is withheld.
    NotPermitted = 4,
    /// An upstream failed.
    Upstream = 5,
}

/// What commands return.
pub(crate) type Ended = anyhow::Result<Exit>;

/// A failure that names its exit code and a way out.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Told {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// What failed.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// Why.
    #[source]
    pub(crate) source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A failure with an exit code.
pub(crate) fn told(exit: Exit, message: impl Into<String>, hint: impl Into<Option<String>>) -> anyhow::Error {
    Told { exit, message: message.into(), hint: hint.into(), source: None }.into()
}

/// Wrong usage that clap cannot see.
pub(crate) fn usage(message: impl Into<String>, hint: &str) -> anyhow::Error {
    told(Exit::Usage, message, Some(hint.to_owned()))
}

/// The exit code of an error.
pub(crate) fn exit_of(error: &anyhow::Error) -> Exit {
    if let Some(told) = error.downcast_ref::<Told>() {
        return told.exit;
    }
    if error.downcast_ref::<Mistakes>().is_some() {
        return Exit::Usage;
    }
    if let Some(refused) = error.chain().find_map(|cause| cause.downcast_ref::<Refused>()) {
        return refused.exit();
    }
    let asks_wrong = |cause: &(dyn std::error::Error + 'static)| {
        use toolscout_evals::Error;
        matches!(cause.downcast_ref(), Some(Error::Options(_) | Error::UnknownArm { .. }))
    };
    if error.chain().any(asks_wrong) {
        return Exit::Usage;
    }
    let is_upstream = error.chain().any(|cause| cause.is::<toolscout_upstream::Error>());
    if is_upstream { Exit::Upstream } else { Exit::Failed }
}

/// Whether the reader of our output went away, as `head` does. Then we end quietly.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let kind = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        kind == Some(std::io::ErrorKind::BrokenPipe)
    })
}

/// `error: …`, then a `caused by: …` line per cause, then `hint: …` lines.
pub(crate) fn render(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}\n");
    let mut said = error.to_string();
    for cause in error.chain().skip(1) {
        let words = cause.to_string();
        // Some libraries format their cause into their own text; once is enough.
        if !said.contains(&words) {
            let _ = writeln!(text, "  caused by: {words}");
        }
        said = words;
    }
    for refused in error.chain().filter_map(|cause| cause.downcast_ref::<Refused>()) {
        for line in refused.lines() {
            let _ = writeln!(text, "  {line}");
        }
    }
    for hint in hints(error) {
        let _ = writeln!(text, "  hint: {hint}");
    }
    text
}

/// The hints of every error in the chain that has one, outermost first.
fn hints(error: &anyhow::Error) -> Vec<String> {
    let mut hints: Vec<String> = Vec::new();
    for cause in error.chain() {
        let hint = hint_of(cause);
        hints.extend(hint.filter(|hint| !hints.contains(hint)));
    }
    hints
}

fn hint_of(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(told) = cause.downcast_ref::<Told>() {
        return told.hint.clone();
    }
    if let Some(refused) = cause.downcast_ref::<Refused>() {
        return refused.hint();
    }
    macro_rules! first_hint {
        ($($error:ty),+) => {
            $(if let Some(error) = cause.downcast_ref::<$error>() {
                return error.hint().map(|hint| hint.to_string());
            })+
        };
    }
    first_hint!(
        toolscout_store::Error,
        toolscout_embed::Error,
        toolscout_upstream::Error,
        toolscout_catalog::Error,
        toolscout_evals::Error
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn errors_read_from_the_outside_in_with_their_hint() {
        let inner = told(Exit::NotPermitted, "policy says no", Some("ask the operator".to_owned()));
        let error = Err::<(), _>(inner).context("call `a:b`").unwrap_err();
        assert_eq!(render(&error), "error: call `a:b`\n  caused by: policy says no\n  hint: ask the operator\n");
        assert_eq!(exit_of(&error), Exit::NotPermitted);
    }

    #[test]
    fn a_broken_pipe_is_known_at_any_depth() {
        let pipe = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let error = Err::<(), _>(pipe).context("write").context("list").unwrap_err();
        assert!(is_broken_pipe(&error));
        assert!(!is_broken_pipe(&anyhow::anyhow!("no")));
    }
}
