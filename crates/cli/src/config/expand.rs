//! `${VAR}` and its cousins in upstream definitions.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// What lies outside the files: passed in, so that tests need no process environment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outside {
    /// Environment variables.
    pub(crate) env: BTreeMap<String, String>,
    /// The user's home folder.
    pub(crate) home: Option<PathBuf>,
    /// The folder the command runs in.
    pub(crate) cwd: PathBuf,
    /// The user's folder for configuration, without `toolscout` at its end.
    pub(crate) config_dir: Option<PathBuf>,
    /// The user's folder for toolscout's data.
    pub(crate) data_dir: Option<PathBuf>,
}

impl Outside {
    /// As it is for this process.
    pub(crate) fn of_process() -> Self {
        let base = directories::BaseDirs::new();
        let project = directories::ProjectDirs::from("dev", "toolscout", "toolscout");
        // A variable that is not UTF-8 cannot be named in a configuration file; leaving it out is enough.
        let env = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self {
            env: env.collect(),
            home: base.as_ref().map(|base| base.home_dir().to_owned()),
            cwd: std::env::current_dir().unwrap_or_default(),
            config_dir: base.as_ref().map(|base| base.config_dir().to_owned()),
            data_dir: project.map(|project| project.data_dir().to_owned()),
        }
    }

    /// A path as written in a file: `~/` is the home folder, a relative one starts at `base`.
    pub(crate) fn path(&self, text: &str, base: &std::path::Path) -> PathBuf {
        let rest = text.strip_prefix("~/").or((text == "~").then_some(""));
        match (rest, &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => base.join(text),
        }
    }
}

/// Which spellings of variables a file uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dollar {
    /// Only `${…}`: a lone `$NAME` is text.
    Braced,
    /// Gemini writes `$NAME` too.
    Bare,
}

/// Where `${workspaceFolder}` points, and how dollars are read.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    /// The folder of the project the file belongs to.
    pub(crate) workspace: PathBuf,
    /// The spellings.
    pub(crate) dollar: Dollar,
}

/// Why a text cannot be expanded. Never holds a variable's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExpandError {
    #[error("the variable `{0}` is not set")]
    Unset(String),
    #[error("`${{input:{0}}}` asks a person at the client program, which nobody can answer here")]
    Input(String),
    #[error("`${{{0}}}` is not a variable that is known here")]
    Unknown(String),
    #[error("`${{` is never closed")]
    Open,
}

impl ExpandError {
    /// What to write instead.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Unset(name) => format!("set {name} in the environment, or write ${{{name}:-default}}"),
            Self::Input(name) => {
                let variable = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_").to_ascii_uppercase();
                format!("write ${{{variable}}} and set that environment variable")
            }
            Self::Unknown(_) => "use ${VAR}, ${VAR:-default}, ${env:VAR}, ${userHome} or ${workspaceFolder}".to_owned(),
            Self::Open => "write ${VAR}".to_owned(),
        }
    }
}

