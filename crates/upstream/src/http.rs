//! HTTP below rmcp's Streamable HTTP transport: our reqwest client, bounded bodies and events, and the tap.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use http::header::{ACCEPT, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::StreamableHttpPostResponse::Sse;
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
};
use sse_stream::SseStream;
use toolscout_core::Secret;
use toolscout_core::text::{preview, sanitize};

use crate::Challenge;
use crate::tap::{Tap, Want};

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";
const SESSION: &str = "mcp-session-id";
/// How much of an error's body is read.
const ERROR_BODY: usize = 64 << 10;

/// What an HTTP server did wrong, without anything secret: no URL, no header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpFail {
    /// Credentials are missing, wrong or too weak.
    #[error("HTTP {status}")]
    Auth { status: u16, challenge: Challenge },
    /// Another error status.
    #[error("HTTP {status}{}", note(.body))]
    Status { status: u16, body: String },
    /// Nobody answers there; nothing was sent.
    #[error("no connection")]
    Connect(#[source] reqwest::Error),
    /// The exchange broke off.
    #[error("the exchange broke off")]
    Broken(#[source] reqwest::Error),
    /// More than we take.
    #[error("more than {0} bytes in one message")]
    TooLarge(usize),
    /// A body that is no JSON-RPC.
    #[error("an answer that is no JSON-RPC")]
    NotJson(#[source] serde_json::Error),
    /// A configured header that HTTP cannot carry.
    #[error("header `{0}` cannot be sent")]
    BadHeader(String),
    /// The legacy `endpoint` event is missing or leads to another origin.
    #[error("{0}")]
    Endpoint(String),
}

fn note(body: &str) -> String {
    if body.is_empty() { String::new() } else { format!(": {body}") }
}

impl HttpFail {
    pub(crate) fn of(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if error.is_connect() { Self::Connect(error) } else { Self::Broken(error) }
    }
}

/// A client that sends the configured headers to the configured origin and nowhere else.
pub(crate) fn client(headers: &BTreeMap<String, Secret>, connect: Duration) -> Result<reqwest::Client, HttpFail> {
    static RING: OnceLock<()> = OnceLock::new();
    RING.get_or_init(|| {
        // Fails only where the process has a provider already, which then serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let bad = || HttpFail::BadHeader(preview(name));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let mut value = HeaderValue::from_str(value.expose()).map_err(|_| bad())?;
        value.set_sensitive(true);
        map.insert(name, value);
    }
    // A redirect to another origin would carry configured headers there; one with 301 to 303 turns POST into GET.
    let redirects = reqwest::redirect::Policy::custom(|attempt| {
        let keeps_method = matches!(attempt.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        let same_origin = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
        if keeps_method && same_origin && attempt.previous().len() <= 5 { attempt.follow() } else { attempt.stop() }
    });
    reqwest::Client::builder()
        .default_headers(map)
        .redirect(redirects)
        .connect_timeout(connect)
        // Node closes idle connections after 5 s; a request sent at that moment would be lost and may not be repeated.
        .pool_idle_timeout(Duration::from_secs(3))
        .build()
        .map_err(HttpFail::of)
}

/// A response's body, at most `cap` bytes of it.
pub async fn read_capped(response: reqwest::Response, cap: usize) -> Result<Vec<u8>, ReadError> {
    let announced = response.content_length().unwrap_or(0);
    if announced > cap as u64 {
        return Err(ReadError::TooLarge(cap));
    }
    let mut body = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| ReadError::Broken(error.without_url()))?;
        if body.len() + chunk.len() > cap {
            return Err(ReadError::TooLarge(cap));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is longer than the cap in bytes.
    #[error("body of more than {0} bytes")]
    TooLarge(usize),
    /// The connection broke.
    #[error("body broke off")]
    Broken(#[source] reqwest::Error),
}

impl From<ReadError> for HttpFail {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooLarge(cap) => Self::TooLarge(cap),
            ReadError::Broken(error) => Self::Broken(error),
        }
    }
}

/// Turns an error status into what it means, reading a little of the body.
pub(crate) async fn refusal(response: reqwest::Response) -> HttpFail {
    let status = response.status();
    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        let header = response.headers().get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        return HttpFail::Auth { status: status.as_u16(), challenge: header.map(challenge).unwrap_or_default() };
    }
    let body = read_capped(response, ERROR_BODY).await.unwrap_or_default();
    HttpFail::Status { status: status.as_u16(), body: sanitize(&String::from_utf8_lossy(&body), 200) }
}

/// The parts of a `WWW-Authenticate` header that say what to bring.
pub(crate) fn challenge(header: &str) -> Challenge {
    let header: String = header.chars().take(4_096).collect();
    let scheme = header.split_whitespace().next().map(|scheme| sanitize(scheme, 40));
    let part = |name: &str| {
        let lower = header.to_ascii_lowercase();
        let mut from = 0;
        // `name=` at a word's start, so that `error=` is not found in `my_error=`.
        while let Some(at) = lower[from..].find(&format!("{name}=")) {
            let start = from + at;
            let fresh = !lower[..start].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-');
            let value = &header[start + name.len() + 1..];
            if fresh {
                let text = match value.strip_prefix('"') {
                    Some(quoted) => quoted.split('"').next().unwrap_or_default(),
                    None => value.split([',', ' ', ';']).next().unwrap_or_default(),
                };
                return Some(sanitize(text, 300)).filter(|text| !text.is_empty());
            }
            from = start + 1;
        }
        None
    };
    Challenge { scheme, scope: part("scope"), resource_metadata: part("resource_metadata"), error: part("error") }
}

/// Server-sent events of a body, each at most `cap` bytes.
pub(crate) fn events(response: reqwest::Response, cap: usize) -> BoxStream<'static, Result<sse_stream::Sse, SseError>> {
    SseStream::from_bytes_stream(bounded(response.bytes_stream(), cap)).boxed()
}

/// Ends a byte stream with an error when more than `cap` bytes come without the empty line that ends an event.
fn bounded<S>(bytes: S, cap: usize) -> impl Stream<Item = Result<bytes::Bytes, HttpFail>> + Send
where
    S: Stream<Item = reqwest::Result<bytes::Bytes>> + Send,
{
    let mut size = 0;
    let mut line_is_empty = true;
    bytes.map(move |chunk| {
        let chunk = chunk.map_err(HttpFail::of)?;
        for &byte in &chunk {
            match byte {
                b'\n' if line_is_empty => size = 0,
                b'\n' => line_is_empty = true,
                b'\r' => {}
                _ => line_is_empty = false,
            }
            size += 1;
            if size > cap {
                return Err(HttpFail::TooLarge(cap));
            }
        }
        Ok(chunk)
    })
}

/// rmcp's view of HTTP: everything passes the tap.
#[derive(Clone)]
pub(crate) struct TapHttp {
    pub(crate) client: reqwest::Client,
    pub(crate) tap: Arc<Tap>,
    pub(crate) cap: usize,
}

type Failed = StreamableHttpError<HttpFail>;
type Events = BoxStream<'static, Result<sse_stream::Sse, SseError>>;

impl TapHttp {
    /// Lays answers into tickets and passes on what rmcp shall see.
    fn tapped(&self, events: Events) -> Events {
        let tap = self.tap.clone();
        events
            .map(move |event| {
                let mut event = event?;
                if let Some(data) = event.data.as_ref().filter(|data| !data.trim().is_empty()) {
                    // rmcp takes one message per event; the rest of a batch (2025-03-26) is answers to tickets, laid already.
                    let first = tap.incoming(data.as_bytes()).ok().and_then(|seen| seen.into_iter().next());
                    event.data = Some(match first {
                        Some(message) => serde_json::to_string(&message).unwrap_or_default(),
                        // An event without data means nothing to rmcp, as it should: this was no message.
                        None => String::new(),
                    });
                }
                Ok(event)
            })
            .boxed()
    }
}

/// Gives a listing's answer as one message instead of as a stream.
///
/// Where a stream ends right behind its answer, rmcp 3.9.0 sometimes notices the end first and then passes the answer on
/// without learning its `x-mcp-header` annotations (1 of 20 times on a busy machine). As one message it always does.
async fn listing(mut stream: Events, session: Option<String>) -> StreamableHttpPostResponse {
    let mut before = Vec::new();
    while let Some(event) = stream.next().await {
        let data = event.as_ref().ok().and_then(|event| event.data.as_deref());
        match data.and_then(|data| serde_json::from_str(data).ok()) {
            Some(answer @ (ServerJsonRpcMessage::Response(_) | ServerJsonRpcMessage::Error(_))) => {
                return StreamableHttpPostResponse::Json(answer, session);
            }
            // The tap has seen what a notification may mean to us.
            Some(ServerJsonRpcMessage::Notification(_)) => {}
            // A request of the server, an id to resume from, an error: rmcp's business, with all that follows.
            Some(ServerJsonRpcMessage::Request(_)) | None => {
                let is_event_id =
                    event.as_ref().is_ok_and(|event| event.data.as_deref().unwrap_or_default().is_empty());
                before.push(event);
                if !is_event_id || before.len() > 16 {
                    break;
                }
            }
        }
    }
    Sse(futures::stream::iter(before).chain(stream).boxed(), session)
}

fn is(content_type: Option<&HeaderValue>, mime: &str) -> bool {
    content_type.is_some_and(|value| value.as_bytes().starts_with(mime.as_bytes()))
}

impl StreamableHttpClient for TapHttp {
    type Error = HttpFail;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failed> {
        let ticket = self.tap.outgoing(&message);
        let request_id = match &message {
            ClientJsonRpcMessage::Request(request) => Some(request.id.clone()),
            _ => None,
        };
        let mut request = self.client.post(uri.as_ref()).header(ACCEPT, format!("{JSON}, {EVENTS}"));
        request = request.headers(custom_headers.into_iter().collect());
        let had_session = session_id.is_some();
        if let Some(session) = session_id {
            request = request.header(SESSION, session.as_ref());
        }
        if let Some(ticket) = &ticket {
            ticket.mark_sent(true);
        }
        let response = match request.json(&message).send().await {
            Ok(response) => response,
            Err(error) => {
                let fail = HttpFail::of(error);
                if let (HttpFail::Connect(_), Some(ticket)) = (&fail, &ticket) {
                    ticket.mark_sent(false);
                }
                return Err(Failed::Client(fail));
            }
        };
        let status = response.status();
        if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        if status == StatusCode::NOT_FOUND && had_session {
            return Err(Failed::SessionExpired);
        }
        let content_type = response.headers().get(CONTENT_TYPE).cloned();
        let session = response.headers().get(SESSION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let is_auth = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if !status.is_success() {
            if is_auth || !is(content_type.as_ref(), JSON) {
                return Err(Failed::Client(refusal(response).await));
            }
            // A refusal may carry a JSON-RPC error, often without the request's id: it answers this request all the same.
            let body = read_capped(response, ERROR_BODY).await.map_err(|error| Failed::Client(error.into()))?;
            let error =
                serde_json::from_slice::<serde_json::Value>(&body).ok().filter(|body| body["error"].is_object());
            if let (Some(mut error), Some(id)) = (error, request_id) {
                error["id"] = id.into_json_value();
                let seen = self.tap.incoming(error.to_string().as_bytes()).unwrap_or_default();
                if let Some(message) = seen.into_iter().next() {
                    return Ok(StreamableHttpPostResponse::Json(message, session));
                }
            }
            let body = sanitize(&String::from_utf8_lossy(&body), 200);
            return Err(Failed::Client(HttpFail::Status { status: status.as_u16(), body }));
        }
        if is(content_type.as_ref(), EVENTS) {
            let stream = self.tapped(events(response, self.cap));
            let is_listing = ticket.is_some_and(|ticket| ticket.wants() == Want::List);
            return Ok(if is_listing { listing(stream, session).await } else { Sse(stream, session) });
        }
        let awaits_answer = request_id.is_some();
        if !awaits_answer {
            // Some servers answer a notification with 200 and a body of their own; nothing in it is for us.
            return Ok(StreamableHttpPostResponse::Accepted);
        }
        if !is(content_type.as_ref(), JSON) {
            let shown = content_type.map(|value| preview(&String::from_utf8_lossy(value.as_bytes())));
            return Err(Failed::UnexpectedContentType(shown));
        }
        let body = match read_capped(response, self.cap).await {
            Ok(body) => body,
            Err(error) => return Err(Failed::Client(error.into())),
        };
        let seen = self.tap.incoming(&body).map_err(|error| Failed::Client(HttpFail::NotJson(error)))?;
        let answer = |message: &ServerJsonRpcMessage| {
            matches!(message, ServerJsonRpcMessage::Response(_) | ServerJsonRpcMessage::Error(_))
        };
        match seen.into_iter().find(answer) {
            Some(message) => Ok(StreamableHttpPostResponse::Json(message, session)),
            None => Err(Failed::UnexpectedServerResponse("an answer that is no JSON-RPC response".into())),
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failed> {
        let mut request = self.client.delete(uri.as_ref()).header(SESSION, session_id.as_ref());
        request = request.headers(custom_headers.into_iter().collect());
        // Whether the server forgets the session is its own business.
        request.send().await.map_err(|error| Failed::Client(HttpFail::of(error)))?;
        Ok(())
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<Events, Failed> {
        let mut request = self.client.get(uri.as_ref()).header(ACCEPT, EVENTS);
        request = request.headers(custom_headers.into_iter().collect());
        if let Some(session) = session_id {
            request = request.header(SESSION, session.as_ref());
        }
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.map_err(|error| Failed::Client(HttpFail::of(error)))?;
        if response.status() == StatusCode::METHOD_NOT_ALLOWED {
            return Err(Failed::ServerDoesNotSupportSse);
        }
        if !response.status().is_success() {
            return Err(Failed::Client(refusal(response).await));
        }
        let content_type = response.headers().get(CONTENT_TYPE).cloned();
        if !is(content_type.as_ref(), EVENTS) {
            let shown = content_type.map(|value| preview(&String::from_utf8_lossy(value.as_bytes())));
            return Err(Failed::UnexpectedContentType(shown));
        }
        Ok(self.tapped(events(response, self.cap)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_tells_what_to_bring() {
        let header = r#"Bearer my_error=x, resource_metadata="https://a.org/.well-known/x", scope="files:read files:write", error=invalid_token"#;
        let challenge = challenge(header);
        assert_eq!(challenge.scheme.as_deref(), Some("Bearer"));
        assert_eq!(challenge.scope.as_deref(), Some("files:read files:write"));
        assert_eq!(challenge.resource_metadata.as_deref(), Some("https://a.org/.well-known/x"));
        assert_eq!(challenge.error.as_deref(), Some("invalid_token"));
        assert_eq!(super::challenge("").scheme, None);
    }

    async fn check_bounded(chunks: &[&'static str], cap: usize, expect: bool) {
        let stream = futures::stream::iter(chunks.iter().map(|chunk| Ok(bytes::Bytes::from_static(chunk.as_bytes()))));
        let all: Vec<_> = bounded(stream, cap).collect().await;
        assert_eq!(all.iter().all(Result::is_ok), expect, "{chunks:?}");
    }

    #[tokio::test]
    async fn an_event_is_bounded_but_a_stream_is_not() {
        check_bounded(&["data: 12345\n\n", "data: 12345\r\n\r\n", "data: 12345\n\n"], 20, true).await;
        check_bounded(&["data: 12345", "67890", "12345"], 20, false).await;
        check_bounded(&["data: 1\ndata: 2\n", "data: 3\ndata: 4\n"], 20, false).await;
    }
}
