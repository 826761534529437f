//! One connection: made, asked, closed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use rmcp::model::{
    CancelledNotification, CancelledNotificationParam, ClientCapabilities, ClientConfig, ClientRequest, CustomRequest,
    Implementation, MetaObject, RequestId, RequestMetaObject, ServerPeerInfo, ServerResult, SubscriptionFilter,
};
use rmcp::service::{Peer, PeerRequestOptions, ServiceError};
use rmcp::transport::streamable_http_client::{StreamableHttpClientTransportConfig, StreamableHttpError};
use rmcp::transport::{DynamicTransportError, StreamableHttpClientTransport};
use rmcp::{ClientHandler, RoleClient};
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use toolscout_core::text::{preview, sanitize};
use toolscout_core::{ToolName, Untrusted};
use tracing::{debug, info};

use crate::error::Cause;
use crate::handshake::{GreetError, Greeted, Plan, greet};
use crate::http::{HttpFail, TapHttp};
use crate::redact::Redactor;
use crate::stdio::{self, Process};
use crate::tap::{Answer, Attached, Learn, Tap, Ticket, Want};
use crate::{
    CallContext, CallReply, CallRequest, Challenge, Era, Error, HttpKind, Sent, ServerFacts, Skipped, Step,
    ToolListing, Transport, UpstreamSpec, sse,
};

/// `_meta` keys that belong to one connection and are never passed on.
const OWN_META: [&str; 4] = [
    "progressToken",
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
];
const HEADER_MISMATCH: i64 = -32020;
const METHOD_NOT_FOUND: i64 = -32601;

/// A transport's or server's words as a cause, cleaned.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

/// Who we are to servers. We declare no capability: nothing here could serve sampling, elicitation or roots.
struct Face(ClientConfig);

impl ClientHandler for Face {
    fn get_info(&self) -> ClientConfig {
        self.0.clone()
    }
}

/// A live connection to one upstream.
pub(crate) struct Connection {
    spec: Arc<UpstreamSpec>,
    peer: Peer<RoleClient>,
    pub(crate) facts: ServerFacts,
    tap: Arc<Tap>,
    process: Option<Arc<Process>>,
    redactor: Arc<Redactor>,
    /// Ends rmcp's service, and with it the transport. rmcp cancels it too, when the service ended by itself.
    stop: CancellationToken,
    /// We ended it.
    stopping: AtomicBool,
    /// The service has ended and the transport is closed.
    pub(crate) closed: CancellationToken,
    /// Whether rmcp's HTTP transport has seen the tools, so that it can send `Mcp-Param-*` headers.
    listed: tokio::sync::Mutex<Listed>,
    in_flight: Semaphore,
    pub(crate) since: Instant,
    service: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    No,
    Yes,
}

/// Connects and greets, starting the server as often as its era needs. `known` is the era it spoke last time.
pub(crate) async fn connect(
    spec: Arc<UpstreamSpec>,
    client: &Implementation,
    known: Option<Era>,
) -> Result<Arc<Connection>, Error> {
    let me = ClientConfig::new(ClientCapabilities::default(), client.clone());
    let redactor = Arc::new(Redactor::of(&spec));
    match &spec.transport {
        Transport::Stdio { .. } => connect_stdio(&spec, &redactor, &me, known).await,
        Transport::Http { kind, .. } => connect_http(&spec, &redactor, &me, known, *kind).await,
    }
}

