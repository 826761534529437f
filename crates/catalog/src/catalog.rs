//! Listings in, generations out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::io::{BufRead, Write};
use std::num::NonZero;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::Value;
use toolscout_core::text::{preview, sanitize};
use toolscout_core::{ContentHash, Generation, Timestamp, ToolCard, ToolId, ToolName, UpstreamId};
use toolscout_scan::{Scan, ScanOptions, Screen};
use toolscout_store::{Batch, Store, Tree, TreeName};

use crate::card::{self, Built};
use crate::jsonl::{self, Labels};
use crate::pins::{self, AllGone, Case, Gone, PinRow, Ruling, Unapproved, WaitingRow};
use crate::rows::{self, GenerationRow, MetaRow, ToolRow, Touch};
use crate::trust::{Approval, How, Review, Trust};
use crate::view::{CatalogView, Families, Family, Waiting};
use crate::{Error, Imported, Listing, Origin, Overlay, Overlays, ServerRow, Skipped, UpstreamRow, UpstreamState};

/// The catalog. Changes go one after another; [`Catalog::view`] never waits for them.
pub struct Catalog {
    view: ArcSwap<CatalogView>,
    tree: Tree,
    overlays: Overlays,
    options: CatalogOptions,
    writer: Mutex<Writer>,
}

/// How a catalog treats what servers say of their tools.
#[derive(Debug, Clone, Default)]
pub struct CatalogOptions {
    /// What becomes of hostile text.
    pub screening: ScanOptions,
    /// How definitions come to be approved.
    pub review: Review,
}

/// What one step did.
#[derive(Clone)]
pub struct Change {
    /// The view after it.
    pub view: Arc<CatalogView>,
    /// The tools it touched; empty also when only an upstream's state changed.
    pub diff: Diff,
    /// Tools that wait for an approval since then, or no longer, or with another definition.
    pub reviewed: Vec<ToolId>,
}

/// The difference between two generations, each list sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Tools that only the later one has.
    pub added: Vec<ToolId>,
    /// Tools of both whose definition or card differs.
    pub changed: Vec<ToolId>,
    /// Tools that only the earlier one has.
    pub removed: Vec<ToolId>,
}

impl Diff {
    /// Whether no tool differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// One step in a tool's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The generation that brought it.
    pub generation: Generation,
    /// When that was.
    pub at: Timestamp,
    /// Hash of the whole definition from then on; `None`: the tool was gone.
    pub raw: Option<ContentHash>,
}

/// Called after a generation was published, on the thread that made it. See [`Catalog::subscribe`].
pub type Subscriber = Box<dyn Fn(&Change) + Send + Sync>;

/// Generations with touched tools whose differences are kept.
const KEPT_GENERATIONS: usize = 256;
/// Touched tools over all kept generations.
const KEPT_TOUCHES: usize = 200_000;
/// How far the history may grow over that before it is cut, so that cutting is rare.
const CUT_EVERY: usize = 64;
/// Longest definition that is taken, in bytes of canonical JSON. The largest of 2,765 real ones has 89,000.
const MAX_DEFINITION: usize = 1 << 20;
/// Skipped tools of one listing that are remembered.
const MAX_SKIPPED: usize = 100;
const MAX_REASON: usize = 300;

/// What only the one who changes the catalog needs.
pub(crate) struct Writer {
    entries: BTreeMap<UpstreamId, BTreeMap<ToolName, Entry>>,
    /// Tools by name and input schema; those with two and more are families.
    groups: HashMap<FamilyKey, BTreeSet<ToolId>>,
    /// What was found in the definitions; only of tools in which anything was.
    scans: BTreeMap<ToolId, Arc<Scan>>,
    /// Generations that have rows, oldest first, with their number of touched tools.
    history: VecDeque<(Generation, usize)>,
    oldest: Generation,
    /// Pins of tools that went away.
    gone: AllGone,
    subscribers: Vec<Subscriber>,
}

/// Half a hash is plenty to tell schemas apart, and halves the memory.
type FamilyKey = [u8; 16];

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) raw: ContentHash,
    pub(crate) family: FamilyKey,
    pub(crate) label: Option<Box<str>>,
}

/// What shall become of one upstream.
pub(crate) struct Step {
    upstream: UpstreamId,
    /// Its row from now on; `None` forgets it.
    row: Option<UpstreamRow>,
    /// Whether something shown of the upstream itself changes.
    is_visible: bool,
    /// Tools that are new, changed or (`None`) gone.
    pub(crate) tools: BTreeMap<ToolName, Option<NewTool>>,
    /// Tools whose definition changed only where nobody looks: stored without a generation.
    quiet: Vec<(ToolName, ContentHash)>,
    /// Definitions that wait from now on, or (`None`) no longer.
    pub(crate) waiting: BTreeMap<ToolName, Option<WaitingRow>>,
    /// Pins that are kept beside the tools themselves, or (`None`) no longer.
    pub(crate) pins: BTreeMap<ToolName, Option<PinRow>>,
}

impl Step {
    /// Nothing but the upstream's row.
    pub(crate) fn new(upstream: UpstreamId, row: Option<UpstreamRow>) -> Self {
        Self {
            upstream,
            row,
            is_visible: false,
            tools: BTreeMap::new(),
            quiet: Vec::new(),
            waiting: BTreeMap::new(),
            pins: BTreeMap::new(),
        }
    }
}

/// Definitions that a commit has to write, by their hash.
pub(crate) type NewRows = BTreeMap<ContentHash, Vec<u8>>;

/// One tool over several generations.
struct Span {
    before: Option<ContentHash>,
    after: Option<ContentHash>,
    other_card: bool,
}

pub(crate) struct NewTool {
    pub(crate) card: Arc<ToolCard>,
    pub(crate) scan: Scan,
    pub(crate) entry: Entry,
    pub(crate) approval: Option<Approval>,
}

impl Catalog {
    /// Opens the catalog in a store and publishes its last generation.
    ///
    /// Cards are made anew from the definitions. If they would come out otherwise than last time, because the overlays or
    /// this program changed, that is a generation of its own in which every tool counts as changed. So everyone who opens
    /// a store brings the same overlays.
    pub fn open(store: &Store, overlays: Overlays) -> Result<Self, Error> {
        Self::open_with(store, overlays, CatalogOptions::default())
    }

