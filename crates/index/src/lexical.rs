//! Words: a BM25F search over tantivy's postings.
//!
//! tantivy keeps the inverted index: it analyses, compresses, commits, merges and survives kills. Scoring is ours, because
//! tantivy's own BM25 knows one field at a time, has fixed constants, and counts deleted documents until they are merged
//! away, so that the same catalog would rank differently depending on its history.
//!
//! ```text
//! tf'(t, d) = Σ over fields f   boost(f) · tf(t, f, d) / (1 − b + b · len(f, d) / avg len(f))
//! score(d)  = Σ over terms t    idf(t) · tf'(t, d) · (k1 + 1) / (k1 + tf'(t, d))
//! idf(t)    = ln(1 + (N − df + ½) / (df + ½)),  df = documents that have t in any field
//! ```
//! (BM25F: Robertson, Zaragoza, Taylor 2004. Saturation comes after adding up the fields: a word in name *and* description
//! counts as one strong sign, not as two.) A field's share of a term's contribution is its share of tf'.
//!
//! A word that no document has is looked up as the terms spelled almost like it: together they count as one term, whose idf is
//! that of having any of them, at a weight below 1. A query of another language is looked up in the [`glossary`] besides.

use std::cell::RefCell;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use tantivy::fieldnorm::FieldNormReader;
use tantivy::postings::{Postings as _, TermInfo};
use tantivy::schema::{FAST, Field, INDEXED, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use tantivy::{DocSet as _, InvertedIndexReader, Searcher, TERMINATED, TantivyDocument, Term};
use toolscout_core::ToolCard;

use crate::allow::{Allow, DocIdx, DocSet};
use crate::analyser::{Analyser, QueryWord};
use crate::glossary;
use crate::slips::{self, Doubtful, Slip};
use crate::spelling::{Near, Vocabulary};

/// The searched fields of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LexField {
    /// The tool's own name.
    Name,
    /// Its title.
    Title,
    /// The id of its upstream.
    Upstream,
    /// The whole description.
    Description,
    /// Names of parameters.
    Params,
    /// What the schema says about parameters, and the values they may take.
    ParamTexts,
    /// Tags.
    Tags,
    /// Hints and "when to use" of the card.
    Hints,
}

impl LexField {
    /// All of them, in the order of [`LexicalOptions::boosts`].
    pub const ALL: [Self; N_FIELDS] = [
        Self::Name,
        Self::Title,
        Self::Upstream,
        Self::Description,
        Self::Params,
        Self::ParamTexts,
        Self::Tags,
        Self::Hints,
    ];

    /// The name in evidence and in the index's schema.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Title => "title",
            Self::Upstream => "upstream",
            Self::Description => "description",
            Self::Params => "params",
            Self::ParamTexts => "param_texts",
            Self::Tags => "tags",
            Self::Hints => "hints",
        }
    }
}

/// How many fields there are.
pub const N_FIELDS: usize = 8;

/// How word matches are weighed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LexicalOptions {
    /// Weight per field, in the order of [`LexField::ALL`]. A field of weight 0 is not searched.
    pub boosts: [f64; N_FIELDS],
    /// How soon repetition stops to count; 1.2 is usual.
    pub k1: f64,
    /// How much long fields are held against a card, 0 to 1; .75 is usual for prose.
    pub b: f64,
}

impl Default for LexicalOptions {
    fn default() -> Self {
        Self { boosts: [3.0, 1.5, 2.0, 1.5, 1.0, 0.5, 1.0, 1.5], k1: 1.2, b: 0.75 }
    }
}

/// A document that shares words with the query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LexicalHit {
    /// Which one.
    pub doc: DocIdx,
    /// Its BM25F score, above 0.
    pub score: f64,
}

/// What one term in one field added to a document's score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TermMatch {
    /// Where it was found.
    pub field: LexField,
    /// The term as indexed: folded and stemmed.
    pub term: Arc<str>,
    /// Its part of the score.
    pub contribution: f64,
}

