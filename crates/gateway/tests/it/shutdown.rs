//! Going down, and standard input and output:
//!
//! 1. A shutdown lets calls in flight finish, refuses new ones, and ends open streams.
//! 2. Over a pipe both eras are served; the end of the input ends the server.
//! 3. A line on a pipe that is too long is answered under its own id, and the session goes on.

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

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_too_long_is_answered_and_the_session_goes_on() {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
    let gateway = start(Setup::default()).await;
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let (input, output) = tokio::io::split(theirs);
    let services = Arc::clone(&gateway.services);
    let server = tokio::spawn(serve_pipe(services, input, output, PATIENCE, CancellationToken::new()));
    let (from, mut to) = tokio::io::split(ours);
    let mut answers = tokio::io::BufReader::new(from).lines();
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    // As the TypeScript SDK writes it: the id comes last.
    let long = format!(
        r#"{{"method":"tools/call","params":{{"name":"call_tool","arguments":{{"id":"x","text":"{}"}}}},"jsonrpc":"2.0","id":2}}"#,
        "y".repeat(17 << 20)
    );
    let ping = json!({"jsonrpc": "2.0", "id": 3, "method": "ping"});
    let ready = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let said = format!("{hello}\n{ready}\n{long}\n{ping}\n");
    let say = tokio::spawn(async move {
        to.write_all(said.as_bytes()).await.unwrap();
        to
    });
    let mut heard = Vec::new();
    for _ in 0..3 {
        let line = tokio::time::timeout(PATIENCE, answers.next_line()).await.expect("an answer").unwrap().unwrap();
        heard.push(serde_json::from_str::<serde_json::Value>(&line).unwrap());
    }
    let of = |id: u64| heard.iter().find(|answer| answer["id"] == id).unwrap_or_else(|| panic!("{id} in {heard:?}"));
    assert_eq!(of(1)["result"]["serverInfo"]["name"], "toolscout");
    assert_eq!((&of(2)["error"]["code"], &of(3)["result"]), (&json!(-32600), &json!({})));
    drop((say.await.unwrap(), answers));
    tokio::time::timeout(PATIENCE, server).await.expect("the server ends").unwrap().unwrap();
}
