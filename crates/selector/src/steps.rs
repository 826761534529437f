//! Which steps does a task name?
//!
//! "Look up the weather in Oslo, then book a table and tell Anna" asks for three tools, and as one text it is near none of
//! them. A task is cut where people put a border: at the end of a sentence or line, at the points of a list, and inside a
//! sentence before `then`, `and then`, `also`, and before `and` or a comma when a verb of action follows. No language model.
//!
//! What only tells how things stand ("The deploy went out an hour ago.") is no step where other parts ask for something.

use std::ops::Range;

/// Most steps looked at: the search by meaning is run again for each.
pub const MAX_STEPS: usize = 5;
/// Fewest words of a step; what is shorter belongs to its neighbour.
const MIN_WORDS: usize = 3;

/// The steps, as parts of the text in bytes, in order. Fewer than two mean that the task is one step.
pub fn split(text: &str) -> Vec<Range<usize>> {
    let mut cuts = vec![0];
    let words = words(text);
    for (at, word) in words.iter().enumerate().skip(1) {
        let before = &words[at - 1];
        let gap = &text[before.end..word.start];
        let lower = |i: usize| words.get(i).map(|word| text[word.clone()].to_lowercase()).unwrap_or_default();
        let here = lower(at);
        // `2.` at the head of a line counts the step, and belongs to it.
        let marks = text[before.clone()].chars().all(char::is_numeric) && gap.starts_with(['.', ')']);
        let stops = gap.contains(['.', '!', '?', ';', '\n']) && gap.contains(char::is_whitespace);
        let ends = !marks && (stops || gap.contains(['。', '！', '？', '；']));
        let joins = |i: usize| {
            matches!(lower(i).as_str(), "then" | "also" | "afterwards" | "additionally" | "finally" | "plus" | "next")
        };
        let and = matches!(here.as_str(), "and" | "&");
        let action = |i: usize| toolscout_catalog::intent(&lower(i)).is_some();
        let cut = ends
            || (joins(at) && !matches!(lower(at - 1).as_str(), "and" | "but"))
            || (and && (joins(at + 1) || action(at + 1)))
            || (gap.contains(',') && action(at));
        if cut {
            cuts.push(word.start);
        }
    }
    cuts.push(text.len());
    let mut steps: Vec<Range<usize>> = Vec::new();
    for pair in cuts.windows(2) {
        let part = trimmed(text, pair[0]..pair[1]);
        let n_words = words.iter().filter(|word| part.start <= word.start && word.end <= part.end).count();
        match steps.last_mut() {
            Some(last) if n_words < MIN_WORDS || steps_len(last, &words) < MIN_WORDS => {
                last.end = part.end.max(last.end)
            }
            _ if part.is_empty() => {}
            _ => steps.push(part),
        }
    }
    if steps.iter().any(|step| !tells(&text[step.clone()])) {
        steps.retain(|step| !tells(&text[step.clone()]));
    }
    steps.truncate(MAX_STEPS);
    steps
}

/// First words of sentences that tell how things stand. In order.
const FIRST_OF_A_TALE: &[&str] = &[
    "a",
    "after",
    "all",
    "an",
    "because",
    "every",
    "everyone",
    "he",
    "her",
    "his",
    "i",
    "i'd",
    "i'll",
    "i'm",
    "i've",
    "it",
    "it's",
    "its",
    "last",
    "many",
    "most",
    "my",
    "nobody",
    "nothing",
    "one",
    "our",
    "she",
    "since",
    "some",
    "somebody",
    "someone",
    "something",
    "that",
    "that's",
    "the",
    "their",
    "there",
    "there's",
    "these",
    "they",
    "they're",
    "this",
    "those",
    "today",
    "tonight",
    "we",
    "we'll",
    "we're",
    "we've",
    "yesterday",
];
/// Words that ask wherever they stand.
const IN_A_REQUEST: &[&str] = &[
    "additionally",
    "also",
    "can you",
    "could you",
    "curious",
    "help",
    "i want",
    "i wish",
    "i'd",
    "interested",
    "let's",
    "like to",
    "looking for",
    "need",
    "please",
    "want to",
    "would",
];

/// Whether a part of a task tells something and asks nothing. In doubt not.
fn tells(part: &str) -> bool {
    let lower = part.to_lowercase().replace('’', "'");
    let first = words(&lower).first().is_some_and(|word| FIRST_OF_A_TALE.binary_search(&&lower[word.clone()]).is_ok());
    first && !lower.trim_end().ends_with('?') && !IN_A_REQUEST.iter().any(|asking| lower.contains(asking))
}

fn steps_len(part: &Range<usize>, words: &[Range<usize>]) -> usize {
    words.iter().filter(|word| part.start <= word.start && word.end <= part.end).count()
}

/// The words, as parts of the text.
fn words(text: &str) -> Vec<Range<usize>> {
    const MOST: usize = 400;
    let mut words: Vec<Range<usize>> = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices() {
        let inside = c.is_alphanumeric()
            || matches!(c, '\'' | '’' | '_' | '-' | '@' | '/' | '&')
            || (c == '.' && start.is_some());
        match (inside, start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                words.push(from..at);
                start = None;
            }
            _ => {}
        }
        if words.len() >= MOST {
            return words;
        }
    }
    words.extend(start.map(|from| from..text.len()));
    // A full stop inside belongs to the word (`main.rs`), one behind it does not.
    words.iter_mut().for_each(|word| word.end = word.start + text[word.clone()].trim_end_matches('.').len());
    words.retain(|word| !word.is_empty());
    words
}

fn trimmed(text: &str, part: Range<usize>) -> Range<usize> {
    let whole = &text[part.clone()];
    let start = part.start + (whole.len() - whole.trim_start().len());
    let end = part.start + whole.trim_end().len();
    start..end.max(start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expect: &[&str]) {
        let steps: Vec<&str> = split(text).into_iter().map(|step| &text[step]).collect();
        assert_eq!(steps, expect);
    }

    #[test]
    fn steps_of_tasks() {
        check("list my open issues", &["list my open issues"]);
        check("read main.rs and lib.rs", &["read main.rs and lib.rs"]);
        check(
            "Look up the weather in Oslo, then book a table and send Anna the address.",
            &["Look up the weather in Oslo,", "then book a table", "and send Anna the address."],
        );
        check(
            "I love football. Show me Messi's clubs! Which transfers has he made?",
            &["Show me Messi's clubs!", "Which transfers has he made?"],
        );
        check("1. fetch the page\n2. save it to disk", &["1. fetch the page", "2. save it to disk"]);
        check("Thanks. Delete the old branch", &["Thanks. Delete the old branch"]);
        check("The deploy went out an hour ago. Find what broke, it looks new.", &["Find what broke, it looks new."]);
        check("The mill stands still. There is no wind today.", &["The mill stands still.", "There is no wind today."]);
        check("查询北京的天气。然后发送邮件给李雷。", &["查询北京的天气。然后发送邮件给李雷。"]);
        check("", &[]);
    }

    #[test]
    fn lists_that_are_searched_are_in_order() {
        assert!(FIRST_OF_A_TALE.is_sorted());
    }

    proptest! {
        #[test]
        fn steps_lie_in_the_text_one_behind_the_other(text in "[a-z .,!?\\n]{0,80}|\\PC{0,60}") {
            let steps = split(&text);
            prop_assert!(steps.len() <= MAX_STEPS);
            prop_assert!(steps.windows(2).all(|pair| pair[0].end <= pair[1].start));
            for step in steps {
                prop_assert!(text.get(step).is_some_and(|step| !step.is_empty()));
            }
        }
    }
}
