//! Reading a description: its first sentence, and where it says when to use a tool and when not.
//!
//! Descriptions are markdown, XML-ish, docstrings or plain text, often all at once. [`units`] cuts one into sentences and
//! list items under the heading they stand in; the rest are rules over these.

/// A sentence or list item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Heading or label that it stands under, lower case.
    under: String,
    text: String,
}

/// Words before a dot that do not end a sentence.
const ABBREVIATIONS: [&str; 31] = [
    "e.g", "i.e", "eg", "ie", "etc", "vs", "cf", "al", "approx", "max", "min", "no", "nr", "fig", "eq", "dr", "mr",
    "mrs", "ms", "prof", "st", "inc", "ltd", "co", "corp", "dept", "est", "incl", "excl", "resp", "esp",
];

/// Units a description may have; what comes behind is not read.
const MAX_UNITS: usize = 200;

/// Cuts a clean description into sentences and items.
pub(crate) fn units(description: &str) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut under = String::new();
    let mut paragraph = String::new();
    let mut in_code = false;
    for line in description.lines() {
        if units.len() >= MAX_UNITS {
            break;
        }
        if line.trim_start().starts_with("```") {
            end_paragraph(&mut paragraph, &under, &mut units);
            in_code = !in_code;
            continue;
        }
        if in_code {
            continue;
        }
        match read_line(line) {
            Line::Blank => end_paragraph(&mut paragraph, &under, &mut units),
            Line::Heading(heading) => {
                end_paragraph(&mut paragraph, &under, &mut units);
                under = heading.to_lowercase();
            }
            Line::Label { label, rest } => {
                end_paragraph(&mut paragraph, &under, &mut units);
                under = label.to_lowercase();
                paragraph = rest;
            }
            Line::Item(text) => {
                end_paragraph(&mut paragraph, &under, &mut units);
                paragraph = text;
            }
            Line::Text(text) => {
                if !paragraph.is_empty() {
                    paragraph.push(' ');
                }
                paragraph.push_str(&text);
            }
        }
    }
    end_paragraph(&mut paragraph, &under, &mut units);
    units.truncate(MAX_UNITS);
    units
}

/// The first sentence: what the tool is for. Empty if the text has none.
pub(crate) fn purpose(units: &[Unit], max_chars: usize) -> String {
    const ABOUT: [&str; 8] =
        ["", "description", "purpose", "summary", "overview", "what it does", "about", "tool description"];
    let speaks = |unit: &&Unit| unit.text.chars().filter(|c| c.is_alphanumeric()).count() > 2;
    let preferred = units.iter().filter(speaks).find(|unit| ABOUT.contains(&unit.under.as_str()));
    // Only headings of other kinds: any sentence is better than none.
    let first = preferred.or_else(|| units.iter().find(speaks));
    first.map(|unit| clip(&unit.text, max_chars)).unwrap_or_default()
}

/// What the text says about when to use the tool, and when not.
pub(crate) fn when(units: &[Unit], max_chars: usize) -> (Option<String>, Option<String>) {
    const MAX_PIECES: usize = 4;
    let (mut to_use, mut not) = (Vec::new(), Vec::new());
    for unit in units {
        let text = unit.text.to_lowercase();
        let says_not =
            heads_not(&unit.under) || starts_any(&text, &NOT_STARTS) || NOT_INSIDE.iter().any(|p| text.contains(p));
        let says_use = !says_not
            && (heads_use(&unit.under)
                || starts_any(&text, &USE_STARTS)
                || USE_INSIDE.iter().any(|p| text.contains(p)));
        let list = if says_not { &mut not } else { &mut to_use };
        if (says_not || says_use) && list.len() < MAX_PIECES {
            list.push(unit.text.as_str());
        }
    }
    let join = |pieces: Vec<&str>| (!pieces.is_empty()).then(|| clip(&pieces.join(" "), max_chars));
    (join(to_use), join(not))
}

