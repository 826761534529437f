//! Catalogs of any size out of a seed, for benches: names, texts and vectors shaped like real ones.

use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};

use toolscout_core::card::SideEffectSource;
use toolscout_core::words::split_identifier;
use toolscout_core::{ContentHash, Param, SideEffect, ToolCard};
use toolscout_embed::{Embed, Embedding, Error, ModelInfo, Want, normalize};

use crate::embed::double;

const VERBS: [&str; 24] = [
    "create", "list", "get", "delete", "update", "search", "send", "export", "import", "archive", "assign", "close",
    "copy", "merge", "move", "open", "publish", "rename", "restore", "share", "start", "stop", "sync", "validate",
];

/// A number that depends on all of these and nothing else.
fn draw(seed: u64, a: u64, b: u64) -> u64 {
    // SplitMix64 (Steele, Lea, Flood 2014).
    let mut z = seed ^ a.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ b.wrapping_mul(0xD1B5_4A32_D192_ED03);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A made-up word; low numbers are drawn often, as in a language.
fn word(seed: u64, a: u64, b: u64) -> String {
    const SYLLABLES: [&str; 32] = [
        "ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "qui", "ro", "su", "ta", "ve", "wi",
        "xo", "zu", "bra", "cle", "dri", "flo", "gru", "pla", "pre", "sti", "tro", "chu", "sha", "the",
    ];
    // Zipf by squaring twice: word 0 some hundred times as often as word 4,000.
    let u = (draw(seed, a, b) >> 11) as f64 / (1u64 << 53) as f64;
    let mut n = (u.powi(4) * 4_000.0) as usize;
    let mut text = String::new();
    for _ in 0..3 {
        text.push_str(SYLLABLES[n % 32]);
        n /= 32;
    }
    text
}

/// `n` cards, some 35 to an upstream, descriptions of some 25 words, three parameters each.
pub fn cards(n: usize, seed: u64) -> Vec<ToolCard> {
    (0..n as u64).map(|i| card(i, seed)).collect()
}

fn card(i: u64, seed: u64) -> ToolCard {
    let app = i / 35;
    let (verb, thing) = (VERBS[(draw(seed, i, 1) % 24) as usize], word(seed, i, 2));
    let id: toolscout_core::ToolId =
        format!("{}-{app}:{verb}_{thing}_{i}", word(seed, app, 3)).parse().expect("it is one");
    let sentence: Vec<String> = (0..25).map(|w| word(seed, i, 100 + w)).collect();
    let description = format!("{verb} a {thing}: {}.", sentence.join(" "));
    let param = |p: u64| Param {
        name: format!("{}_id", word(seed, i, 10 + p)),
        kind: "string".to_owned(),
        required: p == 0,
        description: format!("the {} to {verb}", word(seed, i, 20 + p)),
        enum_values: Vec::new(),
    };
    let words = split_identifier(id.name.as_str());
    ToolCard {
        definition: ContentHash::of(description.as_bytes()),
        title: words.join(" "),
        words,
        purpose: description.clone(),
        description,
        when_to_use: None,
        when_not: None,
        side_effect: SideEffect::Write,
        side_effect_source: SideEffectSource::Guessed,
        params: (0..3).map(param).collect(),
        tags: Vec::new(),
        hints: Vec::new(),
        backup_of: None,
        id,
    }
}

/// A query of `n` words, half of them verbs.
pub fn query(i: u64, n: u64, seed: u64) -> String {
    let words = (0..n).map(|w| {
        if w % 2 == 0 { VERBS[(draw(seed, i, 200 + w) % 24) as usize].to_owned() } else { word(seed, i, 300 + w) }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Vectors in clusters, by the hash of the text alone: each text belongs to one of some hundred topics and lies about a
/// cosine of .6 from its centre, as cards of one app do. Takes microseconds a text.
pub struct ClusterEmbedder {
    model: ModelInfo,
    n_inferences: AtomicU64,
}

impl ClusterEmbedder {
    /// Of this many dimensions.
    pub fn new(dimension: usize) -> Self {
        let model = double(format!("cluster-{dimension}"), dimension);
        Self { model, n_inferences: AtomicU64::new(0) }
    }

    /// The vector of a text.
    pub fn vector(&self, text: &str) -> Vec<f32> {
        const TOPICS: u64 = 300;
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(text.as_bytes());
        let own = hasher.finish();
        let mut vector: Vec<f32> = (0..self.model.dimension as u64)
            .map(|d| 0.75 * gauss(own % TOPICS, d) + gauss(own, d + 1_000_000))
            .collect();
        normalize(&mut vector);
        vector
    }
}

/// About normal: the sum of four even draws.
fn gauss(a: u64, b: u64) -> f32 {
    let bits = draw(7, a, b);
    (0..4).map(|i| ((bits >> (16 * i)) & 0xFFFF) as f32 / 65_536.0 - 0.5).sum()
}

impl Embed for ClusterEmbedder {
    fn model(&self) -> &ModelInfo {
        &self.model
    }

    fn embed(&self, texts: &[&str], _want: Want) -> Result<Vec<Embedding>, Error> {
        self.n_inferences.fetch_add(texts.len() as u64, Ordering::Relaxed);
        Ok(texts.iter().map(|text| Embedding { pooled: self.vector(text), tokens: None }).collect())
    }

    fn inferences(&self) -> u64 {
        self.n_inferences.load(Ordering::Relaxed)
    }
}
