//! From a query to a few tools.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toolscout_core::{Caller, Generation, Score, SideEffect, ToolCard, ToolId, UpstreamId};
use toolscout_embed::TokenVectors;
use toolscout_index::{
    Allow, DocIdx, DocSet, IndexState, LateMatch, LateQuery, LexicalOptions, Slip, Snapshot, mended, whole_word,
};
use toolscout_policy::Policy;
use toolscout_quality::{QualityView, Standing};

use crate::access::admit;
use crate::confidence::{Signs, judge};
use crate::evidence::{
    Alignment, Candidate, ConfidenceStage, DenseStage, Evidence, Fate, FusionStage, HeldTool, LexicalStage,
    MAX_CANDIDATES, MAX_TERMS, Part, Side, StepStage,
};
use crate::features::{Features, Group, action, length, name_told};
use crate::fuse::Fused;
use crate::gather::{Gathered, gather};
use crate::options::{Fusion, SelectorOptions};
use crate::ranker::weights;
use crate::reliability::weigh;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Query {
    /// The task, in the words of whoever asks, or as [`crate::read`] read them.
    pub text: String,
    /// What was read otherwise than it was typed.
    pub slips: Vec<Slip>,
    /// Its vector; without one only words are searched.
    pub vector: Option<Arc<[f32]>>,
    /// The vectors of its tokens, from the same pass; without them steps are searched by words, and no words are compared one
    /// by one.
    pub tokens: Option<Arc<TokenVectors>>,
    /// How many tools at most.
    pub limit: usize,
    /// How many tools are kept for a second opinion, if that is more than `limit`: [`crate::settle`] cuts them to the limit.
    pub shortlist: usize,
    /// Only tools of these upstreams; none is all.
    pub upstreams: Vec<UpstreamId>,
    /// Only tools with any of these tags; none is all.
    pub tags: Vec<String>,
    /// Only tools that do no more than this.
    pub max_side_effect: Option<SideEffect>,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            text: String::new(),
            slips: Vec::new(),
            vector: None,
            tokens: None,
            limit: 5,
            shortlist: 0,
            upstreams: Vec::new(),
            tags: Vec::new(),
            max_side_effect: None,
        }
    }
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The generation it was made from.
    pub generation: Generation,
    /// What the index could answer with.
    pub index_state: IndexState,
    /// How likely it is that the first tool is right, 0 to 1.
    pub confidence: f64,
    /// The tools, best first. Empty when nothing fits.
    pub tools: Vec<Selected>,
    /// Set when nothing fits.
    pub no_match: Option<NoMatch>,
    /// What the caller was not shown.
    pub withheld: Withheld,
    /// Why it came out so.
    pub evidence: Evidence,
}

/// One tool of the answer.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The tool.
    pub card: Arc<ToolCard>,
    /// How good a match, 0 to 1: the first tool's is the confidence, the others' in proportion.
    pub score: Score,
    /// How reliable it has been lately, 0 to 1.
    pub quality: f64,
    /// Callers often get its arguments wrong: whoever finds it should read more of it before a call.
    pub misleads: bool,
    /// The same tool on other upstreams that the caller may see, sorted.
    pub variants: Vec<ToolId>,
}

/// Nothing fits, and what came closest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoMatch {
    /// Why.
    pub reason: NoMatchReason,
    /// The nearest tools that the caller may see, nearest first, at most three.
    pub nearest: Vec<ToolId>,
}

/// Why nothing fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoMatchReason {
    /// The catalog is empty.
    NothingIndexed,
    /// The caller's own filters leave no tool.
    FiltersLeaveNothing,
    /// Policy lets this caller see none of the tools that the filters leave.
    NothingPermitted,
    /// Every tool that filters and policy leave is in quarantine, its server is down, or what it says of itself is withheld.
    NothingWorks,
    /// Not one word of the query is known, and there is no meaning to go by.
    NoWordMatches,
    /// Tools were compared, and none is near enough.
    NothingNear,
}

impl NoMatchReason {
    /// One clause for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NothingIndexed => "no tools are indexed yet",
            Self::FiltersLeaveNothing => "no tool passes the filters",
            Self::NothingPermitted => "policy permits none of the tools that pass the filters",
            Self::NothingWorks => "every tool that passes the filters and policy is out of order or withheld",
            Self::NoWordMatches => "no tool shares a word with the query",
            Self::NothingNear => "no tool is near enough to the query",
        }
    }
}