    /// The same, saying what becomes of hostile text (see [`CatalogView::screen`]) and how definitions come to be approved. What was
    /// approved or waits stays so, whatever that says now.
    pub fn open_with(store: &Store, overlays: Overlays, options: CatalogOptions) -> Result<Self, Error> {
        let screening = &options.screening;
        let tree = store.tree(TreeName::Catalog)?;
        let stamp = cards_stamp(&overlays);
        let meta: Option<MetaRow> =
            tree.get(rows::META_KEY)?.map(|bytes| rows::decode(rows::META_KEY, &bytes)).transpose()?;
        let renewed = meta.as_ref().is_some_and(|meta| meta.cards != stamp);
        let mut meta = meta.unwrap_or_else(|| MetaRow::empty(stamp));
        let upstreams: BTreeMap<UpstreamId, Arc<UpstreamRow>> =
            Self::upstreams(store)?.into_iter().map(|row| (row.id.clone(), Arc::new(row))).collect();
        let mut history = VecDeque::new();
        for found in tree.scan(b"g/") {
            let (key, bytes) = found?;
            let Some(generation) = rows::parse_generation_key(&key) else { continue };
            // Counting what a row touches by its text saves parsing all of them.
            let n_touched = bytes.windows(6).filter(|window| window == b"{\"id\":").count();
            match history.back_mut() {
                Some((last, n)) if *last == generation => *n += n_touched,
                _ => history.push_back((generation, n_touched)),
            }
        }
        let mut writer = Writer {
            entries: BTreeMap::new(),
            groups: HashMap::new(),
            scans: BTreeMap::new(),
            history,
            oldest: meta.oldest,
            gone: AllGone::new(),
            subscribers: Vec::new(),
        };
        let mut unapproved: BTreeMap<ToolId, Unapproved> = BTreeMap::new();
        for found in tree.scan(b"w/") {
            let (key, bytes) = found?;
            let Some(id) = rows::parse_tool_key(&key) else { continue };
            unapproved.insert(id, rows::decode::<WaitingRow>(&key, &bytes)?.unapproved());
        }
        let rows = read_tool_rows(&tree)?;
        let mut tools = Vec::with_capacity(rows.len());
        // In parts, because a parsed definition takes many times the memory of its card.
        for part in rows.chunks(2_000) {
            let mut texts = Vec::with_capacity(part.len());
            for (id, row) in part {
                let key = rows::definition_key(&row.raw);
                match tree.get(key.as_bytes())? {
                    Some(bytes) => texts.push((id, row, key, bytes)),
                    None => tracing::error!(tool = %id, "a tool without its definition is left out"),
                }
            }
            let built = in_parallel(&texts, |(id, _, key, bytes)| {
                let definition: Value = rows::decode(key.as_bytes(), bytes)?;
                let tags = upstreams.get(&id.upstream).map_or(&[][..], |row| &row.tags);
                Ok::<_, Error>((card::build(id, &definition, tags, overlays.get(id)), scan_of(screening, &definition)))
            });
            for ((id, row, _, _), built) in texts.into_iter().zip(built) {
                let (built, scan) = built?;
                if !scan.is_empty() {
                    writer.scans.insert(id.clone(), Arc::new(scan));
                }
                let family = match unapproved.get(id).is_some_and(|waits| !waits.has_approved()) {
                    true => own_family(id),
                    false => family_key(&built),
                };
                writer.groups.entry(family).or_default().insert(id.clone());
                let entry = Entry { raw: row.raw, family, label: row.label.clone().map(Into::into) };
                writer.entries.entry(id.upstream.clone()).or_default().insert(id.name.clone(), entry);
                tools.push(Arc::new(built.card));
            }
        }
        if renewed {
            meta.generation = meta.generation.next();
            meta.cards = stamp;
            let row = GenerationRow { at: Timestamp::default(), renewed: true, touched: Vec::new() };
            let mut batch = Batch::default();
            batch.put(rows::generation_key(meta.generation, 0), rows::encode(&row));
            batch.put(rows::META_KEY, rows::encode(&meta));
            tree.apply(batch)?;
            writer.history.push_back((meta.generation, 0));
        }
        for found in tree.scan(b"p/") {
            let (key, bytes) = found?;
            let Some(id) = rows::parse_tool_key(&key).filter(|id| writer.entry(id).is_none()) else { continue };
            let row: PinRow = rows::decode(&key, &bytes)?;
            writer.gone.entry(id.upstream).or_default().insert(id.name, Gone::of(&row));
        }
        let families = families_of(writer.groups.values());
        let screen = Arc::new(Screen::new(&writer.scans, tools.iter().map(|card| &card.id), screening));
        let unapproved = Waiting::new(Arc::new(unapproved), &tools);
        let generation = meta.generation;
        let view = CatalogView { generation, tools, upstreams, families, screen, unapproved, ..CatalogView::default() };
        Ok(Self { view: ArcSwap::from_pointee(view), tree, overlays, options, writer: Mutex::new(writer) })
    }

    /// What a store's catalog remembers of its upstreams, without opening it: makes no cards and no generation.
    pub fn upstreams(store: &Store) -> Result<Vec<UpstreamRow>, Error> {
        let tree = store.tree(TreeName::Catalog)?;
        let rows = tree.scan(b"u/").map(|found| {
            let (key, bytes) = found?;
            rows::decode(&key, &bytes)
        });
        rows.collect()
    }

    /// The newest generation. Takes no lock.
    pub fn view(&self) -> Arc<CatalogView> {
        self.view.load_full()
    }

    /// Takes a listing in. A new generation comes only if a tool, or something shown of the upstream, changed.
    /// A tool is removed only because a complete listing lacks it.
    pub fn apply(&self, listing: Listing) -> Result<Change, Error> {
        let mut writer = self.writer.lock();
        let at = listing.at;
        let mut rows = NewRows::new();
        let step = self.step(&writer, listing, Origin::Crawled, &Labels::default(), &mut rows)?;
        self.commit(&mut writer, vec![step], rows, at)
    }

