//! Going down, and standard input and output:
//!
//! 1. A shutdown lets calls in flight finish, refuses new ones, and ends open streams.
//! 2. Over a pipe both eras are served; the end of the input ends the server.

use std::sync::Arc;
use std::time::Duration;

use rmcp::ClientServiceExt as _;
use rmcp::model::CallToolRequestParams;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use toolscout_gateway::serve_pipe;
use toolscout_upstream::Era;

use crate::fixture::{PATIENCE, Setup, ask, client, lifecycle, object, start, text};

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_are_finished() {
    for era in [Era::Legacy, Era::Modern] {
        let mut gateway = start(Setup::default()).await;
        let (begun, mut has_begun) = tokio::sync::mpsc::channel(1);
        let (end, ends) = tokio::sync::watch::channel(false);
        gateway.fake.script("files:read_file", move |_| {
            let (begun, mut ends) = (begun.clone(), ends.clone());
            async move {
                begun.send(()).await.unwrap();
                ends.wait_for(|over| *over).await.unwrap();
                Ok(json!({"content": [{"type": "text", "text": "finished"}]}))
            }
        });
        let client = gateway.connect(era).await;
        let peer = client.peer().clone();
        let params = CallToolRequestParams::new("files__read_file").with_arguments(object(json!({"path": "a"})));
        let call = tokio::spawn(async move { peer.call_tool(params).await });
        has_begun.recv().await.unwrap();
        gateway.shutdown.cancel();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while reqwest::Client::new().get(gateway.url("/healthz")).send().await.is_ok() {
            assert!(tokio::time::Instant::now() < deadline, "new connections are still taken");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!gateway.served.done.is_finished(), "{era}: the call is still in flight");
        end.send(true).unwrap();
        let result = tokio::time::timeout(PATIENCE, call).await.expect("an answer").unwrap().unwrap();
        assert_eq!(text(&result), "finished", "{era}");
        tokio::time::timeout(PATIENCE, &mut gateway.served.done).await.expect("the server ends").unwrap();
        drop(client);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_serves_both_eras() {
    for era in [Era::Legacy, Era::Modern] {
        let gateway = start(Setup::default()).await;
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (input, output) = tokio::io::split(theirs);
        let services = Arc::clone(&gateway.services);
        let server = tokio::spawn(serve_pipe(services, input, output, PATIENCE, CancellationToken::new()));
        let client = client().serve_with_lifecycle(ours, lifecycle(era)).await.unwrap();
        let found = ask(&client, "search_tools", json!({"query": "read a text file"})).await;
        assert!(text(&found).contains("files:read_file"));
        assert_eq!(client.list_tools(None).await.unwrap().tools.len(), 4);
        client.cancel().await.unwrap();
        tokio::time::timeout(PATIENCE, server).await.expect("the server ends").unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_ends_on_shutdown() {
    let gateway = start(Setup::default()).await;
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (input, output) = tokio::io::split(theirs);
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(serve_pipe(Arc::clone(&gateway.services), input, output, PATIENCE, shutdown.clone()));
    let client = client().serve_with_lifecycle(ours, lifecycle(Era::Legacy)).await.unwrap();
    shutdown.cancel();
    tokio::time::timeout(PATIENCE, server).await.expect("the server ends").unwrap().unwrap();
    drop(client);
}
