//! What servers send, kept whole.
//!
//! rmcp decodes every answer into its own types. They lose what they do not know (`execution`, vendors' keys, unknown
//! annotations: 900 of 2,765 real tools carry some), and one malformed tool makes a whole page undecodable. So each of our
//! requests carries a [`Ticket`] in rmcp's request extensions, which never go on the wire. The transport shows every
//! outgoing message to the [`Tap`] and passes every incoming one through it: an answer to a ticketed request is laid
//! into the ticket as it came, and rmcp gets a harmless stand-in of the same id.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rmcp::model::{ClientJsonRpcMessage, GetExtensions, GetMeta, ServerJsonRpcMessage};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use toolscout_core::text::sanitize;

use crate::Progress;

/// What a ticketed request asks for, which decides the stand-in that rmcp gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// `tools/list`.
    List,
    /// `tools/call`.
    Call,
}

/// What came back.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A result, whole, and how many bytes its message had.
    Result { value: Value, bytes: usize },
    /// A JSON-RPC error.
    Error { code: i64, message: String, data: Option<Value> },
    /// A message over the cap, dropped.
    TooLarge,
}

/// One request of ours, from before it is sent until its answer is there.
pub(crate) struct Ticket {
    want: Want,
    answer: Mutex<Option<Answer>>,
    answered: Notify,
    sent: AtomicBool,
    progress: Option<mpsc::Sender<Progress>>,
    furthest: Mutex<f64>,
    alive: Notify,
    keys: Mutex<Option<(String, Option<String>)>>,
}

impl Ticket {
    pub(crate) fn new(want: Want, progress: Option<mpsc::Sender<Progress>>) -> Arc<Self> {
        Arc::new(Self {
            want,
            answer: Mutex::new(None),
            answered: Notify::new(),
            sent: AtomicBool::new(false),
            progress,
            furthest: Mutex::new(f64::NEG_INFINITY),
            alive: Notify::new(),
            keys: Mutex::new(None),
        })
    }

    pub(crate) fn wants(&self) -> Want {
        self.want
    }

    /// Returns once there is an answer.
    pub(crate) async fn answered(&self) {
        self.answered.notified().await;
    }

    /// Returns at the next report of progress.
    pub(crate) async fn alive(&self) {
        self.alive.notified().await;
    }

    pub(crate) fn take_answer(&self) -> Option<Answer> {
        self.answer.lock().take()
    }

    /// Whether the request may have left: set just before the first byte is written.
    pub(crate) fn was_sent(&self) -> bool {
        self.sent.load(Ordering::Acquire)
    }

    pub(crate) fn mark_sent(&self, sent: bool) {
        self.sent.store(sent, Ordering::Release);
    }

    fn lay(&self, answer: Answer) {
        *self.answer.lock() = Some(answer);
        self.answered.notify_one();
    }

    fn report(&self, params: &Value) {
        let Some(progress) = params.get("progress").and_then(Value::as_f64) else { return };
        {
            let mut furthest = self.furthest.lock();
            if progress <= *furthest {
                return;
            }
            *furthest = progress;
        }
        self.alive.notify_one();
        if let Some(sender) = &self.progress {
            let message = params.get("message").and_then(Value::as_str).map(|text| sanitize(text, 500));
            let total = params.get("total").and_then(Value::as_f64);
            // A slow listener loses reports; the call goes on.
            let _ = sender.try_send(Progress { progress, total, message });
        }
    }
}

/// A ticket as rmcp's extensions carry it.
#[derive(Clone)]
pub(crate) struct Attached(pub(crate) Arc<Ticket>);

/// Whether rmcp's HTTP transport has to see the tools of a listing, to learn their `x-mcp-header` annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Learn {
    /// Yes: it gets the tools it can decode.
    Headers,
    /// No: it gets an empty list.
    Nothing,
}

/// Stands between a transport and rmcp.
pub(crate) struct Tap {
    pub(crate) learn: Learn,
    by_id: Mutex<HashMap<String, Arc<Ticket>>>,
    by_token: Mutex<HashMap<String, Arc<Ticket>>>,
    /// The server says that its tools changed.
    pub(crate) changed: Notify,
    /// The transport ended: no further answer will come.
    pub(crate) gone: CancellationToken,
    /// Frames that came, of whatever kind.
    heard: AtomicU64,
    /// The connection was given up because nothing came any more.
    pub(crate) silent: AtomicBool,
}

impl Tap {
    pub(crate) fn new(learn: Learn) -> Arc<Self> {
        Arc::new(Self {
            learn,
            by_id: Mutex::default(),
            by_token: Mutex::default(),
            changed: Notify::new(),
            gone: CancellationToken::new(),
            heard: AtomicU64::new(0),
            silent: AtomicBool::new(false),
        })
    }