/// Name of our analyser inside tantivy. Part of the index format: change it, and `FORMAT`, when terms change.
const TOKENIZER: &str = "toolscout";

/// tantivy's schema and our fields in it.
#[derive(Clone)]
pub(crate) struct Fields {
    pub(crate) schema: Schema,
    /// Hash of all indexed text: says which document this is, without a table beside the index.
    pub(crate) key: Field,
    pub(crate) texts: [Field; N_FIELDS],
}

impl Fields {
    pub(crate) fn new() -> Self {
        let mut builder = Schema::builder();
        let key = builder.add_u64_field("key", INDEXED | FAST);
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(TOKENIZER)
            .set_index_option(IndexRecordOption::WithFreqs)
            .set_fieldnorms(true);
        let options = TextOptions::default().set_indexing_options(indexing);
        let texts = LexField::ALL.map(|field| builder.add_text_field(field.as_str(), options.clone()));
        Self { schema: builder.build(), key, texts }
    }

    pub(crate) fn document(&self, card: &ToolCard, key: u64) -> TantivyDocument {
        let mut document = TantivyDocument::new();
        document.add_u64(self.key, key);
        each_text(card, |field, text| document.add_text(self.texts[field as usize], text));
        document
    }
}

/// Every indexed text of a card with its field, in a fixed order.
pub(crate) fn each_text(card: &ToolCard, mut sink: impl FnMut(LexField, &str)) {
    sink(LexField::Name, card.id.name.as_str());
    // A title made from the name's words says nothing new, and would count the name twice.
    let derived = card.title.split_whitespace().map(str::to_lowercase).eq(card.words.iter().map(|w| w.to_lowercase()));
    if !derived {
        sink(LexField::Title, &card.title);
    }
    sink(LexField::Upstream, card.id.upstream.as_str());
    sink(LexField::Description, &card.description);
    for param in &card.params {
        sink(LexField::Params, &param.name);
        sink(LexField::ParamTexts, &param.description);
        param.enum_values.iter().for_each(|value| sink(LexField::ParamTexts, value));
    }
    card.tags.iter().for_each(|tag| sink(LexField::Tags, tag));
    card.hints.iter().chain(&card.when_to_use).for_each(|hint| sink(LexField::Hints, hint));
}

/// Makes our analyser known to an index.
pub(crate) fn register(index: &tantivy::Index) {
    index.tokenizers().register(TOKENIZER, CardTokenizer::default());
}

#[derive(Clone, Default)]
struct CardTokenizer {
    analyser: Analyser,
}

struct CardTokens {
    terms: std::vec::IntoIter<String>,
    token: Token,
}

impl Tokenizer for CardTokenizer {
    type TokenStream<'a> = CardTokens;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> CardTokens {
        // Position and offsets stay 0: only frequencies are indexed.
        CardTokens { terms: self.analyser.terms(text).into_iter(), token: Token::default() }
    }
}

