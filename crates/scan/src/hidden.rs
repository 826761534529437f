//! What characters alone give away.

use crate::text::{is_private, looks_like};
use crate::{Kind, Severity};

/// Something that was found, and the byte where it begins.
pub(crate) struct Spot {
    pub(crate) kind: Kind,
    pub(crate) severity: Severity,
    pub(crate) at: usize,
    pub(crate) why: &'static str,
}

/// Hidden characters next to each other that are no slip any more: they can spell something.
const PAYLOAD_RUN: usize = 4;
/// Hidden characters in one text that are no slip any more.
const PAYLOAD_TOTAL: usize = 16;
/// White space in a row that pushes what follows out of a window.
const PADDING: usize = 300;
/// Line breaks in a row that do.
const PADDING_LINES: usize = 30;
/// Encoded characters in a row that are no identifier any more.
const BLOB: usize = 120;

/// Everything that the characters of one text give away. In a name any hidden character is grave: nobody types one.
pub(crate) fn spots(text: &str, is_name: bool) -> Vec<Spot> {
    let mut spots = Vec::new();
    if text.is_ascii() {
        control_spots(text, &mut spots);
    } else {
        unicode_spots(text, &mut spots);
        homoglyph_spot(text, is_name, &mut spots);
    }
    padding_spot(text, &mut spots);
    blob_spot(text, &mut spots);
    if is_name {
        let hides = |spot: &&mut Spot| matches!(spot.kind, Kind::HiddenUnicode | Kind::TerminalEscape);
        spots.iter_mut().filter(hides).for_each(|spot| spot.severity = Severity::High);
    }
    spots
}

fn control_spots(text: &str, spots: &mut Vec<Spot>) {
    let odd = |b: u8| (b < 0x20 && !matches!(b, b'\n' | b'\t' | b'\r' | 0x0C)) || b == 0x7F;
    let Some(at) = text.bytes().position(odd) else { return };
    match text.find('\u{1b}') {
        Some(at) => spots.push(escape_spot(at)),
        None => spots.push(Spot {
            kind: Kind::HiddenUnicode,
            severity: Severity::Medium,
            at,
            why: "a control character, which shows nothing and may rub out its neighbours",
        }),
    }
}

fn escape_spot(at: usize) -> Spot {
    let why = "a control sequence, which can hide or overwrite text in a terminal";
    Spot { kind: Kind::TerminalEscape, severity: Severity::High, at, why }
}

/// How a hidden character may stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hidden {
    Tag,
    Override,
    Bidi,
    Mark,
    ZeroWidth,
    Selector,
    Private,
    Escape,
    Control,
}

fn hidden(c: char) -> Option<Hidden> {
    Some(match c {
        '\u{E0000}'..='\u{E007F}' => Hidden::Tag,
        '\u{202D}' | '\u{202E}' => Hidden::Override,
        '\u{202A}'..='\u{202C}' | '\u{2066}'..='\u{2069}' => Hidden::Bidi,
        '\u{200E}' | '\u{200F}' | '\u{061C}' | '\u{00AD}' => Hidden::Mark,
        '\u{200B}'..='\u{200D}'
        | '\u{2060}'..='\u{2065}'
        | '\u{206A}'..='\u{206F}'
        | '\u{FEFF}'
        | '\u{180E}'
        | '\u{034F}'
        | '\u{115F}'
        | '\u{1160}'
        | '\u{17B4}'
        | '\u{17B5}'
        | '\u{3164}'
        | '\u{FFA0}'
        | '\u{FFF9}'..='\u{FFFB}' => Hidden::ZeroWidth,
        '\u{FE00}'..='\u{FE0F}' | '\u{E0080}'..='\u{E0FFF}' => Hidden::Selector,
        '\u{1B}' | '\u{9B}' => Hidden::Escape,
        '\n' | '\t' | '\r' | '\u{0C}' => return None,
        c if c.is_control() => Hidden::Control,
        c if is_private(c) => Hidden::Private,
        _ => return None,
    })
}

fn unicode_spots(text: &str, spots: &mut Vec<Spot>) {
    let reads_right_to_left = text.chars().any(is_right_to_left);
    let (mut run, mut total, mut first) = (0, 0, None);
    let mut longest = (0, 0);
    let mut worst: Option<Spot> = None;
    let mut before = None;
    let mut in_flag = false;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let after = chars.peek().map(|(_, c)| *c);
        // A flag of a region is spelt in tags between a black flag and the cancel tag: 🏴 and what follows it.
        in_flag = c == '\u{1F3F4}' || (in_flag && before != Some('\u{E007F}') && hidden(c) == Some(Hidden::Tag));
        let found = hidden(c).filter(|_| !in_flag).filter(|kind| !is_ordinary(*kind, before, after));
        before = Some(c);
        let Some(kind) = found else {
            run = 0;
            continue;
        };
        (run, total) = (run + 1, total + 1);
        first = first.or(Some(at));
        if run > longest.0 {
            longest = (run, at);
        }
        let splits_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let (severity, why) = match kind {
            Hidden::Escape => {
                spots.push(escape_spot(at));
                continue;
            }
            Hidden::Tag => (Severity::High, "tag characters, which show nothing and spell a text that models read"),
            Hidden::Override => (Severity::High, "a bidirectional override, which shows a text in another order"),
            Hidden::Bidi if reads_right_to_left => (Severity::Low, "a bidirectional control"),
            Hidden::Bidi => (Severity::High, "a bidirectional control in a text that reads one way"),
            Hidden::Mark if reads_right_to_left => continue,
            Hidden::Mark => (Severity::Low, "a mark that shows nothing"),
            Hidden::ZeroWidth if splits_word(text[..at].chars().next_back()) && splits_word(after) => {
                (Severity::Medium, "a character of no width inside a word, which hides the word from a search")
            }
            Hidden::ZeroWidth => (Severity::Low, "a character of no width"),
            Hidden::Selector => (Severity::Low, "a variation selector where nothing varies"),
            Hidden::Private => (Severity::Low, "a character of private use, which shows whatever somebody agreed on"),
            Hidden::Control => (Severity::Medium, "a control character, which shows nothing"),
        };
        if worst.as_ref().is_none_or(|worst| severity > worst.severity) {
            worst = Some(Spot { kind: Kind::HiddenUnicode, severity, at, why });
        }
    }
    if longest.0 >= PAYLOAD_RUN || total >= PAYLOAD_TOTAL {
        let at = if longest.0 >= PAYLOAD_RUN { longest.1 } else { first.unwrap_or_default() };
        let why = "so many characters that show nothing that they can spell a text";
        let is_graver = worst.as_ref().is_none_or(|worst| worst.severity < Severity::High);
        if is_graver {
            worst = Some(Spot { kind: Kind::HiddenUnicode, severity: Severity::High, at, why });
        }
    }
    spots.truncate(1);
    spots.extend(worst);
}

