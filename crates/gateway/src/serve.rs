//! The way in: an HTTP port, or standard input and output.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rmcp::ServiceExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use toolscout_core::Secret;
use tracing::{debug, info, warn};

use crate::http;
use crate::lines::{Lines, MAX_LINE};
use crate::mcp::{Mcp, Sharing};
use crate::services::Services;

/// How the HTTP face behaves.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Where to listen. `127.0.0.1:7411`; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Who must bring a token, and which. `None`: nobody.
    pub token: Option<Secret>,
    /// `Host` headers that are served: host names, with or without port. Loopback names by default; against DNS rebinding.
    pub allowed_hosts: Vec<String>,
    /// `Origin` headers that are served, `scheme://host:port` with `*` for any port. Loopback origins by default.
    /// Requests without one always are.
    pub allowed_origins: Vec<String>,
    /// Largest request body, in bytes. 4 MiB.
    pub max_body: usize,
    /// How long a client may take to send its headers. 15 s.
    pub header_timeout: Duration,
    /// How long a client may be silent while it sends its body. 30 s.
    pub body_timeout: Duration,
    /// How long a request on `/v1` may take, calls and crawls apart. 60 s.
    pub request_timeout: Duration,
    /// Connections open at once; further ones wait to be accepted. 1,024.
    pub max_connections: usize,
    /// Requests being answered at once; further ones get 503. 512.
    pub max_requests: usize,
    /// Legacy MCP sessions open at once. 1,024; for a further one the longest idle goes if it was for ten minutes, else the
    /// further one gets 503.
    pub max_sessions: usize,
    /// How long a shutdown waits for calls in flight. 30 s.
    pub drain: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        let owned = |all: &[&str]| all.iter().map(ToString::to_string).collect();
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 7411)),
            token: None,
            allowed_hosts: owned(&["localhost", "127.0.0.1", "::1"]),
            allowed_origins: owned(&[
                "http://localhost:*",
                "http://127.0.0.1:*",
                "http://[::1]:*",
                "https://localhost:*",
                "https://127.0.0.1:*",
                "https://[::1]:*",
            ]),
            max_body: 4 * 1024 * 1024,
            header_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            max_connections: 1_024,
            max_requests: 512,
            max_sessions: 1_024,
            drain: Duration::from_secs(30),
        }
    }
}

/// A server that runs.
pub struct Served {
    /// Where it listens: the real port where 0 was asked for.
    pub addr: SocketAddr,
    /// Ends when the server has shut down.
    pub done: JoinHandle<()>,
}

/// Why a face cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be had: choose another, or stop who has it.
    #[error("listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The client on standard input did not speak MCP.
    #[error("serve MCP on standard input and output")]
    Stdio(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Serves MCP at `/mcp` and everything else over HTTP until `shutdown`. Then no request is taken any more, calls in flight are
/// finished (up to [`HttpOptions::drain`]), and open streams end.
pub async fn serve_http(
    services: Arc<Services>,
    options: HttpOptions,
    shutdown: CancellationToken,
) -> Result<Served, ServeError> {
    let listen = |source| ServeError::Listen { addr: options.bind, source };
    let listener = TcpListener::bind(options.bind).await.map_err(listen)?;
    let addr = listener.local_addr().map_err(listen)?;
    if !addr.ip().is_loopback() && options.token.is_none() {
        warn!(%addr, "everybody who can reach this address can search and call: set a token");
    }
    let closing = CancellationToken::new();
    let router = http::router(Arc::clone(&services), options.clone(), closing.clone());
    info!(%addr, "serving");
    let done = tokio::spawn(async move {
        let connections = accept(&listener, router, &options, &shutdown).await;
        drop(listener);
        if !services.drain.drain(options.drain).await {
            warn!("calls were still in flight when the time to finish them was over");
        }
        closing.cancel();
        if tokio::time::timeout(CLOSE, connections.shutdown()).await.is_err() {
            warn!("connections were still open at the end");
        }
        info!("stopped serving");
    });
    Ok(Served { addr, done })
}

/// How long open connections get to end after the calls have.
const CLOSE: Duration = Duration::from_secs(5);

/// Takes connections until shutdown; gives back those that are open then.
async fn accept(
    listener: &TcpListener,
    router: axum::Router,
    options: &HttpOptions,
    shutdown: &CancellationToken,
) -> GracefulShutdown {
    let connections = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(options.max_connections));
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(options.header_timeout);
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((slot, listener.accept().await))
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return connections,
            next = next => next,
        };
        let (slot, stream) = match accepted {
            Some((slot, Ok((stream, _)))) => (slot, stream),
            Some((_, Err(error))) => {
                // Out of file handles, mostly: waiting is all that helps.
                warn!(%error, "connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            None => return connections,
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "no TCP_NODELAY");
        }
        let service = TowerToHyperService::new(router.clone());
        let connection = connections.watch(server.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "connection ended");
            }
            drop(slot);
        });
    }
}

/// Serves MCP on standard input and output until the client closes them or `shutdown`. Logs must go to standard error.
pub async fn serve_stdio(services: Arc<Services>, shutdown: CancellationToken) -> Result<(), ServeError> {
    let (input, output) = rmcp::transport::stdio();
    serve_pipe(services, input, output, DRAIN_STDIO, shutdown).await
}

/// How long the last answers get to be written to a pipe.
const FLUSH: Duration = Duration::from_millis(100);
/// How long calls in flight get when standard input closes.
const DRAIN_STDIO: Duration = Duration::from_secs(5);

/// Serves MCP on any pair of streams, one JSON-RPC message a line.
pub async fn serve_pipe(
    services: Arc<Services>,
    input: impl AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Send + Unpin + 'static,
    drain: Duration,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let mcp = Mcp::new(Arc::clone(&services), Sharing::ByPolicy);
    let starting = mcp.serve_with_ct(Lines::new(input, output, MAX_LINE), CancellationToken::new());
    let running = tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        started = starting => match started {
            Ok(running) => running,
            // The client went away before it said anything: nothing to serve, nothing wrong.
            Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
            Err(error) => return Err(ServeError::Stdio(Box::new(error))),
        },
    };
    let ending = running.cancellation_token();
    let mut waiting = std::pin::pin!(running.waiting());
    let ended = tokio::select! {
        ended = &mut waiting => ended,
        () = shutdown.cancelled() => {
            services.drain.drain(drain).await;
            // The last answers are made, and still on their way through rmcp's loop to the pipe.
            tokio::time::sleep(FLUSH).await;
            ending.cancel();
            waiting.await
        }
    };
    if let Err(error) = ended {
        warn!(%error, "the MCP loop ended badly");
    }
    Ok(())
}