impl TokenStream for CardTokens {
    fn advance(&mut self) -> bool {
        let next = self.terms.next();
        let more = next.is_some();
        if let Some(term) = next {
            self.token.text = term;
            // Wraps from the initial `usize::MAX` to 0, as tantivy expects.
            self.token.position = self.token.position.wrapping_add(1);
        }
        more
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

/// One state of the inverted index, seen through one view of the catalog.
pub(crate) struct LexicalSnapshot {
    fields: Fields,
    /// Holds the files open while anyone searches.
    _searcher: Searcher,
    segments: Vec<SegmentView>,
    n_docs: usize,
    avg_len: [f64; N_FIELDS],
    /// Made when the first word is unknown: most snapshots of a catalog that changes often never need it.
    vocabulary: OnceLock<Vocabulary>,
}

struct SegmentView {
    /// tantivy's document → our position, or [`NONE`] where it is deleted or unknown to the view.
    positions: Vec<DocIdx>,
    inverted: Vec<Arc<InvertedIndexReader>>,
    norms: Vec<FieldNormReader>,
}

const NONE: DocIdx = DocIdx::MAX;

impl LexicalSnapshot {
    /// `position_of` tells where the document with a key stands in the view, if anywhere.
    pub(crate) fn new(
        fields: &Fields,
        searcher: Searcher,
        n_docs: usize,
        position_of: impl Fn(u64) -> Option<DocIdx>,
    ) -> tantivy::Result<Self> {
        let mut segments = Vec::with_capacity(searcher.segment_readers().len());
        let mut total_len = [0u64; N_FIELDS];
        for reader in searcher.segment_readers() {
            let keys = reader.fast_fields().u64("key")?;
            let alive = reader.alive_bitset();
            let positions: Vec<DocIdx> = (0..reader.max_doc())
                .map(|doc| {
                    let deleted = alive.is_some_and(|alive| alive.is_deleted(doc));
                    let key = if deleted { None } else { keys.first(doc) };
                    key.and_then(&position_of).unwrap_or(NONE)
                })
                .collect();
            let inverted =
                fields.texts.iter().map(|&field| reader.inverted_index(field)).collect::<tantivy::Result<Vec<_>>>()?;
            let norms = fields
                .texts
                .iter()
                .map(|&field| reader.get_fieldnorms_reader(field))
                .collect::<tantivy::Result<Vec<_>>>()?;
            for (total, norm) in total_len.iter_mut().zip(&norms) {
                let docs = positions.iter().zip(0u32..).filter(|(position, _)| **position != NONE);
                *total += docs.map(|(_, doc)| u64::from(norm.fieldnorm(doc))).sum::<u64>();
            }
            segments.push(SegmentView { positions, inverted, norms });
        }
        let avg_len = total_len.map(|total| total as f64 / n_docs.max(1) as f64);
        Ok(Self { fields: fields.clone(), _searcher: searcher, segments, n_docs, avg_len, vocabulary: OnceLock::new() })
    }

    /// How many parts the index has.
    pub(crate) fn n_segments(&self) -> usize {
        self.segments.len()
    }

    /// Scores every allowed document that shares a term with the query.
    pub(crate) fn run(&self, text: &str, allow: &Allow, options: &LexicalOptions) -> LexicalRun {
        let mut scratch = SCRATCH.take();
        scratch.scores.resize(self.n_docs, 0.0);
        scratch.weights.resize(self.n_docs, 0.0);
        let (words, english) = ANALYSER.with_borrow_mut(|analyser| words_of(text, analyser));
        // len(f, d) comes as one byte: one table per field replaces a division per posting.
        let tables = self.length_tables(options);
        let mut run_terms = Vec::with_capacity(words.len());
        let mut n_mended = 0;
        for Sought { word, spent } in words {
            let first = scratch.postings.len();
            self.read_term(&word.term, options, &tables, &mut scratch);
            if spent && scratch.touched.is_empty() {
                continue;
            }
            let mut term = RunTerm::new(word.term.as_str().into(), first);
            if scratch.touched.is_empty() && !word.named && n_mended < MAX_MENDED {
                n_mended += 1;
                self.mend(&word, &mut term, allow, options, &tables, &mut scratch);
            }
            self.score_term(&mut term, allow, options, &mut scratch);
            run_terms.push(term);
        }
        for (shown, terms) in english {
            let mut term = RunTerm::new(shown.into(), scratch.postings.len());
            for found in terms {
                self.read_term(&found, options, &tables, &mut scratch);
                term.meant.push((found.into(), scratch.postings.len()));
            }
            self.score_term(&mut term, allow, options, &mut scratch);
            run_terms.push(term);
        }
        LexicalRun { terms: run_terms, k1: options.k1, scratch }
    }

    /// Adds what the documents read for a term gain by it to their scores.
    fn score_term(&self, term: &mut RunTerm, allow: &Allow, options: &LexicalOptions, scratch: &mut Scratch) {
        let df = scratch.touched.len() as f64;
        term.idf = (1.0 + (self.n_docs as f64 - df + 0.5).max(0.0) / (df + 0.5)).ln();
        term.postings.end = scratch.postings.len();
        for i in 0..scratch.touched.len() {
            let doc = scratch.touched[i];
            let tf = std::mem::take(&mut scratch.weights[doc as usize]);
            if allow.contains(doc) {
                let score = &mut scratch.scores[doc as usize];
                if *score == 0.0 {
                    scratch.found.push(doc);
                }
                *score += term.weight * term.idf * tf * (options.k1 + 1.0) / (options.k1 + tf);
            }
        }
        scratch.touched.clear();
    }

    /// Reads the terms that an unknown word may have been meant for. Terms that no allowed document has are passed over: that
    /// they exist is not for this caller to know.
    fn mend(
        &self,
        word: &QueryWord,
        term: &mut RunTerm,
        allow: &Allow,
        options: &LexicalOptions,
        tables: &[[f64; 256]; N_FIELDS],
        scratch: &mut Scratch,
    ) {
        let vocabulary = self.vocabulary.get_or_init(|| self.vocabulary());
        let near = ANALYSER.with_borrow_mut(|analyser| vocabulary.near(&word.word, &word.term, analyser));
        for Near { term: found, distance } in near.into_iter().take(MAX_TRIED) {
            let (first, n_touched) = (scratch.postings.len(), scratch.touched.len());
            self.read_term(found, options, tables, scratch);
            let allowed = scratch.postings[first..].iter().any(|posting| allow.contains(posting.doc));
            if !allowed {
                // What it added to documents touched before stays: those are not allowed either, and never scored.
                for doc in scratch.touched.drain(n_touched..) {
                    scratch.weights[doc as usize] = 0.0;
                }
                scratch.postings.truncate(first);
                continue;
            }
            term.weight = if distance > 1 { TWO_SLIPS } else { ONE_SLIP };
            term.meant.push((found.into(), scratch.postings.len()));
            if term.meant.len() == MAX_MEANT {
                break;
            }
        }
        if !term.meant.is_empty() {
            let meant: Vec<&str> = term.meant.iter().map(|(found, _)| &**found).collect();
            term.shown = format!("{}~{}", term.shown, meant.join("|")).into();
        }
    }

    /// The slips in a query: see [`crate::slips`].
    pub(crate) fn slips(&self, text: &str, knows: &dyn Fn(&str) -> bool, allow: impl FnOnce() -> Allow) -> Vec<Slip> {
        let mut doubtful = slips::doubtful(text, knows);
        if doubtful.is_empty() {
            return Vec::new();
        }
        ANALYSER.with_borrow_mut(|analyser| {
            doubtful.retain(|one| one.lacks_e(knows) || !self.has_term(&analyser.stem(&one.lower), &Allow::All));
            if doubtful.is_empty() {
                return Vec::new();
            }
            let (allow, vocabulary) = (allow(), self.vocabulary.get_or_init(|| self.vocabulary()));
            let mend = |one: Doubtful<'_>| {
                let slip = |read| Slip { start: one.start, typed: one.word.to_owned(), read };
                let stem = analyser.stem(&one.lower);
                if one.lacks_e(knows) && self.has_term(&stem, &allow) {
                    return Some(slip(format!("{}e", one.lower)));
                }
                let near = vocabulary.near(&one.lower, &stem, analyser).into_iter().take(MAX_TRIED);
                let mut allowed = near.filter(|near| self.has_term(near.term, &allow));
                let read = allowed.find_map(|near| {
                    let meant = near.meant(&one.lower, knows, analyser);
                    one.may_mean(&meant, near.distance).then_some(meant)
                })?;
                Some(slip(read))
            };
            doubtful.into_iter().filter_map(mend).collect()
        })
    }

    /// Whether any allowed document has a term.
    fn has_term(&self, term: &str, allow: &Allow) -> bool {
        self.fields.texts.iter().enumerate().any(|(i, &field)| {
            let term = Term::from_field_text(field, term);
            self.segments.iter().any(|segment| {
                let postings = segment.inverted[i].read_postings(&term, IndexRecordOption::Basic);
                let Ok(Some(mut postings)) = postings else { return false };
                let mut doc = postings.doc();
                while doc != TERMINATED {
                    let position = segment.positions[doc as usize];
                    if position != NONE && allow.contains(position) {
                        return true;
                    }
                    doc = postings.advance();
                }
                false
            })
        })
    }

    /// The terms of all documents of the view, and in how many places each stands.
    fn vocabulary(&self) -> Vocabulary {
        let mut counted = Vec::new();
        for segment in &self.segments {
            let worn = segment.positions.contains(&NONE);
            for inverted in &segment.inverted {
                let Ok(mut terms) = inverted.terms().stream() else { continue };
                while let Some((key, info)) = terms.next() {
                    let Ok(term) = std::str::from_utf8(key) else { continue };
                    let n = if worn { alive(segment, inverted, info) } else { info.doc_freq };
                    counted.push((term.into(), n));
                }
            }
        }
        Vocabulary::new(counted)
    }

    fn length_tables(&self, options: &LexicalOptions) -> [[f64; 256]; N_FIELDS] {
        let mut tables = [[0.0; 256]; N_FIELDS];
        for (field, table) in tables.iter_mut().enumerate() {
            for (id, weight) in (0u8..=255).zip(table.iter_mut()) {
                let len = f64::from(FieldNormReader::id_to_fieldnorm(id));
                let relative = if self.avg_len[field] > 0.0 { len / self.avg_len[field] } else { 1.0 };
                *weight = options.boosts[field] / (1.0 - options.b + options.b * relative);
            }
        }
        tables
    }

    /// Adds up tf' of one term in `scratch.weights`, noting every posting that counts. A posting list that cannot be read
    /// (its file was checked at opening, so only a failing disk does that) counts as empty.
    fn read_term(&self, term: &str, options: &LexicalOptions, tables: &[[f64; 256]; N_FIELDS], scratch: &mut Scratch) {
        for (i, &field) in self.fields.texts.iter().enumerate() {
            if options.boosts[i] <= 0.0 {
                continue;
            }
            let term = Term::from_field_text(field, term);
            for segment in &self.segments {
                let postings = segment.inverted[i].read_postings(&term, IndexRecordOption::WithFreqs);
                let Ok(Some(mut postings)) = postings else { continue };
                let mut doc = postings.doc();
                while doc != TERMINATED {
                    let position = segment.positions[doc as usize];
                    if position != NONE {
                        let norm = segment.norms[i].fieldnorm_id(doc);
                        // Rounded here, so that what is noted adds up to what is scored.
                        let weight = (f64::from(postings.term_freq()) * tables[i][usize::from(norm)]) as f32;
                        let sum = &mut scratch.weights[position as usize];
                        if *sum == 0.0 {
                            scratch.touched.push(position);
                        }
                        *sum += f64::from(weight);
                        scratch.postings.push(Posting { doc: position, field: i as u8, weight });
                    }
                    doc = postings.advance();
                }
            }
        }
    }
}

/// A word of a query on its way to the index.
struct Sought {
    word: QueryWord,
    /// It is looked up in case a tool has it, and is not missed where none has: its English stands for it.
    spent: bool,
}

/// What one place of a query is in English: how it is shown, and terms any of which will do.
type English = (String, Vec<String>);

/// The words to look up for a query, and the English of one that is of another language.
fn words_of(text: &str, analyser: &mut Analyser) -> (Vec<Sought>, Vec<English>) {
    let mut words = analyser.query_words(text);
    let Some(reading) = glossary::read(text) else {
        return (words.into_iter().map(|word| Sought { word, spent: false }).collect(), Vec::new());
    };
    words.retain(|word| !reading.fillers.contains(word.word.as_str()));
    let mut seen: HashSet<String> = words.iter().map(|word| word.term.clone()).collect();
    let mut english = Vec::new();
    for glossed in &reading.glossed {
        // Words of a phrase must all be there; of single words any will do.
        let (phrases, any): (Vec<&str>, Vec<&str>) = glossed.english.iter().partition(|word| word.contains(' '));
        let places = phrases.iter().flat_map(|phrase| phrase.split(' ')).map(|word| vec![word]).chain([any]);
        for place in places {
            let mut terms: Vec<String> = place.iter().map(|word| analyser.stem(word)).collect();
            terms.retain(|term| seen.insert(term.clone()));
            if !terms.is_empty() && english.len() < MAX_ENGLISH {
                english.push((format!("{}→{}", glossed.from, place.join("|")), terms));
            }
        }
    }
    let has_english = !english.is_empty();
    let spent = |word: &QueryWord| {
        // Characters and pairs of them stand for no word each.
        let piece = reading.dense && word.word.is_empty();
        (piece && has_english) || reading.is_glossed(&word.word)
    };
    (words.into_iter().map(|word| Sought { spent: spent(&word), word }).collect(), english)
}

/// Most places of a query whose English is looked up.
const MAX_ENGLISH: usize = 32;

/// How many documents of the view stand behind a term of one segment.
fn alive(segment: &SegmentView, inverted: &InvertedIndexReader, info: &TermInfo) -> u32 {
    let Ok(mut postings) = inverted.read_postings_from_terminfo(info, IndexRecordOption::Basic) else { return 0 };
    let (mut n, mut doc) = (0, postings.doc());
    while doc != TERMINATED {
        n += u32::from(segment.positions[doc as usize] != NONE);
        doc = postings.advance();
    }
    n
}

/// Weight of a word with one slip, against one written rightly.
const ONE_SLIP: f64 = 0.7;
/// Weight of a word with two.
const TWO_SLIPS: f64 = 0.5;
/// Most unknown words of a query that are looked up this way: a text of another language has many.
const MAX_MENDED: usize = 16;
/// Most terms that one unknown word is taken for.
const MAX_MEANT: usize = 3;
/// Most terms looked at for it.
const MAX_TRIED: usize = 12;

/// What one query found, with everything needed to say why. Lives as long as one selection.
pub struct LexicalRun {
    terms: Vec<RunTerm>,
    k1: f64,
    scratch: Scratch,
}

struct RunTerm {
    /// As typed, and behind it what it was taken for.
    shown: Arc<str>,
    /// How rare it is.
    idf: f64,
    /// What a match counts, 0 to 1: less than 1 where the word was taken for another.
    weight: f64,
    /// Its postings, term by term where it was taken for several.
    postings: Range<usize>,
    /// The terms it was taken for, and where the postings of each end. Empty for a term that stands as typed.
    meant: Vec<(Arc<str>, usize)>,
}

impl RunTerm {
    fn new(term: Arc<str>, first: usize) -> Self {
        Self { shown: term, idf: 0.0, weight: 1.0, postings: first..first, meant: Vec::new() }
    }