/// Tools that pass the caller's filters and are not shown to it: how many, and why. Which, only of those that it may see and
/// that would fit if they worked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withheld {
    /// How many.
    pub count: u64,
    /// Kind of reason → how many.
    pub reasons: BTreeMap<String, u64>,
    /// Tools out of order that fit no worse than the last one shown and half as well as the first, the best first, at most three; and what can stand in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<HeldTool>,
}

/// Reads a query: slips of the keyboard are mended, so that words and meaning are searched for what was meant. For a query that
/// is going to be embedded, before it is. `knows`: whether the model knows a word, in small letters.
pub fn read(
    snapshot: &Snapshot,
    quality: &QualityView,
    policy: &Policy,
    caller: &Caller,
    query: &Query,
    knows: &dyn Fn(&str) -> bool,
) -> Option<Query> {
    let slips = snapshot.slips(&query.text, knows, || admit(snapshot, quality, policy, caller, query).0);
    (!slips.is_empty()).then(|| Query { text: mended(&query.text, &slips), slips, ..query.clone() })
}

/// Selects with the default options.
pub fn select(
    snapshot: &Snapshot,
    quality: &QualityView,
    policy: &Policy,
    caller: &Caller,
    query: &Query,
) -> Selection {
    select_with(snapshot, quality, policy, caller, query, &SelectorOptions::default())
}

/// The same, every knob in hand.
pub fn select_with(
    snapshot: &Snapshot,
    quality: &QualityView,
    policy: &Policy,
    caller: &Caller,
    query: &Query,
    options: &SelectorOptions,
) -> Selection {
    let (allow, mut access) = admit(snapshot, quality, policy, caller, query);
    let gathered = gather(snapshot, &allow, query, options);

    let n_detailed = gathered.fused.len().min(query.limit + DETAILED_BEYOND_LIMIT).min(MAX_CANDIDATES);
    let first_docs = |fused: &[Fused]| -> Vec<DocIdx> { fused[..n_detailed].iter().map(|one| one.doc).collect() };
    // How sure the match is has nothing to do with how well its tool works.
    let docs = first_docs(&gathered.fused);
    let signs = signs(snapshot, query, &gathered, &docs, options.fusion == Fusion::Learned);
    let Gathered { run, words, near, by, mut fused, mut fusion, tokens, late, steps, .. } = gathered;
    let learned = weights(by.is_some(), tokens.n_candidates > 0);
    let confidence = match fused.first() {
        Some(_) => judge(signs, &learned.confidence, options.abstain),
        None => ConfidenceStage { threshold: options.abstain.below, ..ConfidenceStage::default() },
    };
    let n_kept = query.limit.max(query.shortlist);
    weigh(&mut fused, snapshot, quality, n_kept, options.quality);
    fusion.quality = if quality.is_blank() { 0.0 } else { options.quality };
    let mut details = run.details(&first_docs(&fused));
    let fits = !fused.is_empty() && confidence.confidence >= confidence.threshold;
    // Scores are shown in proportion to the first, and the first as likely as it is to be right.
    fusion.scale = match fused.first() {
        Some(first) if first.score() > 0.0 => confidence.confidence / first.score(),
        _ => 1.0,
    };

    let mut shown: Vec<&Fused> = Vec::new();
    let mut tools: Vec<Selected> = Vec::with_capacity(n_kept.min(fused.len()));
    let mut candidates = Vec::with_capacity(fused.len().min(MAX_CANDIDATES));
    for (one, rank) in fused.iter().zip(1u32..) {
        let card = snapshot.card(one.doc);
        let fate = if fits { place(snapshot, &allow, card, &tools, n_kept, options) } else { Fate::NothingFits };
        let parts: Vec<Part> = Group::ALL
            .into_iter()
            .zip(one.parts)
            .filter(|(_, value)| *value != 0.0)
            .map(|(group, value)| Part { name: group.as_str().into(), value: value * fusion.scale })
            .collect();
        let score = Score::new(parts.iter().map(|part| part.value).sum());
        if fate == Fate::Selected {
            shown.push(one);
            tools.push(Selected {
                card: card.clone(),
                score,
                quality: quality.score(&card.id),
                misleads: quality.misleads(&card.id),
                variants: if options.families { variants(snapshot, &allow, card) } else { Vec::new() },
            });
        }
        if candidates.len() < MAX_CANDIDATES {
            let mut terms =
                details.get_mut(rank as usize - 1).map(|d| std::mem::take(&mut d.terms)).unwrap_or_default();
            let terms_rest = terms.iter().skip(MAX_TERMS).map(|term| term.contribution).sum();
            terms.truncate(MAX_TERMS);
            candidates.push(Candidate {
                rank,
                id: card.id.clone(),
                score,
                parts,
                lexical: (one.lexical > 0.0).then_some(Side { rank: one.lexical_rank, score: one.lexical }),
                dense: one.cosine.map(|score| Side { rank: one.dense_rank, score }),
                tokens: one.tokens(),
                alignments: late
                    .as_ref()
                    .filter(|_| rank as usize <= n_detailed)
                    .map_or_else(Vec::new, |late| alignments(snapshot, late, one)),
                terms,
                terms_rest,
                misleads: quality.misleads(&card.id),
                fate,
            });
        }
        let done = tools.len() >= n_kept && candidates.len() >= MAX_CANDIDATES;
        if done || (!fits && candidates.len() >= MAX_CANDIDATES) {
            break;
        }
    }

    let offered = if access.held.is_empty() {
        Vec::new()
    } else {
        let asked = Asked { snapshot, allow: &allow, query, fusion: &fusion };
        offers(&asked, &shown, quality, &mut access.held)
    };
    let no_match = (!fits).then(|| NoMatch {
        reason: match () {
            () if access.n_tools == 0 => NoMatchReason::NothingIndexed,
            () if access.n_in_filters == 0 => NoMatchReason::FiltersLeaveNothing,
            () if access.n_allowed == 0 && !access.held.is_empty() => NoMatchReason::NothingWorks,
            () if access.n_allowed == 0 => NoMatchReason::NothingPermitted,
            () if fused.is_empty() => NoMatchReason::NoWordMatches,
            () => NoMatchReason::NothingNear,
        },
        nearest: candidates.iter().take(MAX_NEAREST).map(|candidate| candidate.id.clone()).collect(),
    });
    let evidence = Evidence {
        generation: snapshot.generation(),
        index: snapshot.progress().clone(),
        slips: query.slips.clone(),
        lexical: LexicalStage {
            terms: run.query_terms().map(|(term, idf)| (term.to_string(), idf)).collect(),
            n_matched: run.n_found() as u64,
            n_candidates: words.len() as u64,
        },
        dense: DenseStage { by, n_candidates: near.len() as u64 },
        tokens,
        steps: steps
            .into_iter()
            .map(|step| StepStage {
                start: step.part.start,
                end: step.part.end,
                best: step.best.map(|doc| snapshot.card(doc).id.clone()),
            })
            .collect(),
        fusion,
        confidence,
        second: None,
        limit: query.limit,
        budget: None,
        n_more_candidates: (fused.len() - candidates.len()) as u64,
        candidates,
        access,
    };
    Selection {
        generation: snapshot.generation(),
        index_state: snapshot.state(),
        confidence: evidence.confidence.confidence,
        tools,
        no_match,
        withheld: Withheld {
            count: evidence.access.denied.values().sum(),
            reasons: evidence.access.denied.clone(),
            tools: offered,
        },
        evidence,
    }
}

