//! What is wrong in a configuration, all of it at once.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::expand::ExpandError;
use super::node::{Data, Node};

/// One mistake: where, what, and how to mend it. Holds no expanded value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mistake {
    /// The file, or `environment`.
    pub(crate) place: String,
    /// Counted from 1.
    pub(crate) line: Option<usize>,
    /// The key, dotted: `upstreams.github.env.TOKEN`. Empty when the whole file is meant.
    pub(crate) key: String,
    /// What is wrong.
    pub(crate) what: String,
    /// What to write instead.
    pub(crate) hint: Option<String>,
    /// Nothing is wrong but that a variable is not set here and now.
    pub(crate) is_unset: bool,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": `{}`", self.key)?;
        }
        write!(f, ": {}", self.what)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

/// Every mistake found, in the order of reading. Never empty as an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mistakes(pub(crate) Vec<Mistake>);

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "the configuration has a mistake\n  {only}"),
            many => {
                write!(f, "the configuration has {} mistakes", many.len())?;
                many.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
            }
        }?;
        // Nobody wants to change another program's file to start this one.
        let is_imported = |mistake: &Mistake| IMPORTED.iter().any(|root| mistake.key.starts_with(root));
        if self.0.iter().any(is_imported) {
            write!(
                f,
                "\n  an imported upstream is left out by [upstreams.NAME] with enabled = false in toolscout.toml"
            )?;
        }
        Ok(())
    }
}

/// How the keys of upstreams begin in the files of other programs.
const IMPORTED: [&str; 5] = ["mcpServers.", "servers.", "mcp_servers.", "mcp.", "projects."];

/// Where a reader stands, and the mistakes it has met so far.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    /// The file, or `environment`.
    pub(crate) place: String,
    /// Everything wrong so far, of all places.
    pub(crate) mistakes: &'a mut Vec<Mistake>,
}

impl Reader<'_> {
    /// Notes a mistake and goes on.
    pub(crate) fn wrong(&mut self, line: Option<usize>, key: &str, what: impl Into<String>, hint: impl Into<Hint>) {
        self.note(Mistake {
            place: self.place.clone(),
            line,
            key: key.to_owned(),
            what: what.into(),
            hint: hint.into().0,
            is_unset: false,
        });
    }

    /// Notes that a text cannot be expanded.
    pub(crate) fn unexpandable(&mut self, line: Option<usize>, key: &str, error: &ExpandError) {
        self.note(Mistake {
            place: self.place.clone(),
            line,
            key: key.to_owned(),
            what: error.to_string(),
            hint: Some(error.hint()),
            is_unset: matches!(error, ExpandError::Unset(_)),
        });
    }

    fn note(&mut self, mistake: Mistake) {
        // Two ways to one file (an import and `upstreams import`) must not double its mistakes.
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }
}

/// A hint or none, so that callers may pass text, `None` or an option.
#[derive(Debug)]
pub(crate) struct Hint(Option<String>);

impl From<&str> for Hint {
    fn from(text: &str) -> Self {
        Self(Some(text.to_owned()))
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self(Some(text))
    }
}

impl From<Option<String>> for Hint {
    fn from(text: Option<String>) -> Self {
        Self(text)
    }
}

/// "did you mean `x`" for a word near one of the known; else a list of what there is, when it is short.
pub(crate) fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    let near = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().max(word.len()) / 3)
        .min();
    match near {
        Some((_, candidate)) => Some(format!("did you mean `{candidate}`?")),
        None if known.is_empty() => None,
        None if known.len() <= 12 => Some(format!("known here: {}", known.join(", "))),
        None => None,
    }
}