    /// The terms that were looked up, each with its postings.
    fn found(&self) -> impl Iterator<Item = (&Arc<str>, Range<usize>)> {
        let whole = self.meant.is_empty().then(|| (&self.shown, self.postings.clone()));
        let mut first = self.postings.start;
        let parts = self.meant.iter().map(move |(term, end)| (term, std::mem::replace(&mut first, *end)..*end));
        whole.into_iter().chain(parts)
    }
}

#[derive(Clone, Copy)]
struct Posting {
    doc: DocIdx,
    field: u8,
    weight: f32,
}

impl LexicalRun {
    pub(crate) fn empty() -> Self {
        Self { terms: Vec::new(), k1: 0.0, scratch: Scratch::default() }
    }

    /// The best `k`, best first; among equals the one that comes first in the view, that is by tool id.
    pub fn top(&self, k: usize) -> Vec<LexicalHit> {
        let hit = |&doc: &DocIdx| LexicalHit { doc, score: self.scratch.scores[doc as usize] };
        let mut hits: Vec<LexicalHit> = self.scratch.found.iter().map(hit).collect();
        let order = |a: &LexicalHit, b: &LexicalHit| b.score.total_cmp(&a.score).then(a.doc.cmp(&b.doc));
        if k < hits.len() {
            if k > 0 {
                hits.select_nth_unstable_by(k - 1, order);
            }
            hits.truncate(k);
        }
        hits.sort_unstable_by(order);
        hits
    }