/// What the ranker and the judge of confidence see, for training them. `models/ranker/fit.py` reads it from
/// `toolscout eval run --features`.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Every candidate with its features, in the order of [`crate::FEATURES`].
    pub candidates: Vec<(ToolId, Vec<f64>)>,
    /// The signs of confidence, as they are with the ranker as it is.
    pub signs: Vec<f64>,
}

/// Traces a selection.
pub fn trace(snapshot: &Snapshot, policy: &Policy, caller: &Caller, query: &Query, options: &SelectorOptions) -> Trace {
    let (allow, _) = admit(snapshot, &QualityView::default(), policy, caller, query);
    let gathered = gather(snapshot, &allow, query, options);
    let docs: Vec<DocIdx> =
        gathered.fused.iter().take(query.limit + DETAILED_BEYOND_LIMIT).map(|one| one.doc).collect();
    let signs = signs(snapshot, query, &gathered, &docs, options.fusion == Fusion::Learned).to_array().to_vec();
    let candidate = |(doc, features): (DocIdx, Features)| (snapshot.card(doc).id.clone(), features.to_array().to_vec());
    Trace { candidates: gathered.seen.0.into_iter().zip(gathered.seen.1).map(candidate).collect(), signs }
}

/// What [`offers`] goes by.
struct Asked<'a> {
    snapshot: &'a Snapshot,
    allow: &'a Allow,
    query: &'a Query,
    fusion: &'a FusionStage,
}