async fn connect_stdio(
    spec: &Arc<UpstreamSpec>,
    redactor: &Arc<Redactor>,
    me: &ClientConfig,
    known: Option<Era>,
) -> Result<Arc<Connection>, Error> {
    let Transport::Stdio { command, args, env, cwd } = &spec.transport else {
        unreachable!("`connect` matched the transport");
    };
    let plans = match known {
        None => [Plan::Both { probe: spec.timeouts.probe }, Plan::Legacy],
        Some(Era::Modern) => [Plan::Modern, Plan::Legacy],
        Some(Era::Legacy) => [Plan::Legacy, Plan::Modern],
    };
    let mut failed = None;
    for plan in plans {
        let tap = Tap::new(Learn::Nothing);
        let (mut transport, process) =
            stdio::spawn(command, args, env, cwd.as_ref(), &spec.caps, spec.timeouts.close, tap.clone())
                .map_err(|source| Error::Start { upstream: spec.id.clone(), command: preview(command), source })?;
        let greeted = tokio::time::timeout(spec.timeouts.start, greet(&mut transport, me, plan)).await;
        let error = match greeted {
            Ok(Ok(greeted)) => return Ok(Connection::run(spec, redactor, me, transport, Some(process), tap, greeted)),
            Ok(Err(error)) => {
                // What a dying process says on standard error may come a moment after its pipe closed.
                tokio::time::sleep(Duration::from_millis(50)).await;
                let stderr = process.stderr.tail(redactor);
                let (reason, source): (String, Option<Cause>) = match error {
                    GreetError::Send(error) => ("it stopped reading".to_owned(), Some(Box::new(error))),
                    GreetError::Closed => ("it ended before it answered".to_owned(), None),
                    GreetError::Refused { code, message } => {
                        (format!("it answers error {code}: {}", redactor.clean(&message, 300)), None)
                    }
                    GreetError::NotMcp(what) => (what.to_owned(), None),
                };
                Error::Connect { upstream: spec.id.clone(), reason, stderr, source }
            }
            Err(_) => Error::Timeout {
                upstream: spec.id.clone(),
                step: Step::Start,
                after: spec.timeouts.start,
                stderr: process.stderr.tail(redactor),
            },
        };
        // Kill it, whole group, before the next start: a probed server may be wedged, and two would share files and ports.
        process.kill();
        let is_timeout = matches!(error, Error::Timeout { .. });
        let worth_another = matches!(plan, Plan::Both { .. }) || !is_timeout;
        debug!(upstream = %spec.id, ?plan, %error, "greeting failed");
        let first = failed.is_none();
        if first {
            failed = Some(error);
        } else if let (Some(Error::Connect { stderr, .. }), Error::Connect { stderr: newer, .. }) = (&failed, &error)
            && stderr.is_empty()
            && !newer.is_empty()
        {
            failed = Some(error);
        }
        if !worth_another {
            break;
        }
    }
    Err(failed
        .unwrap_or_else(|| Error::Protocol { upstream: spec.id.clone(), what: "no greeting was tried".to_owned() }))
}

async fn connect_http(
    spec: &Arc<UpstreamSpec>,
    redactor: &Arc<Redactor>,
    me: &ClientConfig,
    known: Option<Era>,
    kind: HttpKind,
) -> Result<Arc<Connection>, Error> {
    let Transport::Http { url, headers, .. } = &spec.transport else {
        unreachable!("`connect` matched the transport");
    };
    let on = Http { spec, redactor, me, url };
    let client = crate::http::client(headers, spec.timeouts.start).map_err(|fail| on.error(fail))?;
    let mut streamable = None;
    if kind != HttpKind::Sse {
        let (start, probe) = (spec.timeouts.start, spec.timeouts.probe.min(spec.timeouts.start));
        // The third greets a modern server that took longer than the probe to wake up.
        let plans = match known {
            None => vec![(Plan::Modern, probe), (Plan::Legacy, start), (Plan::Modern, start)],
            Some(Era::Modern) => vec![(Plan::Modern, start), (Plan::Legacy, start)],
            Some(Era::Legacy) => vec![(Plan::Legacy, start), (Plan::Modern, start)],
        };
        let mut probe_timed_out = false;
        for (nth, (plan, patience)) in plans.into_iter().enumerate() {
            if nth == 2 && !probe_timed_out {
                break;
            }
            let error = match on.streamable(client.clone(), plan, patience).await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            debug!(upstream = %spec.id, ?plan, %error, "greeting failed");
            probe_timed_out |= nth == 0 && matches!(error, Error::Timeout { .. });
            let hopeless = matches!(error, Error::NeedsAuth { .. } | Error::Start { .. }) || is_unconnected(&error);
            // Of two refusals the one to `initialize` says more: every server of before 2026-07 refuses the other.
            let keep_older = nth > 0 && matches!(plan, Plan::Modern) && streamable.is_some();
            if !keep_older {
                streamable = Some(error);
            }
            if hopeless {
                break;
            }
        }
    }
    let refused =
        matches!(streamable, Some(Error::NeedsAuth { .. })) || streamable.as_ref().is_some_and(is_unconnected);
    let try_sse = match kind {
        HttpKind::Sse => true,
        HttpKind::Auto => !refused,
        HttpKind::Streamable => false,
    };
    if !try_sse {
        return Err(streamable.expect("streamable was tried"));
    }
    match on.sse(client).await {
        Ok(connection) => Ok(connection),
        Err(error @ Error::NeedsAuth { .. }) => Err(error),
        // The streamable attempt tells more, unless the address itself says SSE.
        Err(error) => match streamable {
            Some(earlier) if !url.trim_end_matches('/').ends_with("/sse") => Err(earlier),
            _ => Err(error),
        },
    }
}

fn is_unconnected(error: &Error) -> bool {
    matches!(error, Error::Connect { reason, .. } if reason == NO_CONNECTION)
}

const NO_CONNECTION: &str = "no connection";

struct Http<'a> {
    spec: &'a Arc<UpstreamSpec>,
    redactor: &'a Arc<Redactor>,
    me: &'a ClientConfig,
    url: &'a str,
}

