//! What `tools/list` holds, and the news when it changes.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use rmcp::model::{CacheScope, ListToolsResult, Tool};
use serde_json::{Map, Value};
use tokio::sync::watch;
use toolscout_catalog::{CatalogView, Change};
use toolscout_core::text::sanitize;
use toolscout_core::{Caller, Generation, ToolCard, ToolId};

use super::Sharing;
use crate::error::OpError;
use crate::lenient::Mistake;
use crate::metatools;
use crate::ops::{find, resolve, visible};
use crate::plain;
use crate::services::{Exposure, Services};
use crate::wire::Filters;

/// Tools per page where all are listed.
const PAGE: usize = 200;
/// Longest description of a listed tool, in characters.
const MAX_DESCRIPTION: usize = 8_000;
/// Longest instructions, in bytes: clients keep about the first 2 kB.
const MAX_INSTRUCTIONS: usize = 2_000;

/// The lists of one gateway.
pub(super) struct Lists {
    sharing: Sharing,
    changes: watch::Sender<u64>,
    instructions: ArcSwapOption<(Generation, String)>,
}

impl Lists {
    /// Watches the catalog for changes of what is listed.
    pub(super) fn new(services: &Arc<Services>, sharing: Sharing) -> Arc<Self> {
        let (changes, _) = watch::channel(0);
        let lists = Arc::new(Self { sharing, changes, instructions: ArcSwapOption::empty() });
        // The catalog outlives neither: weak, or services would hold themselves.
        let (watching, watched): (Weak<Self>, Weak<Services>) = (Arc::downgrade(&lists), Arc::downgrade(services));
        services.parts.catalog.subscribe(Box::new(move |change| {
            if let (Some(lists), Some(services)) = (watching.upgrade(), watched.upgrade())
                && touches_list(&services, change)
            {
                lists.changes.send_modify(|n| *n += 1);
            }
        }));
        lists
    }

    /// Hears of every change of the list.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How long a list may be kept, and by whom.
    pub(super) fn caching(&self, services: &Services) -> (u64, CacheScope) {
        // Where policy may tell callers apart, one caller's list is nobody else's.
        let same_for_all = self.sharing == Sharing::ByPolicy && services.parts.policy.permits_all();
        let scope = if same_for_all { CacheScope::Public } else { CacheScope::Private };
        (services.parts.options.list_ttl_ms, scope)
    }

    /// What makes a model search first, with a line on what the catalog covers.
    pub(super) fn instructions(&self, services: &Services) -> String {
        let view = services.parts.catalog.view();
        if let Some(kept) = self.instructions.load_full()
            && kept.0 == view.generation
        {
            return kept.1.clone();
        }
        let text = instructions(services, &view);
        self.instructions.store(Some(Arc::new((view.generation, text.clone()))));
        text
    }

    /// One page of the list.
    pub(super) async fn page(
        &self,
        services: &Services,
        caller: &Caller,
        cursor: Option<String>,
    ) -> Result<ListToolsResult, OpError> {
        let exposure = services.parts.options.exposure;
        let view = services.parts.catalog.view();
        let after = match cursor {
            None => None,
            Some(cursor) => Some(cursor.parse::<ToolId>().map_err(|_| OpError::BadRequest {
                mistakes: vec![Mistake {
                    field: "cursor".to_owned(),
                    message: "must be one that tools/list gave".to_owned(),
                }],
            })?),
        };
        let listed: Vec<Arc<ToolCard>> = match exposure {
            Exposure::Pinned => pinned(services, caller, &view),
            Exposure::All | Exposure::Transparent => {
                let from = after.as_ref().map_or(0, |after| view.tools.partition_point(|card| card.id <= *after));
                let seen = |card: &&Arc<ToolCard>| {
                    visible(&services.parts.policy, caller, card)
                        && !view.is_silenced(&card.id)
                        && (exposure == Exposure::All || is_first_of_name(services, caller, &view, card))
                };
                view.tools[from..].iter().filter(seen).take(PAGE + 1).cloned().collect()
            }
        };
        let has_more = listed.len() > PAGE && exposure != Exposure::Pinned;
        let shown = if has_more { &listed[..PAGE] } else { &listed[..] };
        let mut tools = match (exposure, &after) {
            (Exposure::Pinned, _) | (Exposure::All, None) => metatools::all(),
            (Exposure::All, Some(_)) | (Exposure::Transparent, _) => Vec::new(),
        };
        tools.extend(definitions(services, shown.to_vec(), exposure).await?);
        let (ttl_ms, scope) = self.caching(services);
        let mut page = ListToolsResult::with_all_items(tools).with_ttl_ms(ttl_ms).with_cache_scope(scope);
        page.next_cursor = shown.last().filter(|_| has_more).map(|card| card.id.to_string());
        Ok(page)
    }

    /// The meta-tools and the tools that fit a query. Depends on the request alone.
    pub(super) async fn for_query(
        &self,
        services: &Services,
        caller: &Caller,
        query: &str,
        limit: Option<usize>,
    ) -> Result<ListToolsResult, OpError> {
        let found = find(services, caller, query, limit, &Filters::default()).await?;
        let cards = found.tools.iter().map(|tool| Arc::clone(&tool.card)).collect();
        let mut tools = metatools::all();
        tools.extend(definitions(services, cards, Exposure::Pinned).await?);
        let mut listed = ListToolsResult::with_all_items(tools).with_ttl_ms(0).with_cache_scope(CacheScope::Private);
        let id = Value::from(found.id.as_str());
        listed.meta.get_or_insert_default().insert(super::SELECTION_META.to_owned(), id);
        Ok(listed)
    }

