//! Cards that people write, laid over the crawled ones.
//!
//! One TOML file per upstream id:
//! ```toml
//! upstream = "filesystem"
//!
//! [tools.read_text_file]
//! purpose = "Read one text file."
//! when_to_use = "You know the path and want the content."
//! when_not = "Several files at once: read_multiple_files."
//! hints = ["open a file", "show me what is in config.json"]
//! tags = ["files"]
//! side_effect = "read"               # read, write or destructive
//! backup_of = "drive:download_file"  # the tool that this one can stand in for
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use toml::Value;
use toolscout_core::text::{preview, sanitize};
use toolscout_core::{SideEffect, ToolId, ToolName, UpstreamId};

/// What a person wrote about one tool. What is absent stays as crawled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlay {
    /// The title.
    pub title: Option<String>,
    /// What it is for, in a sentence.
    pub purpose: Option<String>,
    /// When to use it.
    pub when_to_use: Option<String>,
    /// When not to.
    pub when_not: Option<String>,
    /// Ways people ask for it.
    pub hints: Vec<String>,
    /// Tags besides the crawled ones.
    pub tags: Vec<String>,
    /// What a call can do; outweighs what the server says.
    pub side_effect: Option<SideEffect>,
    /// The tool it can stand in for.
    pub backup_of: Option<ToolId>,
}

/// All overlays, by tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlays {
    by_tool: BTreeMap<ToolId, Overlay>,
}

/// One mistake in a card file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file's name.
    pub file: String,
    /// The key in it, such as `tools.read_file.side_effect`; empty when the file as a whole is wrong.
    pub key: String,
    /// What is wrong.
    pub problem: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, key, problem } = self;
        if key.is_empty() { write!(f, "{file}: {problem}") } else { write!(f, "{file}: {key}: {problem}") }
    }
}

/// Every mistake in a folder of cards, at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mistakes in tool cards: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct Mistakes(pub Vec<Mistake>);

/// The cards that we ship, as file name and content.
const BUILTIN: [(&str, &str); 5] = [
    ("fetch.toml", include_str!("../../../catalog/cards/fetch.toml")),
    ("filesystem.toml", include_str!("../../../catalog/cards/filesystem.toml")),
    ("git.toml", include_str!("../../../catalog/cards/git.toml")),
    ("memory.toml", include_str!("../../../catalog/cards/memory.toml")),
    ("time.toml", include_str!("../../../catalog/cards/time.toml")),
];

const MAX_TEXT: usize = 400;
const MAX_LIST: usize = 32;

impl Overlays {
    /// The cards that we ship.
    pub fn builtin() -> Self {
        let mut mistakes = Vec::new();
        let overlays = parse_all(BUILTIN.iter().map(|(file, text)| (*file, *text)), &mut mistakes);
        debug_assert!(mistakes.is_empty(), "our own cards have mistakes: {mistakes:?}");
        overlays
    }

    /// Every `*.toml` in a folder, in the order of their names. A folder that is not there has none.
    pub fn load(dir: &Path) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        let mut files = Vec::new();
        let unreadable = |path: &Path, error: std::io::Error| Mistake {
            file: path.display().to_string(),
            key: String::new(),
            problem: format!("cannot be read: {error}"),
        };
        match std::fs::read_dir(dir) {
            Ok(entries) => {
                let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
                paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
                paths.sort();
                for path in paths {
                    match std::fs::read_to_string(&path) {
                        Ok(text) => {
                            files.push((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), text))
                        }
                        Err(error) => mistakes.push(unreadable(&path, error)),
                    }
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => mistakes.push(unreadable(dir, error)),
        }
        let overlays = parse_all(files.iter().map(|(file, text)| (file.as_str(), text.as_str())), &mut mistakes);
        if mistakes.is_empty() { Ok(overlays) } else { Err(Mistakes(mistakes)) }
    }

    /// These and `others`; where both speak of a tool, `others` replaces.
    #[must_use]
    pub fn merged(mut self, others: Self) -> Self {
        self.by_tool.extend(others.by_tool);
        self
    }

    /// What people wrote about a tool.
    pub fn get(&self, id: &ToolId) -> Option<&Overlay> {
        self.by_tool.get(id)
    }

    /// The tools that people wrote about.
    pub fn ids(&self) -> impl Iterator<Item = &ToolId> {
        self.by_tool.keys()
    }
}

impl FromIterator<(ToolId, Overlay)> for Overlays {
    fn from_iter<I: IntoIterator<Item = (ToolId, Overlay)>>(overlays: I) -> Self {
        Self { by_tool: overlays.into_iter().collect() }
    }
}

fn parse_all<'a>(files: impl Iterator<Item = (&'a str, &'a str)>, mistakes: &mut Vec<Mistake>) -> Overlays {
    let mut by_tool = BTreeMap::new();
    for (file, text) in files {
        let mut reader = Reader { file, mistakes };
        for (id, overlay) in reader.file(text) {
            let name = id.name.as_str().to_owned();
            if by_tool.insert(id, overlay).is_some() {
                reader.mistake(&format!("tools.{name}"), "another file has a card for it, too");
            }
        }
    }
    Overlays { by_tool }
}

/// Reads one file, collecting its mistakes.
struct Reader<'a> {
    file: &'a str,
    mistakes: &'a mut Vec<Mistake>,
}