impl Http<'_> {
    async fn streamable(
        &self,
        client: reqwest::Client,
        plan: Plan,
        patience: Duration,
    ) -> Result<Arc<Connection>, Error> {
        let tap = Tap::new(Learn::Headers);
        let http = TapHttp { client, tap: tap.clone(), cap: self.spec.caps.message_bytes };
        let mut config = StreamableHttpClientTransportConfig::with_uri(self.url)
            .max_concurrent_requests(self.spec.caps.in_flight.max(1));
        config.max_sse_event_size = self.spec.caps.message_bytes;
        let mut transport = StreamableHttpClientTransport::with_client(http, config);
        let greeted = tokio::time::timeout(patience, greet(&mut transport, self.me, plan)).await;
        match greeted {
            Ok(Ok(greeted)) => Ok(Connection::run(self.spec, self.redactor, self.me, transport, None, tap, greeted)),
            Ok(Err(GreetError::Send(error))) => Err(self.streamable_error(error)),
            Ok(Err(error)) => Err(self.greet_error(error)),
            Err(_) => Err(self.timeout(patience)),
        }
    }

    async fn sse(&self, client: reqwest::Client) -> Result<Arc<Connection>, Error> {
        let tap = Tap::new(Learn::Nothing);
        let start = self.spec.timeouts.start;
        let attempt = async {
            let mut transport = sse::open(client, self.url, self.spec.caps.message_bytes, tap.clone())
                .await
                .map_err(|fail| self.error(fail))?;
            match greet(&mut transport, self.me, Plan::Legacy).await {
                Ok(greeted) => Ok(Connection::run(self.spec, self.redactor, self.me, transport, None, tap, greeted)),
                Err(GreetError::Send(fail)) => Err(self.error(fail)),
                Err(error) => Err(self.greet_error(error)),
            }
        };
        tokio::time::timeout(start, attempt).await.unwrap_or_else(|_| Err(self.timeout(start)))
    }

    fn timeout(&self, after: Duration) -> Error {
        Error::Timeout { upstream: self.spec.id.clone(), step: Step::Start, after, stderr: String::new() }
    }

    fn greet_error<E>(&self, error: GreetError<E>) -> Error {
        let reason = match error {
            GreetError::Send(_) | GreetError::Closed => "it ended the exchange before it answered".to_owned(),
            GreetError::Refused { code, message } => {
                format!("it answers error {code}: {}", self.redactor.clean(&message, 300))
            }
            GreetError::NotMcp(what) => what.to_owned(),
        };
        Error::Connect { upstream: self.spec.id.clone(), reason, stderr: String::new(), source: None }
    }

    fn error(&self, fail: HttpFail) -> Error {
        http_error(self.spec, self.redactor, fail)
    }

    fn streamable_error(&self, error: StreamableHttpError<HttpFail>) -> Error {
        match error {
            StreamableHttpError::Client(fail) => self.error(fail),
            other => Error::Connect {
                upstream: self.spec.id.clone(),
                reason: self.redactor.clean(&other.to_string(), 300),
                stderr: String::new(),
                source: None,
            },
        }
    }
}

fn http_error(spec: &UpstreamSpec, redactor: &Redactor, fail: HttpFail) -> Error {
    let upstream = spec.id.clone();
    match fail {
        HttpFail::Auth { status, challenge } => needs_auth(spec, redactor, status, challenge),
        HttpFail::TooLarge(cap) => Error::Caps { upstream, limit: cap as u64, unit: "bytes in one message" },
        HttpFail::Connect(source) => Error::Connect {
            upstream,
            reason: NO_CONNECTION.to_owned(),
            stderr: String::new(),
            source: Some(Box::new(source)),
        },
        other => {
            let source = std::error::Error::source(&other)
                .map(|source| -> Cause { Box::new(Said(redactor.clean(&source.to_string(), 300))) });
            Error::Connect { upstream, reason: redactor.clean(&other.to_string(), 300), stderr: String::new(), source }
        }
    }
}

fn needs_auth(spec: &UpstreamSpec, redactor: &Redactor, status: u16, challenge: Challenge) -> Error {
    let clean = |text: Option<String>| text.map(|text| redactor.clean(&text, 300));
    let challenge = Challenge {
        scheme: clean(challenge.scheme),
        scope: clean(challenge.scope),
        resource_metadata: clean(challenge.resource_metadata),
        error: clean(challenge.error),
    };
    Error::NeedsAuth { upstream: spec.id.clone(), status, challenge }
}

/// How to ask one request.
struct Ask<'a> {
    method: &'static str,
    params: Value,
    meta: Option<Map<String, Value>>,
    step: Step,
    /// Without progress.
    idle: Duration,
    /// In all.
    max: Duration,
    cancel: Option<&'a CancellationToken>,
    ticket: Arc<Ticket>,
}