    /// How much was heard so far: a number that grows with every frame.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Looks at a message before it is sent and gives its ticket, if it has one.
    pub(crate) fn outgoing(&self, message: &ClientJsonRpcMessage) -> Option<Arc<Ticket>> {
        let ClientJsonRpcMessage::Request(request) = message else { return None };
        let ticket = request.request.extensions().get::<Attached>()?.0.clone();
        let id = request.id.to_string();
        let token = request.request.get_meta().get_progress_token().map(|token| token.0.to_string());
        if let Some(token) = &token {
            self.by_token.lock().insert(token.clone(), ticket.clone());
        }
        self.by_id.lock().insert(id.clone(), ticket.clone());
        *ticket.keys.lock() = Some((id, token));
        Some(ticket)
    }

    /// Forgets a ticket: what still comes for it goes to rmcp, which ignores it.
    pub(crate) fn forget(&self, ticket: &Ticket) {
        if let Some((id, token)) = ticket.keys.lock().take() {
            self.by_id.lock().remove(&id);
            if let Some(token) = token {
                self.by_token.lock().remove(&token);
            }
        }
    }

    /// Takes one frame (a line, a body, an event's data), which may be a batch, and gives what rmcp shall see.
    /// An error says that it is no JSON at all; JSON that is no message is dropped.
    pub(crate) fn incoming(&self, frame: &[u8]) -> Result<Vec<ServerJsonRpcMessage>, serde_json::Error> {
        self.heard.fetch_add(1, Ordering::Relaxed);
        let messages = match serde_json::from_slice(frame)? {
            Value::Array(batch) => batch,
            one => vec![one],
        };
        Ok(messages.into_iter().filter_map(|message| self.message(message, frame.len())).collect())
    }

    fn message(&self, mut message: Value, bytes: usize) -> Option<ServerJsonRpcMessage> {
        let object = message.as_object_mut()?;
        object.insert("jsonrpc".to_owned(), json!("2.0"));
        if let Some(method) = object.get("method").and_then(Value::as_str) {
            match method {
                "notifications/tools/list_changed" => self.changed.notify_one(),
                "notifications/progress" => self.progress(object.get("params")?),
                _ => {}
            }
            return serde_json::from_value(message).ok();
        }
        let id = object.get("id").and_then(key);
        let ticket = id.as_ref().and_then(|id| self.by_id.lock().get(id).cloned());
        let Some(ticket) = ticket else { return serde_json::from_value(message).ok() };
        let id = object.remove("id")?;
        if let Some(value) = object.remove("result") {
            let result = self.stand_in(ticket.want, &value);
            ticket.lay(Answer::Result { value, bytes });
            return serde_json::from_value(json!({"jsonrpc": "2.0", "id": id, "result": result})).ok();
        }
        let error = object.remove("error").unwrap_or_default();
        let code = error.get("code").and_then(Value::as_i64).unwrap_or(-32603);
        let text = error.get("message").and_then(Value::as_str).unwrap_or("malformed error").to_owned();
        let stand_in = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32603, "message": "see the ticket"}});
        ticket.lay(Answer::Error { code, message: text, data: error.get("data").cloned() });
        serde_json::from_value(stand_in).ok()
    }

    fn stand_in(&self, want: Want, result: &Value) -> Value {
        match want {
            Want::Call => json!({"content": []}),
            Want::List => {
                let tools = result.get("tools").and_then(Value::as_array);
                let decodable: Vec<Value> = match (self.learn, tools) {
                    (Learn::Headers, Some(tools)) => {
                        let decodes =
                            |tool: &&Value| serde_json::from_value::<rmcp::model::Tool>((*tool).clone()).is_ok();
                        tools.iter().filter(decodes).cloned().collect()
                    }
                    _ => Vec::new(),
                };
                json!({"tools": decodable})
            }
        }
    }

    fn progress(&self, params: &Value) {
        let token = params.get("progressToken").and_then(key);
        let ticket = token.and_then(|token| self.by_token.lock().get(&token).cloned());
        if let Some(ticket) = ticket {
            ticket.report(params);
        }
    }

    /// A frame over the cap was dropped; `head` and `tail` are its two ends. If one of them names the request it
    /// answers, that request ends now instead of at its deadline.
    pub(crate) fn too_large(&self, head: &[u8], tail: &[u8]) {
        self.heard.fetch_add(1, Ordering::Relaxed);
        let id = first_id(head).or_else(|| last_id(tail));
        let ticket = id.and_then(|id| self.by_id.lock().get(&id).cloned());
        if let Some(ticket) = ticket {
            ticket.lay(Answer::TooLarge);
        }
    }
}

