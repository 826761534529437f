//! The HTTP+SSE transport of 2024-11-05, as a client. rmcp dropped it; servers have not.
//!
//! One GET stays open and carries everything the server says, first an `endpoint` event; every message of ours is a POST
//! to that endpoint. The endpoint must lie on the origin we were configured with: otherwise the server could send our
//! configured headers anywhere.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use http::header::{ACCEPT, CONTENT_TYPE};
use rmcp::RoleClient;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use toolscout_core::text::preview;
use url::Url;

use crate::http::{HttpFail, events, refusal};
use crate::tap::Tap;

/// How long one POST may take to be accepted. The answer comes on the stream, so this bounds the hand-over only.
const POST: Duration = Duration::from_secs(30);

/// The transport that rmcp drives.
pub(crate) struct SseTransport {
    client: reqwest::Client,
    endpoint: Url,
    tap: Arc<Tap>,
    messages: mpsc::Receiver<ServerJsonRpcMessage>,
    reader: JoinHandle<()>,
}

/// Opens the stream and waits for its `endpoint`. The caller brings the deadline.
pub(crate) async fn open(
    client: reqwest::Client,
    url: &str,
    cap: usize,
    tap: Arc<Tap>,
) -> Result<SseTransport, HttpFail> {
    let url = Url::parse(url).map_err(|_| HttpFail::Endpoint("the configured URL is none".to_owned()))?;
    let response = client.get(url.clone()).header(ACCEPT, "text/event-stream").send().await.map_err(HttpFail::of)?;
    if !response.status().is_success() {
        return Err(refusal(response).await);
    }
    let is_stream =
        response.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    if !is_stream {
        return Err(HttpFail::Endpoint("GET gives no event stream".to_owned()));
    }
    let mut stream = events(response, cap);
    let endpoint = loop {
        let event = stream.next().await.ok_or_else(|| HttpFail::Endpoint("the stream ended at once".to_owned()))?;
        let event = event.map_err(|_| HttpFail::Endpoint("the event stream is damaged".to_owned()))?;
        if event.event.as_deref() == Some("endpoint") {
            break endpoint_of(&url, event.data.as_deref().unwrap_or_default())?;
        }
    };
    let (sender, messages) = mpsc::channel(64);
    let reader = tokio::spawn({
        let tap = tap.clone();
        async move {
            while let Some(Ok(event)) = stream.next().await {
                let Some(data) = event.data else { continue };
                for message in tap.incoming(data.as_bytes()).unwrap_or_default() {
                    if sender.send(message).await.is_err() {
                        return;
                    }
                }
            }
            tap.gone.cancel();
        }
    });
    Ok(SseTransport { client, endpoint, tap, messages, reader })
}

fn endpoint_of(url: &Url, given: &str) -> Result<Url, HttpFail> {
    let endpoint = url
        .join(given.trim())
        .map_err(|_| HttpFail::Endpoint(format!("the `endpoint` event holds no address: {}", preview(given))))?;
    if endpoint.origin() != url.origin() {
        let origin = preview(&endpoint.origin().ascii_serialization());
        return Err(HttpFail::Endpoint(format!("the `endpoint` event leads to another origin: {origin}")));
    }
    Ok(endpoint)
}

impl Drop for SseTransport {
    fn drop(&mut self) {
        self.tap.gone.cancel();
        self.reader.abort();
    }
}

impl Transport<RoleClient> for SseTransport {
    type Error = HttpFail;

    fn send(&mut self, item: ClientJsonRpcMessage) -> impl Future<Output = Result<(), HttpFail>> + Send + 'static {
        let ticket = self.tap.outgoing(&item);
        let request = self.client.post(self.endpoint.clone()).json(&item).timeout(POST);
        async move {
            if let Some(ticket) = &ticket {
                ticket.mark_sent(true);
            }
            let response = match request.send().await.map_err(HttpFail::of) {
                Ok(response) => response,
                Err(fail) => {
                    if let (HttpFail::Connect(_), Some(ticket)) = (&fail, &ticket) {
                        ticket.mark_sent(false);
                    }
                    return Err(fail);
                }
            };
            if response.status().is_success() { Ok(()) } else { Err(refusal(response).await) }
        }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        self.messages.recv().await
    }

    async fn close(&mut self) -> Result<(), HttpFail> {
        self.reader.abort();
        self.messages.close();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: &str, expect: Option<&str>) {
        let url = Url::parse("https://tools.example/base/sse?key=1").unwrap();
        assert_eq!(endpoint_of(&url, given).ok().as_ref().map(Url::as_str), expect, "{given}");
    }

    #[test]
    fn the_endpoint_stays_on_the_configured_origin() {
        check("/messages?s=1", Some("https://tools.example/messages?s=1"));
        check("messages", Some("https://tools.example/base/messages"));
        check("https://tools.example/m", Some("https://tools.example/m"));
        check("https://evil.example/m", None);
        check("http://tools.example/m", None);
        check("//evil.example/m", None);
        check("https://tools.example:8443/m", None);
    }
}