/// A result, its size, and what rmcp made of its stand-in.
struct Got {
    result: Value,
    bytes: usize,
    seen: Option<ServerResult>,
}

impl Connection {
    fn run<T>(
        spec: &Arc<UpstreamSpec>,
        redactor: &Arc<Redactor>,
        me: &ClientConfig,
        transport: T,
        process: Option<Arc<Process>>,
        tap: Arc<Tap>,
        greeted: Greeted,
    ) -> Arc<Self>
    where
        T: rmcp::transport::Transport<RoleClient> + 'static,
    {
        let facts = facts(&greeted, redactor);
        let stop = CancellationToken::new();
        let service =
            rmcp::service::serve_directly_with_ct(Face(me.clone()), transport, Some(greeted.info), stop.clone());
        let peer = service.peer().clone();
        let closed = CancellationToken::new();
        let done = closed.clone();
        let gone = tap.gone.clone();
        let task = tokio::spawn(async move {
            let _ = service.waiting().await;
            gone.cancel();
            done.cancel();
        });
        Arc::new(Self {
            in_flight: Semaphore::new(spec.caps.in_flight.max(1)),
            spec: spec.clone(),
            peer,
            facts,
            tap,
            process,
            redactor: redactor.clone(),
            stop,
            stopping: AtomicBool::new(false),
            closed,
            listed: tokio::sync::Mutex::new(Listed::No),
            since: Instant::now(),
            service: Mutex::new(Some(task)),
        })
    }

    /// Whether a request would still find somebody.
    pub(crate) fn is_open(&self) -> bool {
        !self.tap.gone.is_cancelled() && !self.closed.is_cancelled() && !self.stop.is_cancelled()
    }

    /// Returns once the other side is gone.
    pub(crate) async fn gone(&self) {
        self.tap.gone.cancelled().await;
    }

    /// Whether it ends because we want it to.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Ends the connection and waits until the process is gone.
    pub(crate) async fn close(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.cancel();
        let service = self.service.lock().take();
        if let Some(service) = service {
            let _ = service.await;
        } else {
            self.closed.cancelled().await;
        }
    }

    /// Ends the connection at once.
    pub(crate) fn kill(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.cancel();
        if let Some(process) = &self.process {
            process.kill();
        }
        if let Some(service) = self.service.lock().take() {
            service.abort();
        }
        self.closed.cancel();
    }

    /// Why it may have ended, as far as it said.
    pub(crate) fn last_words(&self) -> String {
        if self.tap.silent.load(Ordering::Acquire) {
            return "it stopped answering".to_owned();
        }
        let stderr = self.stderr();
        let line = stderr.lines().rev().find(|line| !line.trim().is_empty());
        line.map_or_else(|| "it closed the connection".to_owned(), |line| format!("its last words: {line}"))
    }

    fn stderr(&self) -> String {
        self.process.as_ref().map(|process| process.stderr.tail(&self.redactor)).unwrap_or_default()
    }

    /// Returns each time the server says that its tools changed, on either era's way; `None` once the connection ended.
    pub(crate) async fn tools_changed(&self) -> Option<()> {
        tokio::select! {
            () = self.tap.changed.notified() => Some(()),
            () = self.tap.gone.cancelled() => None,
        }
    }

