//! Our one HTTP client.

use std::time::Duration;

use anyhow::Context as _;

/// A client with ring for TLS. Talks to no proxy on the way to this machine.
pub(crate) fn client(timeout: Duration) -> anyhow::Result<reqwest::Client> {
    // Fails when another part of the process was first, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(timeout).build().context("set up the HTTP client")
}

/// A body of at most `limit` bytes.
pub(crate) async fn read_capped(mut response: reqwest::Response, limit: usize) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        anyhow::ensure!(body.len() + chunk.len() <= limit, "the answer is larger than {limit} bytes");
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
