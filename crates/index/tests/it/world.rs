//! A tiny catalog and what every test does with it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toolscout_catalog::CatalogView;
use toolscout_core::card::SideEffectSource;
use toolscout_core::words::split_identifier;
use toolscout_core::{ContentHash, Generation, Param, SideEffect, ToolCard};
use toolscout_embed::Embed;
use toolscout_index::{DenseMode, IndexHost, IndexOptions, Snapshot};
use toolscout_store::Store;

/// Long enough for a busy machine; nothing waits that long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn card(id: &str, description: &str) -> ToolCard {
    let id: toolscout_core::ToolId = id.parse().unwrap();
    let words = split_identifier(id.name.as_str());
    ToolCard {
        definition: ContentHash::of(description.as_bytes()),
        title: words.join(" "),
        words,
        description: description.to_owned(),
        purpose: description.to_owned(),
        when_to_use: None,
        when_not: None,
        side_effect: SideEffect::Read,
        side_effect_source: SideEffectSource::Guessed,
        params: Vec::new(),
        tags: Vec::new(),
        hints: Vec::new(),
        backup_of: None,
        id,
    }
}

pub(crate) fn param(name: &str, description: &str, values: &[&str]) -> Param {
    Param {
        name: name.to_owned(),
        kind: "string".to_owned(),
        required: false,
        description: description.to_owned(),
        enum_values: values.iter().map(|&value| value.to_owned()).collect(),
    }
}

/// A few tools of a forge, a bakery and a weather station.
pub(crate) fn small() -> Vec<ToolCard> {
    let mut cards = vec![
        card("forge:create_issue", "Open a new issue in a repository"),
        card("forge:list_issues", "List the open issues of a repository"),
        card("forge:delete_repo", "Delete a whole repository for good"),
        card("bakery:bake_bread", "Bake a loaf of bread in the oven"),
        card("bakery:orderCake", "Order a birthday cake, with candles"),
        card("weather:get_forecast", "Will it rain tomorrow? Forecast for a city"),
    ];
    cards[0].params = vec![param("labels", "What kind of trouble it is", &["bug", "wish"])];
    cards[4].hints = vec!["a pastry for my party".to_owned()];
    cards[5].tags = vec!["outdoors".to_owned()];
    cards
}

pub(crate) fn view(generation: u64, cards: impl IntoIterator<Item = ToolCard>) -> Arc<CatalogView> {
    Arc::new(CatalogView::of_cards(Generation(generation), cards))
}

pub(crate) fn options(dir: Option<&Path>, dense: DenseMode) -> IndexOptions {
    IndexOptions { dir: dir.map(Path::to_owned), dense, ..IndexOptions::default() }
}

/// A host in memory, brought to these cards and settled.
pub(crate) fn settled(
    store: &Store,
    embedder: Option<Arc<dyn Embed>>,
    dense: DenseMode,
    cards: Vec<ToolCard>,
) -> Arc<IndexHost> {
    let host = IndexHost::open(options(None, dense), store, embedder).unwrap();
    host.apply(&view(1, cards)).unwrap();
    assert!(host.wait_settled(PATIENCE));
    host
}

pub(crate) fn ids(snapshot: &Snapshot, docs: impl IntoIterator<Item = u32>) -> Vec<String> {
    docs.into_iter().map(|doc| snapshot.card(doc).id.to_string()).collect()
}
