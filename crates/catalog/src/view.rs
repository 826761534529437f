//! What comes out: one immutable generation.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use toolscout_core::{Generation, ToolCard, ToolId, UpstreamId};

use crate::UpstreamRow;

/// One published generation. Unchanged cards are shared with the generations before it, so a view costs a pointer per tool.
#[derive(Default)]
pub struct CatalogView {
    /// Which one.
    pub generation: Generation,
    /// Every tool's card, sorted by id.
    pub tools: Vec<Arc<ToolCard>>,
    /// Every upstream there is a row for.
    pub upstreams: BTreeMap<UpstreamId, Arc<UpstreamRow>>,
    pub(crate) families: Families,
    /// Wire name to position, made when first asked.
    pub(crate) wire: OnceLock<HashMap<String, u32>>,
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
        let _ = (typed, n);
        unimplemented!("lands with the next step")
    }

    /// One line on what the catalog covers, for server instructions: bounded, and the same for the same tools.
    pub fn digest(&self) -> String {
        unimplemented!("lands with the next step")
    }
}