/// Where people do write such a character: emoji, scripts that join or part letters by it, ideographs with variants.
fn is_ordinary(kind: Hidden, before: Option<char>, after: Option<char>) -> bool {
    let is_foreign = |c: Option<char>| c.is_some_and(|c| !c.is_ascii() && hidden(c).is_none());
    match kind {
        Hidden::ZeroWidth => {
            is_foreign(before.filter(|c| *c != '\u{FE0F}')) && is_foreign(after)
                || (before == Some('\u{FE0F}') && is_foreign(after))
        }
        Hidden::Selector => is_foreign(before) || before.is_some_and(|c| matches!(c, '0'..='9' | '#' | '*')),
        _ => false,
    }
}

fn is_right_to_left(c: char) -> bool {
    matches!(c, '\u{0590}'..='\u{08FF}' | '\u{FB1D}'..='\u{FDFF}' | '\u{FE70}'..='\u{FEFE}')
}

/// A word in which every letter that is not Latin looks like one that is.
fn homoglyph_spot(text: &str, is_name: bool, spots: &mut Vec<Spot>) {
    let mut at = 0;
    for word in text.split(|c: char| !c.is_alphanumeric()) {
        let place = at;
        at += word.len();
        at += text[at..].chars().next().map_or(0, char::len_utf8);
        if word.is_ascii() {
            continue;
        }
        let (mut n_latin, mut n_alike, mut n_other) = (0, 0, 0);
        for c in word.chars().filter(|c| c.is_alphabetic()) {
            match c {
                c if c.is_ascii() => n_latin += 1,
                c if looks_like(c).is_some() => n_alike += 1,
                _ => n_other += 1,
            }
        }
        if n_latin >= 2 && n_alike >= 1 && n_other == 0 {
            let severity = if is_name { Severity::High } else { Severity::Medium };
            let why = "letters of another script that look like the Latin ones beside them";
            spots.push(Spot { kind: Kind::Homoglyph, severity, at: place, why });
            return;
        }
    }
}

fn padding_spot(text: &str, spots: &mut Vec<Spot>) {
    if text.len() <= PADDING_LINES {
        return;
    }
    let (mut n_spaces, mut n_lines) = (0, 0);
    for (at, c) in text.char_indices() {
        if c.is_whitespace() {
            n_spaces += 1;
            n_lines += usize::from(c == '\n');
            continue;
        }
        if n_spaces >= PADDING || n_lines >= PADDING_LINES {
            let why = "a text that begins again behind a screen of white space";
            spots.push(Spot { kind: Kind::Padding, severity: Severity::Medium, at, why });
            return;
        }
        (n_spaces, n_lines) = (0, 0);
    }
}

fn blob_spot(text: &str, spots: &mut Vec<Spot>) {
    if text.len() < BLOB {
        return;
    }
    let is_code = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-' | b'_');
    let mut start = 0;
    for (end, b) in text.bytes().map(Some).chain([None]).enumerate() {
        if b.is_some_and(is_code) {
            continue;
        }
        let run = &text.as_bytes()[start..end];
        if run.len() >= BLOB && is_encoded(run) {
            let why = "a long encoded text, which nobody can read";
            spots.push(Spot { kind: Kind::EncodedBlob, severity: Severity::Medium, at: start, why });
            return;
        }
        start = end + 1;
    }
}

/// Whether a run of characters is base64 or hex, and not a path, a rule of dashes or a very long word.
fn is_encoded(run: &[u8]) -> bool {
    let count = |is: fn(&u8) -> bool| run.iter().filter(|b| is(b)).count();
    let (upper, lower) = (count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase));
    let (digits, marks) = (count(u8::is_ascii_digit), count(|b| matches!(b, b'/' | b'-' | b'_')));
    let is_hex = run.iter().all(u8::is_ascii_hexdigit) && digits * 4 > run.len() && digits < run.len();
    let is_mixed = upper * 8 > run.len() && lower * 8 > run.len() && digits * 24 > run.len();
    is_hex || (is_mixed && marks * 16 < run.len())
}
