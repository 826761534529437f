//! Words of texts, as far as rules need them.

/// Words that tell nothing of what a tool does.
#[rustfmt::skip]
const FILLERS: &[&str] = &[
    "a", "an", "and", "any", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from", "in", "into", "is", "it",
    "its", "of", "on", "one", "or", "that", "the", "their", "this", "to", "tool", "use", "used", "using", "via", "when",
    "which", "will", "with", "you", "your", "function", "method", "api", "mcp", "about", "all", "allows", "data", "detail",
    "details", "fetch", "fetches", "get", "gets", "given", "info", "information", "list", "lists", "new", "provided",
    "result", "results", "retrieve", "retrieves", "return", "returns", "specific", "specified",
];

/// The words of a text that tell something, in lower case.
pub(crate) fn content_words(text: &str) -> Vec<String> {
    words_of(text).into_iter().filter(|word| !FILLERS.contains(&word.as_str())).collect()
}

/// All words of a text, in lower case.
pub(crate) fn words_of(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

/// Whether two words are forms of one: equal, or one the other with a common ending (`create`, `creates`, `creating`).
pub(crate) fn is_same_word(a: &str, b: &str) -> bool {
    const ENDINGS: [&str; 9] = ["", "s", "es", "ed", "d", "ing", "er", "ies", "y"];
    let (a, b) = (a.to_lowercase(), b.to_lowercase());
    let n_shared: usize = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
    let rest = |word: &str| {
        let rest = &word[n_shared..];
        ENDINGS.contains(&rest) || rest == "e"
    };
    (a == b && !a.is_empty()) || (n_shared >= 3 && rest(&a) && rest(&b))
}

/// A text by which two descriptions are the same: words alone.
pub(crate) fn normalised(text: &str) -> String {
    words_of(text).join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(a: &str, b: &str, expect: bool) {
        assert_eq!((is_same_word(a, b), is_same_word(b, a)), (expect, expect), "{a} {b}");
    }

    #[test]
    fn forms_of_one_word_are_the_same() {
        check("create", "Creates", true);
        check("create", "creating", true);
        check("query", "queries", true);
        check("list", "listed", true);
        check("list", "listen", false);
        check("issue", "issues", true);
        check("is", "it", false);
        check("", "", false);
        check("file", "filter", false);
    }

    #[test]
    fn fillers_tell_nothing() {
        assert_eq!(content_words("This tool is used to read a File."), ["read", "file"]);
        assert_eq!(normalised("Reads,  a FILE!"), "reads a file");
    }
}
