//! MCP on a pipe: one message a line, and an answer to every line that is none.
//!
//! rmcp's own transport drops a line that is too long, or no JSON, with a note in the log, and whoever sent it waits for
//! ever. Here the answer is an error of JSON-RPC, under the request's id where the line tells one: of a line that is too long
//! the id is picked out as the bytes go by, and nothing else of it is kept. [`fault`] says what is wrong with a text; the
//! HTTP face asks it too.

use std::io;
use std::sync::Arc;

use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, ErrorData, JsonRpcError, RequestId, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use toolscout_core::text::preview;
use tracing::{debug, warn};

/// Longest line, in bytes: as much as rmcp's own transport and its clients take.
pub(crate) const MAX_LINE: usize = 16 << 20;
/// Longest id that is picked out of a line that is too long, in bytes.
const MAX_ID: usize = 256;

/// A text that is no message.
#[derive(Debug)]
pub(crate) struct Fault {
    id: Option<RequestId>,
    error: ErrorData,
    /// A notification or an answer, as far as it can be told: JSON-RPC has no answer to these.
    pub(crate) is_one_way: bool,
}

impl Fault {
    /// A refusal of something that nobody looked into.
    pub(crate) fn unread(why: String) -> Self {
        Self { id: None, error: ErrorData::invalid_request(why, None), is_one_way: false }
    }

    /// What is wrong, for the log.
    pub(crate) fn reason(&self) -> &str {
        &self.error.message
    }

    /// The answer. It has no id where the text's cannot be read, as the specification of 2026-07-28 wants it.
    pub(crate) fn answer(self) -> ServerJsonRpcMessage {
        ServerJsonRpcMessage::Error(JsonRpcError::new(self.id, self.error))
    }
}

/// What is wrong with a text that could not be read as a message.
pub(crate) fn fault(text: &[u8]) -> Fault {
    let broken = |error: &dyn std::fmt::Display| Fault {
        id: None,
        error: ErrorData::parse_error(format!("this is no JSON: {}", preview(&error.to_string())), None),
        is_one_way: false,
    };
    let value: Value = match serde_json::from_slice(text) {
        Ok(value) => value,
        Err(error) => return broken(&error),
    };
    let id = value.get("id").and_then(|id| serde_json::from_value(id.clone()).ok());
    let has = |key: &str| value.get(key).is_some();
    let what = match &value {
        Value::Array(_) => "batches are not taken; send one message at a time",
        Value::Object(_) if value.get("jsonrpc").and_then(Value::as_str) != Some("2.0") => "`jsonrpc` must be \"2.0\"",
        Value::Object(_) if has("id") && id.is_none() => "`id` must be a string or a whole number",
        Value::Object(_) if has("method") && !value["method"].is_string() => "`method` must be a string",
        Value::Object(_) if !has("method") && !has("result") && !has("error") => "`method` is missing",
        Value::Object(_) => "it is no message of MCP",
        _ => "a message is an object",
    };
    let is_one_way = has("result") || has("error") || (value["method"].is_string() && !has("id"));
    Fault { id, error: ErrorData::invalid_request(format!("this is no JSON-RPC message: {what}"), None), is_one_way }
}

/// A byte order mark is no part of the message (RFC 8259, section 8.1, lets a reader pass over it).
pub(crate) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// A pair of streams that rmcp drives.
pub(crate) struct Lines<R, W> {
    input: BufReader<R>,
    line: Vec<u8>,
    max: usize,
    /// What is known of the line that is just passing because it is too long.
    passing: Option<Outline>,
    output: Arc<Mutex<Option<W>>>,
    /// The answer to a bad line, on its way. The next line is read when it is out: whoever sends rubbish and reads no
    /// answers makes nobody's memory grow.
    answering: Option<JoinHandle<()>>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Send + Unpin + 'static> Lines<R, W> {
    pub(crate) fn new(input: R, output: W, max: usize) -> Self {
        let output = Arc::new(Mutex::new(Some(output)));
        Self { input: BufReader::new(input), line: Vec::new(), max, passing: None, output, answering: None }
    }

