//! Late interaction: how well does each word of the query find its like in the card?
//!
//! A card's token vectors are kept in int8 with one scale each. The score of a card is the mean, over the query's tokens, of
//! the best cosine with any token of the card (MaxSim: Khattab and Zaharia, ColBERT, 2020; the mean keeps it in −1 to 1).

use std::sync::Arc;

use toolscout_embed::TokenVectors;

use super::products::Tiles;
use super::rows::Quantised;

/// Most tokens of a card that are kept. Cards have 79 on average; what comes later in one is examples.
const MAX_CARD_TOKENS: usize = 96;
/// Most tokens of a query that are compared.
const MAX_QUERY_TOKENS: usize = 64;

/// The token vectors of a card.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct LateVectors {
    dim: usize,
    values: Vec<i8>,
    scales: Vec<f32>,
    /// The tokens' texts, one per line.
    words: String,
}

/// The token vectors of a query, ready to be compared with those of many cards.
#[derive(Debug, Clone)]
pub struct LateQuery {
    dim: usize,
    tiles: Tiles,
    scales: Vec<f32>,
    /// The tokens' texts.
    words: Vec<String>,
    /// The tokens that say something, by position: no punctuation, no function words.
    content: Vec<usize>,
}

/// What a query's tokens found in a card.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LateMatch {
    /// The mean over the query's tokens of the best cosine.
    pub score: f32,
    /// The same over the tokens that say something: no punctuation, no function words.
    pub content: f32,
    /// The other way round, for the tokens of the card's name: the mean of the best cosine with any token of the query.
    pub name: f32,
    /// For each of the query's tokens, the card's token that is nearest, by position, and their cosine.
    pub best: Vec<(u16, f32)>,
}

impl LateVectors {
    /// The short token vectors of a card.
    pub(crate) fn of_card(tokens: &TokenVectors) -> Self {
        Self::of(tokens, MAX_CARD_TOKENS)
    }

    fn of(tokens: &TokenVectors, most: usize) -> Self {
        let dim = tokens.late_dim;
        let mut made = Self { dim, ..Self::default() };
        for (row, token) in tokens.late.chunks_exact(dim.max(1)).zip(&tokens.tokens).take(most) {
            let row = Quantised::of(row);
            made.values.extend(row.values);
            made.scales.push(row.scale);
            if !made.words.is_empty() {
                made.words.push('\n');
            }
            made.words.extend(token.chars().filter(|c| !c.is_control()));
        }
        made
    }

    /// How many tokens there are.
    pub(crate) fn len(&self) -> usize {
        self.scales.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.scales.is_empty()
    }

    /// The texts of the tokens, in order.
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        self.words.split('\n')
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.values.capacity() + self.scales.capacity() * 4 + self.words.capacity()
    }

    /// The tokens of a card's name: what stands between the upstream and the first full stop or bracket in `card_text`.
    fn name_tokens(&self) -> std::ops::Range<usize> {
        let Some(start) = self.words().position(|word| word == ":").map(|at| at + 1) else { return 0..0 };
        let len = self.words().skip(start).take(MAX_NAME_TOKENS).take_while(|word| !matches!(*word, "." | "(")).count();
        start..start + len
    }

    /// For the store: dimension, count, scales, values, words; whole numbers little end first.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + self.len() * (4 + self.dim) + self.words.len());
        bytes.extend((self.dim as u16).to_le_bytes());
        bytes.extend((self.len() as u16).to_le_bytes());
        self.scales.iter().for_each(|scale| bytes.extend(scale.to_le_bytes()));
        bytes.extend(self.values.iter().map(|value| *value as u8));
        bytes.extend(self.words.as_bytes());
        bytes
    }

    /// Back again. `None` where the bytes are not what [`LateVectors::to_bytes`] wrote.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(usize::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
        let (dim, n) = (number(0)?, number(2)?);
        let (scales, rest) = bytes[4..].split_at_checked(n * 4)?;
        let (values, words) = rest.split_at_checked(n * dim)?;
        let scales: Vec<f32> = scales.as_chunks::<4>().0.iter().map(|scale| f32::from_le_bytes(*scale)).collect();
        let words = String::from_utf8(words.to_vec()).ok()?;
        let sound = scales.iter().all(|scale| scale.is_finite()) && (n == 0 || words.split('\n').count() == n);
        sound.then(|| Self { dim, values: values.iter().map(|byte| *byte as i8).collect(), scales, words })
    }
}

impl LateQuery {
    /// From the short token vectors of a query. `None` where the model makes none, or the query has no token.
    pub fn of(tokens: &TokenVectors) -> Option<Self> {
        let LateVectors { dim, values, scales, words } = LateVectors::of(tokens, MAX_QUERY_TOKENS);
        let words: Vec<String> = words.split('\n').map(str::to_owned).collect();
        let content = (0..words.len()).filter(|at| says_something(&words[*at])).collect();
        (!scales.is_empty()).then(|| Self { dim, tiles: Tiles::of(&values, dim), scales, words, content })
    }

    /// The texts of the tokens, in order.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }

    /// Positions of the tokens that say something: no punctuation, no function words.
    pub fn content(&self) -> impl Iterator<Item = usize> {
        self.content.iter().copied()
    }

    /// How near the card comes to those of these tokens that it tells least: the mean cosine of the worst quarter of the
    /// tokens that say something, at least one. `None` where no token says anything.
    pub fn weakest(&self, found: &LateMatch) -> Option<f32> {
        let mut cosines: Vec<f32> =
            self.content.iter().filter_map(|at| found.best.get(*at)).map(|best| best.1).collect();
        cosines.sort_unstable_by(f32::total_cmp);
        let n_worst = (cosines.len() / 4).max(1);
        mean(cosines.into_iter().take(n_worst))
    }