    /// Remembers that a crawl failed, and how. Keeps every tool. The same state again keeps its `since`.
    /// An upstream that was never listed gets a row without tools.
    pub fn mark(
        &self,
        upstream: &UpstreamId,
        state: UpstreamState,
        reason: &str,
        at: Timestamp,
    ) -> Result<Change, Error> {
        let mut writer = self.writer.lock();
        let view = self.view();
        let known = view.upstream(upstream);
        let mut row = known.map_or_else(|| empty_row(upstream, at), |row| UpstreamRow::clone(row));
        let is_visible = known.is_none() || row.state != state;
        if is_visible {
            (row.state, row.since) = (state, at);
        }
        row.reason = sanitize(reason, MAX_REASON).replace('\n', " ");
        let step = Step { is_visible, ..Step::new(upstream.clone(), Some(row)) };
        self.commit(&mut writer, vec![step], NewRows::new(), at)
    }

    /// Drops an upstream and its tools: it was taken out of the configuration. Unknown ids change nothing.
    pub fn forget(&self, upstream: &UpstreamId) -> Result<Change, Error> {
        let mut writer = self.writer.lock();
        let view = self.view();
        let Some(row) = view.upstream(upstream) else {
            return Ok(Change { view, diff: Diff::default(), reviewed: Vec::new() });
        };
        // Forgetting needs no clock of its own: the newest moment that the row knows orders it well enough.
        let at = row.listed_at.unwrap_or(row.since).max(row.since);
        let names: Vec<ToolName> =
            writer.entries.get(upstream).into_iter().flat_map(|tools| tools.keys().cloned()).collect();
        let mut step = Step { is_visible: true, ..Step::new(upstream.clone(), None) };
        for name in names {
            self.let_go(&mut step, &view, name, row.origin)?;
        }
        drop_surplus(&mut step, &writer);
        self.commit(&mut writer, vec![step], NewRows::new(), at)
    }

    /// A tool's definition whole, as it was listed. Like every question, it waits for no change under way.
    pub fn raw(&self, id: &ToolId) -> Result<Option<Value>, Error> {
        // A change between the two reads may sweep the definition away; then the tool's row names another.
        for _ in 0..3 {
            let Some(row) = self.tool_row(id)? else { return Ok(None) };
            if let Some(definition) = self.definition(&row.raw)? {
                return Ok(Some(definition));
            }
        }
        Ok(None)
    }

    /// A tool's definition whole, as it was in a kept generation. `None` if the tool was not there then.
    pub fn raw_at(&self, id: &ToolId, generation: Generation) -> Result<Option<Value>, Error> {
        let newest = self.check_kept(generation)?.generation;
        for (_, row) in self.history(generation, newest)? {
            if let Some(touch) = row.touched.iter().find(|touch| touch.id == *id) {
                return touch.before.map_or(Ok(None), |raw| self.definition(&raw));
            }
        }
        self.raw(id)
    }

    /// The kept steps of one tool, oldest first.
    pub fn versions(&self, id: &ToolId) -> Result<Vec<Version>, Error> {
        let meta = self.meta()?;
        let mut versions = Vec::new();
        for (generation, row) in self.history(meta.oldest, meta.generation)? {
            let steps = row.touched.iter().filter(|touch| touch.id == *id);
            versions.extend(steps.map(|touch| Version { generation, at: row.at, raw: touch.after }));
        }
        Ok(versions)
    }

    /// What differs between two generations of the kept history. From a later to an earlier one, added and removed swap.
    pub fn diff(&self, from: Generation, to: Generation) -> Result<Diff, Error> {
        if from > to {
            let Diff { added, changed, removed } = self.diff(to, from)?;
            return Ok(Diff { added: removed, changed, removed: added });
        }
        self.check_kept(from)?;
        self.check_kept(to)?;
        let mut renewed = false;
        let mut spans: BTreeMap<ToolId, Span> = BTreeMap::new();
        for (_, row) in self.history(from, to)? {
            renewed |= row.renewed;
            for Touch { id, before, after } in row.touched {
                let span = spans.entry(id).or_insert(Span { before, after, other_card: false });
                span.after = after;
                // A step between equal definitions was taken for the card's sake.
                span.other_card |= before == after;
            }
        }
        let mut diff = Diff::default();
        for (id, span) in &spans {
            let list = match (span.before, span.after) {
                (None, Some(_)) => &mut diff.added,
                (Some(_), None) => &mut diff.removed,
                // Back at the definition it had is no change.
                (Some(before), Some(after)) if renewed || span.other_card || before != after => &mut diff.changed,
                (Some(_), Some(_)) | (None, None) => continue,
            };
            list.push(id.clone());
        }
        if renewed {
            let there = self.ids_at(to)?;
            diff.changed.extend(there.into_iter().filter(|id| !spans.contains_key(id)));
            diff.changed.sort();
        }
        Ok(diff)
    }

    /// Calls `f` after each new generation, in order, on the applying thread, which waits for it.
    /// `f` must not change the catalog.
    pub fn subscribe(&self, f: Subscriber) {
        self.writer.lock().subscribers.push(f);
    }

    /// Fills the catalog from a `tools.jsonl`: each server in it becomes an upstream whose listing is what the file has.
    /// All of it is one generation. Lines that cannot be taken are reported, the others kept.
    pub fn import_jsonl(&self, file: impl BufRead, at: Timestamp) -> Result<Imported, Error> {
        let parsed = jsonl::read(file, at).map_err(Error::File)?;
        let mut writer = self.writer.lock();
        let (mut steps, mut rows) = (Vec::new(), NewRows::new());
        for (listing, labels) in parsed.listings {
            steps.push(self.step(&writer, listing, Origin::Imported, &labels, &mut rows)?);
        }
        let change = self.commit(&mut writer, steps, rows, at)?;
        drop(writer);
        let (mut ids, mut problems) = (BTreeMap::new(), parsed.problems);
        for (label, id, line) in parsed.ids {
            if change.view.position(&id).is_some() {
                ids.insert(label, id);
            } else {
                problems.push(jsonl::LineProblem {
                    line,
                    reason: format!("definition of `{}` not taken", preview(&label)),
                });
            }
        }
        problems.sort_by_key(|problem| problem.line);
        Ok(Imported { n_tools: ids.len(), change, ids, problems })
    }

