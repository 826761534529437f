//! What does the gateway add to a call? Calls one stdio server directly through the pool and through `ops::call`, in turns.
//!
//! `cargo run -p toolscout-gateway --example overhead`. Prints the medians in microseconds.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, for people")]

use std::sync::Arc;

use serde_json::json;
use tokio::time::Instant;
use toolscout_catalog::{Catalog, Listing, Overlays};
use toolscout_core::{Caller, Timestamp, UpstreamId};
use toolscout_gateway::wire::CallRequest;
use toolscout_gateway::{GatewayOptions, NoRecrawl, Parts, SelectionLog, SelectionOptions, Services, ops};
use toolscout_index::{IndexHost, IndexOptions};
use toolscout_policy::Policy;
use toolscout_quality::{Quality, QualityOptions};
use toolscout_store::Store;
use toolscout_testkit::upstream::{Behave, Scripted};
use toolscout_upstream::{CallContext, Pool, PoolOptions, UpstreamSpec};

const N_CALLS: usize = 1_000;

#[tokio::main]
async fn main() {
    let id = UpstreamId::new("scripted").unwrap();
    let scripted = Scripted::new(&[Behave::Good]);
    let pool = Pool::new(PoolOptions::default());
    pool.configure(vec![UpstreamSpec::stdio(id.clone(), &scripted.command(), scripted.args())]);
    let mut listing = Listing::new(id.clone(), Timestamp(1));
    listing.tools = pool.list(&id).await.unwrap().tools;
    let store = Store::temporary().unwrap();
    let catalog = Arc::new(Catalog::open(&store, Overlays::default()).unwrap());
    catalog.apply(listing).unwrap();
    let index = IndexHost::open(IndexOptions::default(), &store, None).unwrap();
    index.apply(&catalog.view()).unwrap();
    let services = Services::new(Parts {
        catalog,
        index,
        embedder: None,
        forward: pool.clone(),
        policy: Arc::new(Policy::default()),
        quality: Arc::new(Quality::open(&store, QualityOptions::default()).unwrap()),
        selections: Arc::new(SelectionLog::open(&store, SelectionOptions::default()).unwrap()),
        clock: Arc::new(|| Timestamp(1)),
        recrawl: Arc::new(NoRecrawl),
        damage: None,
        selector: toolscout_selector::SelectorOptions::default(),
        second: None,
        options: GatewayOptions::default(),
    });
    let caller = Caller::local("overhead");
    let arguments = json!({"text": "hello"}).as_object().unwrap().clone();
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    for _ in 0..N_CALLS {
        let started = Instant::now();
        let request = toolscout_upstream::CallRequest {
            name: "echo".to_owned(),
            arguments: arguments.clone(),
            ..toolscout_upstream::CallRequest::default()
        };
        pool.call(&id, request, CallContext::default()).await.unwrap();
        direct.push(started.elapsed());
        let started = Instant::now();
        let request =
            CallRequest { id: "scripted:echo".to_owned(), arguments: arguments.clone(), ..CallRequest::default() };
        ops::call(&services, &caller, request, ops::Conditions::default()).await.unwrap();
        through.push(started.elapsed());
    }
    let median = |times: &mut Vec<std::time::Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_micros()
    };
    println!("p50 direct {} µs, through the gateway {} µs", median(&mut direct), median(&mut through));
    pool.shutdown().await;
}