    /// What these tokens find in a card. `None` where it has none, or they are of different models.
    pub(crate) fn find_in(&self, card: &LateVectors) -> Option<LateMatch> {
        if card.is_empty() || self.dim != card.dim {
            return None;
        }
        let name = card.name_tokens();
        let mut told = [f32::NEG_INFINITY; MAX_NAME_TOKENS];
        let mut best = self.tiles.nearest(&card.values, &card.scales, &name, |i, j, value| {
            let told = &mut told[i - name.start];
            *told = told.max(value * self.scales[j]);
        });
        best.iter_mut().zip(&self.scales).for_each(|((_, cosine), scale)| *cosine *= scale);
        let score = best.iter().map(|(_, cosine)| cosine).sum::<f32>() / best.len() as f32;
        let content = mean(self.content.iter().map(|at| best[*at].1)).unwrap_or(score);
        let name = mean(told[..name.len()].iter().copied()).unwrap_or(content);
        Some(LateMatch { score, content, name, best })
    }
}

/// Most tokens of a name that are looked at.
const MAX_NAME_TOKENS: usize = 16;

fn mean(values: impl Iterator<Item = f32>) -> Option<f32> {
    let (mut sum, mut n) = (0.0, 0u16);
    for value in values {
        (sum, n) = (sum + value, n + 1);
    }
    (n > 0).then(|| sum / f32::from(n))
}

fn says_something(token: &str) -> bool {
    token.chars().any(char::is_alphanumeric) && !crate::analyser::is_function_word(token)
}

/// The word that a token is a piece of: models read long words in pieces, of which all but the first begin with `##`
/// (WordPiece, Schuster and Nakajima 2012). Other tokens are words of their own.
pub fn whole_word(tokens: &[&str], at: usize) -> String {
    let goes_on = |at: usize| tokens.get(at).and_then(|token| token.strip_prefix("##")).filter(|rest| !rest.is_empty());
    let mut first = at;
    while first > 0 && goes_on(first).is_some() {
        first -= 1;
    }
    let rest = (first + 1..).map_while(goes_on);
    tokens.get(first).copied().into_iter().chain(rest).collect()
}

/// The token vectors of rows, by row. Cloning shares all but a list of pointers per thousand rows.
#[derive(Clone, Default)]
pub(crate) struct LateRows {
    len: usize,
    chunks: Vec<Arc<Vec<Arc<LateVectors>>>>,
}

const CHUNK: usize = 1024;

impl LateRows {
    /// Adds the next row's.
    pub(crate) fn push(&mut self, late: Arc<LateVectors>) {
        if self.len.is_multiple_of(CHUNK) {
            self.chunks.push(Arc::default());
        }
        Arc::make_mut(self.chunks.last_mut().expect("a chunk was just made sure of")).push(late);
        self.len += 1;
    }

    /// A row's. Panics beyond the last row.
    pub(crate) fn get(&self, row: u32) -> &Arc<LateVectors> {
        &self.chunks[row as usize / CHUNK][row as usize % CHUNK]
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).map(|late| late.bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use toolscout_embed::{Embed as _, Want, dot};
    use toolscout_testkit::embed::HashEmbedder;

    fn tokens(text: &str) -> TokenVectors {
        let embedder = HashEmbedder::new().with_late();
        embedder.embed(&[text], Want::Tokens).unwrap().remove(0).tokens.unwrap()
    }

    /// The score in f32, straight from the definition.
    fn naive(query: &TokenVectors, card: &TokenVectors) -> f32 {
        let best = |q: &[f32]| card.iter().map(|(_, c)| dot(q, c)).fold(f32::NEG_INFINITY, f32::max);
        query.iter().map(|(_, q)| best(q)).sum::<f32>() / query.len() as f32
    }

    #[test]
    fn pieces_make_a_word_again() {
        let tokens = ["the", "time", "##zone", "##s", "of", "##", "##kyo"];
        let words: Vec<String> = (0..8).map(|at| whole_word(&tokens, at)).collect();
        assert_eq!(words, ["the", "timezones", "timezones", "timezones", "of", "##kyo", "##kyo", ""]);
    }

    proptest! {
        #[test]
        fn int8_is_near_the_definition_and_survives_the_store(query in "[a-d]{1,2}( [a-d]{1,2}){0,9}", card in "[a-d]{1,2}( [a-d]{1,2}){0,30}") {
            let (q, c) = (tokens(&query), tokens(&card));
            let late = LateVectors::of_card(&c);
            let found = LateQuery::of(&q).unwrap().find_in(&late).unwrap();
            prop_assert!((found.score - naive(&q, &c)).abs() < 0.02, "{} {}", found.score, naive(&q, &c));
            prop_assert_eq!(LateVectors::from_bytes(&late.to_bytes()), Some(late));
        }

        #[test]
        fn bytes_of_any_kind_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            LateVectors::from_bytes(&bytes);
        }
    }

    #[test]
    fn each_word_names_its_like() {
        let (query, card) = (tokens("delete branch"), LateVectors::of_card(&tokens("git branch delete now")));
        let found = LateQuery::of(&query).unwrap().find_in(&card).unwrap();
        let words: Vec<&str> = card.words().collect();
        let best: Vec<&str> = found.best.iter().map(|(at, _)| words[usize::from(*at)]).collect();
        assert_eq!(best, ["delete", "branch"]);
        assert!(found.score > 0.98);
    }
}