const USE_STARTS: [&str; 36] = [
    "use this when",
    "use this tool when",
    "use this function when",
    "use this if",
    "use this tool if",
    "use this for",
    "use this tool for",
    "use this to ",
    "use this tool to ",
    "use this function to ",
    "use when",
    "use if",
    "use for ",
    "use it when",
    "use it to ",
    "use it for",
    "use to ",
    "useful when",
    "useful for",
    "useful if",
    "useful to ",
    "best for",
    "best used",
    "ideal for",
    "ideal when",
    "call this when",
    "call this tool when",
    "call this to ",
    "call this tool to ",
    "call when",
    "recommended for",
    "recommended when",
    "choose this",
    "suitable for",
    "perfect for",
    "good for",
];
const USE_INSIDE: [&str; 7] = [
    "should be used when",
    "should be used to",
    "use this tool when",
    "use this when",
    "must be used when",
    "is used when",
    "can be used when",
];
const NOT_STARTS: [&str; 21] = [
    "do not use",
    "don't use",
    "don’t use",
    "dont use",
    "do not call",
    "don't call",
    "don’t call",
    "never use",
    "never call",
    "not for ",
    "not suitable",
    "not intended",
    "not meant for",
    "not recommended",
    "avoid using",
    "avoid this",
    "avoid for",
    "prefer ",
    "not designed",
    "not useful",
    "skip this",
];
const NOT_INSIDE: [&str; 11] = [
    "do not use this",
    "don't use this",
    "don’t use this",
    "do not use it",
    "don't use it",
    "should not be used",
    "must not be used",
    "should not use this",
    "not be used for",
    "not intended for",
    "not suitable for",
];

fn starts_any(text: &str, starts: &[&str]) -> bool {
    let starts_so = starts.iter().any(|start| text.starts_with(start));
    // "Prefer JSON" is advice about arguments; "prefer X instead", "prefer X over this" is about the tool.
    let about_arguments = text.starts_with("prefer ")
        && !["instead", "over this", "rather than this", "tool", "when ", " if "]
            .iter()
            .any(|word| text.contains(word));
    starts_so && !about_arguments
}

fn heads_use(under: &str) -> bool {
    let negative = under.contains("not ") || under.contains("n't");
    let positive = [
        "when to use",
        "use when",
        "use this when",
        "use this tool when",
        "best for",
        "ideal for",
        "recommended for",
        "use cases",
        "use case",
        "usecase",
        "useful for",
        "use this tool for",
        "use for",
        "when to call",
    ];
    !negative && positive.iter().any(|p| under.starts_with(p))
}

fn heads_not(under: &str) -> bool {
    let heads = [
        "when not to use",
        "do not use",
        "don't use",
        "don’t use",
        "not recommended",
        "not for",
        "when to avoid",
        "avoid",
        "not suitable",
        "not useful",
        "when to not use",
        "not ideal",
    ];
    heads.iter().any(|p| under.starts_with(p))
}

enum Line {
    Blank,
    Heading(String),
    Label { label: String, rest: String },
    Item(String),
    Text(String),
}

fn read_line(line: &str) -> Line {
    let line = line.trim();
    let line = line.trim_start_matches('>').trim_start();
    if line.is_empty() || is_rule(line) {
        return Line::Blank;
    }
    if let Some(heading) = line.strip_prefix('#') {
        let heading = plain(heading.trim_start_matches('#'));
        return Line::Heading(heading.trim_matches([':', ' ']).to_owned());
    }
    if let Some(tag) = lone_tag(line) {
        return Line::Heading(tag);
    }
    let (is_item, body) = strip_bullet(line);
    let body = plain(body);
    if body.is_empty() {
        return Line::Blank;
    }
    if let Some((label, rest)) = label(&body) {
        return Line::Label { label, rest };
    }
    if is_item { Line::Item(body) } else { Line::Text(body) }
}

/// `---`, `***`, `===`, a table's border.
fn is_rule(line: &str) -> bool {
    line.chars().all(|c| matches!(c, '-' | '*' | '=' | '_' | '|' | ':' | '+' | ' ' | '─'))
}

/// The name in a line that is one tag and nothing else: `<usecase>`, `</notes>`.
fn lone_tag(line: &str) -> Option<String> {
    let inner = line.strip_prefix('<')?.strip_suffix('>')?;
    let closing = inner.starts_with('/');
    let name = inner.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    (is_name && !inner.contains('<')).then(|| if closing { String::new() } else { name.replace(['_', '-'], " ") })
}

fn strip_bullet(line: &str) -> (bool, &str) {
    for bullet in ["- ", "* ", "• ", "+ ", "– "] {
        if let Some(rest) = line.strip_prefix(bullet) {
            return (true, rest.trim_start());
        }
    }
    let n_digits = line.bytes().take_while(u8::is_ascii_digit).count();
    let is_numbered = (1..=3).contains(&n_digits);
    match line.get(n_digits..).and_then(|rest| rest.strip_prefix(". ").or_else(|| rest.strip_prefix(") "))) {
        Some(rest) if is_numbered => (true, rest.trim_start()),
        _ => (false, line),
    }
}

