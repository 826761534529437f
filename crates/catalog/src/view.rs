//! What comes out: one immutable generation.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use toolscout_core::{Generation, ToolCard, ToolId, UpstreamId};
use toolscout_scan::Screen;

use crate::UpstreamRow;
use crate::pins::Unapproved;

/// One published generation. Unchanged cards are shared with the generations before it, so a view costs a pointer per tool.
#[derive(Default)]
pub struct CatalogView {
    /// Which one.
    pub generation: Generation,
    /// Every tool's card, sorted by id.
    pub tools: Vec<Arc<ToolCard>>,
    /// Every upstream there is a row for.
    pub upstreams: BTreeMap<UpstreamId, Arc<UpstreamRow>>,
    /// Whose text is hostile: decided once, when the generation was made.
    pub screen: Arc<Screen>,
    pub(crate) families: Families,
    pub(crate) unapproved: Waiting,
    /// Wire name to position, made when first asked.
    pub(crate) wire: OnceLock<HashMap<String, u32>>,
    /// Tool to those that are its backup, made when first asked.
    pub(crate) backups: OnceLock<HashMap<ToolId, Vec<ToolId>>>,
}

/// The same tool on several upstreams: same name, same canonical input schema. Each stays callable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// The name they share.
    pub name: String,
    /// The members, sorted; at least two.
    pub tools: Vec<ToolId>,
}

/// All families, shared between generations until one changes.
pub(crate) type Families = Arc<HashMap<ToolId, Arc<Family>>>;

/// Tools whose definitions wait for an approval, with their places, shared between generations until one changes. Mostly none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting {
    pub(crate) by_tool: Arc<BTreeMap<ToolId, Unapproved>>,
    positions: Arc<[u32]>,
}

impl Waiting {
    /// Of these tools, found among the cards.
    pub(crate) fn new(by_tool: Arc<BTreeMap<ToolId, Unapproved>>, tools: &[Arc<ToolCard>]) -> Self {
        let place = |id: &ToolId| tools.binary_search_by(|card| card.id.cmp(id)).ok();
        let positions = by_tool.keys().filter_map(place).filter_map(|place| u32::try_from(place).ok()).collect();
        Self { by_tool, positions }
    }
}

impl CatalogView {
    /// A view of these cards alone, without upstreams, store or history: for tests and experiments.
    /// Of cards with the same id the last stays.
    pub fn of_cards(generation: Generation, cards: impl IntoIterator<Item = ToolCard>) -> Self {
        let by_id: BTreeMap<ToolId, ToolCard> = cards.into_iter().map(|card| (card.id.clone(), card)).collect();
        Self { generation, tools: by_id.into_values().map(Arc::new).collect(), ..Self::default() }
    }

    /// How many tools there are.
    pub fn len(&self) -> usize {
        self.tools.len()
    }

    /// Whether there is no tool.
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// The card of a tool.
    pub fn get(&self, id: &ToolId) -> Option<&Arc<ToolCard>> {
        self.position(id).map(|position| &self.tools[position])
    }

    /// The tool's place in [`CatalogView::tools`].
    pub fn position(&self, id: &ToolId) -> Option<usize> {
        self.tools.binary_search_by(|card| card.id.cmp(id)).ok()
    }

    /// The tool that is listed on the wire under this name (see [`ToolId::wire_name`]).
    pub fn by_wire_name(&self, name: &str) -> Option<&Arc<ToolCard>> {
        let positions = self.wire.get_or_init(|| {
            let mut positions = HashMap::with_capacity(self.tools.len());
            for (position, card) in (0u32..).zip(&self.tools) {
                // Should two share a name, the first by id keeps it.
                positions.entry(card.id.wire_name()).or_insert(position);
            }
            positions
        });
        positions.get(name).map(|&position| &self.tools[position as usize])
    }

    /// The family of a tool that has one.
    pub fn family_of(&self, id: &ToolId) -> Option<&Arc<Family>> {
        self.families.get(id)
    }

    /// What can stand in for a tool, in the order of preference: the rest of its family, then its backups.
    pub fn stand_ins<'a>(&'a self, id: &'a ToolId) -> impl Iterator<Item = &'a ToolId> {
        let family = self.family_of(id).map_or(&[][..], |family| &family.tools);
        family.iter().chain(self.backups_of(id)).filter(move |other| *other != id)
    }

    /// The tools whose cards name this one as what they are the backup of, by id.
    pub fn backups_of(&self, id: &ToolId) -> &[ToolId] {
        let backups = self.backups.get_or_init(|| {
            let mut backups: HashMap<ToolId, Vec<ToolId>> = HashMap::new();
            for card in &self.tools {
                if let Some(of) = card.backup_of.as_ref().filter(|of| **of != card.id) {
                    backups.entry(of.clone()).or_default().push(card.id.clone());
                }
            }
            backups
        });
        backups.get(id).map_or(&[], Vec::as_slice)
    }