    /// The id of the tool that a client means by a name on the wire.
    pub(super) fn id_of(&self, services: &Services, caller: &Caller, name: &str) -> String {
        if services.parts.options.exposure == Exposure::Transparent {
            let view = services.parts.catalog.view();
            let named = view
                .tools
                .iter()
                .filter(|card| card.id.name.as_str() == name && visible(&services.parts.policy, caller, card))
                // One that is withheld for its text is meant only if no other has the name: then the refusal says why.
                .min_by_key(|card| view.is_silenced(&card.id));
            if let Some(card) = named {
                return card.id.to_string();
            }
        }
        name.to_owned()
    }

    /// The definition behind a name, for rmcp's check of `Mcp-Param-*` headers.
    pub(super) fn tool(&self, services: &Services, name: &str) -> Option<Tool> {
        let exposure = services.parts.options.exposure;
        if exposure != Exposure::Transparent
            && let Some(tool) = metatools::all().into_iter().find(|tool| tool.name == name)
        {
            return Some(tool);
        }
        let caller = Caller::local("");
        let view = services.parts.catalog.view();
        let id = self.id_of(services, &caller, name);
        let card = resolve(&view, &services.parts.policy, &caller, &id).ok()?;
        // A store read on an async thread: microseconds, and only for tools that are called by their own name.
        let raw = services.parts.catalog.raw(&card.id).ok()??;
        Some(wire_tool(card, raw, exposure))
    }
}

fn pinned(services: &Services, caller: &Caller, view: &CatalogView) -> Vec<Arc<ToolCard>> {
    let there = services.parts.options.pinned.iter().filter_map(|id| view.get(id));
    let seen = |card: &&Arc<ToolCard>| visible(&services.parts.policy, caller, card) && !view.is_silenced(&card.id);
    there.filter(seen).cloned().collect()
}

/// Whether no other visible tool of the same name comes before: only then its bare name means it.
fn is_first_of_name(services: &Services, caller: &Caller, view: &CatalogView, card: &ToolCard) -> bool {
    if view.upstreams.len() <= 1 {
        return true;
    }
    let same = |other: &&Arc<ToolCard>| {
        other.id.name == card.id.name && visible(&services.parts.policy, caller, other) && !view.is_silenced(&other.id)
    };
    view.tools.iter().find(same).is_none_or(|first| first.id == card.id)
}

fn touches_list(services: &Services, change: &Change) -> bool {
    let options = &services.parts.options;
    match options.exposure {
        Exposure::All | Exposure::Transparent => !change.diff.is_empty() || !change.reviewed.is_empty(),
        Exposure::Pinned => {
            let diff = &change.diff;
            let mut touched = diff.added.iter().chain(&diff.changed).chain(&diff.removed).chain(&change.reviewed);
            touched.any(|id| options.pinned.contains(id))
        }
    }
}

async fn definitions(services: &Services, cards: Vec<Arc<ToolCard>>, exposure: Exposure) -> Result<Vec<Tool>, OpError> {
    if cards.is_empty() {
        return Ok(Vec::new());
    }
    let catalog = Arc::clone(&services.parts.catalog);
    let read = services.compute(move || {
        let mut tools = Vec::with_capacity(cards.len());
        for card in &cards {
            // A tool that went away a moment ago is not listed.
            if let Some(raw) = catalog.raw(&card.id)? {
                tools.push(wire_tool(card, raw, exposure));
            }
        }
        Ok::<_, toolscout_catalog::Error>(tools)
    });
    read.await?.map_err(OpError::internal)
}

/// An upstream's definition under the name we list it by. `_meta` stays as it is; texts are cleaned, those of schemas of hidden
/// characters alone; what rmcp cannot read (a bad icon, a bad annotation) is left out rather than the tool.
fn wire_tool(card: &ToolCard, raw: Value, exposure: Exposure) -> Tool {
    let name = match exposure {
        Exposure::Pinned | Exposure::All => card.id.wire_name(),
        Exposure::Transparent => card.id.name.as_str().to_owned(),
    };
    let Value::Object(mut definition) = raw else {
        return Tool::new(name, card.description.clone(), Map::new());
    };
    definition.insert("name".to_owned(), Value::from(name.clone()));
    for text in ["description", "title"] {
        if let Some(Value::String(said)) = definition.get(text) {
            let clean = sanitize(said, MAX_DESCRIPTION);
            definition.insert(text.to_owned(), Value::from(clean));
        }
    }
    for part in ["inputSchema", "outputSchema", "annotations"] {
        if let Some(part) = definition.get_mut(part) {
            *part = plain::shown(part.take());
        }
    }
    for optional in ["icons", "annotations", "title", "_meta", "outputSchema"] {
        match serde_json::from_value::<Tool>(Value::Object(definition.clone())) {
            Ok(tool) => return tool,
            Err(_) => definition.remove(optional),
        };
    }
    let schema = match definition.remove("inputSchema") {
        Some(Value::Object(schema)) => schema,
        _ => Map::new(),
    };
    Tool::new(name, card.description.clone(), schema)
}

fn instructions(services: &Services, view: &CatalogView) -> String {
    if services.parts.options.exposure == Exposure::Transparent {
        return String::new();
    }
    // Only of what may be seen, or the line would tell what else there is.
    let caller = Caller::local("");
    let digest = view.digest_of(|card| visible(&services.parts.policy, &caller, card));
    let text = format!(
        "toolscout finds tools. Most tools of the connected servers are not listed here: before you say that you have no \
         tool for something, call search_tools with the task in words. Then call_tool with the id it gives; use \
         get_tool_details when the signature is not enough.\n{}",
        digest.replace('\n', " ")
    );
    let mut end = text.len().min(MAX_INSTRUCTIONS);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