    /// The score of any allowed document; 0 where it shares no term with the query.
    pub fn score(&self, doc: DocIdx) -> f64 {
        self.scratch.scores.get(doc as usize).copied().unwrap_or(0.0)
    }

    /// How many allowed documents share a term with the query.
    pub fn n_found(&self) -> usize {
        self.scratch.found.len()
    }

    /// The terms looked up and how rare each is: (term, idf), in the query's order. A word that no document has shows what it
    /// was taken for: `brnach~branch`; a word of another language shows its English: `datei→file`.
    pub fn query_terms(&self) -> impl Iterator<Item = (&Arc<str>, f64)> {
        self.terms.iter().map(|term| (&term.shown, term.idf))
    }

    /// How much of the query these documents have, and where: one pass over the postings for all of them.
    pub fn matches(&self, docs: &[DocIdx]) -> Vec<WordMatch> {
        let wanted: DocSet = docs.iter().copied().collect();
        let mut sorted: Vec<(DocIdx, WordMatch, [usize; 3])> =
            docs.iter().map(|&doc| (doc, WordMatch::default(), [usize::MAX; 3])).collect();
        sorted.sort_unstable_by_key(|(doc, ..)| *doc);
        sorted.dedup_by_key(|(doc, ..)| *doc);
        let total_idf: f64 = self.terms.iter().map(|term| term.idf).sum();
        for (at, term) in self.terms.iter().enumerate() {
            let share = term.weight * term.idf / total_idf;
            for posting in &self.scratch.postings[term.postings.clone()] {
                if !wanted.contains(posting.doc) {
                    continue;
                }
                let Ok(slot) = sorted.binary_search_by_key(&posting.doc, |(doc, ..)| *doc) else { continue };
                // Each term counts once per place, whatever the number of its postings.
                let (_, found, last) = &mut sorted[slot];
                let mut once = |place: usize| std::mem::replace(&mut last[place], at) != at;
                if once(0) {
                    found.coverage += share;
                }
                match LexField::ALL[usize::from(posting.field)] {
                    LexField::Name | LexField::Title if once(1) => {
                        found.name += share;
                        found.n_name += 1;
                    }
                    LexField::Upstream if once(2) => found.upstream += share,
                    _ => {}
                }
            }
        }
        let at = |doc: &DocIdx| sorted.binary_search_by_key(doc, |(doc, ..)| *doc).unwrap_or_default();
        docs.iter().map(|doc| sorted[at(doc)].1).collect()
    }