/// Replaces every variable; `~/` at the very start becomes the home folder.
pub(crate) fn expand(text: &str, scope: &Scope, outside: &Outside) -> Result<String, ExpandError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    if let Some(tail) = text.strip_prefix("~/")
        && let Some(home) = &outside.home
    {
        out.push_str(&home.to_string_lossy());
        out.push('/');
        rest = tail;
    }
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(body) = tail.strip_prefix('{') {
            let end = body.find('}').ok_or(ExpandError::Open)?;
            out.push_str(&lookup(&body[..end], scope, outside)?);
            rest = &body[end + 1..];
        } else {
            let name_end = tail.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(tail.len());
            let name = &tail[..name_end];
            let is_variable =
                scope.dollar == Dollar::Bare && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if is_variable {
                out.push_str(&lookup(name, scope, outside)?);
                rest = &tail[name_end..];
            } else {
                out.push('$');
                rest = tail;
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Writes out what refers to the file's own place, and leaves every other variable for later.
pub(crate) fn settle(text: &str, scope: &Scope) -> String {
    let folder = scope.workspace.to_string_lossy();
    let base = scope.workspace.file_name().unwrap_or_default().to_string_lossy();
    let text = text
        .replace("${workspaceFolder}", &folder)
        .replace("${workspaceRoot}", &folder)
        .replace("${workspaceFolderBasename}", &base);
    if scope.dollar == Dollar::Braced {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('$') {
        let tail = &rest[at + 1..];
        let name_end = tail.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(tail.len());
        let is_variable = tail.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        out.push_str(&rest[..at]);
        match is_variable {
            true => out.push_str(&format!("${{{}}}", &tail[..name_end])),
            false => out.push_str(&rest[at..=at + name_end]),
        }
        rest = &tail[name_end..];
    }
    out.push_str(rest);
    out
}

fn lookup(body: &str, scope: &Scope, outside: &Outside) -> Result<String, ExpandError> {
    let workspace = || scope.workspace.to_string_lossy().into_owned();
    match body {
        "userHome" => {
            return match &outside.home {
                Some(home) => Ok(home.to_string_lossy().into_owned()),
                None => Err(ExpandError::Unset("userHome".to_owned())),
            };
        }
        "workspaceFolder" | "workspaceRoot" => return Ok(workspace()),
        "workspaceFolderBasename" => {
            return Ok(scope.workspace.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
        "pathSeparator" | "/" => return Ok(std::path::MAIN_SEPARATOR.to_string()),
        _ => {}
    }
    if let Some(name) = body.strip_prefix("input:") {
        return Err(ExpandError::Input(toolscout_core::text::preview(name)));
    }
    let body = body.strip_prefix("env:").unwrap_or(body);
    let (name, default) = match body.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (body, None),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err(ExpandError::Unknown(toolscout_core::text::preview(body)));
    }
    // As in a shell, `:-` also takes the place of an empty value.
    match (outside.env.get(name), default) {
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value.clone()),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(ExpandError::Unset(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<&str, &str>) {
        check_dollar(text, Dollar::Braced, expect);
    }

    #[track_caller]
    fn check_dollar(text: &str, dollar: Dollar, expect: Result<&str, &str>) {
        let env = [("KEY", "k1"), ("EMPTY", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let outside = Outside { env: env.into(), home: Some("/home/me".into()), ..Outside::default() };
        let scope = Scope { workspace: "/w/project".into(), dollar };
        let result = expand(text, &scope, &outside).map_err(|error| error.to_string());
        assert_eq!(result.as_deref().map_err(String::as_str), expect, "{text}");
    }

    #[test]
    fn every_spelling() {
        check("plain", Ok("plain"));
        check("Bearer ${KEY}!", Ok("Bearer k1!"));
        check("${env:KEY}${KEY}", Ok("k1k1"));
        check("${NO:-fallback}", Ok("fallback"));
        check("${env:NO:-}", Ok(""));
        check("${KEY:-fallback}", Ok("k1"));
        check("${EMPTY:-fallback}", Ok("fallback"));
        check("${EMPTY}", Ok(""));
        check("~/x", Ok("/home/me/x"));
        check("a~/x", Ok("a~/x"));
        check("${userHome}${/}x", Ok("/home/me/x"));
        check("${workspaceFolder}:${workspaceFolderBasename}", Ok("/w/project:project"));
    }

    #[test]
    fn a_lone_dollar_is_text_except_where_the_client_says_otherwise() {
        check("$KEY costs 5$", Ok("$KEY costs 5$"));
        check_dollar("$KEY costs 5$ or $5", Dollar::Bare, Ok("k1 costs 5$ or $5"));
    }

    #[test]
    fn settling_writes_out_the_folder_and_keeps_variables() {
        let scope = |dollar| Scope { workspace: "/w/p".into(), dollar };
        assert_eq!(settle("${workspaceFolder}/x ${KEY} $KEY", &scope(Dollar::Braced)), "/w/p/x ${KEY} $KEY");
        assert_eq!(settle("a $KEY-${B} 5$ $5", &scope(Dollar::Bare)), "a ${KEY}-${B} 5$ $5");
    }

    #[test]
    fn nothing_unset_passes_as_text_or_as_nothing() {
        check("${NO}", Err("the variable `NO` is not set"));
        check("${env:NO}", Err("the variable `NO` is not set"));
        check("${KEY", Err("`${` is never closed"));
        check(
            "${input:token}",
            Err("`${input:token}` asks a person at the client program, which nobody can answer here"),
        );
        check("${command:x y}", Err("`${command:x y}` is not a variable that is known here"));
        check_dollar("$NO", Dollar::Bare, Err("the variable `NO` is not set"));
    }
}
