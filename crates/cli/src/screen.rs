//! What goes to standard output: tables for people, JSON for programs.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};
use serde::Serialize;
use toolscout_core::text::is_hidden;

/// Prints a line. Ends the command when nobody reads any more.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")
}

/// Prints a value as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value)?)?;
    Ok(())
}

/// Tells a person what is going on, on standard error.
pub(crate) fn say(text: &str) {
    // Nobody there to read it is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{}", spelled(text));
}

/// A text for people in which nothing hides: a tool may be named with characters that turn a line around or steer the terminal, and
/// ids are shown as they are.
pub(crate) fn spelled(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            out.push_str(&format!("<U+{:04X}>", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out.into()
}

/// A table with these column heads, as wide as the terminal or, into a file, as wide as its content.
pub(crate) fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    let rule = LineStyle::none().fill('─').junction('─');
    table.load_style(TableStyle::new().header_separator(rule)).set_header(heads.iter().copied());
    if let Some(width) = width() {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table
}

/// Prints a table, or a sentence when it has no row.
pub(crate) fn print(table: &Table, if_empty: &str) -> io::Result<()> {
    if table.is_empty() { line(if_empty) } else { line(&spelled(&table.trim_fmt())) }
}

/// Columns of the terminal; `None` when standard output is none.
pub(crate) fn width() -> Option<u16> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let measured = || terminal_size::terminal_size().map(|(terminal_size::Width(columns), _)| columns);
    Some(columns.or_else(measured).unwrap_or(100))
}

/// A stranger's text on one line of at most `max` characters.
pub(crate) fn clip(text: &str, max: usize) -> String {
    toolscout_core::text::sanitize(text, max).replace('\n', " ")
}

/// Bytes for people.
pub(crate) fn bytes(n: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "for people, in a unit that fits")]
    let n_float = n as f64;
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n_float / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n_float / 1e6),
        _ => format!("{:.1} GB", n_float / 1e9),
    }
}

/// `1 tool`, `2 tools`.
pub(crate) fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hides_in_a_line_for_people() {
        assert_eq!(spelled("b:a\u{202e}c\u{1b}[31m\nnext\tcell"), "b:a<U+202E>c<U+001B>[31m\nnext\tcell");
        assert_eq!(spelled("prüfen · 你好"), "prüfen · 你好");
    }
}