impl Reader<'_> {
    fn mistake(&mut self, key: &str, problem: &str) {
        let (file, key, problem) = (self.file.to_owned(), preview(key), problem.to_owned());
        self.mistakes.push(Mistake { file, key, problem });
    }

    fn file(&mut self, text: &str) -> Vec<(ToolId, Overlay)> {
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                self.mistake("", &format!("not TOML: {}", error.to_string().trim().replace('\n', " ")));
                return Vec::new();
            }
        };
        for key in table.keys().filter(|key| !["upstream", "tools"].contains(&key.as_str())) {
            self.mistake(key, "unknown key; a card file has `upstream` and `tools`");
        }
        let upstream = match table.get("upstream").map(|value| value.as_str().map(UpstreamId::new)) {
            Some(Some(Ok(upstream))) => Some(upstream),
            Some(Some(Err(error))) => {
                self.mistake("upstream", &error.to_string());
                None
            }
            Some(None) | None => {
                self.mistake("upstream", "must be the id of an upstream");
                None
            }
        };
        let mut overlays = Vec::new();
        match table.get("tools") {
            Some(Value::Table(tools)) => {
                for (name, card) in tools {
                    let at = format!("tools.{name}");
                    let Some(card) = card.as_table() else {
                        self.mistake(&at, "must be a table");
                        continue;
                    };
                    let overlay = self.card(&at, card);
                    match (ToolName::new(name), &upstream) {
                        (Ok(name), Some(upstream)) => overlays.push((ToolId::new(upstream.clone(), name), overlay)),
                        (Ok(_), None) => {}
                        (Err(error), _) => self.mistake(&at, &error.to_string()),
                    }
                }
            }
            Some(_) => self.mistake("tools", "must be a table"),
            None => self.mistake("tools", "is missing"),
        }
        overlays
    }

    fn card(&mut self, at: &str, card: &toml::Table) -> Overlay {
        let mut overlay = Overlay::default();
        for (key, value) in card {
            let at = format!("{at}.{key}");
            match key.as_str() {
                "title" => overlay.title = self.text(&at, value),
                "purpose" => overlay.purpose = self.text(&at, value),
                "when_to_use" => overlay.when_to_use = self.text(&at, value),
                "when_not" => overlay.when_not = self.text(&at, value),
                "hints" => overlay.hints = self.list(&at, value),
                "tags" => overlay.tags = self.list(&at, value),
                "side_effect" => {
                    overlay.side_effect = match value.as_str() {
                        Some("read") => Some(SideEffect::Read),
                        Some("write") => Some(SideEffect::Write),
                        Some("destructive") => Some(SideEffect::Destructive),
                        _ => {
                            self.mistake(&at, "must be `read`, `write` or `destructive`");
                            None
                        }
                    };
                }
                "backup_of" => {
                    overlay.backup_of = match value.as_str().map(str::parse) {
                        Some(Ok(id)) => Some(id),
                        Some(Err(_)) | None => {
                            self.mistake(&at, "must be a tool id, upstream:tool");
                            None
                        }
                    };
                }
                _ => self.mistake(&at, "unknown key"),
            }
        }
        overlay
    }

    fn text(&mut self, at: &str, value: &Value) -> Option<String> {
        match value.as_str().map(|text| sanitize(text, MAX_TEXT + 1).trim().to_owned()) {
            Some(text) if text.is_empty() => self.mistake(at, "is empty"),
            Some(text) if text.chars().count() > MAX_TEXT => self.mistake(at, "must have at most 400 characters"),
            Some(text) => return Some(text),
            None => self.mistake(at, "must be a string"),
        }
        None
    }

    fn list(&mut self, at: &str, value: &Value) -> Vec<String> {
        let Some(values) = value.as_array().filter(|values| values.len() <= MAX_LIST) else {
            self.mistake(at, "must be a list of at most 32 strings");
            return Vec::new();
        };
        (0..).zip(values).filter_map(|(i, value): (usize, _)| self.text(&format!("{at}[{i}]"), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    #[track_caller]
    fn check(text: &str, expected: &Expect) {
        let mut mistakes = Vec::new();
        let overlays = parse_all([("x.toml", text)].into_iter(), &mut mistakes);
        let mut lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        lines.extend(overlays.ids().map(ToString::to_string));
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn every_mistake_is_named_with_file_and_key_and_good_cards_stay() {
        check("upstream = \"a\"\n[tools.b]\ntitle = \"B\"", &expect!["a:b"]);
        check(
            "= 1",
            &expect![[r#"
            x.toml: not TOML: TOML parse error at line 1, column 1   | 1 | = 1   | ^ unquoted keys cannot be empty, expected letters, numbers, `-`, `_`"#]],
        );
        check(
            "upstream = \"A!\"\nfoo = 1\n[tools.b]\nside_effect = \"none\"\nbackup_of = \"x\"\nhints = \"x\"\nx = 1\ntitle = \"\"",
            &expect![[r#"
                x.toml: foo: unknown key; a card file has `upstream` and `tools`
                x.toml: upstream: upstream id `A!` must be 1 to 48 characters of a-z, 0-9 and -
                x.toml: tools.b.backup_of: must be a tool id, upstream:tool
                x.toml: tools.b.hints: must be a list of at most 32 strings
                x.toml: tools.b.side_effect: must be `read`, `write` or `destructive`
                x.toml: tools.b.title: is empty
                x.toml: tools.b.x: unknown key"#]],
        );
        check(
            "tools = 1",
            &expect![[r#"
            x.toml: upstream: must be the id of an upstream
            x.toml: tools: must be a table"#]],
        );
    }

    #[test]
    fn the_shipped_cards_are_all_of_the_folder_and_without_mistakes() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../catalog/cards");
        let loaded = Overlays::load(&dir).unwrap();
        assert_eq!(loaded, Overlays::builtin());
        assert!(loaded.ids().count() > 20);
        assert_eq!(Overlays::load(&dir.join("not-there")), Ok(Overlays::default()));
    }
}
