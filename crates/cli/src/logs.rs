//! Log lines to standard error, and spans to an OpenTelemetry collector when one is named.

use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::args::LogFormat;

/// Where spans go, if anywhere. Flushes on [`Telemetry::end`].
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// What log lines say without `RUST_LOG`.
fn default_filter(verbose: u8, is_server: bool) -> &'static str {
    // rmcp logs an error for every client that hangs up; its news reach us as values anyway.
    match (verbose, is_server) {
        (0, false) => "error,rmcp=off,toolscout=warn",
        (0, true) | (1, _) => "warn,rmcp=off,toolscout=info",
        (2, _) => "warn,rmcp=warn,toolscout=debug",
        (3.., _) => "debug,toolscout=trace",
    }
}

/// Sets logging up, once per process. Call within a tokio runtime: spans are sent from there.
pub(crate) fn init(format: LogFormat, verbose: u8, is_server: bool) -> anyhow::Result<Telemetry> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text).context("read RUST_LOG")?,
        _ => EnvFilter::new(default_filter(verbose, is_server)),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => {
            let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            lines.with_ansi(is_terminal && std::env::var_os("NO_COLOR").is_none()).with_filter(filter).boxed()
        }
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let provider = exporter()?;
    let spans = provider.as_ref().map(|provider| {
        // Spans have a filter of their own: they serve profiles also when the log is quiet.
        let filter = EnvFilter::new("warn,rmcp=off,toolscout=debug");
        tracing_opentelemetry::layer().with_tracer(provider.tracer("toolscout")).with_filter(filter)
    });
    tracing_subscriber::registry().with(lines).with(spans).try_init().context("set up logging")?;
    Ok(Telemetry { provider })
}

impl Telemetry {
    /// Sends what is still here. Waits a few seconds at most.
    pub(crate) async fn end(self) {
        let Some(provider) = self.provider else { return };
        let flush = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(Duration::from_secs(3)));
        if let Ok(Err(error)) = flush.await {
            tracing::debug!(%error, "spans not sent");
        }
    }
}

/// An exporter to `OTEL_EXPORTER_OTLP_ENDPOINT`, when that is set. The SDK reads the other `OTEL_…` variables itself.
fn exporter() -> anyhow::Result<Option<SdkTracerProvider>> {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_off = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value == "true");
    if is_off || !(is_set("OTEL_EXPORTER_OTLP_ENDPOINT") || is_set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")) {
        return Ok(None);
    }
    let client = crate::http::client(Duration::from_secs(10))?;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
        .with_http_client(OnRuntime { client, runtime: tokio::runtime::Handle::current() })
        .build()
        .context("set up the OpenTelemetry exporter")?;
    let resource = opentelemetry_sdk::Resource::builder().with_service_name("toolscout").build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
    Ok(Some(provider))
}

/// The SDK exports from a thread of its own, where reqwest finds no runtime; so the request runs on ours.
#[derive(Debug)]
struct OnRuntime {
    client: reqwest::Client,
    runtime: tokio::runtime::Handle,
}

type Sending<'a> = std::pin::Pin<
    Box<dyn Future<Output = Result<::http::Response<bytes::Bytes>, opentelemetry_http::HttpError>> + Send + 'a>,
>;

impl opentelemetry_http::HttpClient for OnRuntime {
    fn send_bytes<'a, 'b>(&'a self, request: ::http::Request<bytes::Bytes>) -> Sending<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        let client = self.client.clone();
        let task = self.runtime.spawn(async move { client.send_bytes(request).await });
        Box::pin(async move { task.await? })
    }
}