impl Asked<'_> {
    /// How near a tool is in meaning that was no candidate, by the candidates' measure: 1 like the nearest of them.
    fn meaning(&self, doc: DocIdx, vector: &[f32]) -> f64 {
        let FusionStage { cosine_low, cosine_high, .. } = *self.fusion;
        let cosine = self.snapshot.cosine(doc, vector).map_or(cosine_low, f64::from);
        // Nothing to compare with when nothing works: then the nearer is the better all the same.
        if cosine_high > cosine_low { (cosine - cosine_low) / (cosine_high - cosine_low) } else { cosine }
    }

    /// How well each of some tools fits that were no candidates: by meaning alone, which costs next to nothing where a second
    /// search by words costs every query a tenth; without a vector by words.
    fn fitness(&self, docs: &[DocIdx]) -> Vec<f64> {
        if let Some(vector) = self.query.vector.as_deref() {
            return docs.iter().map(|doc| self.meaning(*doc, vector)).collect();
        }
        let allow = Allow::Only(docs.iter().copied().collect::<DocSet>());
        let run = self.snapshot.lexical_run(&self.query.text, &allow, &LexicalOptions::default());
        let high = self.fusion.lexical_high.max(f64::MIN_POSITIVE);
        docs.iter().map(|doc| run.score(*doc) / high).collect()
    }
}

/// The tools out of order that fit no worse than the last of those shown and half as well as the first, best first, with what
/// can stand in for each; written into `held`, too.
fn offers(asked: &Asked<'_>, shown: &[&Fused], quality: &QualityView, held: &mut [HeldTool]) -> Vec<HeldTool> {
    let view = asked.snapshot.view();
    // One that is withheld for what it says of itself works; but nobody should look for it.
    let out_of_order = held.iter_mut().filter(|one| !view.is_silenced(&one.id));
    let out_of_order = out_of_order.filter_map(|one| Some((view.position(&one.id)? as DocIdx, one)));
    let (docs, tools): (Vec<DocIdx>, Vec<&mut HeldTool>) = out_of_order.unzip();
    let by_meaning = asked.query.vector.is_some();
    let fits = |one: &&Fused| if by_meaning { one.meaning } else { one.words };
    let (low, high) =
        shown.iter().map(fits).fold((f64::INFINITY, 0.0_f64), |(low, high), fits| (low.min(fits), high.max(fits)));
    // In a small catalog the last one shown fits nothing.
    let least = if shown.is_empty() { 0.0 } else { low.max(high / 2.0) };
    let mut fit: Vec<(f64, &mut HeldTool)> = asked
        .fitness(&docs)
        .into_iter()
        .zip(tools)
        .filter(|(fitness, _)| *fitness > 0.0 && *fitness >= least)
        .collect();
    fit.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.id.cmp(&b.1.id)));
    fit.truncate(MAX_OFFERED);
    // One that is on trial is found, but nobody is sent there.
    let works = |id: &&ToolId| {
        view.position(id).is_some_and(|doc| asked.allow.contains(doc as DocIdx))
            && matches!(quality.standing(id), Standing::Open)
    };
    let with_instead = |(_, one): (f64, &mut HeldTool)| {
        one.instead = view.stand_ins(&one.id).filter(works).take(MAX_INSTEAD).cloned().collect();
        one.clone()
    };
    fit.into_iter().map(with_instead).collect()
}

/// Tools out of order that are named.
const MAX_OFFERED: usize = 3;
/// Tools named that can stand in for one.
const MAX_INSTEAD: usize = 3;

/// What confidence is judged by. `docs` are the first of `fused`.
fn signs(snapshot: &Snapshot, query: &Query, gathered: &Gathered, docs: &[DocIdx], is_learned: bool) -> Signs {
    let Gathered { run, near, fused, late, .. } = gathered;
    let matches = run.matches(docs);
    let first = fused.first().zip(matches.first());
    let ceiling = run.ceiling().max(f64::MIN_POSITIVE);
    let found = late.as_ref().zip(first.and_then(|(one, _)| one.late.as_ref()));
    let of_late =
        |part: fn(&LateQuery, &LateMatch) -> f32| found.map_or(0.0, |(late, found)| f64::from(part(late, found)));
    let (first_action, first_worse_action) = first.map_or((0.0, 0.0), |(one, _)| {
        action(toolscout_catalog::intent(&query.text), snapshot.card(one.doc).side_effect)
    });
    Signs {
        best_cosine: near.first().map(|hit| f64::from(hit.cosine)),
        best_tokens: fused.iter().filter_map(Fused::tokens).reduce(f64::max),
        best_coverage: matches.iter().map(|found| found.coverage).fold(0.0, f64::max),
        first_words: first.map_or(0.0, |(one, _)| one.lexical / ceiling),
        first_name: first.map_or(0.0, |(one, found)| name_told(found, snapshot.card(one.doc))),
        unknown_words: run.unknown(),
        length: length(run),
        // Points of another method are no measure: then an ordinary lead is taken for granted.
        lead: if is_learned { lead(fused) } else { ORDINARY_LEAD },
        first_cosine: first.and_then(|(one, _)| one.cosine).unwrap_or(0.0),
        first_tokens: of_late(|_, found| found.score),
        first_content: of_late(|_, found| found.content),
        first_weakest: of_late(|query, found| query.weakest(found).unwrap_or(found.content)),
        first_name_told: of_late(|_, found| found.name),
        first_action,
        first_worse_action,
    }
}