    /// The highest score that any document could reach with these terms: every term saturated.
    pub fn ceiling(&self) -> f64 {
        self.terms.iter().map(|term| term.idf * (self.k1 + 1.0)).sum()
    }

    /// How many terms were looked up.
    pub fn n_terms(&self) -> usize {
        self.terms.len()
    }

    /// The share of the query's weight (idf) that no document has. A word that was taken for another is known by its weight.
    pub fn unknown(&self) -> f64 {
        let total: f64 = self.terms.iter().map(|term| term.idf).sum();
        let missing = |term: &RunTerm| if term.postings.is_empty() { term.idf } else { (1.0 - term.weight) * term.idf };
        if total > 0.0 { self.terms.iter().map(missing).sum::<f64>() / total } else { 1.0 }
    }

    /// Why these documents scored: one pass over the postings for all of them. Duplicates are answered twice.
    pub fn details(&self, docs: &[DocIdx]) -> Vec<MatchDetails> {
        let wanted: DocSet = docs.iter().copied().collect();
        let mut sorted = docs.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let slot = |doc: DocIdx| sorted.binary_search(&doc).unwrap_or_default();
        let mut details = vec![MatchDetails::default(); sorted.len()];
        let mut weights = vec![[0.0f64; N_FIELDS]; sorted.len()];
        let total_idf: f64 = self.terms.iter().map(|term| term.idf).sum();
        let mut n_before = vec![0; sorted.len()];
        for term in &self.terms {
            for (n, detail) in n_before.iter_mut().zip(&details) {
                *n = detail.terms.len();
            }
            for (found, postings) in term.found() {
                for posting in &self.scratch.postings[postings] {
                    if wanted.contains(posting.doc) {
                        weights[slot(posting.doc)][usize::from(posting.field)] += f64::from(posting.weight);
                    }
                }
                for (detail, weights) in details.iter_mut().zip(&mut weights) {
                    let weights = LexField::ALL.into_iter().zip(std::mem::take(weights));
                    detail.terms.extend(weights.filter(|(_, weight)| *weight > 0.0).map(|(field, weight)| TermMatch {
                        field,
                        term: found.clone(),
                        contribution: weight,
                    }));
                }
            }
            for (detail, &n) in details.iter_mut().zip(&n_before) {
                let matches = &mut detail.terms[n..];
                let tf: f64 = matches.iter().map(|found| found.contribution).sum();
                if tf > 0.0 {
                    detail.coverage += term.weight * term.idf / total_idf;
                }
                let gain = term.weight * term.idf * (self.k1 + 1.0) / (self.k1 + tf);
                matches.iter_mut().for_each(|found| found.contribution *= gain);
            }
        }
        for detail in &mut details {
            detail.terms.sort_by(|a, b| {
                b.contribution.total_cmp(&a.contribution).then_with(|| (&a.term, a.field).cmp(&(&b.term, b.field)))
            });
        }
        docs.iter().map(|&doc| details[slot(doc)].clone()).collect()
    }
}

/// How much of a query a document has, as shares of the query's weight (idf), 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WordMatch {
    /// In any field.
    pub coverage: f64,
    /// In its name or title.
    pub name: f64,
    /// In the id of its upstream.
    pub upstream: f64,
    /// How many of the terms are in its name or title.
    pub n_name: u32,
}

