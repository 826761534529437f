//! What does the gateway add to a call? Calls one stdio server in turns directly through the pool, through `ops::call`, and as an
//! agent does: `call_tool` by HTTP at `/mcp`.
//!
//! `cargo run --release -p toolscout-gateway --example overhead`. Prints the medians in microseconds.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement, for people")]

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use toolscout_catalog::{Catalog, Listing, Overlays};
use toolscout_core::{Caller, Timestamp, UpstreamId};
use toolscout_gateway::wire::CallRequest;
use toolscout_gateway::{
    GatewayOptions, HttpOptions, NoRecrawl, Parts, SelectionLog, SelectionOptions, Services, ops, serve_http,
};
use toolscout_index::{IndexHost, IndexOptions};
use toolscout_policy::Policy;
use toolscout_quality::{Quality, QualityOptions};
use toolscout_store::Store;
use toolscout_testkit::upstream::{Behave, Scripted};
use toolscout_upstream::{CallContext, Pool, PoolOptions, UpstreamSpec};

const N_CALLS: usize = 1_000;
const MAX_ANSWER: usize = 1 << 20;

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
        metrics: Arc::default(),
        findability: Arc::default(),
        options: GatewayOptions::default(),
    });
    let caller = Caller::local("overhead");
    let arguments = json!({"text": "hello"}).as_object().unwrap().clone();
    let shutdown = CancellationToken::new();
    let options = HttpOptions { bind: SocketAddr::from(([127, 0, 0, 1], 0)), ..HttpOptions::default() };
    let served = serve_http(services.clone(), options, shutdown.clone()).await.unwrap();
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let (client, url) = (reqwest::Client::new(), format!("http://{}/mcp", served.addr));
    let (mut direct, mut through, mut over_http) = (Vec::new(), Vec::new(), Vec::new());
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
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": "call_tool",
            "arguments": {"id": "scripted:echo", "arguments": arguments},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "overhead", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {}
            }
        }});
        let started = Instant::now();
        let request = client
            .post(&url)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "call_tool")
            .json(&body);
        let answer = toolscout_upstream::read_capped(request.send().await.unwrap(), MAX_ANSWER).await.unwrap();
        over_http.push(started.elapsed());
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains("hello"), "{answer}");
    }
    let median = |times: &mut Vec<std::time::Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_micros()
    };
    println!(
        "p50 direct {} µs, through the gateway's operations {} µs, over HTTP {} µs",
        median(&mut direct),
        median(&mut through),
        median(&mut over_http)
    );
    shutdown.cancel();
    served.done.await.unwrap();
    pool.shutdown().await;
}
