//! The thing under test, set up for one run: catalog and index in memory, the model, and arms that answer.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use toolscout_catalog::{Catalog, CatalogOptions, Overlays};
use toolscout_core::{Caller, Timestamp, ToolCard, ToolId};
use toolscout_embed::{Embed, EmbedOptions, Embedder, ModelSource, QueryEmbedder, QueryOptions};
use toolscout_index::{Allow, DenseMode, DocIdx, IndexHost, IndexOptions, IndexState};
use toolscout_policy::Policy;
use toolscout_quality::QualityView;
use toolscout_selector::{Query, Selection, SelectorOptions, select_with};
use toolscout_store::Store;

use crate::arm::Arm;
use crate::error::Error;
use crate::files::{QueryLine, ToolFile, ToolLine};
use crate::leak::{self, names_any};
use crate::peers::{Peer, PeerQuery, PeerTool};
use crate::report::{LatencyReport, PolicyReport, QueryReport, TopReport, rounded};
use crate::run::{Model, Progress, RunOptions};
use crate::stats::percentile;
use crate::tokens;
use crate::waiting::{Patience, embedded_of, wait_for_vectors};

/// How many tools an answer is priced with: as many as `search_tools` gives unless told otherwise.
pub(crate) const ANSWER_TOOLS: usize = 5;
/// How many queries are answered between two looks at the progress bar.
const REPORT_EVERY: usize = 16;

/// Catalog, index and model of one run.
pub(crate) struct Bench {
    index: Arc<IndexHost>,
    embedder: Option<QueryEmbedder>,
    model: Option<String>,
    /// From the selector's ids back to the file's.
    labels: HashMap<ToolId, String>,
    /// What the definition of each tool costs, by position in the index.
    definition_tokens: Vec<usize>,
    /// The tools as peers see them, by position in the index; empty if no peer is asked.
    peer_tools: Vec<PeerTool>,
    notes: Vec<String>,
}

/// A query with its vectors, and how long they took to make, in milliseconds.
pub(crate) struct Embedded {
    /// As typed.
    typed: Query,
    /// With slips of the keyboard mended, if it has any.
    read: Option<Query>,
    /// How long it took to look for them.
    reading: f64,
    millis: f64,
}

impl Embedded {
    /// As an arm takes it.
    fn for_arm(&self, arm: Arm) -> Query {
        let reads = arm.options().is_some_and(|options| options.slips) && arm.uses_vectors();
        let query = self.read.as_ref().filter(|_| reads).unwrap_or(&self.typed).clone();
        if arm.uses_vectors() { query } else { Query { vector: None, tokens: None, ..query } }
    }
}

/// Answers a query, and says how many milliseconds it took without the embedding.
type Answering<'a> = dyn Fn(&QueryLine, Query) -> (QueryReport, f64) + 'a;

/// What an arm answered, and how long each answer took without the embedding, in milliseconds.
pub(crate) struct Asked {
    pub(crate) queries: Vec<QueryReport>,
    millis: Vec<f64>,
}