/// Why a document scored on words.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MatchDetails {
    /// How much of the query's weight (idf) it has in any field, 0 to 1.
    pub coverage: f64,
    /// What each term in each field added, biggest first. Adds up to [`LexicalRun::score`].
    pub terms: Vec<TermMatch>,
}

impl Drop for LexicalRun {
    fn drop(&mut self) {
        let mut scratch = std::mem::take(&mut self.scratch);
        for &doc in &scratch.found {
            scratch.scores[doc as usize] = 0.0;
        }
        scratch.found.clear();
        scratch.postings.clear();
        let bounded = scratch.scores.len() <= MAX_SCRATCH && scratch.postings.capacity() <= 4 * MAX_SCRATCH;
        if bounded {
            // The thread may be ending: then there is nothing to give back to.
            let _ = SCRATCH.try_with(|slot| slot.replace(scratch));
        }
    }
}

/// Work space of one thread, all zero between queries, so that no query allocates by the size of the catalog.
#[derive(Default)]
struct Scratch {
    /// Score by document.
    scores: Vec<f64>,
    /// tf' of the term at hand, by document.
    weights: Vec<f64>,
    /// Documents of the term at hand.
    touched: Vec<DocIdx>,
    /// Documents with a score.
    found: Vec<DocIdx>,
    /// Every posting read, term by term.
    postings: Vec<Posting>,
}

/// Largest catalog whose work space is kept between queries.
const MAX_SCRATCH: usize = 1 << 18;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
    static ANALYSER: RefCell<Analyser> = RefCell::default();
}