    /// Every family, by name and first member.
    pub fn families(&self) -> Vec<Arc<Family>> {
        let mut all: Vec<_> = self
            .families
            .iter()
            .filter(|(id, family)| family.tools.first() == Some(id))
            .map(|(_, f)| f.clone())
            .collect();
        all.sort_by(|a, b| (&a.name, &a.tools).cmp(&(&b.name, &b.tools)));
        all
    }

    /// Why a tool is withheld until somebody approves its definition, if it is. What its card says was approved, or is nothing but
    /// its name.
    pub fn unapproved(&self, id: &ToolId) -> Option<&Unapproved> {
        self.unapproved.by_tool.get(id)
    }

    /// Every tool that is withheld so, by id.
    pub fn all_unapproved(&self) -> impl Iterator<Item = (&ToolId, &Unapproved)> {
        self.unapproved.by_tool.iter()
    }

    /// Their places in [`CatalogView::tools`], found once per generation.
    pub fn unapproved_positions(&self) -> &[u32] {
        &self.unapproved.positions
    }

    /// Whether a tool is withheld for what it says of itself: its text is hostile, or nobody approved it yet. No model gets a word of
    /// such a tool, however well it works.
    pub fn is_silenced(&self, id: &ToolId) -> bool {
        self.screen.withholds(id) || self.unapproved(id).is_some()
    }

    /// What we remember of an upstream.
    pub fn upstream(&self, id: &UpstreamId) -> Option<&Arc<UpstreamRow>> {
        self.upstreams.get(id)
    }

    /// The cards of one upstream.
    pub fn tools_of(&self, id: &UpstreamId) -> &[Arc<ToolCard>] {
        let from = self.tools.partition_point(|card| card.id.upstream < *id);
        let to = self.tools.partition_point(|card| card.id.upstream <= *id);
        &self.tools[from..to]
    }

    /// Up to `n` tools whose id, name or wire name is nearest to what somebody typed, best first. Nothing alike, nothing back.
    pub fn nearest(&self, typed: &str, n: usize) -> Vec<ToolId> {
        nearest(&self.tools, typed, n)
    }

    /// One line on what the catalog covers, for server instructions: at most 600 characters, and the same for the same tools.
    pub fn digest(&self) -> String {
        self.digest_of(|_| true)
    }

    /// The same of some of the tools. Silenced ones are never among them: names are a server's words too.
    pub fn digest_of(&self, may_see: impl Fn(&ToolCard) -> bool) -> String {
        digest(self.tools.iter().filter(|card| may_see(card) && !self.is_silenced(&card.id)))
    }
}

/// Below this likeness, from 0 to 1, a name helps nobody.
const ALIKE: f64 = 0.4;

fn nearest(tools: &[Arc<ToolCard>], typed: &str, n: usize) -> Vec<ToolId> {
    // Longer input cannot be a name with a slip in it.
    const MAX_TYPED: usize = 320;
    const SHORTLIST: usize = 64;
    let typed: String = typed.chars().take(MAX_TYPED).collect();
    let typed = fold(&typed);
    let has_upstream = typed.contains(':');
    let own = Pairs::of(typed.rsplit(':').next().unwrap_or_default());
    let whole = Pairs::of(&typed);
    // Two passes: likeness of letter pairs picks a shortlist in a millisecond, edit distance orders it.
    let mut rough: Vec<(u32, usize)> = Vec::new();
    for (position, card) in tools.iter().enumerate() {
        let name = Pairs::of(&fold(card.id.name.as_str()));
        let mut likeness = own.likeness(&name);
        if has_upstream {
            likeness = likeness.max(whole.likeness(&Pairs::of(&fold(&card.id.to_string()))));
        }
        if likeness > 0.2 {
            // Positive floats order like their bits; the position breaks ties, and positions order like ids.
            rough.push(((likeness as f32).to_bits(), position));
        }
    }
    rough.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    rough.truncate(SHORTLIST.max(n));
    let mut scored: Vec<(f64, &ToolId)> = rough
        .into_iter()
        .map(|(_, position)| {
            let id = &tools[position].id;
            let name = fold(id.name.as_str());
            let by_name = strsim::normalized_damerau_levenshtein(typed.rsplit(':').next().unwrap_or_default(), &name);
            let by_id = strsim::normalized_damerau_levenshtein(&typed, &fold(&id.to_string()));
            // Somebody who named the upstream meant it; who did not means any.
            let distance = if has_upstream { 0.5 * by_name + 0.5 * by_id } else { by_name.max(by_id) };
            (0.7 * distance + 0.3 * own.likeness(&Pairs::of(&name)), id)
        })
        .filter(|(score, _)| *score >= ALIKE)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    scored.into_iter().take(n).map(|(_, id)| id.clone()).collect()
}

