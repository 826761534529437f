//! What the ranker looks at: a few numbers per candidate, each with a meaning of its own.
//!
//! Relative ones say how a candidate stands among this query's candidates (0 the worst, 1 the best), absolute ones hold for
//! any catalog. Every one of them belongs to a [`Group`], under which evidence adds up what it brought.

use toolscout_core::{SideEffect, ToolCard};
use toolscout_index::{LateMatch, LexicalRun, Snapshot, WordMatch};

use crate::fuse::Fused;

/// What a feature is about; the names of the parts of a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    /// The vectors of the whole texts.
    Meaning,
    /// Words in common.
    Words,
    /// The vectors of single words.
    Tokens,
    /// The tool's name.
    Name,
    /// The tool's upstream, and its other tools.
    Upstream,
    /// What the tool does to the world, against what is asked for.
    Action,
    /// The steps of a long task.
    Steps,
    /// How reliably the tool works. No feature: a loss after ranking, see `reliability.rs`.
    Quality,
}

impl Group {
    pub(crate) const ALL: [Self; 8] = [
        Self::Meaning,
        Self::Words,
        Self::Tokens,
        Self::Name,
        Self::Upstream,
        Self::Action,
        Self::Steps,
        Self::Quality,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::Meaning => "meaning",
            Self::Tokens => "tokens",
            Self::Name => "name",
            Self::Upstream => "upstream",
            Self::Action => "action",
            Self::Steps => "steps",
            Self::Quality => "quality",
        }
    }
}