/// How far the first stands before the sixth, or the last of fewer.
fn lead(fused: &[Fused]) -> f64 {
    let behind = fused.get(5).or(fused.last());
    fused.first().zip(behind).map_or(0.0, |(first, behind)| (first.score() - behind.score()) / 5.0)
}

/// The middle of what was measured over the open sets.
const ORDINARY_LEAD: f64 = 0.5;

/// What late interaction found, worked out now for a candidate that was not among the best before ranking.
fn found_by_tokens<'a>(snapshot: &Snapshot, late: &LateQuery, one: &'a Fused) -> Option<Cow<'a, LateMatch>> {
    one.late.as_ref().map(Cow::Borrowed).or_else(|| snapshot.late(one.doc, late).map(Cow::Owned))
}

/// The words of query and card that are nearest to each other, best first.
fn alignments(snapshot: &Snapshot, late: &LateQuery, one: &Fused) -> Vec<Alignment> {
    let Some(found) = found_by_tokens(snapshot, late, one) else { return Vec::new() };
    let card: Vec<&str> = snapshot.late_words(one.doc).collect();
    let query: Vec<&str> = late.words().collect();
    let mut pairs: Vec<(usize, usize, f32)> = late
        .content()
        .filter_map(|at| {
            let (token, cosine) = *found.best.get(at)?;
            Some((at, usize::from(token), cosine)).filter(|(_, token, _)| *token < card.len())
        })
        .collect();
    pairs.sort_by(|a, b| b.2.total_cmp(&a.2));
    let mut shown: Vec<Alignment> = Vec::new();
    for (at, token, cosine) in pairs {
        let (query, card) = (whole_word(&query, at), whole_word(&card, token));
        // The pieces of one word often find those of one other.
        if shown.iter().all(|one| (&one.query, &one.card) != (&query, &card)) {
            shown.push(Alignment { query, card, cosine });
        }
        if shown.len() == MAX_ALIGNMENTS {
            break;
        }
    }
    shown
}

/// Pairs of words written down per candidate.
const MAX_ALIGNMENTS: usize = 6;
/// Candidates behind the limit whose matched words are written down too: those a "why not" asks about first.
const DETAILED_BEYOND_LIMIT: usize = 10;
/// Tools named when nothing fits.
const MAX_NEAREST: usize = 3;

/// What becomes of the next candidate, given those already selected.
fn place(
    snapshot: &Snapshot,
    allow: &Allow,
    card: &Arc<ToolCard>,
    tools: &[Selected],
    limit: usize,
    options: &SelectorOptions,
) -> Fate {
    if options.families
        && let Some(family) = snapshot.view().family_of(&card.id)
        && let Some(shown) = tools.iter().find(|shown| family.tools.contains(&shown.card.id))
    {
        debug_assert!(variants(snapshot, allow, &shown.card).contains(&card.id), "a candidate is an allowed variant");
        return Fate::SameAs { id: shown.card.id.clone() };
    }
    if tools.len() < limit { Fate::Selected } else { Fate::BelowLimit }
}

/// The other members of a tool's family, without those that the caller may not see.
fn variants(snapshot: &Snapshot, allow: &Allow, card: &ToolCard) -> Vec<ToolId> {
    let Some(family) = snapshot.view().family_of(&card.id) else { return Vec::new() };
    let allowed =
        |id: &&ToolId| **id != card.id && snapshot.view().position(id).is_some_and(|doc| allow.contains(doc as DocIdx));
    family.tools.iter().filter(allowed).cloned().collect()
}