/// Spelling that does not tell names apart: case, separators, wire or id form.
fn fold(name: &str) -> String {
    let name = name.replacen("__", ":", usize::from(!name.contains(':')));
    name.chars().map(|c| if matches!(c, '-' | '.' | ' ' | '/') { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// The pairs of neighbouring bytes of a word as a small set.
struct Pairs([u64; 4]);

impl Pairs {
    fn of(word: &str) -> Self {
        let mut bits = [0_u64; 4];
        let mut set = |a: u8, b: u8| {
            let hash = u32::from(a).wrapping_mul(0x9E37_79B1) ^ u32::from(b).wrapping_mul(0x85EB_CA6B);
            let bit = (hash.wrapping_mul(0xC2B2_AE35) >> 24) as usize;
            bits[bit / 64] |= 1 << (bit % 64);
        };
        let bytes = word.as_bytes();
        if let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) {
            set(0, first);
            set(last, 0);
        }
        bytes.windows(2).for_each(|pair| set(pair[0], pair[1]));
        Self(bits)
    }

    /// Dice's coefficient: twice what is shared by the sum of both.
    fn likeness(&self, other: &Self) -> f64 {
        let count = |bits: [u64; 4]| bits.iter().map(|word| word.count_ones()).sum::<u32>();
        let shared = count(std::array::from_fn(|i| self.0[i] & other.0[i]));
        let all = count(self.0) + count(other.0);
        if all == 0 { 0.0 } else { f64::from(2 * shared) / f64::from(all) }
    }
}

fn digest<'a>(tools: impl Iterator<Item = &'a Arc<ToolCard>>) -> String {
    const MAX_CHARS: usize = 600;
    const MAX_TOPICS: usize = 16;
    // Words that say what is done, not to what; and fillers.
    const SAID_BY_EVERY_TOOL: [&str; 44] = [
        "get", "list", "create", "update", "delete", "add", "remove", "set", "search", "find", "read", "write", "send",
        "run", "by", "to", "for", "from", "of", "and", "in", "with", "id", "all", "info", "data", "fetch", "check",
        "query", "show", "the", "a", "on", "make", "generate", "new", "multiple", "details", "detail", "browser", "v",
        "execute", "manage", "is",
    ];
    let mut by_upstream: BTreeMap<&UpstreamId, usize> = BTreeMap::new();
    let mut by_topic: BTreeMap<&str, usize> = BTreeMap::new();
    for card in tools {
        *by_upstream.entry(&card.id.upstream).or_default() += 1;
        // A long-winded name should not count for more than a plain one.
        for word in card.words.iter().take(6) {
            let speaks = word.chars().count() > 1 && !word.chars().all(char::is_numeric);
            if speaks && !SAID_BY_EVERY_TOOL.contains(&word.as_str()) {
                *by_topic.entry(word).or_default() += 1;
            }
        }
    }
    let n_tools: usize = by_upstream.values().sum();
    if n_tools == 0 {
        return "No tools yet.".to_owned();
    }
    let n_upstreams = by_upstream.len();
    let mut upstreams: Vec<_> = by_upstream.into_iter().collect();
    upstreams.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let names: HashSet<&str> = upstreams.iter().map(|(id, _)| id.as_str()).collect();
    let mut topics: Vec<_> = by_topic.into_iter().filter(|(word, _)| !names.contains(word)).collect();
    topics.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    topics.truncate(MAX_TOPICS);
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    let mut text = format!("{} tool{} of {n_upstreams} server{}: ", n_tools, plural(n_tools), plural(n_upstreams));
    let tail = match topics.is_empty() {
        true => ".".to_owned(),
        false => format!("; about {}.", topics.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ")),
    };
    let room = MAX_CHARS - " and 99999 more".len() - tail.chars().count().min(MAX_CHARS / 2);
    let mut n_named = 0;
    for (id, n) in &upstreams {
        let comma = if n_named > 0 { ", " } else { "" };
        let piece = format!("{comma}{id} ({n})");
        if text.chars().count() + piece.len() > room {
            break;
        }
        text.push_str(&piece);
        n_named += 1;
    }
    if n_named < n_upstreams {
        text.push_str(&format!(" and {} more", n_upstreams - n_named));
    }
    text.push_str(&tail);
    crate::prose::clip(&text, MAX_CHARS)
}
