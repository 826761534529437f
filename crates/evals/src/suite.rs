//! A suite: labelled queries about the tools of named servers in exact versions, without anybody's descriptions.
//!
//! The suite file says which servers there are, how they are set up and started, and where the queries lie. Whoever runs it
//! asks the servers for their tools; this crate speaks to none. What the labels must keep is in [`Suite::faults`] as far as
//! it needs no tools, and in [`Suite::faults_among`] as far as it does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use toolscout_core::text::preview;
use toolscout_core::words::split_identifier;
use toolscout_core::{ContentHash, UpstreamId};

use crate::error::Error;
use crate::files::{QueryLine, ToolFile};

/// Longest suite file, in bytes.
const MAX_SUITE_BYTES: u64 = 1 << 20;
/// Stands for the suite's folder in commands, arguments and the environment.
const FOLDER: &str = "{folder}";
/// Needs of a `multi` query.
const NEEDS: std::ops::RangeInclusive<usize> = 2..=4;
/// Words of a name that say nothing of what a tool does.
const EMPTY_WORDS: &[&str] = &[
    "a", "all", "an", "and", "api", "as", "at", "by", "db", "for", "from", "get", "in", "is", "of", "on", "or", "the",
    "to", "with",
];

/// A suite file, its paths made whole.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Its name in reports and among the folders: lower-case letters, digits, `-`.
    pub title: String,
    /// `queries.jsonl`.
    pub queries: PathBuf,
    /// Where the servers and the catalog are kept; `{folder}` in the file.
    pub folder: PathBuf,
    /// The command that puts the servers there, and its arguments. Empty: nothing has to be done.
    #[serde(default)]
    pub setup: Vec<String>,
    /// The servers.
    #[serde(rename = "server")]
    pub servers: Vec<SuiteServer>,
    /// Of the file: says which edition a catalog was made for.
    #[serde(skip, default = "no_hash")]
    pub sha256: ContentHash,
}

/// One server of a suite.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteServer {
    /// The first part of its tools' ids.
    pub id: String,
    /// `npm:NAME@VERSION` or `pypi:NAME==VERSION`.
    pub package: String,
    /// The program to start.
    pub command: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables added to our environment. Nothing secret: the file is public.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

fn no_hash() -> ContentHash {
    ContentHash([0; 32])
}