    /// Keeps a modern server's `subscriptions/listen` open as long as the connection lives. Its notifications pass the
    /// tap like all others. A stream that broke may have missed a change, so its renewal counts as one.
    pub(crate) async fn keep_listening(&self) {
        if self.facts.era != Era::Modern || !self.facts.tools_list_changed {
            return;
        }
        let mut filter = SubscriptionFilter::default();
        filter.tools_list_changed = Some(true);
        let mut wait = Duration::from_secs(1);
        let mut renewed = false;
        loop {
            let listening = async {
                match self.peer.listen(filter.clone()).await {
                    Ok(mut subscription) => {
                        if renewed {
                            self.tap.changed.notify_one();
                        }
                        while let Ok(Some(_)) = subscription.next().await {}
                        Ok(())
                    }
                    Err(error) => Err(error),
                }
            };
            let ended = tokio::select! {
                ended = listening => ended,
                () = self.tap.gone.cancelled() => return,
            };
            match ended {
                Ok(()) => wait = Duration::from_secs(1),
                // It does not serve it, whatever it declared.
                Err(ServiceError::McpError(_)) => return,
                Err(_) => wait = (wait * 2).min(Duration::from_secs(60)),
            }
            renewed = true;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.tap.gone.cancelled() => return,
            }
        }
    }

    async fn ask(&self, ask: Ask<'_>) -> Result<Got, Error> {
        let upstream = || self.spec.id.clone();
        let Ask { method, params, meta, step, idle, max, cancel, ticket } = ask;
        let timeout = |after| Error::Timeout { upstream: upstream(), step, after, stderr: self.stderr() };
        let never = CancellationToken::new();
        let cancel = cancel.unwrap_or(&never);
        let _permit = tokio::select! {
            // A caller who has left gets nothing sent, permit or not.
            biased;
            () = cancel.cancelled() => return Err(Error::Cancelled { upstream: upstream() }),
            permit = self.in_flight.acquire() => permit.map_err(|_| self.closed_error(Sent::No, None))?,
            () = tokio::time::sleep(idle) => return Err(timeout(idle)),
        };
        let mut request = CustomRequest::new(method, Some(params));
        request.extensions.insert(Attached(ticket.clone()));
        let mut options = PeerRequestOptions::no_options();
        if let Some(meta) = meta {
            options = options.with_meta(RequestMetaObject(MetaObject::from(meta)));
        }
        let heard = self.tap.heard();
        let sending = self.peer.send_cancellable_request(ClientRequest::CustomRequest(request), options);
        let handle = tokio::select! {
            handle = sending => handle.map_err(|_| self.closed_error(Sent::No, None))?,
            () = self.tap.gone.cancelled() => return Err(self.closed_error(Sent::No, None)),
            () = tokio::time::sleep(idle) => {
                self.doubt(heard);
                return Err(timeout(idle));
            }
        };
        // From here on, whoever drops this future withdraws the request.
        let mut open = Open { connection: self, ticket: &ticket, id: Some(handle.id.clone()) };
        let mut response = handle.rx;
        let quiet = tokio::time::sleep(idle);
        let total = tokio::time::sleep(max.max(idle));
        tokio::pin!(quiet, total);
        let mut seen = None;
        let mut rmcp_done = false;
        loop {
            tokio::select! {
                biased;
                () = ticket.answered() => {}
                outcome = &mut response, if !rmcp_done => {
                    rmcp_done = true;
                    match outcome {
                        Ok(Ok(result)) => seen = Some(result),
                        Ok(Err(ServiceError::TransportSend(error))) => {
                            open.id = None;
                            return Err(self.send_error(&ticket, error));
                        }
                        // An answer is laid into the ticket before rmcp sees it; without one, this is the transport's end.
                        Ok(Err(ServiceError::McpError(error))) => {
                            open.id = None;
                            if let Some(answer) = ticket.take_answer() {
                                return self.answer(answer, None);
                            }
                            return Err(self.rpc(error.code.0.into(), &error.message, error.data));
                        }
                        Ok(Err(_)) | Err(_) => {
                            open.id = None;
                            if let Some(answer) = ticket.take_answer() {
                                return self.answer(answer, None);
                            }
                            return Err(self.closed_error(sent(&ticket), None));
                        }
                    }
                }
                () = self.tap.gone.cancelled() => {
                    open.id = None;
                    return match ticket.take_answer() {
                        Some(answer) => self.answer(answer, seen),
                        None => Err(self.closed_error(sent(&ticket), None)),
                    };
                }
                () = cancel.cancelled() => return Err(Error::Cancelled { upstream: upstream() }),
                () = ticket.alive() => {
                    quiet.as_mut().reset(Instant::now() + idle);
                    continue;
                }
                () = &mut quiet => {
                    self.doubt(heard);
                    return Err(timeout(idle));
                }
                () = &mut total => return Err(timeout(max)),
            }
            let Some(answer) = ticket.take_answer() else { continue };
            open.id = None;
            // rmcp's view of a listing (which tools have valid `x-mcp-header`s) follows at once.
            let learns = step == Step::List && self.tap_learns();
            if !rmcp_done && learns && matches!(answer, Answer::Result { .. }) {
                let soon = tokio::time::timeout(Duration::from_secs(2), &mut response).await;
                seen = soon.ok().and_then(Result::ok).and_then(Result::ok);
            }
            return self.answer(answer, seen);
        }
    }

    /// A request ran out of time. If nothing at all came since it began (`heard`), the server is asked for a sign of life,
    /// which a slow tool does not keep it from giving. Without one the connection ends and the next request makes a new
    /// one; else every request to a hung server would wait for its whole deadline, for ever.
    fn doubt(&self, heard: u64) {
        if self.tap.heard() != heard {
            return;
        }
        let method = match self.facts.era {
            Era::Modern => "server/discover",
            Era::Legacy => "ping",
        };
        let (upstream, patience) = (self.spec.id.clone(), self.spec.timeouts.probe);
        let (peer, tap, stop) = (self.peer.clone(), self.tap.clone(), self.stop.clone());
        tokio::spawn(async move {
            let question = peer.send_request(ClientRequest::CustomRequest(CustomRequest::new(method, None)));
            let answer = tokio::time::timeout(patience, question).await;
            let is_alive = matches!(answer, Ok(Ok(_) | Err(ServiceError::McpError(_)))) || tap.heard() != heard;
            if !is_alive && !stop.is_cancelled() {
                info!(%upstream, "upstream stopped answering, its connection is given up");
                tap.silent.store(true, Ordering::Release);
                stop.cancel();
            }
        });
    }

    fn answer(&self, answer: Answer, seen: Option<ServerResult>) -> Result<Got, Error> {
        match answer {
            Answer::Result { value, bytes } => {
                Ok(Got { result: value, bytes, seen: seen.filter(|_| self.tap_learns()) })
            }
            Answer::Error { code, message, data } => Err(self.rpc(code, &message, data)),
            Answer::TooLarge => Err(Error::Caps {
                upstream: self.spec.id.clone(),
                limit: self.spec.caps.message_bytes as u64,
                unit: "bytes in one message",
            }),
        }
    }

    fn rpc(&self, code: i64, message: &str, data: Option<Value>) -> Error {
        Error::Rpc {
            upstream: self.spec.id.clone(),
            code,
            message: self.redactor.clean(message, 500),
            data: data.map(Untrusted::new),
        }
    }

    fn closed_error(&self, sent: Sent, said: Option<String>) -> Error {
        let source = said.map(|said| -> Cause { Box::new(Said(self.redactor.clean(&said, 300))) });
        Error::Closed { upstream: self.spec.id.clone(), sent, stderr: self.stderr(), source }
    }

    fn send_error(&self, ticket: &Ticket, error: DynamicTransportError) -> Error {
        if let Some(answer) = ticket.take_answer()
            && let Err(error) = self.answer(answer, None)
        {
            return error;
        }
        let said = error.error.to_string();
        let fail = match error.error.downcast::<StreamableHttpError<HttpFail>>() {
            Ok(streamable) => match *streamable {
                StreamableHttpError::Client(fail) => Some(fail),
                _ => None,
            },
            Err(other) => other.downcast::<HttpFail>().ok().map(|fail| *fail),
        };
        match fail {
            Some(HttpFail::Auth { status, challenge }) => needs_auth(&self.spec, &self.redactor, status, challenge),
            Some(HttpFail::TooLarge(cap)) => {
                Error::Caps { upstream: self.spec.id.clone(), limit: cap as u64, unit: "bytes in one message" }
            }
            // Servers forget sessions when they restart. Some say so with 404, which rmcp mends by itself, others with 400:
            // they have not looked at the request, and only a new connection helps.
            Some(HttpFail::Status { status: 400, body })
                if self.facts.era == Era::Legacy && body.to_ascii_lowercase().contains("session") =>
            {
                self.stop.cancel();
                self.closed_error(Sent::No, Some(body))
            }
            Some(HttpFail::Status { status, body })
                if StatusCode::from_u16(status).is_ok_and(|s| s.is_client_error()) =>
            {
                Error::Protocol {
                    upstream: self.spec.id.clone(),
                    what: self.redactor.clean(&format!("HTTP {status} {body}"), 300),
                }
            }
            Some(HttpFail::NotJson(_)) => {
                Error::Protocol { upstream: self.spec.id.clone(), what: "an answer that is no JSON-RPC".to_owned() }
            }
            Some(fail) => self.closed_error(sent(ticket), Some(fail.to_string())),
            None => self.closed_error(sent(ticket), Some(said)),
        }
    }

    /// Asks for all pages, within the caps.
    pub(crate) async fn list(&self) -> Result<ToolListing, Error> {
        let limit = self.spec.timeouts.list;
        let deadline = Instant::now() + limit;
        let mut pages = Pages::new(&self.spec, self.facts.clone());
        let mut cursor: Option<String> = None;
        let mut seen_cursors = HashSet::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let params = cursor.as_ref().map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
            let ask = Ask {
                method: "tools/list",
                params,
                meta: None,
                step: Step::List,
                idle: left,
                max: left,
                cancel: None,
                ticket: Ticket::new(Want::List, None),
            };
            let got = match self.ask(ask).await {
                Ok(got) => got,
                // A server without tools may say so by not knowing the method.
                Err(Error::Rpc { code: METHOD_NOT_FOUND, .. }) if pages.n_pages == 0 => break,
                Err(Error::Timeout { upstream, step, stderr, .. }) if pages.n_pages == 0 => {
                    return Err(Error::Timeout { upstream, step, after: limit, stderr });
                }
                Err(error) if pages.n_pages == 0 => return Err(error),
                // What came before is still good; only what is missing is not known.
                Err(error) => {
                    pages.listing.truncated = Some(format!("page {} failed: {error}", pages.n_pages + 1));
                    break;
                }
            };
            let next = match pages.take(got) {
                Ok(next) => next,
                Err(what) if pages.n_pages == 0 => {
                    return Err(Error::Protocol { upstream: self.spec.id.clone(), what });
                }
                Err(what) => {
                    pages.listing.truncated = Some(what);
                    break;
                }
            };
            // The empty string is a cursor like any other.
            let Some(next) = next else { break };
            if pages.listing.truncated.is_some() {
                break;
            }
            if pages.n_pages >= self.spec.caps.pages {
                pages.listing.truncated = Some(format!("more than {} pages", self.spec.caps.pages));
                break;
            }
            if !seen_cursors.insert(next.clone()) {
                pages.listing.truncated = Some(format!("cursor `{}` came twice", preview(&next)));
                break;
            }
            cursor = Some(next);
        }
        *self.listed.lock().await = Listed::Yes;
        Ok(pages.listing)
    }

    /// Forwards one call.
    pub(crate) async fn call(&self, request: &CallRequest, context: &CallContext) -> Result<CallReply, Error> {
        // `Mcp-Param-*` headers come from the tools that this connection has listed.
        if self.facts.era == Era::Modern && self.tap_learns() && *self.listed.lock().await == Listed::No {
            tokio::select! {
                _ = self.list() => {}
                () = context.cancel.cancelled() => return Err(Error::Cancelled { upstream: self.spec.id.clone() }),
            }
        }
        match self.call_once(request, context).await {
            // Refused before it ran, because the tool's header annotations changed under us.
            Err(Error::Rpc { code: HEADER_MISMATCH, .. }) if self.tap_learns() => {
                self.list().await?;
                self.call_once(request, context).await
            }
            outcome => outcome,
        }
    }

    fn tap_learns(&self) -> bool {
        self.tap.learn == Learn::Headers
    }

    async fn call_once(&self, request: &CallRequest, context: &CallContext) -> Result<CallReply, Error> {
        let is_modern = self.facts.era == Era::Modern;
        let mut params = Map::new();
        params.insert("name".to_owned(), json!(request.name));
        params.insert("arguments".to_owned(), Value::Object(request.arguments.clone()));
        let mut meta = request.meta.clone().unwrap_or_default();
        for key in OWN_META {
            meta.remove(key);
        }
        if is_modern {
            if let Some(responses) = &request.input_responses {
                params.insert("inputResponses".to_owned(), responses.clone());
            }
            if let Some(state) = &request.request_state {
                params.insert("requestState".to_owned(), json!(state));
            }
            if let Some(capabilities) = &context.client_capabilities {
                let declared = Value::Object(capabilities.clone());
                meta.insert("io.modelcontextprotocol/clientCapabilities".to_owned(), declared);
            }
        }
        let ask = Ask {
            method: "tools/call",
            params: Value::Object(params),
            meta: Some(meta),
            step: Step::Call,
            idle: context.deadline.unwrap_or(self.spec.timeouts.call),
            max: self.spec.timeouts.call_max,
            cancel: Some(&context.cancel),
            ticket: Ticket::new(Want::Call, context.progress.clone()),
        };
        let got = self.ask(ask).await?;
        if !got.result.is_object() {
            let what = "a call's result that is no object".to_owned();
            return Err(Error::Protocol { upstream: self.spec.id.clone(), what });
        }
        Ok(CallReply { result: Untrusted::new(got.result), era: self.facts.era })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Nobody holds it: one that was made and never used must not go on by itself.
        self.stop.cancel();
    }
}

