//! An MCP client in plain JSON-RPC, of either era, over stdio or Streamable HTTP.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ChildStdin;
use std::sync::mpsc::Receiver;

use serde_json::{Value, json};

use super::http;
use super::session::Session;

/// Which handshake a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// `initialize` and sessions: revision 2025-11-25.
    Legacy,
    /// No handshake, everything in `_meta`: revision 2026-07-28.
    Modern,
}

impl Era {
    /// The protocol revision that a client of this era names.
    pub fn revision(self) -> &'static str {
        match self {
            Era::Legacy => "2025-11-25",
            Era::Modern => "2026-07-28",
        }
    }
}

/// A JSON-RPC error answer.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcError {
    /// The code, e.g. -32602.
    pub code: i64,
    /// The message.
    pub message: String,
    /// The whole error object.
    pub whole: Value,
}

/// One connected client.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    era: Era,
    last_id: u64,
    /// What the server said of itself: the result of `initialize`, or of `server/discover`.
    pub server: Value,
    /// Notifications that arrived while answers were awaited, in order.
    pub notifications: Vec<Value>,
}

#[derive(Debug)]
enum Wire {
    Stdio { stdin: ChildStdin, lines: Receiver<String> },
    Http { addr: SocketAddr, session: Option<String> },
}

impl Client {
    /// Speaks to the program of `session` over its stdin and stdout, handshake included.
    #[track_caller]
    pub fn stdio(session: &mut Session, era: Era) -> Client {
        let (stdin, lines) = session.pipes();
        Client::greet(Wire::Stdio { stdin, lines }, era)
    }

    /// Speaks to `http://addr/mcp`, handshake included.
    #[track_caller]
    pub fn http(addr: SocketAddr, era: Era) -> Client {
        Client::greet(Wire::Http { addr, session: None }, era)
    }

    #[track_caller]
    fn greet(wire: Wire, era: Era) -> Client {
        let mut client = Client { wire, era, last_id: 0, server: Value::Null, notifications: Vec::new() };
        let (method, params) = match era {
            Era::Legacy => {
                let us = json!({"name": "testkit", "version": "1"});
                ("initialize", json!({"protocolVersion": era.revision(), "capabilities": {}, "clientInfo": us}))
            }
            Era::Modern => ("server/discover", json!({})),
        };
        client.server = client.request(method, params).unwrap_or_else(|error| panic!("{method}: {error:?}"));
        if era == Era::Legacy {
            client.notify("notifications/initialized", json!({}));
        }
        client
    }

    /// Sends a request and waits for its result.
    #[track_caller]
    pub fn request(&mut self, method: &str, params: Value) -> Result<Value, RpcError> {
        let id = self.send(method, params);
        let answer = self.await_answer(id);
        match answer.get("error") {
            None => Ok(answer["result"].clone()),
            Some(error) => Err(RpcError {
                code: error["code"].as_i64().unwrap_or_default(),
                message: error["message"].as_str().unwrap_or_default().to_owned(),
                whole: error.clone(),
            }),
        }
    }

    /// Sends a notification.
    #[track_caller]
    pub fn notify(&mut self, method: &str, params: Value) {
        let message = json!({"jsonrpc": "2.0", "method": method, "params": self.dressed(params)});
        self.write(method, &message);
    }

    /// All tools, page by page.
    #[track_caller]
    pub fn tools(&mut self) -> Vec<Value> {
        let mut tools = Vec::new();
        let mut params = json!({});
        loop {
            let page = self.request("tools/list", params).unwrap_or_else(|error| panic!("tools/list: {error:?}"));
            tools.extend(page["tools"].as_array().expect("tools is an array").iter().cloned());
            let Some(cursor) = page.get("nextCursor").and_then(Value::as_str) else { return tools };
            params = json!({"cursor": cursor});
        }
    }

    /// Calls a tool; a protocol error is a panic, `isError` is the caller's to judge.
    #[track_caller]
    pub fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments});
        self.request("tools/call", params).unwrap_or_else(|error| panic!("call {tool}: {error:?}"))
    }

    // === the wire ===

    #[track_caller]
    fn send(&mut self, method: &str, params: Value) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        let message = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": self.dressed(params)});
        self.write(method, &message);
        id
    }

    fn dressed(&self, mut params: Value) -> Value {
        if self.era == Era::Modern {
            let meta = &mut params["_meta"];
            meta["io.modelcontextprotocol/protocolVersion"] = json!(self.era.revision());
            meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
            meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "testkit", "version": "1"});
        }
        params
    }

    #[track_caller]
    fn write(&mut self, method: &str, message: &Value) {
        let text = message.to_string();
        let (addr, session) = match &mut self.wire {
            Wire::Stdio { stdin, .. } => {
                writeln!(stdin, "{text}").and_then(|()| stdin.flush()).expect("the server reads its stdin");
                return;
            }
            Wire::Http { addr, session } => (*addr, session.clone()),
        };
        let mut headers = vec![("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
        let greeting = method == "initialize";
        if !greeting {
            headers.push(("mcp-protocol-version", self.era.revision()));
        }
        let name = message["params"]["name"].as_str().unwrap_or_default().to_owned();
        if self.era == Era::Modern {
            headers.push(("mcp-method", method));
            if method == "tools/call" {
                headers.push(("mcp-name", &name));
            }
        }
        if let Some(session) = &session {
            headers.push(("mcp-session-id", session));
        }
        let reply = http::request(addr, "POST", "/mcp", &headers, text.as_bytes());
        if let (true, Some(opened)) = (greeting, reply.header("mcp-session-id")) {
            let opened = opened.to_owned();
            if let Wire::Http { session, .. } = &mut self.wire {
                *session = Some(opened);
            }
        }
        let awaited = message.get("id").is_some();
        let messages = reply.messages();
        assert!(!awaited || !messages.is_empty(), "{method} got an empty {}: {}", reply.status, reply.text());
        self.notifications.extend(messages);
    }

    #[track_caller]
    fn await_answer(&mut self, id: u64) -> Value {
        loop {
            if let Some(at) = self.notifications.iter().position(|m| m["id"] == id && m.get("method").is_none()) {
                return self.notifications.remove(at);
            }
            let Wire::Stdio { lines, .. } = &self.wire else {
                panic!("the stream ended without an answer to request {id}; it held {:?}", self.notifications)
            };
            let line = lines.recv_timeout(super::PATIENCE).unwrap_or_else(|error| panic!("no answer to {id}: {error}"));
            let message =
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("no JSON on stdout ({error}): {line}"));
            self.notifications.push(message);
        }
    }
}
