//! TOML and JSON with comments as one tree that remembers its lines.

use jsonc_parser::ParseOptions;
use jsonc_parser::ast::Value as Json;
use toml_edit::{Document, Item, TableLike, Value as Toml};

/// A value of a configuration file and the line it stands on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) data: Data,
    /// Counted from 1; `None` for values that did not come from a file.
    pub(crate) line: Option<usize>,
}

/// The kinds of value that both languages have.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    /// JSON only.
    Null,
    /// True or false.
    Bool(bool),
    /// Any number; fractions and exponents included.
    Number(f64),
    /// Text; dates of TOML come as text too.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A table; keys in the file's order.
    Table(Vec<(String, Node)>),
}

impl Node {
    /// A text that is not from a file: an environment variable, a flag.
    pub(crate) fn text(text: &str) -> Self {
        Self { data: Data::Text(text.to_owned()), line: None }
    }

    /// The value under a key, if this is a table that has it. The last wins, as in JSON parsers.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().rev().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// The entries of a table; none for anything else.
    pub(crate) fn entries(&self) -> &[(String, Self)] {
        match &self.data {
            Data::Table(entries) => entries,
            Data::Null | Data::Bool(_) | Data::Number(_) | Data::Text(_) | Data::List(_) => &[],
        }
    }

    /// What kind of value it is, for a message.
    pub(crate) fn kind(&self) -> &'static str {
        match self.data {
            Data::Null => "null",
            Data::Bool(_) => "a boolean",
            Data::Number(_) => "a number",
            Data::Text(_) => "a text",
            Data::List(_) => "a list",
            Data::Table(_) => "a table",
        }
    }
}

/// Why a text is neither TOML nor JSON, and where.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SyntaxError {
    /// What the parser says, on one line.
    pub(crate) message: String,
    /// Counted from 1.
    pub(crate) line: Option<usize>,
}

/// Reads TOML.
pub(crate) fn parse_toml(text: &str) -> Result<Node, SyntaxError> {
    let document = Document::parse(text).map_err(|error| SyntaxError {
        message: one_line(error.message()),
        line: error.span().map(|span| line_of(text, span.start)),
    })?;
    Ok(from_table(text, document.as_table(), Some(1)))
}

/// Reads JSON with comments and trailing commas, as client programs write it.
pub(crate) fn parse_json(text: &str) -> Result<Node, SyntaxError> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let parsed =
        jsonc_parser::parse_to_ast(text, &jsonc_parser::CollectOptions::default(), &options).map_err(|error| {
            SyntaxError { message: one_line(&error.kind().to_string()), line: Some(line_of(text, error.range().start)) }
        })?;
    let lines = Lines::new(text);
    match parsed.value {
        Some(value) => Ok(from_json(&lines, value)),
        // Client programs treat an empty file as an empty object.
        None => Ok(Node { data: Data::Table(Vec::new()), line: Some(1) }),
    }
}

fn from_table(text: &str, table: &dyn TableLike, line: Option<usize>) -> Node {
    let mut entries = Vec::new();
    for (key, item) in table.iter() {
        let key_line = table.key(key).and_then(toml_edit::Key::span).map(|span| line_of(text, span.start));
        entries.push((key.to_owned(), from_item(text, item, key_line)));
    }
    Node { data: Data::Table(entries), line }
}

fn from_item(text: &str, item: &Item, key_line: Option<usize>) -> Node {
    let line = key_line.or_else(|| item.span().map(|span| line_of(text, span.start)));
    match item {
        Item::None => Node { data: Data::Null, line },
        Item::Value(value) => from_toml_value(text, value, line),
        Item::Table(table) => from_table(text, table, line),
        Item::ArrayOfTables(tables) => {
            let nodes = tables.iter().map(|table| from_table(text, table, line)).collect();
            Node { data: Data::List(nodes), line }
        }
    }
}

fn from_toml_value(text: &str, value: &Toml, line: Option<usize>) -> Node {
    let data = match value {
        Toml::String(text) => Data::Text(text.value().clone()),
        #[expect(clippy::cast_precision_loss, reason = "no setting comes near 2^53")]
        Toml::Integer(number) => Data::Number(*number.value() as f64),
        Toml::Float(number) => Data::Number(*number.value()),
        Toml::Boolean(flag) => Data::Bool(*flag.value()),
        Toml::Datetime(moment) => Data::Text(moment.value().to_string()),
        Toml::Array(items) => {
            let nodes = items.iter().map(|item| {
                let own_line = item.span().map(|span| line_of(text, span.start));
                from_toml_value(text, item, own_line.or(line))
            });
            Data::List(nodes.collect())
        }
        Toml::InlineTable(table) => return from_table(text, table, line),
    };
    Node { data, line }
}

fn from_json(lines: &Lines, value: Json<'_>) -> Node {
    use jsonc_parser::common::Ranged as _;
    let line = Some(lines.of(value.range().start));
    let data = match value {
        Json::NullKeyword(_) => Data::Null,
        Json::BooleanLit(flag) => Data::Bool(flag.value),
        Json::NumberLit(number) => Data::Number(number.value.parse().unwrap_or(0.0)),
        Json::StringLit(text) => Data::Text(text.value.into_owned()),
        Json::Array(items) => Data::List(items.elements.into_iter().map(|item| from_json(lines, item)).collect()),
        Json::Object(object) => {
            let entry = |property: jsonc_parser::ast::ObjectProp<'_>| {
                let key_line = Some(lines.of(property.range.start));
                let mut node = from_json(lines, property.value);
                node.line = key_line;
                (property.name.into_string(), node)
            };
            Data::Table(object.properties.into_iter().map(entry).collect())
        }
    };
    Node { data, line }
}

/// Where lines begin: `~/.claude.json` can hold megabytes, so that counting anew for each value would be quadratic.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    fn of(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_languages_keep_their_lines() {
        let toml = parse_toml("# top\na = 1\n[b.c]\nd = [\n  'x',\n]\n").unwrap();
        assert_eq!(toml.get("a").unwrap().line, Some(2));
        let c = toml.get("b").unwrap().get("c").unwrap();
        assert_eq!((c.line, c.get("d").unwrap().line), (Some(3), Some(4)));
        let json = parse_json("{\n  // why\n  \"a\": {\"b\": 1.5, },\n  \"c\": [null],\n}").unwrap();
        assert_eq!(json.get("a").unwrap().line, Some(3));
        assert_eq!(json.get("a").unwrap().get("b").unwrap().data, Data::Number(1.5));
        assert_eq!(json.get("c").unwrap().line, Some(4));
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        assert_eq!(parse_toml("a = 1\nb = \n").unwrap_err().line, Some(2));
        assert_eq!(parse_json("{\n \"a\": 1\n \"b\": 2}").unwrap_err().line, Some(2));
        assert!(parse_json("").unwrap().entries().is_empty());
    }
}