impl Suite {
    /// Reads a suite file. Paths are relative to it.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let read_error = |source| Error::Read { path: path.into(), source };
        let refuse = |reason: String| Error::Suite { path: path.into(), faults: vec![reason] };
        if std::fs::metadata(path).map_err(read_error)?.len() > MAX_SUITE_BYTES {
            return Err(refuse(format!("longer than {MAX_SUITE_BYTES} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(read_error)?;
        let mut suite: Self = toml::from_str(&text).map_err(|e| refuse(e.to_string()))?;
        suite.sha256 = ContentHash::of(text.as_bytes());
        let path_whole = std::path::absolute(path).map_err(read_error)?;
        let here = path_whole.parent().unwrap_or(Path::new("/"));
        suite.queries = below(here, &suite.queries);
        suite.folder = below(here, &suite.folder);
        let folder = suite.folder.display().to_string();
        if let Some(program) = suite.setup.first_mut()
            && program.contains('/')
        {
            *program = below(here, Path::new(program.as_str())).display().to_string();
        }
        for server in &mut suite.servers {
            let texts = std::iter::once(&mut server.command).chain(&mut server.args).chain(server.env.values_mut());
            for text in texts {
                *text = text.replace(FOLDER, &folder);
            }
        }
        suite.check().map_err(refuse)?;
        Ok(suite)
    }

    fn check(&self) -> Result<(), String> {
        if UpstreamId::new(&self.title).is_err() {
            return Err(format!("the title `{}` is no name for a folder", preview(&self.title)));
        }
        let mut ids = BTreeSet::new();
        for server in &self.servers {
            let id = preview(&server.id);
            if UpstreamId::new(&server.id).is_err() {
                return Err(format!("`{id}` is no server id"));
            }
            if !ids.insert(&server.id) {
                return Err(format!("a second server `{id}`"));
            }
            if !is_exact(&server.package) {
                let package = preview(&server.package);
                return Err(format!("`{package}` of `{id}` is neither npm:NAME@VERSION nor pypi:NAME==VERSION"));
            }
        }
        if self.servers.is_empty() { Err("no server in it".into()) } else { Ok(()) }
    }

    /// What is wrong with the labels, as far as it can be told without the tools: ids that no server of the suite can have,
    /// and the promises of the slices `impossible`, `multi` and `paraphrase`.
    pub fn faults(&self, queries: &[QueryLine]) -> Vec<String> {
        let servers: BTreeSet<&str> = self.servers.iter().map(|server| server.id.as_str()).collect();
        let mut faults = Vec::new();
        for query in queries {
            let mut fault = |reason: String| faults.push(format!("query `{}`: {reason}", query.id));
            let labels = &query.labels;
            for id in &labels.relevant {
                match id.split_once(':') {
                    Some((server, name)) if servers.contains(server) => {
                        if let Some(word) = said(query, name) {
                            fault(format!("`{word}` gives `{id}` away"));
                        }
                    }
                    _ => fault(format!("no server of the suite has `{id}`")),
                }
            }
            let slice = query.slice.as_deref().unwrap_or_default();
            if (slice == "impossible") != labels.relevant.is_empty() {
                fault(format!("{} relevant tools in the slice `{slice}`", labels.relevant.len()));
            }
            let n_groups = labels.groups.len();
            if if slice == "multi" { !NEEDS.contains(&n_groups) } else { n_groups > 0 } {
                fault(format!("{n_groups} groups in the slice `{slice}`"));
            }
            let ungrouped = labels.relevant.iter().find(|id| n_groups > 0 && !labels.groups.concat().contains(id));
            if let Some(id) = ungrouped {
                fault(format!("`{id}` is in no group"));
            }
        }
        faults
    }

    /// What is wrong with the labels now that the tools are known: ids that none of them has, and paraphrases that say a
    /// word of a tool's title.
    pub fn faults_among(&self, queries: &[QueryLine], tools: &ToolFile) -> Vec<String> {
        #[derive(Deserialize)]
        struct Tool {
            id: String,
            title: Option<String>,
            #[serde(default)]
            annotations: serde_json::Value,
        }
        let tools: BTreeMap<String, Option<String>> = tools
            .text
            .split(|&byte| byte == b'\n')
            .filter_map(|line| serde_json::from_slice::<Tool>(line).ok())
            // As in a card: older servers have the title among the annotations.
            .map(|tool| (tool.id, tool.title.or_else(|| Some(tool.annotations.get("title")?.as_str()?.to_owned()))))
            .collect();
        let mut faults = Vec::new();
        for query in queries {
            for id in &query.labels.relevant {
                match tools.get(id) {
                    None => faults.push(format!("query `{}`: no tool `{id}`", query.id)),
                    Some(None) => {}
                    Some(Some(title)) => {
                        if let Some(word) = said(query, title) {
                            faults.push(format!("query `{}`: `{word}` gives the title of `{id}` away", query.id));
                        }
                    }
                }
            }
        }
        faults
    }
}

/// `path` below `folder`, `..` taken out: a folder that is not there yet has no canonical name.
fn below(folder: &Path, path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in folder.join(path).components() {
        match part {
            Component::ParentDir => {
                whole.pop();
            }
            Component::CurDir => {}
            part => whole.push(part),
        }
    }
    whole
}

fn is_exact(package: &str) -> bool {
    let exact = |(name, version): (&str, &str)| {
        let is_number = version.starts_with(|c: char| c.is_ascii_digit());
        !name.is_empty() && is_number && !version.contains(['*', 'x', ' ', '|', '<', '>', ','])
    };
    match package.split_once(':') {
        Some(("npm", rest)) => rest.rsplit_once('@').is_some_and(exact),
        Some(("pypi", rest)) => rest.split_once("==").is_some_and(exact),
        _ => false,
    }
}

/// The word of a paraphrase that is one of `name` too, or another form of one.
fn said(query: &QueryLine, name: &str) -> Option<String> {
    if query.slice.as_deref() != Some("paraphrase") {
        return None;
    }
    let told: Vec<String> = split_identifier(name).into_iter().filter(|w| !EMPTY_WORDS.contains(&w.as_str())).collect();
    split_identifier(&query.query).into_iter().find(|word| told.iter().any(|other| are_forms(word, other)))
}

/// Whether two words are, or may be, forms of one: all but their ends are the same. Strict rather than right, as it only
/// asks the writer for another word.
fn are_forms(a: &str, b: &str) -> bool {
    let (n_a, n_b) = (a.chars().count(), b.chars().count());
    let shorter = n_a.min(n_b);
    if shorter < 4 {
        return a == b || a.strip_suffix('s') == Some(b) || b.strip_suffix('s') == Some(a);
    }
    let n_same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    n_same >= (shorter - 2).max(4).min(shorter - 1)
}

#[cfg(test)]
mod tests {
    //! 1. A suite file comes out with whole paths; what is not exact or not unique is refused.
    //! 2. Labels that break a slice's promise are named, with the tools and without.
    use super::*;
    use crate::files::read_tools;
    use crate::metric::Labels;

    const GOOD: &str = r#"
title = "small"
queries = "queries.jsonl"
folder = "../kept"
setup = ["./get.sh", "all"]
[[server]]
id = "files"
package = "npm:@scope/files@1.2.3"
command = "{folder}/bin/node"
args = ["{folder}/files.js", "--all"]
env = { HOME = "{folder}" }
"#;

    fn read(text: &str) -> Result<Suite, Error> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("here")).unwrap();
        let path = folder.path().join("here/suite.toml");
        std::fs::write(&path, text).unwrap();
        Suite::read(&path)
    }

    #[test]
    fn paths_are_made_whole() {
        let suite = read(GOOD).unwrap();
        let parent = suite.folder.parent().unwrap().to_path_buf();
        let at = |below: &str| parent.join(below).display().to_string();
        assert_eq!(suite.queries, parent.join("here/queries.jsonl"));
        assert_eq!(suite.folder, parent.join("kept"));
        assert_eq!(suite.setup, [at("here/get.sh"), "all".into()]);
        let server = &suite.servers[0];
        assert_eq!(server.command, at("kept/bin/node"));
        assert_eq!(server.args, [at("kept/files.js"), "--all".into()]);
        assert_eq!(server.env["HOME"], at("kept"));
    }

    #[track_caller]
    fn check_refused(from: &str, to: &str, expect: &str) {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD);
        let Err(Error::Suite { faults, .. }) = read(&text) else { panic!("`{to}` was not refused") };
        assert!(faults[0].contains(expect), "{faults:?} should contain {expect}");
    }