fn sent(ticket: &Ticket) -> Sent {
    if ticket.was_sent() { Sent::Maybe } else { Sent::No }
}

/// A request in flight. Dropped with an id, it tells the server that nobody waits any more.
struct Open<'a> {
    connection: &'a Connection,
    ticket: &'a Ticket,
    id: Option<RequestId>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.connection.tap.forget(self.ticket);
        let Some(id) = self.id.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let peer = self.connection.peer.clone();
        runtime.spawn(async move {
            let params = CancelledNotificationParam::new(Some(id), Some("nobody waits for it any more".to_owned()));
            let note = CancelledNotification::new(params);
            let _ = tokio::time::timeout(Duration::from_secs(5), peer.send_notification(note.into())).await;
        });
    }
}

/// A listing under construction.
struct Pages<'a> {
    spec: &'a UpstreamSpec,
    listing: ToolListing,
    names: HashSet<String>,
    n_pages: usize,
    n_seen: usize,
    bytes: usize,
}

impl<'a> Pages<'a> {
    fn new(spec: &'a UpstreamSpec, server: ServerFacts) -> Self {
        let listing = ToolListing {
            server,
            tools: Vec::new(),
            skipped: Vec::new(),
            truncated: None,
            ttl_ms: None,
            cache_scope: None,
        };
        Self { spec, listing, names: HashSet::new(), n_pages: 0, n_seen: 0, bytes: 0 }
    }

