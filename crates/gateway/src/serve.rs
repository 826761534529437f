//! The way in: an HTTP port, or standard input and output.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use toolscout_core::Secret;

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
    #[error("serve MCP on standard input and output: {0}")]
    Stdio(String),
}

/// Serves MCP at `/mcp` and everything else over HTTP until `shutdown`; then calls in flight are finished first.
pub async fn serve_http(
    services: Arc<Services>,
    options: HttpOptions,
    shutdown: CancellationToken,
) -> Result<Served, ServeError> {
    let _ = (services, options, shutdown);
    unimplemented!("lands next")
}

/// Serves MCP on standard input and output until the client closes them or `shutdown`.
pub async fn serve_stdio(services: Arc<Services>, shutdown: CancellationToken) -> Result<(), ServeError> {
    let _ = (services, shutdown);
    unimplemented!("lands next")
}