/// Takes emphasis and tags out: `**Best for:** <b>x</b>` becomes `Best for: x`. A `<` that opens no tag stays.
fn plain(text: &str) -> String {
    let text = text.replace("**", "");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let inside = &tag[1..];
        let end = inside.find('>');
        let is_tag = end.is_some_and(|end| {
            let name = inside[..end].trim_start_matches('/').trim_end_matches('/');
            end <= 40 && name.starts_with(|c: char| c.is_ascii_alphabetic()) && !name.contains(['<', '\n'])
        });
        match end.filter(|_| is_tag) {
            Some(end) => rest = &inside[end + 1..],
            None => {
                out.push('<');
                rest = inside;
            }
        }
    }
    out.push_str(rest);
    out.trim().to_owned()
}

/// `Best for: …` and the like: a short label that we know, a colon, the rest.
fn label(text: &str) -> Option<(String, String)> {
    const KNOWN: [&str; 22] = [
        "best for",
        "not recommended for",
        "when to use",
        "when not to use",
        "use when",
        "use cases",
        "use case",
        "use for",
        "description",
        "purpose",
        "summary",
        "tool description",
        "common mistakes",
        "prompt example",
        "usage example",
        "usage",
        "returns",
        "args",
        "arguments",
        "parameters",
        "example",
        "examples",
    ];
    const OPENING: [&str; 6] = ["when to use", "when not to use", "do not use", "don't use", "use this", "use when"];
    let at = text.find(':')?;
    let name = text[..at].trim();
    let lower = name.to_lowercase();
    let rest = text[at + 1..].trim().to_owned();
    let known = KNOWN.contains(&lower.as_str());
    // "When to use this tool:" and "Use this tool when the user wants to:" open a list.
    let opens_list =
        rest.is_empty() && name.chars().count() <= 80 && OPENING.iter().any(|open| lower.starts_with(open));
    let heads = rest.is_empty() && name.split_whitespace().count() <= 4;
    (known || opens_list || heads).then(|| (name.to_owned(), rest))
}

fn end_paragraph(paragraph: &mut String, under: &str, units: &mut Vec<Unit>) {
    let text = std::mem::take(paragraph);
    let mut rest = text.trim();
    while !rest.is_empty() && units.len() < MAX_UNITS {
        let end = sentence_end(rest);
        let (sentence, behind) = rest.split_at(end);
        units.push(Unit { under: under.to_owned(), text: sentence.trim().to_owned() });
        rest = behind.trim_start();
    }
}