    /// Takes one page and gives the next cursor.
    fn take(&mut self, got: Got) -> Result<Option<String>, String> {
        let Value::Object(mut page) = got.result else { return Err("a listing that is no object".to_owned()) };
        let Some(Value::Array(tools)) = page.remove("tools") else {
            return Err("a listing without a list of tools".to_owned());
        };
        let next = match page.remove("nextCursor") {
            None | Some(Value::Null) => None,
            Some(Value::String(next)) => Some(next),
            Some(_) => {
                self.listing.truncated = Some("a cursor that is no text".to_owned());
                None
            }
        };
        self.n_pages += 1;
        self.bytes += got.bytes;
        if self.bytes > self.spec.caps.listing_bytes {
            self.listing.truncated = Some(format!("more than {} bytes", self.spec.caps.listing_bytes));
        }
        if let Some(ttl) = page.get("ttlMs").and_then(Value::as_u64) {
            self.listing.ttl_ms = Some(self.listing.ttl_ms.map_or(ttl, |known| known.min(ttl)));
        }
        match page.get("cacheScope").and_then(Value::as_str) {
            Some("private") => self.listing.cache_scope = Some("private".to_owned()),
            Some("public") if self.listing.cache_scope.is_none() => {
                self.listing.cache_scope = Some("public".to_owned());
            }
            _ => {}
        }
        // What rmcp's HTTP transport could decode but threw out has `x-mcp-header` annotations it may not send.
        let kept: Option<HashSet<String>> = match got.seen {
            Some(ServerResult::ListToolsResult(list)) => {
                Some(list.tools.iter().map(|tool| tool.name.to_string()).collect())
            }
            _ => None,
        };
        for tool in tools {
            let position = self.n_seen;
            self.n_seen += 1;
            if self.listing.tools.len() >= self.spec.caps.tools {
                self.listing.truncated = Some(format!("more than {} tools", self.spec.caps.tools));
                break;
            }
            if let Err((name, reason)) = self.admit(tool, kept.as_ref()) {
                // A listing of nothing but rubbish may be as long as the cap on tools, and its report too.
                if self.listing.skipped.len() < self.spec.caps.tools {
                    self.listing.skipped.push(Skipped { position, name, reason });
                }
            }
        }
        Ok(next)
    }

