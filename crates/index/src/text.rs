//! The text of a card that is embedded.

use toolscout_core::ToolCard;

/// Longest text handed to the embedder, in characters. Models cut at some hundred tokens anyway.
const MAX_CHARS: usize = 1_200;
/// Longest part of it that the description may take.
const MAX_DESCRIPTION: usize = 800;
/// Parameters named.
const MAX_PARAMS: usize = 16;

/// What a card says to the embedding model: upstream, words of the name, title if it adds something, hints, description,
/// names of parameters. One function, because a vector is found again by the hash of this text: a change here embeds
/// everything anew.
pub fn card_text(card: &ToolCard) -> String {
    let mut text = String::with_capacity(400);
    text.push_str(&card.id.upstream.as_str().replace('-', " "));
    text.push_str(": ");
    let words = if card.words.is_empty() { card.id.name.as_str().to_owned() } else { card.words.join(" ") };
    text.push_str(&words);
    let title_is_new = !card.title.is_empty() && card.title.to_lowercase() != words.to_lowercase();
    if title_is_new {
        text.push_str(" (");
        text.push_str(&card.title);
        text.push(')');
    }
    text.push_str(". ");
    for hint in card.hints.iter().take(3) {
        text.push_str(hint);
        text.push_str(". ");
    }
    text.extend(card.description.chars().take(MAX_DESCRIPTION));
    if !card.params.is_empty() {
        text.push_str(" Parameters: ");
        let names: Vec<String> =
            card.params.iter().take(MAX_PARAMS).map(|param| param.name.replace('_', " ")).collect();
        text.push_str(&names.join(", "));
    }
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}