    /// Reads on, at most to the end of the line. `None`: the line goes on. Never awaits between taking bytes and keeping
    /// them: rmcp drops and repeats this whenever something else is ready.
    async fn more(&mut self) -> io::Result<Option<Event>> {
        let chunk = self.input.fill_buf().await?;
        if chunk.is_empty() {
            return Ok(Some(self.passing.take().map_or(Event::End, Event::TooLong)));
        }
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        match &mut self.passing {
            Some(outline) => outline.take(part),
            None if self.line.len() + part.len() > self.max => {
                let mut outline = Outline::default();
                outline.take(&self.line);
                outline.take(part);
                self.passing = Some(outline);
                self.line = Vec::new();
            }
            None => self.line.extend_from_slice(part),
        }
        let used = part.len() + usize::from(end.is_some());
        self.input.consume(used);
        Ok(end.is_some().then(|| match self.passing.take() {
            Some(outline) => Event::TooLong(outline),
            None => Event::Line,
        }))
    }

    /// The message of the line that was read; answers the line if it is none.
    fn message(&mut self) -> Option<ClientJsonRpcMessage> {
        let text = without_mark(&self.line).trim_ascii();
        if text.is_empty() {
            self.line.clear();
            return None;
        }
        let read = serde_json::from_slice(text).map_err(|_| fault(text));
        self.line.clear();
        match read {
            Ok(message) => Some(message),
            Err(fault) if fault.is_one_way => {
                debug!(reason = fault.reason(), "a line that is no message and wants no answer");
                None
            }
            Err(fault) => {
                debug!(reason = fault.reason(), "a line that is no message");
                self.answer(fault);
                None
            }
        }
    }

    fn answer(&mut self, fault: Fault) {
        let output = Arc::clone(&self.output);
        self.answering = Some(tokio::spawn(async move {
            if let Err(error) = write(&output, &fault.answer()).await {
                debug!(%error, "an error could not be answered");
            }
        }));
    }
}

/// What reading came to.
enum Event {
    /// A whole line lies in the buffer.
    Line,
    /// A line ended that was too long.
    TooLong(Outline),
    /// Nothing more will come.
    End,
}

async fn write<W: AsyncWrite + Unpin>(output: &Mutex<Option<W>>, message: &ServerJsonRpcMessage) -> io::Result<()> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::other)?;
    line.push(b'\n');
    let mut output = output.lock().await;
    let output = output.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
    output.write_all(&line).await?;
    output.flush().await
}

impl<R, W> Transport<RoleServer> for Lines<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    type Error = io::Error;

    fn send(&mut self, message: ServerJsonRpcMessage) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let output = Arc::clone(&self.output);
        async move { write(&output, &message).await }
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            if let Some(answering) = &mut self.answering {
                // That it could not be written was logged; a panic there is none of the reader's.
                let _ = answering.await;
                self.answering = None;
            }
            match self.more().await {
                Ok(None) => {}
                Ok(Some(Event::Line)) => {
                    if let Some(message) = self.message() {
                        return Some(message);
                    }
                }
                Ok(Some(Event::TooLong(outline))) => {
                    warn!(max_bytes = self.max, "a line is too long and was dropped");
                    if let Some(fault) = outline.fault(self.max) {
                        self.answer(fault);
                    }
                }
                // The last line may lack its end: `printf '…' | toolscout serve --stdio`.
                Ok(Some(Event::End)) if !self.line.is_empty() => {
                    if let Some(message) = self.message() {
                        return Some(message);
                    }
                }
                Ok(Some(Event::End)) => return None,
                Err(error) => {
                    warn!(%error, "standard input cannot be read");
                    return None;
                }
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.output.lock().await.take();
        Ok(())
    }
}

/// The form of a JSON object whose bytes go by: enough to tell its `id`, wherever in it that stands.
#[derive(Debug, Default)]
struct Outline {
    depth: usize,
    in_text: bool,
    is_escaped: bool,
    /// The text or number at hand, of the object itself.
    token: Vec<u8>,
    /// The key whose value comes.
    key: Vec<u8>,
    id: Vec<u8>,
    has_method: bool,
}