impl Bench {
    /// Builds catalog and index, and waits until every tool has its vector.
    pub(crate) fn set_up(tools: &ToolFile, options: &RunOptions, progress: &dyn Fn(Progress)) -> Result<Self, Error> {
        let embed = load(&options.model)?;
        let mut notes = Vec::new();
        progress(Progress::Indexing { n_tools: tools.lines.len() });

        // The catalog is made anew each time, or an earlier one would shine through. Only vectors are kept.
        let store = Store::temporary().map_err(Error::build("open a temporary store"))?;
        let reading = CatalogOptions { screening: toolscout_scan::ScanOptions::off(), ..CatalogOptions::default() };
        let catalog =
            Catalog::open_with(&store, Overlays::default(), reading).map_err(Error::build("open the catalog"))?;
        let imported =
            catalog.import_jsonl(tools.text.as_slice(), Timestamp(0)).map_err(Error::build("fill the catalog"))?;
        for problem in &imported.problems {
            let line = tools.lines.get(problem.line - 1);
            let origin = line.map_or_else(|| format!("line {}", problem.line), |line| line.origin.clone());
            notes.push(format!("{origin}: {}, left out", problem.reason));
        }
        let vectors = match &options.cache {
            None => store,
            Some(folder) => {
                let opened = Store::open(folder).map_err(Error::build("open the vector cache"))?;
                if let Some(damage) = &opened.damage {
                    notes.push(format!("the vector cache was damaged and is made anew: {}", damage.reason));
                }
                opened.store
            }
        };
        // Exact search: a graph is built differently each time, and the same inputs have to give the same report.
        let index_options = IndexOptions { dense: DenseMode::Exact, ..IndexOptions::default() };
        let index = IndexHost::open(index_options, &vectors, embed.clone()).map_err(Error::build("open the index"))?;
        index.apply(&imported.change.view).map_err(Error::build("index the catalog"))?;
        if let Some(embed) = &embed {
            wait(&index, &**embed, progress)?;
        }
        let model = embed.as_ref().map(|embed| {
            let model = embed.model();
            format!("{} {}", model.id, model.sha256)
        });
        // One place in the memory of recent queries: a repeated query must not look as if embedding cost nothing.
        let query_options = QueryOptions { remembered: 1, ..QueryOptions::default() };
        let embedder = embed.map(|embed| QueryEmbedder::new(embed, query_options));
        let labels: HashMap<ToolId, String> = imported.ids.into_iter().map(|(label, id)| (id, label)).collect();
        let lines: HashMap<&str, &ToolLine> = tools.lines.iter().map(|line| (line.id.as_str(), line)).collect();
        let snapshot = index.snapshot();
        let line_of = |card: &Arc<ToolCard>| labels.get(&card.id).and_then(|label| lines.get(label.as_str()).copied());
        let cards = &snapshot.view().tools;
        let definition_tokens = cards.iter().map(|card| line_of(card).map_or(0, |line| line.tokens)).collect();
        let asks_peers = options.arms.iter().any(|arm| matches!(arm, Arm::Peer(_)));
        let peer_tool = |card: &Arc<ToolCard>| {
            let value = line_of(card).and_then(|line| serde_json::from_slice(&tools.text[line.range.clone()]).ok());
            value.as_ref().map_or_else(PeerTool::default, PeerTool::of)
        };
        let peer_tools = if asks_peers { cards.iter().map(peer_tool).collect() } else { Vec::new() };
        Ok(Self { index, embedder, model, labels, definition_tokens, peer_tools, notes })
    }

    /// The ids that labels may name.
    pub(crate) fn known(&self) -> impl Iterator<Item = &str> {
        self.labels.values().map(String::as_str)
    }

    /// Which model makes the vectors.
    pub(crate) fn model(&self) -> Option<String> {
        self.model.clone()
    }

    /// What a reader should know about the set-up.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Embeds the queries once for all arms.
    pub(crate) fn embed_queries(&self, queries: &[QueryLine]) -> Result<Vec<Embedded>, Error> {
        let embed = |query: &QueryLine| {
            let typed = Query { text: query.query.clone(), ..Query::default() };
            let Some(embedder) = &self.embedder else {
                return Ok(Embedded { typed, read: None, reading: 0.0, millis: 0.0 });
            };
            let (read, reading) = timed(|| self.read(&typed, &Policy::default()));
            // What is timed is one embedding, as in a search.
            let (typed, millis) = timed(|| embedded(embedder, typed));
            let read = read.map(|read| embedded(embedder, read)).transpose()?;
            Ok(Embedded { typed: typed?, read, reading, millis })
        };
        queries.iter().map(embed).collect()
    }

    /// The query with its slips mended, if it has any.
    fn read(&self, query: &Query, policy: &Policy) -> Option<Query> {
        let embedder = self.embedder.as_ref()?;
        let (quality, caller) = (QualityView::default(), Caller::local("eval"));
        let knows = |word: &str| embedder.knows(word);
        toolscout_selector::read(&self.index.snapshot(), &quality, policy, &caller, query, &knows)
    }