/// Where the first sentence of `text` ends, in bytes.
fn sentence_end(text: &str) -> usize {
    let mut depth = 0_i32;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = (depth - 1).max(0),
            '。' | '！' | '？' => return at + c.len_utf8(),
            '.' | '!' | '?' => {
                let end = at + 1;
                let behind = &text[end..];
                let closes = behind.starts_with(['"', '\'', '”', ')', '`']);
                let after = if closes { behind.trim_start_matches(['"', '\'', '”', ')', '`']) } else { behind };
                if after.is_empty() {
                    return text.len();
                }
                let spaced = after.starts_with(char::is_whitespace);
                let next = after.trim_start().chars().next();
                let goes_on = next.is_some_and(char::is_lowercase);
                let inside = depth > 0 && !closes;
                let abbreviates = c == '.' && is_abbreviation(&text[..at]);
                let ends = spaced && !goes_on && !inside && !abbreviates;
                if ends {
                    return text.len() - after.len();
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// Whether the word at the end of `before` is one that a dot follows without ending the sentence.
fn is_abbreviation(before: &str) -> bool {
    let word =
        before.rsplit(|c: char| c.is_whitespace() || matches!(c, '(' | '[' | ',' | '"')).next().unwrap_or_default();
    let mut letters = word.chars().rev();
    let last = letters.next();
    // An initial (`J. Doe`) is a capital; behind another dot (`e.g.`, `U.S.`) any letter will do.
    let last_is_single = match letters.next() {
        None => last.is_some_and(char::is_uppercase),
        Some('.') => last.is_some_and(char::is_alphabetic),
        Some(_) => false,
    };
    let word = word.to_lowercase();
    let is_list_number =
        !word.is_empty() && word.len() <= 2 && word.bytes().all(|b| b.is_ascii_digit()) && word == before.trim();
    last_is_single || is_list_number || ABBREVIATIONS.contains(&word.as_str())
}

/// At most `max_chars` of a text on one line, cut between words and marked with `…`.
pub(crate) fn clip(text: &str, max_chars: usize) -> String {
    let text = text.replace('\n', " ");
    let Some((limit, _)) = text.char_indices().nth(max_chars) else {
        return text;
    };
    let cut = text[..limit].rfind(' ').filter(|&at| at > limit / 2).unwrap_or(limit);
    format!("{}…", text[..cut].trim_end_matches([' ', ',', ';', ':']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    #[track_caller]
    fn check(description: &str, expected: &Expect) {
        let units = units(description);
        let (to_use, not) = when(&units, 200);
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        expected.assert_eq(&format!("{} | {} | {}", purpose(&units, 120), or_dash(to_use), or_dash(not)));
    }

    #[test]
    fn the_first_sentence_ends_where_a_reader_would_end_it() {
        check("Reads a file. Fast.", &expect!["Reads a file. | - | -"]);
        check(
            "Reads files, e.g. Markdown, i.e. text. Fast.",
            &expect!["Reads files, e.g. Markdown, i.e. text. | - | -"],
        );
        check("Runs node.js v1.2 code. Fast.", &expect!["Runs node.js v1.2 code. | - | -"]);
        check("For the U.S. Army only. More.", &expect!["For the U.S. Army only. | - | -"]);
        check("Gets (from the API. Really) one. Two.", &expect!["Gets (from the API. Really) one. | - | -"]);
        check("Says \"done.\" Then stops.", &expect![[r#"Says "done." | - | -"#]]);
        check("Really? Yes.", &expect!["Really? | - | -"]);
        check("no dot at all", &expect!["no dot at all | - | -"]);
        check("読み取ります。次の文。", &expect!["読み取ります。 | - | -"]);
        check("1. First step. Second.", &expect!["First step. | - | -"]);
        check("", &expect![" | - | -"]);
        check("...", &expect![" | - | -"]);
    }

    #[test]
    fn headings_tags_labels_and_code_are_no_sentences() {
        check("# Read file\n\nReads a file.", &expect!["Reads a file. | - | -"]);
        check("<description>\nReads a file.\n</description>", &expect!["Reads a file. | - | -"]);
        check("<usecase>For big things.</usecase> Reads.", &expect!["For big things. | - | -"]);
        check("**Description:** Reads a file. Fast.", &expect!["Reads a file. | - | -"]);
        check("```\ncode. here\n```\nReads a file.", &expect!["Reads a file. | - | -"]);
        check("---\n\n> Quoted\n> over lines. End.", &expect!["Quoted over lines. | - | -"]);
        check("Get x\nfor a user\n\nArgs:\n  id: The id", &expect!["Get x for a user | - | -"]);
        check("Compare a < b and c > d. End.", &expect!["Compare a < b and c > d. | - | -"]);
        check("- one\n- two", &expect!["one | - | -"]);
    }

    #[test]
    fn what_the_text_says_about_use_is_found() {
        check(
            "Adds. Use this when summing. Do not use it for strings.",
            &expect!["Adds. | Use this when summing. | Do not use it for strings."],
        );
        check(
            "Scrapes.\n\n**Best for:** One page.\n**Not recommended for:** Many pages (use batch).\n**Returns:** text",
            &expect!["Scrapes. | One page. | Many pages (use batch)."],
        );
        check(
            "Thinks.\n\nWhen to use this tool:\n- Breaking down\n- Planning\n\nKey features:\n- None",
            &expect!["Thinks. | Breaking down Planning | -"],
        );
        check("Lists. Prefer `find` instead.", &expect!["Lists. | - | Prefer `find` instead."]);
        check("Lists. Prefer JSON.", &expect!["Lists. | - | -"]);
        check("## When NOT to use\nFor secrets.", &expect!["For secrets. | - | For secrets."]);
        check(
            "Get it. Use the other one first. This should be used when lost.",
            &expect!["Get it. | This should be used when lost. | -"],
        );
    }

    #[test]
    fn clipping_keeps_words_whole() {
        assert_eq!(clip("one two three", 9), "one two…");
        assert_eq!(clip("one", 3), "one");
        assert_eq!(clip("abcdefghij", 4), "abcd…");
    }
}