impl Outline {
    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                _ if self.in_text => {
                    self.keep(byte);
                    self.in_text = byte != b'"' || self.is_escaped;
                    self.is_escaped = byte == b'\\' && !self.is_escaped;
                }
                b'"' => {
                    self.in_text = true;
                    self.keep(byte);
                }
                b'{' | b'[' => self.depth += 1,
                b':' if self.depth == 1 => self.key = std::mem::take(&mut self.token),
                b',' if self.depth == 1 => self.end_of_value(),
                b'}' | b']' => {
                    if self.depth == 1 {
                        self.end_of_value();
                    }
                    self.depth = self.depth.saturating_sub(1);
                }
                b' ' | b'\t' | b'\r' => {}
                _ => self.keep(byte),
            }
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.depth == 1 && self.token.len() < MAX_ID {
            self.token.push(byte);
        }
    }

    fn end_of_value(&mut self) {
        let value = std::mem::take(&mut self.token);
        match &self.key[..] {
            b"\"id\"" => self.id = value,
            b"\"method\"" => self.has_method = true,
            _ => {}
        }
        self.key.clear();
    }

    /// What to answer; nothing to a notification or to an answer.
    fn fault(&self, max: usize) -> Option<Fault> {
        let id: Option<RequestId> = serde_json::from_slice(&self.id).ok();
        let is_one_way = self.has_method == self.id.is_empty();
        let what = format!("the message is longer than {max} bytes");
        (!is_one_way).then(|| Fault { id, error: ErrorData::invalid_request(what, None), is_one_way })
    }
}