    /// Puts every query to one arm.
    pub(crate) fn ask(
        &self,
        arm: Arm,
        queries: &[QueryLine],
        embedded: &[Embedded],
        k: usize,
        progress: &dyn Fn(Progress),
    ) -> Result<Asked, Error> {
        debug_assert_eq!(queries.len(), embedded.len(), "a vector for each query");
        if arm.needs_vectors() && self.embedder.is_none() {
            return Err(Error::NeedsModel { arm: arm.name() });
        }
        let total = queries.len();
        progress(Progress::Asking { arm, done: 0, total });
        let answer: Box<Answering<'_>> = match (arm, arm.options()) {
            (Arm::Peer(peer), _) => self.answer_of_peer(peer, k),
            (_, Some(options)) => self.answer_of_ours(arm, options, k),
            (_, None) => unreachable!("only peers have no options: {arm}"),
        };
        let mut asked = Asked { queries: Vec::with_capacity(total), millis: Vec::with_capacity(total) };
        for (done, (query, embedded)) in queries.iter().zip(embedded).enumerate() {
            if done % REPORT_EVERY == 0 {
                progress(Progress::Asking { arm, done, total });
            }
            let (report, millis) = answer(query, embedded.for_arm(arm));
            let reading = if arm.options().is_some_and(|options| options.slips) { embedded.reading } else { 0.0 };
            asked.queries.push(report);
            asked.millis.push(millis + reading);
        }
        progress(Progress::Asking { arm, done: total, total });
        Ok(asked)
    }

    /// How one of our arms answers.
    fn answer_of_ours(&self, arm: Arm, options: SelectorOptions, k: usize) -> Box<Answering<'_>> {
        let policy = Policy::default();
        Box::new(move |query, asked| {
            let (selection, millis) = timed(|| self.select(asked, k, &options, &policy));
            (self.report(arm, &query.id, &selection, k), millis)
        })
    }

    /// How a peer answers, over its own index, which is built first.
    fn answer_of_peer(&self, peer: Peer, k: usize) -> Box<Answering<'_>> {
        let ranker = peer.build(&self.peer_tools);
        let snapshot = self.index.snapshot();
        Box::new(move |query, asked| {
            let nearest = |k: usize| match &asked.vector {
                Some(vector) => snapshot
                    .dense(vector, &Allow::All, k)
                    .into_iter()
                    .map(|hit| (hit.doc as usize, f64::from(hit.cosine)))
                    .collect(),
                None => Vec::new(),
            };
            let (ranked, millis) = timed(|| ranker.rank(&PeerQuery { text: &query.query, nearest: &nearest }, k));
            let tokens = ranked.iter().take(ANSWER_TOOLS).map(|(at, _)| self.definition_tokens[*at]).sum();
            let label = |at: usize| self.labels.get(&snapshot.card(at as DocIdx).id).cloned();
            let top: Vec<TopReport> = ranked
                .iter()
                .filter_map(|(at, score)| Some(TopReport { id: label(*at)?, score: rounded(*score) }))
                .collect();
            let (id, arm, no_match) = (query.id.clone(), peer.name().to_owned(), top.is_empty());
            // A peer states no confidence: whoever reads its answer takes it at face value.
            (QueryReport { id, arm, top, no_match, tokens, confidence: Some(1.0) }, millis)
        })
    }

    /// Asks again under a policy that denies tools by lot. `None` for an arm that knows no policy.
    pub(crate) fn ask_denied(&self, arm: Arm, embedded: &[Embedded], k: usize, seed: u64) -> Option<PolicyReport> {
        let options = arm.options()?;
        let snapshot = self.index.snapshot();
        let lot = leak::draw(&snapshot.view().tools.iter().map(|card| &card.id).collect::<Vec<_>>(), seed);
        let step = embedded.len().div_ceil(leak::MAX_QUERIES).max(1);
        let (mut n_queries, mut n_leaks) = (0, 0);
        for embedded in embedded.iter().step_by(step) {
            let mut asked = embedded.for_arm(arm);
            if !asked.slips.is_empty() {
                // What was meant depends on what may be seen.
                asked = self.read(&embedded.typed, &lot.policy).unwrap_or_else(|| embedded.typed.clone());
                asked = self.embedder.as_ref().and_then(|embedder| self::embedded(embedder, asked).ok())?;
            }
            let selection = self.select(asked, k, &options, &lot.policy);
            let variants: Vec<_> = selection.tools.iter().map(|tool| (&tool.card.id, &tool.variants)).collect();
            let shown = json!([answer_json(&selection, k), variants, selection.evidence]);
            n_queries += 1;
            n_leaks += usize::from(names_any(&shown, &lot.denied));
        }
        Some(PolicyReport { n_denied: lot.denied.len(), n_queries, n_leaks })
    }

    fn select(&self, query: Query, limit: usize, options: &SelectorOptions, policy: &Policy) -> Selection {
        let query = Query { limit, ..query };
        let (quality, caller) = (QualityView::default(), Caller::local("eval"));
        select_with(&self.index.snapshot(), &quality, policy, &caller, &query, options)
    }

    /// What the ranker sees of a query: candidates by the file's ids with their features, and the signs of confidence.
    pub(crate) fn trace(&self, embedded: &Embedded) -> (Vec<(String, Vec<f64>)>, Vec<f64>) {
        let query = embedded.for_arm(Arm::Hybrid);
        let (policy, caller, options) = (Policy::default(), Caller::local("eval"), SelectorOptions::default());
        let trace = toolscout_selector::trace(&self.index.snapshot(), &policy, &caller, &query, &options);
        let known = |(id, features)| Some((self.labels.get(&id)?.clone(), features));
        (trace.candidates.into_iter().filter_map(known).collect(), trace.signs)
    }

    /// The answer as labels see it: the members of a family stand behind the one that is shown, each in a place of its own,
    /// because labels name tools, not families.
    fn report(&self, arm: Arm, query: &str, selection: &Selection, k: usize) -> QueryReport {
        let mut top: Vec<TopReport> = Vec::with_capacity(k);
        for selected in &selection.tools {
            let twins = std::iter::once(&selected.card.id).chain(&selected.variants);
            let score = rounded(selected.score.value());
            let twins = twins.filter_map(|id| Some(TopReport { id: self.labels.get(id)?.clone(), score }));
            top.extend(twins);
        }
        top.truncate(k);
        let no_match = selection.no_match.is_some();
        let tokens = tokens::count(&answer_json(selection, ANSWER_TOOLS).to_string());
        let confidence = Some(rounded(selection.confidence));
        QueryReport { id: query.to_owned(), arm: arm.name().to_owned(), top, no_match, tokens, confidence }
    }
}

