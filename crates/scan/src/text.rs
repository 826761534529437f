//! A text as rules read it, and as people may be shown it.

use std::fmt::Write as _;
use std::ops::Range;

use toolscout_core::text::is_hidden;
use unicode_normalization::UnicodeNormalization as _;

/// Characters of an excerpt.
const MAX_EXCERPT: usize = 160;
/// Characters of an excerpt before what was found.
const BEFORE: usize = 40;

/// A text as rules read it: lower case, without hidden characters and emphasis, styled letters and look-alikes made plain, any
/// white space one space. So "I\u{200b}gnore  **previous**" reads "ignore previous".
pub(crate) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    fold_each(text, &mut folded, |_| {});
    folded
}

/// `started` hears, for each byte of the folded text, where in the text it comes from.
fn fold_each(text: &str, folded: &mut String, mut started: impl FnMut(usize)) {
    let mut gap = true;
    let mut push = |c: char, at: usize, gap: &mut bool| {
        if c.is_whitespace() {
            if !*gap {
                folded.push(' ');
                started(at);
            }
            *gap = true;
            return;
        }
        *gap = false;
        folded.push(c);
        (0..c.len_utf8()).for_each(|_| started(at));
    };
    for (at, c) in text.char_indices() {
        if c.is_ascii() {
            if c != '*' && (c.is_ascii_whitespace() || !c.is_ascii_control()) {
                push(c.to_ascii_lowercase(), at, &mut gap);
            }
            continue;
        }
        if is_hidden(c) {
            continue;
        }
        for plain in std::iter::once(c).nfkc().flat_map(char::to_lowercase) {
            push(looks_like(plain).unwrap_or(plain), at, &mut gap);
        }
    }
}

/// The ASCII character that this one cannot be told from by eye.
pub(crate) fn looks_like(c: char) -> Option<char> {
    Some(match c {
        '’' | '‘' | 'ʼ' => '\'',
        '“' | '”' => '"',
        'а' | 'А' | 'Α' => 'a',
        'В' | 'Β' => 'b',
        'с' | 'С' | 'ϲ' => 'c',
        'ԁ' => 'd',
        'е' | 'Е' | 'Ε' => 'e',
        'һ' | 'Н' | 'Η' => 'h',
        'і' | 'І' | 'Ι' => 'i',
        'ј' | 'Ј' => 'j',
        'К' | 'Κ' => 'k',
        'М' | 'Μ' => 'm',
        'Ν' => 'n',
        'о' | 'О' | 'ο' | 'Ο' => 'o',
        'р' | 'Р' | 'Ρ' => 'p',
        'ԛ' => 'q',
        'ѕ' | 'Ѕ' => 's',
        'Т' | 'Τ' => 't',
        'ԝ' => 'w',
        'х' | 'Х' | 'Χ' => 'x',
        'у' | 'У' | 'Υ' => 'y',
        'Ζ' => 'z',
        _ => return None,
    })
}

/// The part of a text that a range of its folded form comes from.
pub(crate) fn unfold(text: &str, range: &Range<usize>) -> Range<usize> {
    let (mut folded, mut starts) = (String::new(), Vec::with_capacity(text.len()));
    fold_each(text, &mut folded, |at| starts.push(at));
    let start = starts.get(range.start).copied().unwrap_or_default();
    let end = starts.get(range.end).copied().unwrap_or(text.len());
    start..end.max(start)
}

/// What is around a place, on one line, bounded, every hidden character spelt out.
pub(crate) fn excerpt(text: &str, range: &Range<usize>) -> String {
    let before: usize = text[..range.start].chars().rev().take(BEFORE).map(char::len_utf8).sum();
    let from = range.start - before;
    let mut shown = String::new();
    if from > 0 {
        shown.push('…');
    }
    let mut n_chars = shown.chars().count();
    let mut gap = false;
    for c in text[from..].chars() {
        if n_chars >= MAX_EXCERPT {
            shown.push('…');
            break;
        }
        if c.is_whitespace() && !c.is_control() || matches!(c, '\n' | '\t' | '\r') {
            if !gap {
                shown.push(' ');
                n_chars += 1;
            }
            gap = true;
            continue;
        }
        gap = false;
        if is_unseen(c) {
            let length = shown.len();
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
            n_chars += shown.len() - length;
        } else {
            shown.push(c);
            n_chars += 1;
        }
    }
    shown.trim().to_owned()
}

/// Whether a character is spelt out in an excerpt.
fn is_unseen(c: char) -> bool {
    is_hidden(c) || c.is_control() || is_private(c) || matches!(c, '\u{3164}' | '\u{FFA0}')
}

/// Whether a character has a meaning only where somebody agreed on one.
pub(crate) fn is_private(c: char) -> bool {
    matches!(c, '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..='\u{FFFFD}' | '\u{100000}'..='\u{10FFFD}')
}