#[cfg(test)]
mod tests {
    //! 1. What is wrong with a text is named, under its id where it has a usable one.
    //! 2. The outline of an object tells its id and whether it has a method, like reading it whole, however it is cut up.
    //! 3. On a pipe good messages arrive whatever lies between them, and every bad line that could want an answer gets one.
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        let fault = fault(text.as_bytes());
        let one_way = if fault.is_one_way { "one way: " } else { "" };
        let answer = serde_json::to_value(fault.answer()).unwrap();
        let id = answer.get("id").map(|id| format!("{id} ")).unwrap_or_default();
        assert_eq!(format!("{one_way}{id}{} {}", answer["error"]["code"], answer["error"]["message"]), expect);
        assert_eq!(answer["jsonrpc"], "2.0");
    }

    #[test]
    fn what_is_wrong_is_named() {
        check("{nope", r#"-32700 "this is no JSON: key must be a string at line 1 column 2""#);
        check("", r#"-32700 "this is no JSON: EOF while parsing a value at line 1 column 0""#);
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        check(&deep, r#"-32700 "this is no JSON: recursion limit exceeded at line 1 column 128""#);
        let no = |id: &str, why: &str| format!("{id}-32600 \"this is no JSON-RPC message: {why}\"");
        check("[]", &no("", "batches are not taken; send one message at a time"));
        check("5", &no("", "a message is an object"));
        check(r#"{"id":4,"method":"ping"}"#, &no("4 ", r#"`jsonrpc` must be \"2.0\""#));
        check(r#"{"jsonrpc":"2.0","id":4}"#, &no("4 ", "`method` is missing"));
        check(r#"{"jsonrpc":"2.0","id":"x","method":5}"#, &no(r#""x" "#, "`method` must be a string"));
        for id in ["null", "{}", "1.5"] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            check(&text, &no("", "`id` must be a string or a whole number"));
        }
        check(r#"{"jsonrpc":"1.0","method":"x"}"#, &format!("one way: {}", no("", r#"`jsonrpc` must be \"2.0\""#)));
    }

    fn outline(text: &[u8], cut: usize) -> Outline {
        let mut outline = Outline::default();
        for part in text.chunks(cut) {
            outline.take(part);
        }
        outline
    }

    /// JSON whose texts and keys are as misleading as can be.
    fn any_json() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            Just("id".to_owned()),
            Just("method".to_owned()),
            Just("\"id\":7".to_owned()),
            Just("a\\\"}]{[,:".to_owned()),
            Just("\\".to_owned()),
            "[a-zü\"\\\\{}\\[\\]:, ]{0,6}",
        ];
        let leaf =
            prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), any::<i64>().prop_map(Value::from), {
                text.clone().prop_map(Value::from)
            }];
        leaf.prop_recursive(3, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(text.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn an_outline_tells_what_reading_it_whole_tells(value in any_json(), cut in 1..9usize, pretty: bool) {
            let text = if pretty { format!("{value:#}").replace('\n', "\t") } else { value.to_string() };
            let told = outline(text.as_bytes(), cut);
            let id = value.get("id").and_then(|id| serde_json::from_value::<RequestId>(id.clone()).ok());
            prop_assert_eq!(serde_json::from_slice::<RequestId>(&told.id).ok(), id);
            prop_assert_eq!(told.has_method, value.get("method").is_some());
        }
    }

    #[test]
    fn the_id_of_a_line_that_is_too_long_is_found_at_either_end() {
        let text = "a".repeat(3_000);
        let first = format!(r#"{{"jsonrpc":"2.0","id":8,"method":"x","params":{{"id":9,"x":"{text}"}}}}"#);
        let last = format!(r#"{{"method":"x","params":{{"x":"{text}","id":9}},"jsonrpc":"2.0","id":"eight"}}"#);
        let id = |text: &str| outline(text.as_bytes(), 64).fault(9).map(|fault| fault.answer());
        let answer = |id| serde_json::to_value(id).unwrap()["id"].clone();
        assert_eq!(answer(id(&first)), 8);
        assert_eq!(answer(id(&last)), "eight");
        let note = format!(r#"{{"jsonrpc":"2.0","method":"x","params":"{text}"}}"#);
        assert!(id(&note).is_none(), "a notification gets no answer");
        assert!(id(&format!(r#"{{"jsonrpc":"2.0","id":1,"result":"{text}"}}"#)).is_none(), "nor does an answer");
        assert_eq!(answer(id(&text)), Value::Null, "rubbish gets one without an id");
    }

    /// What a client on a pipe of lines up to 100 bytes gets through, and what it is answered.
    async fn through(said: &[u8]) -> (Vec<Value>, Vec<Value>) {
        let (mut ours, theirs) = tokio::io::duplex(64);
        let (input, output) = tokio::io::split(theirs);
        let mut lines = Lines::new(input, output, 100);
        let said = said.to_vec();
        let talk = async move {
            use tokio::io::AsyncReadExt as _;
            let (mut from, mut to) = tokio::io::split(&mut ours);
            let mut heard = Vec::new();
            let say = async {
                to.write_all(&said).await.unwrap();
                to.shutdown().await.unwrap();
            };
            let ((), _) = tokio::join!(say, from.read_to_end(&mut heard));
            let heard = String::from_utf8(heard).unwrap();
            heard.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        let listen = async move {
            let mut messages = Vec::new();
            while let Some(message) = lines.receive().await {
                messages.push(serde_json::to_value(message).unwrap());
            }
            lines.close().await.unwrap();
            messages
        };
        tokio::join!(listen, talk)
    }

    #[tokio::test]
    async fn good_lines_arrive_and_bad_ones_are_answered() {
        let ping = |id: u64| json!({"jsonrpc": "2.0", "id": id, "method": "ping"});
        let long = format!(r#"{{"method":"x","params":"{}","jsonrpc":"2.0","id":2}}"#, "y".repeat(500));
        let said = format!(
            "\u{feff}{}\r\n\r\nhello\n{long}\n{}\n{{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":5}}\n{long}\n\
             {{\"method\":\"gone\"}}\n{}",
            ping(1),
            ping(3),
            ping(5)
        );
        let (messages, answers) = through(said.as_bytes()).await;
        let ids: Vec<&Value> = messages.iter().map(|message| &message["id"]).collect();
        assert_eq!(ids, [1, 3, 5], "the last one although its line has no end");
        let told: Vec<String> =
            answers.iter().map(|answer| format!("{} {}", answer["id"], answer["error"]["code"])).collect();
        assert_eq!(told, ["null -32700", "2 -32600", "4 -32600", "2 -32600"]);
        assert_eq!(answers[1]["error"]["message"], "the message is longer than 100 bytes");
    }

    #[tokio::test]
    async fn a_line_that_never_ends_is_answered_at_the_end() {
        let (messages, answers) =
            through(format!(r#"{{"id":1,"method":"x","params":"{}"#, "y".repeat(10_000)).as_bytes()).await;
        assert!(messages.is_empty());
        assert_eq!((answers.len(), &answers[0]["id"]), (1, &json!(1)));
    }
}
