//! What a text costs a language model to read.

use std::num::NonZeroUsize;

/// How [`count`] counts, for reports.
pub const METHOD: &str = "o200k_base tokens";

/// Longest piece that is encoded at once, in bytes. Its end may cut a token in two: one more in some ten thousand, and no
/// hostile run of one character can make the encoder's work or its backtracking grow beyond measure.
const MAX_PIECE: usize = 64 << 10;

/// How many tokens a text is in the vocabulary `o200k_base` (byte pairs, 200,000 entries; OpenAI's since 2024). Other models'
/// counts differ by a tenth or two, and hardly in proportion.
pub fn count(text: &str) -> usize {
    let encoder = tiktoken_rs::o200k_base_singleton();
    let (mut rest, mut n_tokens) = (text, 0);
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.floor_char_boundary(MAX_PIECE));
        n_tokens += encoder.count_ordinary(piece);
        rest = behind;
    }
    n_tokens
}

/// The same for many texts, on all cores: the definitions of 30,000 tools are some 40 MB.
pub(crate) fn count_all(texts: &[String]) -> Vec<usize> {
    let n_threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let chunk = texts.len().div_ceil(n_threads).max(1);
    let count_chunk = |texts: &[String]| texts.iter().map(|text| count(text)).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let chunks: Vec<_> = texts.chunks(chunk).map(|texts| scope.spawn(move || count_chunk(texts))).collect();
        let joined =
            chunks.into_iter().map(|chunk| chunk.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.flatten().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_counts() {
        // Worked out with the tokenizer's own page.
        assert_eq!(count(""), 0);
        assert_eq!(count("hello world"), 2);
        assert!(count(r#"{"name":"create_issue"}"#) < 10);
        assert_eq!(count_all(&["hello world".to_owned(), String::new(), "hello".to_owned()]), [2, 0, 1]);
    }

    #[test]
    fn hostile_runs_are_counted_too() {
        for text in [" ".repeat(300_000), "a".repeat(300_000), "\u{1f600}".repeat(40_000), "\t\n ".repeat(70_000)] {
            let n_tokens = count(&text);
            assert!(n_tokens > 0 && n_tokens <= text.len(), "{n_tokens}");
        }
    }
}