    /// Writes every tool as a line of `tools.jsonl`, by id. Returns how many.
    pub fn export_jsonl(&self, mut file: impl Write) -> Result<usize, Error> {
        let view = self.view();
        let mut n_tools = 0;
        for card in &view.tools {
            // Of these there is nothing but a name.
            if view.unapproved(&card.id).is_some_and(|waits| !waits.has_approved()) {
                continue;
            }
            let Some(row) = self.tool_row(&card.id)? else { continue };
            let Some(definition) = self.definition(&row.raw)? else { continue };
            let server = view.upstream(&card.id.upstream).map(|row| row.server.name.as_str());
            let line = jsonl::line(&card.id, row.label.as_deref(), server, &definition);
            file.write_all(line.as_bytes()).map_err(Error::File)?;
            n_tools += 1;
        }
        file.flush().map_err(Error::File)?;
        Ok(n_tools)
    }

    pub(crate) fn definition(&self, raw: &ContentHash) -> Result<Option<Value>, Error> {
        self.read(rows::definition_key(raw))
    }

    pub(crate) fn tool_row(&self, id: &ToolId) -> Result<Option<ToolRow>, Error> {
        self.read(rows::tool_key(id))
    }

    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self, key: String) -> Result<Option<T>, Error> {
        let bytes = self.tree.get(key.as_bytes())?;
        bytes.map(|bytes| rows::decode(key.as_bytes(), &bytes)).transpose()
    }

    /// The definition as the store has it or will have it. Definitions that differ only in the order of their keys share one row,
    /// the first one's; a card read off another's order would come out otherwise after a restart.
    pub(crate) fn as_stored(&self, raw: ContentHash, own: Value, rows: &mut NewRows) -> Result<Value, Error> {
        if let Some(bytes) = rows.get(&raw) {
            return rows::decode(rows::definition_key(&raw).as_bytes(), bytes);
        }
        if let Some(stored) = self.definition(&raw)? {
            return Ok(stored);
        }
        rows.insert(raw, rows::encode(&own));
        Ok(own)
    }

    pub(crate) fn review(&self) -> &Review {
        &self.options.review
    }

    /// What is found in a definition, unless nobody wants to know.
    pub(crate) fn scan(&self, definition: &Value) -> Scan {
        scan_of(&self.options.screening, definition)
    }

    pub(crate) fn overlay(&self, id: &ToolId) -> Option<&Overlay> {
        self.overlays.get(id)
    }

    /// Makes one change, alone.
    pub(crate) fn change(&self, work: impl FnOnce(&mut Writer) -> Result<Change, Error>) -> Result<Change, Error> {
        work(&mut self.writer.lock())
    }

    fn meta(&self) -> Result<MetaRow, Error> {
        let bytes = self.tree.get(rows::META_KEY)?;
        let meta = bytes.map(|bytes| rows::decode(rows::META_KEY, &bytes)).transpose()?;
        Ok(meta.unwrap_or_else(|| MetaRow::empty(cards_stamp(&self.overlays))))
    }

    fn check_kept(&self, asked: Generation) -> Result<MetaRow, Error> {
        let meta = self.meta()?;
        let (oldest, newest) = (meta.oldest, meta.generation);
        let kept = (oldest..=newest).contains(&asked);
        if kept { Ok(meta) } else { Err(Error::NotKept { asked, oldest, newest }) }
    }

    /// Rows of the generations after `from`, up to and with `to`.
    fn history(&self, from: Generation, to: Generation) -> Result<Vec<(Generation, GenerationRow)>, Error> {
        let mut found = Vec::new();
        for entry in self.tree.scan(b"g/") {
            let (key, bytes) = entry?;
            match rows::parse_generation_key(&key) {
                Some(generation) if generation > from && generation <= to => {
                    found.push((generation, rows::decode(&key, &bytes)?));
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// The tools that a generation had: today's, and the steps since taken back.
    fn ids_at(&self, generation: Generation) -> Result<BTreeSet<ToolId>, Error> {
        let view = self.view();
        let mut ids: BTreeSet<ToolId> = view.tools.iter().map(|card| card.id.clone()).collect();
        for (_, row) in self.history(generation, view.generation)?.into_iter().rev() {
            for touch in row.touched {
                if touch.before.is_some() {
                    ids.insert(touch.id);
                } else {
                    ids.remove(&touch.id);
                }
            }
        }
        Ok(ids)
    }

    /// What a listing means against what is known.
    fn step(
        &self,
        writer: &Writer,
        listing: Listing,
        origin: Origin,
        labels: &Labels,
        rows: &mut NewRows,
    ) -> Result<Step, Error> {
        let view = self.view();
        let upstream = listing.upstream;
        let old_row = view.upstream(&upstream);
        let nothing = BTreeMap::new();
        let old_entries = writer.entries.get(&upstream).unwrap_or(&nothing);
        let mut tags: Vec<String> =
            listing.tags.iter().map(|tag| card::clean_tag(tag)).filter(|t| !t.is_empty()).collect();
        tags.sort();
        tags.dedup();
        let same_tags = old_row.is_some_and(|row| row.tags == tags);
        let mut skipped = listing.skipped;
        let mut seen: BTreeSet<ToolName> = BTreeSet::new();
        let mut differing: Vec<(ToolName, ContentHash, Value)> = Vec::new();
        let mut relabelled = Vec::new();
        let same_label =
            |name: &ToolName| old_entries.get(name).is_some_and(|old| old.label.as_deref() == labels.get(name));
        for (position, tool) in listing.tools.into_iter().enumerate() {
            let definition = tool.into_raw();
            let named = definition.get("name").and_then(Value::as_str);
            let mut skip = |reason: String| {
                let name = named.map(preview);
                skipped.push(Skipped { position, name, reason });
            };
            let name = match named.map(ToolName::new) {
                Some(Ok(name)) => name,
                Some(Err(error)) => {
                    skip(error.to_string());
                    continue;
                }
                None => {
                    skip("no name".to_owned());
                    continue;
                }
            };
            let canonical = toolscout_core::canonical_json(&definition);
            if canonical.len() > MAX_DEFINITION {
                skip(format!("definition of {} bytes", canonical.len()));
                seen.insert(name);
                continue;
            }
            if !seen.insert(name.clone()) {
                skip("a name that was listed before".to_owned());
                continue;
            }
            let raw = ContentHash::of(canonical.as_bytes());
            let is_as_before = old_entries.get(&name).is_some_and(|old| old.raw == raw) && same_tags;
            if is_as_before && view.unapproved(&ToolId::new(upstream.clone(), name.clone())).is_none() {
                if !same_label(&name) {
                    relabelled.push(name);
                }
                continue;
            }
            differing.push((name, raw, definition));
        }
        let (trust, unasked) = match origin {
            Origin::Imported => (Trust::Always, How::Imported),
            Origin::Crawled => (self.options.review.trust_in(&upstream), How::Trusted),
        };
        let gone_before = writer.gone.get(&upstream);
        let is_back = |name: &ToolName| gone_before.is_some_and(|gone| gone.contains_key(name));
        let renames = match trust {
            Trust::Always => HashMap::new(),
            Trust::FirstUse | Trust::Approve => {
                let is_new = |name: &ToolName| !old_entries.contains_key(name) && !is_back(name);
                let new = differing.iter().filter(|(name, _, _)| is_new(name));
                let new: Vec<_> = new.map(|(name, _, definition)| (name, definition)).collect();
                let left = old_entries.keys().map(|name| (name, None));
                let left = left.chain(gone_before.into_iter().flatten().map(|(name, gone)| (name, gone.shape)));
                let left = left.filter(|(name, _)| !seen.contains(*name));
                self.renames(&upstream, &new, &left.map(|(name, shape)| (name.clone(), shape)).collect())?
            }
        };
        let mut step = Step::new(upstream.clone(), None);
        let mut fresh: Vec<(ToolName, ContentHash, Value)> = Vec::new();
        let mut approvals: HashMap<ToolName, Option<Approval>> = HashMap::new();
        for (name, raw, definition) in differing {
            let id = ToolId::new(upstream.clone(), name.clone());
            let (old, waiting) = (old_entries.get(&name), view.unapproved(&id));
            let case = Case {
                id: &id,
                definition: &definition,
                raw,
                shown: view.get(&id).map(|card| card.definition),
                is_back: is_back(&name),
                waiting,
                renamed_from: renames.get(&name),
                trust,
                unasked,
                tags: &tags,
                at: listing.at,
            };
            match self.rule(&case)? {
                Ruling::Waits if same_tags && same_label(&name) => {}
                Ruling::Waits => relabelled.push(name),
                Ruling::Hold { row, shown } => {
                    step.waiting.insert(name.clone(), Some(*row));
                    match shown {
                        Some((shown, approval)) => {
                            approvals.insert(name.clone(), approval);
                            let raw = ContentHash::of_json(&shown);
                            let shown = self.as_stored(raw, shown, rows)?;
                            fresh.push((name, raw, shown));
                        }
                        None if same_tags && same_label(&name) => {}
                        None => relabelled.push(name),
                    }
                }
                Ruling::Take { approval, anchor } => {
                    let may_have_pin = old.is_some() || case.is_back;
                    if anchor.is_some() || may_have_pin {
                        let hash = card::definition_hash(&definition);
                        let row = |anchor| PinRow {
                            hash,
                            approval: Some(approval.clone()),
                            definition: None,
                            anchor: Some(anchor),
                        };
                        step.pins.insert(name.clone(), anchor.map(row));
                    }
                    if waiting.is_some() {
                        step.waiting.insert(name.clone(), None);
                    }
                    approvals.insert(name.clone(), Some(approval));
                    let definition = self.as_stored(raw, definition, rows)?;
                    fresh.push((name, raw, definition));
                }
                Ruling::Same => {
                    // It went back to what was approved.
                    if waiting.is_some() {
                        step.waiting.insert(name.clone(), None);
                    }
                    let same_raw = old.is_some_and(|old| old.raw == raw);
                    if same_raw && same_tags && same_label(&name) {
                        continue;
                    }
                    let definition = self.as_stored(raw, definition, rows)?;
                    // Definitions may differ in what the hash leaves out and the card reads (tags under `_meta`): then the card
                    // decides.
                    let same_card = same_tags && {
                        let built = card::build(&id, &definition, &tags, self.overlays.get(&id));
                        view.get(&id).is_some_and(|card| **card == built.card)
                    };
                    // A scan reads more than the card shows, so a change in what only it reads is no quiet one.
                    let same_scan = same_card && {
                        let scan = scan_of(&self.options.screening, &definition);
                        writer.scans.get(&id).map_or_else(|| scan.is_empty(), |known| **known == scan)
                    };
                    if same_card && same_label(&name) && same_scan {
                        step.quiet.push((name, raw));
                    } else {
                        fresh.push((name, raw, definition));
                    }
                }
            }
        }
        let listed_badly: BTreeSet<&str> = skipped.iter().filter_map(|skipped| skipped.name.as_deref()).collect();
        for name in old_entries.keys().filter(|name| !seen.contains(*name)) {
            let stays = listing.truncated.is_some() || listed_badly.contains(preview(name.as_str()).as_str());
            if !stays {
                self.let_go(&mut step, &view, name.clone(), origin)?;
            } else if !same_tags {
                relabelled.push(name.clone());
            }
        }
        // Same definition, other card: the definition comes from the store.
        for name in relabelled {
            let raw = old_entries[&name].raw;
            if let Some(definition) = self.definition(&raw)? {
                fresh.push((name, raw, definition));
            }
        }
        let built = in_parallel(&fresh, |(name, _, definition)| {
            let id = ToolId::new(upstream.clone(), name.clone());
            (card::build(&id, definition, &tags, self.overlays.get(&id)), scan_of(&self.options.screening, definition))
        });
        for ((name, raw, _), (built, scan)) in fresh.iter().zip(built) {
            let id = &built.card.id;
            let stands_in = match step.waiting.get(name) {
                Some(row) => row.as_ref().is_some_and(|row| !row.unapproved().has_approved()),
                None => view.unapproved(id).is_some_and(|waits| !waits.has_approved()),
            };
            let family = if stands_in { own_family(id) } else { family_key(&built) };
            let approval = match approvals.remove(name) {
                Some(approval) => approval,
                None => self.tool_row(id)?.and_then(|row| row.approval),
            };
            let entry = Entry { raw: *raw, family, label: labels.get(name).map(Into::into) };
            step.tools.insert(name.clone(), Some(NewTool { card: Arc::new(built.card), scan, entry, approval }));
        }
        drop_surplus(&mut step, writer);
        let n_gone = step.tools.values().filter(|tool| tool.is_none()).count();
        let n_new = step.tools.iter().filter(|(name, tool)| tool.is_some() && !old_entries.contains_key(*name)).count();
        skipped.truncate(MAX_SKIPPED);
        let is_ready = old_row.is_some_and(|row| row.state == UpstreamState::Ready);
        let row = UpstreamRow {
            id: upstream.clone(),
            server: listing.server,
            tags,
            state: UpstreamState::Ready,
            since: old_row.filter(|_| is_ready).map_or(listing.at, |row| row.since),
            reason: String::new(),
            origin,
            n_tools: old_entries.len() + n_new - n_gone,
            skipped,
            truncated: listing.truncated,
            ttl_ms: listing.ttl_ms,
            listed_at: Some(listing.at),
        };
        let shown = |row: &UpstreamRow| (row.server.clone(), row.tags.clone(), row.state, row.origin);
        step.is_visible = old_row.is_none_or(|old| shown(old) != shown(&row));
        step.row = Some(row);
        Ok(step)
    }

    /// Takes a tool away, and keeps its pin: should it come back, it has to be what it was.
    fn let_go(&self, step: &mut Step, view: &CatalogView, name: ToolName, origin: Origin) -> Result<(), Error> {
        let id = ToolId::new(step.upstream.clone(), name);
        let waiting = view.unapproved(&id);
        let pin = match origin {
            Origin::Crawled => self.pin_of_gone(&id, waiting)?,
            // A file is what an operator says; without a tool in it there is none.
            Origin::Imported => None,
        };
        if waiting.is_some() {
            step.waiting.insert(id.name.clone(), None);
        }
        step.pins.insert(id.name.clone(), pin);
        step.tools.insert(id.name, None);
        Ok(())
    }

    /// Writes steps as one batch, then publishes. On failure nothing has happened.
    pub(crate) fn commit(
        &self,
        writer: &mut Writer,
        steps: Vec<Step>,
        rows: NewRows,
        at: Timestamp,
    ) -> Result<Change, Error> {
        let old = self.view();
        let (mut batch, mut touched, mut diff) = (Batch::default(), Vec::new(), Diff::default());
        let mut reviewed = Vec::new();
        let mut replaced: Vec<ContentHash> = Vec::new();
        for (raw, bytes) in rows {
            batch.put(rows::definition_key(&raw), bytes);
        }
        for step in &steps {
            let row_key = rows::upstream_key(&step.upstream);
            match &step.row {
                Some(row) => batch.put(row_key, rows::encode(row)),
                None => batch.remove(row_key),
            }
            for (name, raw) in &step.quiet {
                let id = ToolId::new(step.upstream.clone(), name.clone());
                let label = writer.entry(&id).and_then(|old| old.label.as_deref().map(str::to_owned));
                replaced.extend(writer.entry(&id).map(|old| old.raw));
                let approval = self.tool_row(&id)?.and_then(|row| row.approval);
                batch.put(rows::tool_key(&id), rows::encode(&ToolRow { raw: *raw, label, approval }));
            }
            for (name, row) in &step.waiting {
                let id = ToolId::new(step.upstream.clone(), name.clone());
                match row {
                    Some(row) => batch.put(rows::waiting_key(&id), rows::encode(row)),
                    None => batch.remove(rows::waiting_key(&id)),
                }
                reviewed.push(id);
            }
            for (name, row) in &step.pins {
                let key = rows::pin_key(&ToolId::new(step.upstream.clone(), name.clone()));
                match row {
                    Some(row) => batch.put(key, rows::encode(row)),
                    None => batch.remove(key),
                }
            }
            for (name, tool) in &step.tools {
                let id = ToolId::new(step.upstream.clone(), name.clone());
                let before = writer.entry(&id).map(|entry| entry.raw);
                let after = tool.as_ref().map(|tool| tool.entry.raw);
                match tool {
                    Some(tool) => {
                        let label = tool.entry.label.as_deref().map(str::to_owned);
                        let approval = tool.approval.clone();
                        batch.put(rows::tool_key(&id), rows::encode(&ToolRow { raw: tool.entry.raw, label, approval }));
                        if before.is_some() { &mut diff.changed } else { &mut diff.added }.push(id.clone());
                    }
                    None => {
                        batch.remove(rows::tool_key(&id));
                        diff.removed.push(id.clone());
                    }
                }
                touched.push(Touch { id, before, after });
            }
        }
        for list in [&mut diff.added, &mut diff.changed, &mut diff.removed] {
            list.sort();
        }
        let is_new = !touched.is_empty() || !reviewed.is_empty() || steps.iter().any(|step| step.is_visible);
        let generation = if is_new { old.generation.next() } else { old.generation };
        let mut history = writer.history.clone();
        let mut oldest = writer.oldest;
        if !touched.is_empty() {
            history.push_back((generation, touched.len()));
            for (part, touched) in touched.chunks(rows::PART).enumerate() {
                let row = GenerationRow { at, renewed: false, touched: touched.to_vec() };
                batch.put(rows::generation_key(generation, part), rows::encode(&row));
            }
        }
        let is_long = history.len() > KEPT_GENERATIONS + CUT_EVERY
            || history.iter().map(|(_, n)| n).sum::<usize>() > KEPT_TOUCHES + KEPT_TOUCHES / 4;
        if is_long || !replaced.is_empty() {
            if is_long {
                oldest = cut(&mut history).max(oldest);
            }
            self.sweep(writer, &steps, &touched, oldest, replaced, &mut batch)?;
        }
        if is_new {
            let meta = MetaRow { generation, oldest, cards: cards_stamp(&self.overlays) };
            batch.put(rows::META_KEY, rows::encode(&meta));
        }
        self.tree.apply(batch)?;
        steps.iter().for_each(tell);
        (writer.history, writer.oldest) = (history, oldest);
        let view = Arc::new(writer.publish(&old, steps, generation, &self.options.screening));
        self.view.store(view.clone());
        let change = Change { view, diff, reviewed };
        if is_new {
            writer.subscribers.iter().for_each(|subscriber| subscriber(&change));
        }
        Ok(change)
    }

    /// Drops generations up to `oldest`, and of the definitions that they held, and of `replaced` ones, those that
    /// neither a current tool nor a kept generation needs.
    fn sweep(
        &self,
        writer: &Writer,
        steps: &[Step],
        touched: &[Touch],
        oldest: Generation,
        replaced: Vec<ContentHash>,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let mut candidates: BTreeSet<ContentHash> = replaced.into_iter().collect();
        // What a generation had is found as the `before` of the next step; `after` is never read back.
        let mut needed: HashSet<ContentHash> = touched.iter().filter_map(|touch| touch.before).collect();
        for found in self.tree.scan(b"g/") {
            let (key, bytes) = found?;
            let Some(generation) = rows::parse_generation_key(&key) else { continue };
            let row: GenerationRow = rows::decode(&key, &bytes)?;
            let befores = row.touched.iter().filter_map(|touch| touch.before);
            if generation <= oldest {
                batch.remove(key);
                candidates.extend(befores);
            } else {
                needed.extend(befores);
            }
        }
        for (upstream, entries) in &writer.entries {
            let step = steps.iter().find(|step| step.upstream == *upstream);
            for (name, entry) in entries {
                let moves_on = step.is_some_and(|step| {
                    step.tools.contains_key(name) || step.quiet.iter().any(|(quiet, _)| quiet == name)
                });
                if !moves_on {
                    needed.insert(entry.raw);
                }
            }
        }
        for step in steps {
            needed.extend(step.quiet.iter().map(|(_, raw)| *raw));
            needed.extend(step.tools.values().flatten().map(|tool| tool.entry.raw));
        }
        for raw in candidates.difference(&needed.into_iter().collect()) {
            batch.remove(rows::definition_key(raw));
        }
        Ok(())
    }
}

impl Writer {
    pub(crate) fn entry(&self, id: &ToolId) -> Option<&Entry> {
        self.entries.get(&id.upstream)?.get(&id.name)
    }

    /// Takes written steps into memory and makes the view after them.
    fn publish(
        &mut self,
        old: &CatalogView,
        steps: Vec<Step>,
        generation: Generation,
        screening: &ScanOptions,
    ) -> CatalogView {
        let mut upstreams = old.upstreams.clone();
        let mut cards: BTreeMap<ToolId, Option<Arc<ToolCard>>> = BTreeMap::new();
        let mut groups: BTreeSet<FamilyKey> = BTreeSet::new();
        let mut unapproved = old.unapproved.by_tool.clone();
        for step in steps {
            self.take_pins(&step);
            if !step.waiting.is_empty() {
                let by_tool = Arc::make_mut(&mut unapproved);
                for (name, row) in &step.waiting {
                    let id = ToolId::new(step.upstream.clone(), name.clone());
                    match row {
                        Some(row) => by_tool.insert(id, row.unapproved()),
                        None => by_tool.remove(&id),
                    };
                }
            }
            let entries = self.entries.entry(step.upstream.clone()).or_default();
            for (name, raw) in step.quiet {
                if let Some(entry) = entries.get_mut(&name) {
                    entry.raw = raw;
                }
            }
            for (name, tool) in step.tools {
                let id = ToolId::new(step.upstream.clone(), name.clone());
                if let Some(gone) = entries.remove(&name) {
                    groups.insert(gone.family);
                    if let Some(members) = self.groups.get_mut(&gone.family) {
                        members.remove(&id);
                    }
                }
                self.scans.remove(&id);
                let card = tool.map(|tool| {
                    if !tool.scan.is_empty() {
                        self.scans.insert(id.clone(), Arc::new(tool.scan));
                    }
                    groups.insert(tool.entry.family);
                    self.groups.entry(tool.entry.family).or_default().insert(id.clone());
                    entries.insert(name, tool.entry);
                    tool.card
                });
                cards.insert(id, card);
            }
            match step.row {
                Some(row) => {
                    upstreams.insert(step.upstream, Arc::new(row));
                }
                None => {
                    upstreams.remove(&step.upstream);
                    self.entries.remove(&step.upstream);
                }
            }
        }
        let families = self.families(&old.families, &groups, cards.keys());
        for key in groups {
            if self.groups.get(&key).is_some_and(BTreeSet::is_empty) {
                self.groups.remove(&key);
            }
        }
        let is_touched = !cards.is_empty();
        let tools = merge(&old.tools, cards);
        let screen = match is_touched {
            // Who else has which tools decides too, so a change anywhere is a reason to look again.
            true => Arc::new(Screen::new(&self.scans, tools.iter().map(|card| &card.id), screening)),
            false => Arc::clone(&old.screen),
        };
        let unapproved = Waiting::new(unapproved, &tools);
        CatalogView { generation, tools, upstreams, families, screen, unapproved, ..CatalogView::default() }
    }

    /// Notes which pins belong to tools that are not there.
    fn take_pins(&mut self, step: &Step) {
        let gone = self.gone.entry(step.upstream.clone()).or_default();
        for name in step.tools.iter().filter(|(_, tool)| tool.is_some()).map(|(name, _)| name) {
            gone.remove(name);
        }
        for (name, row) in &step.pins {
            let is_gone = step.tools.get(name).is_none_or(Option::is_none);
            match row {
                Some(row) if is_gone => gone.insert(name.clone(), Gone::of(row)),
                _ => gone.remove(name),
            };
        }
    }

    /// The families after these groups changed and these tools were touched.
    fn families<'a>(
        &self,
        old: &Families,
        changed: &BTreeSet<FamilyKey>,
        touched: impl Iterator<Item = &'a ToolId>,
    ) -> Families {
        let mut touched = touched.peekable();
        if touched.peek().is_none() {
            return old.clone();
        }
        let mut families = HashMap::clone(old);
        let mut is_same = true;
        for id in touched {
            is_same &= families.remove(id).is_none();
        }
        for members in changed.iter().filter_map(|key| self.groups.get(key)) {
            // A group of one may have been a family before: its last member leaves it.
            for id in members {
                is_same &= families.remove(id).is_none();
            }
            if let Some(family) = family(members) {
                is_same = false;
                families.extend(members.iter().map(|id| (id.clone(), family.clone())));
            }
        }
        if is_same { old.clone() } else { Arc::new(families) }
    }
}

/// What is found in a definition, unless nobody wants to know.
fn scan_of(screening: &ScanOptions, definition: &Value) -> Scan {
    if screening.is_off() { Scan::default() } else { toolscout_scan::scan(definition) }
}

/// Drops the pins of tools that went away beyond what is kept of one upstream.
fn drop_surplus(step: &mut Step, writer: &Writer) {
    let leave = step.pins.iter().filter(|(name, _)| step.tools.get(*name).is_some_and(Option::is_none));
    let leave: Vec<_> = leave.filter_map(|(name, row)| Some((name.clone(), Gone::of(row.as_ref()?)))).collect();
    if leave.is_empty() {
        return;
    }
    let mut gone = writer.gone.get(&step.upstream).cloned().unwrap_or_default();
    gone.retain(|name, _| !step.tools.get(name).is_some_and(Option::is_some));
    gone.extend(leave);
    for name in pins::surplus(&gone) {
        step.pins.insert(name, None);
    }
}

/// Says in the log what was withheld and what a rule approved. Never what a server wrote.
fn tell(step: &Step) {
    let upstream = &step.upstream;
    for (name, row) in &step.waiting {
        match row {
            Some(row) => {
                let (what, renamed_from) = (row.what.as_str(), row.renamed_from.as_ref().map(tracing::field::display));
                tracing::warn!(%upstream, tool = %name, what, renamed_from, "definition withheld until it is approved");
            }
            None => tracing::info!(%upstream, tool = %name, "definition no longer waits for an approval"),
        }
    }
    for name in step.pins.keys() {
        let tool = step.tools.get(name).and_then(Option::as_ref);
        let by_rule = tool.and_then(|tool| tool.approval.as_ref()).filter(|approval| approval.how == How::ByRule);
        if let Some(approval) = by_rule {
            tracing::info!(%upstream, tool = %name, reasons = approval.reasons.join(", "), "harmless change approved");
        }
    }
}

fn family(members: &BTreeSet<ToolId>) -> Option<Arc<Family>> {
    let first = members.first().filter(|_| members.len() > 1)?;
    Some(Arc::new(Family { name: first.name.as_str().to_owned(), tools: members.iter().cloned().collect() }))
}

fn families_of<'a>(groups: impl Iterator<Item = &'a BTreeSet<ToolId>>) -> Families {
    let mut families = HashMap::new();
    for members in groups {
        if let Some(family) = family(members) {
            families.extend(members.iter().map(|id| (id.clone(), family.clone())));
        }
    }
    Arc::new(families)
}

/// Two sorted sequences into one; `None` takes a tool out.
fn merge(old: &[Arc<ToolCard>], cards: BTreeMap<ToolId, Option<Arc<ToolCard>>>) -> Vec<Arc<ToolCard>> {
    let mut merged = Vec::with_capacity(old.len() + cards.len());
    let mut rest = old;
    for (id, card) in cards {
        let n_before = rest.partition_point(|old| old.id < id);
        merged.extend_from_slice(&rest[..n_before]);
        rest = &rest[n_before..];
        if rest.first().is_some_and(|old| old.id == id) {
            rest = &rest[1..];
        }
        merged.extend(card);
    }
    merged.extend_from_slice(rest);
    merged
}

/// Shortens the history to what is kept. Returns the oldest generation from which differences stay known.
fn cut(history: &mut VecDeque<(Generation, usize)>) -> Generation {
    let mut n_touches: usize = history.iter().map(|(_, n)| n).sum();
    let mut oldest = Generation(0);
    while history.len() > KEPT_GENERATIONS || (n_touches > KEPT_TOUCHES && history.len() > 1) {
        let Some((generation, n)) = history.pop_front() else { break };
        oldest = generation;
        n_touches -= n;
    }
    oldest
}

fn empty_row(upstream: &UpstreamId, at: Timestamp) -> UpstreamRow {
    UpstreamRow {
        id: upstream.clone(),
        server: ServerRow::default(),
        tags: Vec::new(),
        state: UpstreamState::Unreachable,
        since: at,
        reason: String::new(),
        origin: Origin::Crawled,
        n_tools: 0,
        skipped: Vec::new(),
        truncated: None,
        ttl_ms: None,
        listed_at: None,
    }
}

/// Every current tool with its row, sorted by id.
fn read_tool_rows(tree: &Tree) -> Result<Vec<(ToolId, ToolRow)>, Error> {
    let mut tools = Vec::new();
    for found in tree.scan(b"t/") {
        let (key, bytes) = found?;
        let Some(id) = std::str::from_utf8(&key[2..]).ok().and_then(|id| id.parse::<ToolId>().ok()) else { continue };
        tools.push((id, rows::decode(&key, &bytes)?));
    }
    // Keys sort as text, ids by upstream first: `a-b:x` and `a:x` come the other way round.
    tools.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(tools)
}

/// Maps in order, on all cores when there is much to do.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    const WORTH_A_THREAD: usize = 200;
    let n_threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(items.len() / WORTH_A_THREAD);
    if n_threads < 2 {
        return items.iter().map(work).collect();
    }
    std::thread::scope(|scope| {
        let work = &work;
        let chunks = items.chunks(items.len().div_ceil(n_threads));
        let workers: Vec<_> =
            chunks.map(|chunk| scope.spawn(move || chunk.iter().map(work).collect::<Vec<_>>())).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("building a card never panics")).collect()
    })
}

/// The key of a tool that is like no other, because nothing is known of it but its name.
fn own_family(id: &ToolId) -> FamilyKey {
    let hash = ContentHash::of(format!("{id}\0").as_bytes());
    std::array::from_fn(|i| hash.0[i])
}

pub(crate) fn family_key(built: &Built) -> FamilyKey {
    let name = built.card.id.name.as_str();
    let hash = ContentHash::of(format!("{name}\0{}", built.input_schema).as_bytes());
    std::array::from_fn(|i| hash.0[i])
}

/// Cards come out the same as long as this does.
fn cards_stamp(overlays: &Overlays) -> ContentHash {
    ContentHash::of(format!("{} {overlays:?}", card::CARD_VERSION).as_bytes())
}