    #[test]
    fn what_is_not_exact_or_unique_is_refused() {
        check_refused("npm:@scope/files@1.2.3", "npm:@scope/files", "neither npm:NAME@VERSION");
        check_refused("npm:@scope/files@1.2.3", "npm:files@^1.2", "neither");
        check_refused("npm:@scope/files@1.2.3", "npm:files@1.x", "neither");
        check_refused("npm:@scope/files@1.2.3", "pypi:files>=1", "neither");
        check_refused("npm:@scope/files@1.2.3", "files==1", "neither");
        check_refused("\"files\"", "\"a b\"", "no server id");
        check_refused("\"small\"", "\"../small\"", "no name for a folder");
        check_refused("title", "name", "unknown field");
        let twice = format!("{GOOD}{}", &GOOD[GOOD.find("[[server]]").unwrap()..]);
        let error = read(&twice).unwrap_err();
        assert!(matches!(&error, Error::Suite { faults, .. } if faults[0] == "a second server `files`"), "{error:?}");
    }

    fn query(slice: &str, text: &str, groups: &[&[&str]]) -> QueryLine {
        let owned = |ids: &&[&str]| ids.iter().map(|&id| id.to_owned()).collect::<Vec<_>>();
        let groups: Vec<Vec<String>> = groups.iter().map(owned).collect();
        let relevant = groups.concat();
        let groups = if slice == "multi" { groups } else { Vec::new() };
        QueryLine { id: "q".into(), query: text.into(), slice: Some(slice.into()), labels: Labels { relevant, groups } }
    }

    #[track_caller]
    fn check(slice: &str, text: &str, groups: &[&[&str]], expect: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let tools = concat!(
            r#"{"id":"files:move_file","server":"files","name":"move_file","title":"Rename"}"#,
            "\n",
            r#"{"id":"files:listFiles","server":"files","name":"listFiles","annotations":{"title":"Look into a folder"}}"#,
        );
        std::fs::write(file.path(), tools).unwrap();
        let tools = read_tools(file.path(), &[]).unwrap();
        let (suite, queries) = (read(GOOD).unwrap(), [query(slice, text, groups)]);
        let mut faults = suite.faults(&queries);
        faults.extend(suite.faults_among(&queries, &tools));
        let faults: Vec<&str> = faults.iter().map(|fault| fault.strip_prefix("query `q`: ").unwrap()).collect();
        assert_eq!(faults.join("; "), expect);
    }

    #[test]
    fn labels_that_break_a_promise_are_named() {
        let (moves, lists) = ("files:move_file", "files:listFiles");
        check("direct", "move the file", &[&[moves]], "");
        check("direct", "move the file", &[&["files:move"]], "no tool `files:move`");
        check("direct", "x", &[&["x:y"]], "no server of the suite has `x:y`; no tool `x:y`");
        check("direct", "x", &[], "0 relevant tools in the slice `direct`");
        check("impossible", "order a pizza", &[], "");
        check("impossible", "move it", &[&[moves]], "1 relevant tools in the slice `impossible`");
        check("multi", "list, then move", &[&[lists], &[moves]], "");
        check("multi", "list, then move", &[&[lists]], "1 groups in the slice `multi`");
        check("paraphrase", "put the letter elsewhere", &[&[moves]], "");
        check("paraphrase", "it is moving house", &[&[moves]], "`moving` gives `files:move_file` away");
        check("paraphrase", "which FILES are there", &[&[lists]], "`files` gives `files:listFiles` away");
        check("paraphrase", "renaming", &[&[moves]], "`renaming` gives the title of `files:move_file` away");
        check("paraphrase", "this folder", &[&[lists]], "`folder` gives the title of `files:listFiles` away");
        check("paraphrase", "the old and the new", &[&[moves]], "");
    }
}
