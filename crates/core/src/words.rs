//! Words inside identifiers, one rule for cards, the index and error hints.

/// Splits an identifier into lower-case words at camelCase humps, `_`, `-`, `.`, `/`, `:`, spaces and letter/digit borders.
///
/// A run of capitals is an acronym that ends before its last letter when a small one follows: `parseHTTPRequest` gives
/// `parse http request`. A plural `s` behind an acronym stays with it (`getURLs` gives `get urls`).
/// Letters of scripts without case never split.
pub fn split_identifier(identifier: &str) -> Vec<String> {
    let chars: Vec<char> = identifier.chars().collect();
    let mut words = Vec::new();
    let mut word = String::new();
    for (i, &c) in chars.iter().enumerate() {
        if !c.is_alphanumeric() {
            flush(&mut word, &mut words);
            continue;
        }
        let before = i.checked_sub(1).map(|j| chars[j]).filter(|c| c.is_alphanumeric());
        if let Some(before) = before {
            let after = chars.get(i + 1).copied();
            if is_border(before, c, after, chars.get(i + 2).copied()) {
                flush(&mut word, &mut words);
            }
        }
        word.extend(c.to_lowercase());
    }
    flush(&mut word, &mut words);
    words
}

fn is_border(before: char, c: char, after: Option<char>, after_next: Option<char>) -> bool {
    let hump = before.is_lowercase() && c.is_uppercase();
    let number = before.is_numeric() != c.is_numeric();
    let plural = after == Some('s') && !after_next.is_some_and(char::is_lowercase);
    let acronym_ends = before.is_uppercase() && c.is_uppercase() && after.is_some_and(char::is_lowercase) && !plural;
    hump || number || acronym_ends
}

fn flush(word: &mut String, words: &mut Vec<String>) {
    if !word.is_empty() {
        words.push(std::mem::take(word));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(identifier: &str, expect: &str) {
        assert_eq!(split_identifier(identifier).join(" "), expect, "{identifier:?}");
    }

    #[test]
    fn splits_at_every_border_a_name_can_have() {
        check("create_issue", "create issue");
        check("createIssue", "create issue");
        check("CreateIssue", "create issue");
        check("create-issue.v2", "create issue v 2");
        check("parseHTTPRequest", "parse http request");
        check("getURLs", "get urls");
        check("listS3Buckets", "list s 3 buckets");
        check("API", "api");
        check("", "");
        check("__", "");
        check("größeÄndern", "größe ändern");
        check("検索", "検索");
    }
}