macro_rules! features {
    ($($(#[$doc:meta])* $name:ident: $group:ident,)*) => {
        /// Names, in the order of a candidate's numbers. Part of the ranker's file format.
        pub const FEATURES: &[&str] = &[$(stringify!($name)),*];
        /// What each is about.
        pub(crate) const GROUPS: &[Group] = &[$(Group::$group),*];

        /// The numbers of one candidate.
        #[derive(Debug, Clone, Copy, Default, PartialEq)]
        pub(crate) struct Features {
            $($(#[$doc])* pub(crate) $name: f64,)*
        }

        impl Features {
            pub(crate) fn to_array(self) -> [f64; N_FEATURES] {
                [$(self.$name),*]
            }
        }
    };
}

/// How many features there are.
pub(crate) const N_FEATURES: usize = FEATURES.len();

features! {
    /// BM25F score over the best candidate's.
    words_rel: Words,
    /// BM25F score over the highest that any document could have.
    words_abs: Words,
    /// Share of the query's weight that is in the card.
    coverage: Words,
    /// 10 over (10 + rank by words).
    words_rank: Words,
    /// Best by words.
    words_first: Words,
    /// `words_rel`, times how long the query is.
    words_long: Words,
    /// `words_rel`, times the share of the query's weight that no tool has.
    words_unknown: Words,
    /// `words_rel`, in a task of several steps.
    words_multi: Words,
    /// Cosine between the lowest and the highest among the candidates.
    meaning_rel: Meaning,
    /// Cosine.
    cosine: Meaning,
    /// 10 over (10 + rank by meaning).
    meaning_rank: Meaning,
    /// Best by meaning.
    meaning_first: Meaning,
    /// `meaning_rel`, times how long the query is.
    meaning_long: Meaning,
    /// `meaning_rel`, times the share of unknown words.
    meaning_unknown: Meaning,
    /// `meaning_rel`, in a task of several steps.
    meaning_multi: Meaning,
    /// Late interaction between the lowest and the highest among the candidates.
    tokens_rel: Tokens,
    /// Late interaction.
    tokens: Tokens,
    /// Late interaction of the words that say something, between the lowest and the highest.
    tokens_content: Tokens,
    /// How well the query tells the words of the name, one by one.
    tokens_name: Tokens,
    /// The same between the lowest and the highest.
    tokens_name_rel: Tokens,
    /// Best by late interaction.
    tokens_first: Tokens,
    /// `tokens_rel`, times how long the query is.
    tokens_long: Tokens,
    /// `tokens_rel`, times the share of unknown words.
    tokens_unknown: Tokens,
    /// `tokens_rel`, in a task of several steps.
    tokens_multi: Tokens,
    /// Share of the query's weight in name or title.
    name_has: Name,
    /// Share of the name's words that are in the query.
    name_told: Name,
    /// The query holds the whole name as written.
    name_exact: Name,
    /// Share of the query's weight in the upstream's id.
    upstream_has: Upstream,
    /// Cosine with the middle of the upstream, between the lowest and the highest.
    upstream_middle: Upstream,
    /// The best plain score of another candidate of the upstream.
    upstream_best: Upstream,
    /// The tool does what the query's verb asks for: reading, writing, destroying.
    same_action: Action,
    /// It does worse than that.
    worse_action: Action,
    /// The best plain score in any step of a task of several.
    step_best: Steps,
    /// Best of some step of a task of several.
    step_first: Steps,
}

/// What holds for the query as a whole.
pub(crate) struct About<'a> {
    pub(crate) text: &'a str,
    pub(crate) n_steps: usize,
    /// Whether upstreams count.
    pub(crate) upstreams: bool,
}

/// The numbers of all candidates, in their order. `steps`: for each step, the plain score of each candidate.
pub(crate) fn features(
    snapshot: &Snapshot,
    about: &About<'_>,
    run: &LexicalRun,
    all: &[Fused],
    centroids: &[Option<f64>],
    steps: &[Vec<f64>],
) -> Vec<Features> {
    let docs: Vec<_> = all.iter().map(|one| one.doc).collect();
    let matches = run.matches(&docs);
    let high = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::NEG_INFINITY, f64::max);
    let low = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
    let words_high = high(&mut all.iter().map(|one| one.lexical)).max(f64::MIN_POSITIVE);
    let cosines = || all.iter().filter_map(|one| one.cosine);
    let (cosine_low, cosine_high) = (low(&mut cosines()), high(&mut cosines()));
    let compared =
        |part: fn(&LateMatch) -> f32| all.iter().filter_map(|one| one.late.as_ref()).map(part).map(f64::from);
    let ends = |part| (low(&mut compared(part)), high(&mut compared(part)));
    let (late_low, late_high) = ends(|found| found.score);
    let (content_low, content_high) = ends(|found| found.content);
    let (name_low, name_high) = ends(|found| found.name);
    let middles = || centroids.iter().flatten().copied();
    let (middle_low, middle_high) = (low(&mut middles()), high(&mut middles()));
    let scaled = |value: f64, low: f64, high: f64| if high > low { (value - low) / (high - low) } else { 0.0 };
    let ceiling = run.ceiling().max(f64::MIN_POSITIVE);
    let long = length(run);
    let unknown = run.unknown();
    let multi = if about.n_steps > 1 { 1.0 } else { 0.0 };
    let wanted = toolscout_catalog::intent(about.text);
    let lower = about.text.to_lowercase();
    let neighbours = Neighbours::of(snapshot, all);
    let step_high: Vec<f64> = steps.iter().map(|step| high(&mut step.iter().copied())).collect();

    let one = |(at, one): (usize, &Fused)| {
        let card = snapshot.card(one.doc);
        let found = &matches[at];
        let words_rel = one.lexical / words_high;
        let meaning_rel = one.cosine.map_or(0.0, |cosine| scaled(cosine, cosine_low, cosine_high));
        let tokens = one.tokens();
        let tokens_rel = tokens.map_or(0.0, |late| scaled(late, late_low, late_high));
        let late = |part: fn(&LateMatch) -> f32| one.late.as_ref().map(part).map(f64::from);
        let rank = |rank: Option<u32>| rank.map_or(0.0, |rank| 10.0 / (10.0 + f64::from(rank)));
        let flag = |is: bool| if is { 1.0 } else { 0.0 };
        let (same_action, worse_action) = action(wanted, card.side_effect);
        Features {
            words_rel,
            words_abs: one.lexical / ceiling,
            coverage: found.coverage,
            words_rank: rank(one.lexical_rank),
            words_first: flag(one.lexical_rank == Some(1)),
            words_long: long * words_rel,
            words_unknown: unknown * words_rel,
            words_multi: multi * words_rel,
            meaning_rel,
            cosine: one.cosine.unwrap_or(0.0),
            meaning_rank: rank(one.dense_rank),
            meaning_first: flag(one.dense_rank == Some(1)),
            meaning_long: long * meaning_rel,
            meaning_unknown: unknown * meaning_rel,
            meaning_multi: multi * meaning_rel,
            tokens_rel,
            tokens: tokens.unwrap_or(if late_low.is_finite() { late_low } else { 0.0 }),
            tokens_content: late(|found| found.content)
                .map_or(0.0, |content| scaled(content, content_low, content_high)),
            tokens_name: late(|found| found.name).unwrap_or(0.0),
            tokens_name_rel: late(|found| found.name).map_or(0.0, |name| scaled(name, name_low, name_high)),
            tokens_first: flag(tokens.is_some_and(|late| late == late_high)),
            tokens_long: long * tokens_rel,
            tokens_unknown: unknown * tokens_rel,
            tokens_multi: multi * tokens_rel,
            name_has: found.name,
            name_told: name_told(found, card),
            name_exact: flag(names(&lower, card)),
            upstream_has: found.upstream,
            upstream_middle: centroids[at].map_or(0.0, |middle| scaled(middle, middle_low, middle_high)),
            upstream_best: if about.upstreams { neighbours.best_beside(at) } else { 0.0 },
            same_action,
            worse_action,
            step_best: multi * high(&mut steps.iter().map(|step| step[at])).max(0.0),
            step_first: multi
                * flag(steps.iter().zip(&step_high).any(|(step, high)| step[at] > 0.0 && step[at] == *high)),
        }
    };
    all.iter().enumerate().map(one).collect()
}

/// How long a query is: 1 from [`LONG_TERMS`] terms on.
pub(crate) fn length(run: &LexicalRun) -> f64 {
    (run.n_terms() as f64 / LONG_TERMS).min(1.0)
}

/// A query of so many terms or more counts as long.
const LONG_TERMS: f64 = 24.0;

/// The share of a name's words that are in the query.
pub(crate) fn name_told(found: &WordMatch, card: &ToolCard) -> f64 {
    (f64::from(found.n_name) / card.words.len().max(1) as f64).min(1.0)
}

/// Whether a tool does what is asked for, and whether it does worse: reading, writing, destroying.
pub(crate) fn action(wanted: Option<SideEffect>, does: SideEffect) -> (f64, f64) {
    match wanted {
        Some(wanted) if wanted == does => (1.0, 0.0),
        Some(wanted) if does > wanted => (0.0, 1.0),
        Some(_) | None => (0.0, 0.0),
    }
}

/// Whether a text names a tool as it is written: `create_issue`, not just the words.
fn names(lower: &str, card: &ToolCard) -> bool {
    let name = card.id.name.as_str();
    if name.bytes().all(|b| b.is_ascii_alphabetic()) {
        return false;
    }
    let name = name.to_lowercase();
    let one_word = name.chars().all(char::is_alphabetic);
    !one_word && name.len() >= 4 && lower.contains(&name)
}

/// The best and second best plain score per upstream, so that a tool does not vouch for itself.
struct Neighbours {
    upstream_of: Vec<usize>,
    plain: Vec<f64>,
    best: Vec<[f64; 2]>,
}

impl Neighbours {
    fn of(snapshot: &Snapshot, all: &[Fused]) -> Self {
        let mut ids: Vec<&str> = Vec::new();
        let (mut upstream_of, mut best) = (Vec::with_capacity(all.len()), Vec::new());
        let plain: Vec<f64> = all.iter().map(Fused::plain).collect();
        for (one, plain) in all.iter().zip(&plain) {
            let id = snapshot.card(one.doc).id.upstream.as_str();
            let at = ids.iter().position(|known| *known == id).unwrap_or_else(|| {
                ids.push(id);
                best.push([0.0; 2]);
                ids.len() - 1
            });
            upstream_of.push(at);
            let [first, second] = &mut best[at];
            if plain > first {
                (*first, *second) = (*plain, *first);
            } else if plain > second {
                *second = *plain;
            }
        }
        Self { upstream_of, plain, best }
    }

    fn best_beside(&self, at: usize) -> f64 {
        let [first, second] = self.best[self.upstream_of[at]];
        if self.plain[at] >= first { second } else { first }
    }
}