/// The id or token as text. rmcp numbers its requests; a server that answers with `"5"` means 5.
fn key(id: &Value) -> Option<String> {
    match id {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// The number after the first `"id":`, where messages start with it (`{"jsonrpc":"2.0","id":5,"result":…`).
fn first_id(head: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(head);
    let before_result = text.split("\"result\"").next()?;
    number_after(before_result.split_once("\"id\"")?.1)
}

/// The number after the last `"id":`, where messages end with it (`…},"jsonrpc":"2.0","id":5}`).
fn last_id(tail: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(tail);
    number_after(text.rsplit_once("\"id\"")?.1)
}

fn number_after(text: &str) -> Option<String> {
    let digits: String = text.trim_start_matches([':', ' ', '"']).chars().take_while(char::is_ascii_digit).collect();
    (!digits.is_empty()).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmcp::model::{ClientRequest, CustomRequest, NumberOrString, ProgressToken, RequestMetaObject, ServerResult};

    fn ask(tap: &Tap, want: Want, id: i64, progress: Option<mpsc::Sender<Progress>>) -> Arc<Ticket> {
        let ticket = Ticket::new(want, progress);
        let mut request = CustomRequest::new("tools/list", None);
        request.extensions.insert(Attached(ticket.clone()));
        let token = ProgressToken(NumberOrString::Number(id + 100));
        request.extensions.insert(RequestMetaObject::with_progress_token(token));
        let message = ClientJsonRpcMessage::request(ClientRequest::CustomRequest(request), NumberOrString::Number(id));
        assert!(tap.outgoing(&message).is_some());
        ticket
    }

    #[test]
    fn an_answer_is_kept_whole_and_rmcp_gets_what_it_can_decode() {
        let tap = Tap::new(Learn::Headers);
        let ticket = ask(&tap, Want::List, 5, None);
        let tools = json!([
            {"name": "good", "inputSchema": {"type": "object"}, "execution": {"taskSupport": "optional"}, "x": 1},
            {"name": "bad", "inputSchema": null},
        ]);
        let frame = json!({"id": 5, "result": {"tools": tools, "nextCursor": ""}}).to_string();
        let seen = tap.incoming(frame.as_bytes()).unwrap();
        let [ServerJsonRpcMessage::Response(response)] = &seen[..] else { panic!("{seen:?}") };
        let ServerResult::ListToolsResult(list) = &response.result else { panic!("{response:?}") };
        assert_eq!(list.tools.len(), 1);
        let Some(Answer::Result { value, bytes }) = ticket.take_answer() else { panic!("no answer") };
        assert_eq!((&value["tools"], bytes), (&tools, frame.len()));
    }

    #[test]
    fn a_string_id_answers_the_number_and_a_forgotten_ticket_gets_nothing() {
        let tap = Tap::new(Learn::Nothing);
        let ticket = ask(&tap, Want::Call, 7, None);
        tap.incoming(br#"{"jsonrpc":"2.0","id":"7","error":{"code":-32000,"message":"no","data":[1]}}"#).unwrap();
        assert!(matches!(ticket.take_answer(), Some(Answer::Error { code: -32000, .. })));
        tap.forget(&ticket);
        tap.incoming(br#"{"jsonrpc":"2.0","id":7,"result":{}}"#).unwrap();
        assert!(ticket.take_answer().is_none());
    }

    #[test]
    fn progress_reaches_its_own_request_and_only_forwards() {
        let tap = Tap::new(Learn::Nothing);
        let (sender, mut receiver) = mpsc::channel(8);
        let _ticket = ask(&tap, Want::Call, 1, Some(sender));
        for (token, progress) in [(101, 1.0), (101, 3.0), (101, 2.0), (999, 9.0)] {
            let note = json!({"method": "notifications/progress",
                "params": {"progressToken": token, "progress": progress, "message": "a\u{202e}b"}});
            tap.incoming(note.to_string().as_bytes()).unwrap();
        }
        let got: Vec<_> = std::iter::from_fn(|| receiver.try_recv().ok()).collect();
        assert_eq!(got.iter().map(|p| p.progress).collect::<Vec<_>>(), [1.0, 3.0]);
        assert_eq!(got[0].message.as_deref(), Some("ab"));
    }

    #[track_caller]
    fn check_too_large(head: &str, tail: &str, expect: bool) {
        let tap = Tap::new(Learn::Nothing);
        let ticket = ask(&tap, Want::List, 12, None);
        tap.too_large(head.as_bytes(), tail.as_bytes());
        assert_eq!(matches!(ticket.take_answer(), Some(Answer::TooLarge)), expect, "{head} … {tail}");
    }

    #[test]
    fn a_dropped_giant_still_ends_its_request() {
        check_too_large(r#"{"jsonrpc":"2.0","id":12,"result":{"tools":["#, "]}}", true);
        check_too_large(r#"{"result":{"id":3,"tools":["#, r#"]},"jsonrpc":"2.0","id": 12}"#, true);
        check_too_large("garbage", "garbage", false);
        check_too_large(r#"{"jsonrpc":"2.0","id":13,"result""#, "]}}", false);
    }

    #[test]
    fn batches_garbage_and_list_changed() {
        let tap = Tap::new(Learn::Nothing);
        assert!(tap.incoming(b"Listening on stdio").is_err());
        assert_eq!(tap.incoming(b"3").unwrap().len(), 0);
        let batch = br#"[{"method":"notifications/tools/list_changed"},{"id":1,"method":"ping"}]"#;
        assert_eq!(tap.incoming(batch).unwrap().len(), 2);
        use futures::FutureExt;
        assert!(tap.changed.notified().now_or_never().is_some());
    }
}