// Reading values: a wrong kind is noted as a mistake and reads as absent, so that the reader finds the next one too.
impl Reader<'_> {
    /// A text.
    pub(crate) fn text(&mut self, node: &Node, key: &str) -> Option<String> {
        match &node.data {
            Data::Text(text) => Some(text.clone()),
            other => {
                self.unexpected(node, key, "a text", matches!(other, Data::Number(_)).then_some("put it in quotes"))
            }
        }
    }

    /// True or false.
    pub(crate) fn flag(&mut self, node: &Node, key: &str) -> Option<bool> {
        match &node.data {
            Data::Bool(flag) => Some(*flag),
            Data::Text(text) if node.line.is_none() => match text.as_str() {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" => Some(false),
                _ => self.unexpected(node, key, "true or false", None),
            },
            _ => self.unexpected(node, key, "true or false", None),
        }
    }

    /// A whole number within bounds.
    pub(crate) fn number(&mut self, node: &Node, key: &str, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let number = match &node.data {
            Data::Number(number) => Some(*number),
            Data::Text(text) if node.line.is_none() => text.trim().parse().ok(),
            _ => None,
        };
        let Some(number) = number else { return self.unexpected(node, key, "a whole number", None) };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be a small whole number"
        )]
        let whole = ((0.0..=1e15).contains(&number) && number.fract() == 0.0).then_some(number as u64);
        if let Some(whole) = whole
            && bounds.contains(&whole)
        {
            return Some(whole);
        }
        let what = format!("{number} is not a whole number from {} to {}", bounds.start(), bounds.end());
        self.wrong(node.line, key, what, None);
        None
    }

    /// A span of time: `30s`, `5m`, `2h`, `250ms`, or a number of seconds.
    pub(crate) fn duration(&mut self, node: &Node, key: &str) -> Option<Duration> {
        let parsed = match &node.data {
            Data::Number(seconds) => duration_of_seconds(*seconds),
            Data::Text(text) => parse_duration(text),
            Data::Null | Data::Bool(_) | Data::List(_) | Data::Table(_) => None,
        };
        if parsed.is_none() {
            self.wrong(node.line, key, "is not a span of time", "write 250ms, 30s, 5m or 2h");
        }
        parsed
    }

    /// A list of texts; from the environment, separated by commas.
    pub(crate) fn texts(&mut self, node: &Node, key: &str) -> Option<Vec<String>> {
        match &node.data {
            Data::List(items) => {
                let named = items.iter().enumerate().map(|(i, item)| self.text(item, &format!("{key}[{i}]")));
                named.collect::<Vec<_>>().into_iter().collect()
            }
            Data::Text(text) if node.line.is_none() => {
                Some(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
            }
            _ => self.unexpected(node, key, "a list of texts", Some("write [\"…\", \"…\"]")),
        }
    }

    /// A table of texts. Numbers and booleans become text: environments and headers know nothing else.
    pub(crate) fn text_map(&mut self, node: &Node, key: &str) -> Option<BTreeMap<String, String>> {
        let Data::Table(entries) = &node.data else {
            return self.unexpected(node, key, "a table of texts", None);
        };
        let mut map = BTreeMap::new();
        for (name, value) in entries {
            let text = match &value.data {
                Data::Number(number) => Some(number.to_string()),
                Data::Bool(flag) => Some(flag.to_string()),
                Data::Null | Data::Text(_) | Data::List(_) | Data::Table(_) => {
                    self.text(value, &format!("{key}.{name}"))
                }
            };
            map.extend(text.map(|text| (name.clone(), text)));
        }
        Some(map)
    }

    /// A value of the wrong kind. Says the kind, never the value: it may be a secret.
    fn unexpected<T>(&mut self, node: &Node, key: &str, expected: &str, hint: Option<&str>) -> Option<T> {
        self.wrong(node.line, key, format!("must be {expected}, not {}", node.kind()), hint.map(str::to_owned));
        None
    }
}

/// Reads `250ms`, `30s`, `5m`, `2h`, `1d` or a bare number of seconds.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..unit_at].parse().ok()?;
    let factor = match text[unit_at..].trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    duration_of_seconds(number * factor)
}

fn duration_of_seconds(seconds: f64) -> Option<Duration> {
    // A year is more than anyone means, and keeps deadlines from overflowing.
    if (0.0..=31_536_000.0).contains(&seconds) { Duration::try_from_secs_f64(seconds).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text: &str, millis: Option<u64>| {
            assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text}");
        };
        check("250ms", Some(250));
        check("30s", Some(30_000));
        check("30", Some(30_000));
        check("1.5m", Some(90_000));
        check("2 h", Some(7_200_000));
        check("-1s", None);
        check("5 parsecs", None);
        check("", None);
        check("9999999d", None);
    }

    #[test]
    fn suggestions_are_near_or_complete() {
        assert_eq!(suggest("concurency", ["ttl", "concurrency"]).as_deref(), Some("did you mean `concurrency`?"));
        assert_eq!(suggest("zzzzzz", ["ttl", "bind"]).as_deref(), Some("known here: ttl, bind"));
        assert_eq!(suggest("zzzzzz", []), None);
    }
}
