//! The catalog from the outside.

#![expect(clippy::unwrap_used, reason = "tests; clippy's exception for them does not reach their helpers")]

mod approvals;
mod cards;
mod files;
mod generations;
mod measure;
mod views;

use serde_json::{Value, json};
use toolscout_catalog::{Catalog, CatalogOptions, Diff, Listing, Overlays, Review, Trust};
use toolscout_core::{Timestamp, ToolId, Untrusted, UpstreamId};
use toolscout_store::Store;

/// A catalog that takes every change as it comes; [`approvals`] is about the others.
fn open(store: &Store) -> Catalog {
    reviewed(store, Review::of(Trust::Always))
}

fn reviewed(store: &Store, review: Review) -> Catalog {
    let options = CatalogOptions { review, ..CatalogOptions::default() };
    Catalog::open_with(store, Overlays::default(), options).unwrap()
}

fn upstream(name: &str) -> UpstreamId {
    UpstreamId::new(name).unwrap()
}

fn id(text: &str) -> ToolId {
    text.parse().unwrap()
}

/// A tool whose description is what tells its versions apart.
fn tool(name: &str, description: &str) -> Value {
    json!({"name": name, "description": description, "inputSchema": {"type": "object", "properties": {"q": {"type": "string"}}}})
}

fn listing(of: &str, at: u64, tools: impl IntoIterator<Item = Value>) -> Listing {
    let mut listing = Listing::new(upstream(of), Timestamp(at));
    listing.tools = tools.into_iter().map(Untrusted::new).collect();
    listing
}

/// `+a:b ~a:c -a:d`.
fn show(diff: &Diff) -> String {
    let lists = [('+', &diff.added), ('~', &diff.changed), ('-', &diff.removed)];
    let marked = lists.iter().flat_map(|(mark, ids)| ids.iter().map(move |id| format!("{mark}{id}")));
    marked.collect::<Vec<_>>().join(" ")
}