/// The query with its vectors.
fn embedded(embedder: &QueryEmbedder, query: Query) -> Result<Query, Error> {
    let text = toolscout_index::glossary::with_gloss(&query.text);
    let vectors = embedder.embed_query(&text).map_err(Error::build("embed a query"))?;
    Ok(Query { vector: Some(vectors.pooled), tokens: Some(vectors.tokens), ..query })
}

impl Asked {
    /// How long a query took, its embedding included where the arm uses it.
    pub(crate) fn latency(&self, arm: Arm, embedded: &[Embedded]) -> LatencyReport {
        let embedding = |one: &Embedded| if arm.uses_vectors() { one.millis } else { 0.0 };
        let mut whole: Vec<f64> = self.millis.iter().zip(embedded).map(|(ms, one)| ms + embedding(one)).collect();
        let mut alone: Vec<f64> = embedded.iter().map(embedding).collect();
        whole.sort_by(f64::total_cmp);
        alone.sort_by(f64::total_cmp);
        let at = |sorted: &[f64], percent| rounded(percentile(sorted, percent).unwrap_or(0.0));
        LatencyReport {
            p50: at(&whole, 50.0),
            p95: at(&whole, 95.0),
            p99: at(&whole, 99.0),
            embedding_p50: at(&alone, 50.0),
        }
    }
}

fn load(model: &Model) -> Result<Option<Arc<dyn Embed>>, Error> {
    let source = match model {
        Model::Off => return Ok(None),
        Model::Loaded(embed) => return Ok(Some(embed.clone())),
        Model::Builtin => ModelSource::Builtin,
        Model::Dir(folder) => ModelSource::Dir(folder.clone()),
    };
    let embedder =
        Embedder::load(&source, &EmbedOptions::default()).map_err(Error::build("load the embedding model"))?;
    Ok(Some(Arc::new(embedder)))
}

/// Waits until every tool has a vector. A run over half of the vectors would measure nothing worth knowing: it fails.
fn wait(index: &IndexHost, embed: &dyn Embed, progress: &dyn Fn(Progress)) -> Result<(), Error> {
    let told = |done, total| progress(Progress::Embedding { done, total });
    if !wait_for_vectors(index, embed, Patience::default(), &told) {
        return Err(Error::build("embed the tools")("the model stands still: no text went through it for minutes"));
    }
    let snapshot = index.snapshot();
    if snapshot.state() == IndexState::Hybrid {
        return Ok(());
    }
    let (done, total) = embedded_of(index);
    let reason = snapshot.progress().reason.clone().unwrap_or_else(|| format!("{done} of {total} have a vector"));
    Err(Error::build("embed the tools")(reason))
}

/// The answer as `search_tools` would put it, for counting. The gateway's own types are out of reach here (this crate must
/// not depend on it); the fields are those of its summary form.
fn answer_json(selection: &Selection, n_tools: usize) -> Value {
    let tool = |selected: &toolscout_selector::Selected| {
        let card = &selected.card;
        json!({
            "id": card.id,
            "title": card.title,
            "summary": card.purpose,
            "side_effect": card.side_effect,
            "score": rounded_to_2(selected.score.value()),
            "quality": rounded_to_2(selected.quality),
            "signature": card.signature(),
        })
    };
    let mut answer = json!({
        "selection_id": "sel_00000000000000000000",
        "index_state": selection.index_state,
        "confidence": rounded_to_2(selection.confidence),
        "tools": selection.tools.iter().take(n_tools).map(tool).collect::<Vec<_>>(),
        "withheld": { "count": 0, "reasons": {} },
    });
    if let Some(no_match) = &selection.no_match {
        answer["no_match"] = json!({ "reason": no_match.reason.as_str(), "nearest": no_match.nearest });
    }
    answer
}

fn rounded_to_2(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[expect(
    clippy::disallowed_types,
    reason = "measures work of this thread; there is no runtime here whose clock could be paused"
)]
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = std::time::Instant::now();
    let done = work();
    (done, start.elapsed().as_secs_f64() * 1e3)
}