    fn admit(&mut self, tool: Value, kept: Option<&HashSet<String>>) -> Result<(), (Option<String>, String)> {
        let Some(object) = tool.as_object() else { return Err((None, "not an object".to_owned())) };
        let Some(name) = object.get("name").and_then(Value::as_str) else {
            return Err((None, "no name".to_owned()));
        };
        let fail = |reason: &str| Err((Some(preview(name)), reason.to_owned()));
        if let Err(error) = ToolName::new(name) {
            return fail(&error.to_string());
        }
        if !self.spec.tools.admits(name) {
            return Ok(());
        }
        match object.get("inputSchema") {
            None | Some(Value::Null) => return fail("no inputSchema"),
            Some(Value::Object(schema)) => {
                // A missing `type` is common and harmless.
                let takes_objects = match schema.get("type") {
                    None => true,
                    Some(Value::String(kind)) => kind == "object",
                    Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
                    Some(_) => false,
                };
                if !takes_objects {
                    return fail("its inputSchema takes no object");
                }
            }
            Some(_) => return fail("its inputSchema is no object"),
        }
        let size = serde_json::to_vec(&tool).map_or(usize::MAX, |bytes| bytes.len());
        if size > self.spec.caps.tool_bytes {
            return fail(&format!("larger than {} bytes", self.spec.caps.tool_bytes));
        }
        let dropped = kept.is_some_and(|kept| !kept.contains(name))
            && serde_json::from_value::<rmcp::model::Tool>(tool.clone()).is_ok();
        if dropped {
            return fail("its x-mcp-header annotations are invalid");
        }
        if !self.names.insert(name.to_owned()) {
            return fail("a tool of this name came before");
        }
        self.listing.tools.push(Untrusted::new(tool));
        Ok(())
    }
}

fn facts(greeted: &Greeted, redactor: &Redactor) -> ServerFacts {
    let ServerPeerInfo { protocol_version, capabilities, server_info, instructions, .. } = &greeted.info;
    let (name, version, title) = match server_info {
        Some(info) => (info.name.as_str(), info.version.as_str(), info.title.as_deref()),
        None => ("", "", None),
    };
    let some =
        |text: Option<&str>, max: usize| text.map(|text| redactor.clean(text, max)).filter(|text| !text.is_empty());
    ServerFacts {
        name: redactor.clean(name, 100),
        version: redactor.clean(version, 100),
        title: some(title, 200),
        protocol_version: sanitize(protocol_version.as_str(), 40),
        era: greeted.era,
        instructions: some(instructions.as_deref(), 8_000),
        tools_list_changed: capabilities.tools.as_ref().is_some_and(|tools| tools.list_changed == Some(true)),
    }
}
