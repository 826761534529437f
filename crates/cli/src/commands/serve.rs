//! `serve`: the gateway on HTTP or standard streams, until a signal.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;
use toolscout_core::{Secret, UpstreamId};
use toolscout_gateway::{HttpOptions, Served, serve_http, serve_stdio};
use toolscout_upstream::UpstreamSpec;

use crate::app::{App, Use};
use crate::args::{LogFormat, Serve};
use crate::backend::{Held, ServerFile, hold};
use crate::config::Config;
use crate::fail::{Ended, Exit, Told, told};
use crate::screen;

/// `serve [--stdio] [--demo]`.
pub(crate) async fn serve(args: &Serve, config: &Config, logs: LogFormat) -> Ended {
    let opened = match hold(config).await? {
        Held::Here(opened) => opened,
        #[cfg(unix)]
        Held::ByServer(_) if args.stdio && pass_on(config).await? => return Ok(Exit::Done),
        Held::ByServer(server) => {
            let hint = format!("connect to {}/mcp, or choose another folder with --data", server.url());
            return Err(told(Exit::Failed, "a server runs already on this data folder", Some(hint)));
        }
    };
    if let Some(damage) = &opened.damage {
        tracing::error!(reason = %damage.reason, set_aside = %damage.set_aside.display(), "the store was damaged");
    }
    let mut specs = config.upstreams.clone();
    if args.demo {
        specs.extend(demo_upstreams(config));
    }
    let shutdown = CancellationToken::new();
    stop_on_signal(shutdown.clone())?;

    let (owned, own_specs) = (config.clone(), specs.clone());
    let open = move || App::open(opened, &owned, own_specs, Use::Serve, None);
    let app = tokio::task::spawn_blocking(open).await.context("opening ended early")??;
    for gone in app.forget_removed(config, &specs)? {
        tracing::info!(upstream = %gone, "no longer configured; its tools are gone");
    }
    if let Some(problem) = &app.model_problem {
        tracing::warn!(reason = crate::backend::chain(problem), "no embedding model; answering from words alone");
    }
    let probes = config.settings.quality.probes.clone();
    tokio::spawn(toolscout_gateway::probes::probe(Arc::clone(&app.services), probes, shutdown.clone()));
    tokio::spawn(toolscout_gateway::probes::relist(Arc::clone(&app.services), shutdown.clone()));
    #[cfg(unix)]
    let _socket = crate::pipe::listen(config.data_dir(), &app.services, &shutdown);
    let ended = if args.stdio {
        over_stdio(&app, config, &shutdown).await
    } else {
        over_http(&app, config, &shutdown, specs.len(), logs).await
    };
    tracing::info!("closing");
    // Clients that were passed on to us end with us; theirs start anew.
    shutdown.cancel();
    app.close().await;
    ended.map(|()| Exit::Done)
}

/// Another process serves this folder: our client talks to that one through us. False when it cannot.
#[cfg(unix)]
async fn pass_on(config: &Config) -> anyhow::Result<bool> {
    let shutdown = CancellationToken::new();
    stop_on_signal(shutdown.clone())?;
    tracing::info!("another process serves this data folder; passing this client on to it");
    crate::pipe::join(config.data_dir(), &shutdown).await
}

async fn over_http(
    app: &App,
    config: &Config,
    shutdown: &CancellationToken,
    n_upstreams: usize,
    logs: LogFormat,
) -> anyhow::Result<()> {
    let options = http_options(config);
    let bind = options.bind;
    let is_open = !bind.ip().is_loopback() && options.token.is_none();
    let served = serve_http(Arc::clone(&app.services), options, shutdown.clone()).await;
    let Served { addr, done } = served.map_err(|error| match bind_hint(&error, bind) {
        Some(hint) => {
            let (message, source) = ("start the server".to_owned(), Some(error.into()));
            anyhow::Error::from(Told { exit: Exit::Failed, message, hint: Some(hint), source })
        }
        None => error.into(),
    })?;
    let base = base_url(addr);
    let _file = Announced::write(config.data_dir(), &base, None)?;
    match logs {
        LogFormat::Text => greet(&base, n_upstreams),
        // Whoever reads lines of JSON reads nothing else.
        LogFormat::Json => tracing::info!(base, n_upstreams, "toolscout serves"),
    }
    if is_open {
        tracing::warn!(%bind, "anyone who reaches this address may call tools: set server.token");
    }
    done.await.context("the server ended early")
}

/// Says to a person how to connect.
fn greet(base: &str, n_upstreams: usize) {
    screen::say(&format!("toolscout serves {} at {base}", screen::count(n_upstreams, "upstream")));
    screen::say(&format!("  MCP      {base}/mcp      claude mcp add --transport http toolscout {base}/mcp"));
    screen::say(&format!("  sidecar  {base}/v1/select   described at {base}/openapi.json"));
    if n_upstreams == 0 {
        screen::say("  no upstream is configured: `toolscout upstreams add NAME -- COMMAND`, or try `serve --demo`");
    }
}

/// Standard streams for one client, and a port with a token of its own for our other commands.
async fn over_stdio(app: &App, config: &Config, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let token = random_token()?;
    let mut options = http_options(config);
    options.bind = SocketAddr::from(([127, 0, 0, 1], 0));
    options.token = Some(Secret::new(token.clone()));
    let port_down = shutdown.child_token();
    let served = serve_http(Arc::clone(&app.services), options, port_down.clone()).await;
    let (_file, port) = match served {
        Ok(Served { addr, done }) => {
            (Announced::write(config.data_dir(), &base_url(addr), Some(token)).ok(), Some(done))
        }
        Err(error) => {
            // The client on the standard streams is what counts.
            tracing::debug!(error = crate::backend::chain(&error), "no port for other commands");
            (None, None)
        }
    };
    let ended = serve_stdio(Arc::clone(&app.services), shutdown.clone()).await;
    port_down.cancel();
    if let Some(done) = port {
        let _ = done.await;
    }
    Ok(ended?)
}

fn http_options(config: &Config) -> HttpOptions {
    let settings = &config.settings.server;
    let mut options = HttpOptions { bind: settings.bind, token: settings.token.clone(), ..HttpOptions::default() };
    options.allowed_hosts.extend(settings.allowed_hosts.iter().cloned());
    if !settings.bind.ip().is_unspecified() {
        options.allowed_hosts.push(settings.bind.ip().to_string());
    }
    options.allowed_origins.extend(settings.allowed_origins.iter().cloned());
    options.max_body = usize::try_from(settings.max_body_bytes).unwrap_or(options.max_body);
    options.drain = settings.shutdown_grace;
    options
}

fn bind_hint(error: &toolscout_gateway::ServeError, bind: SocketAddr) -> Option<String> {
    let toolscout_gateway::ServeError::Listen { source, .. } = error else { return None };
    let is_taken = source.kind() == std::io::ErrorKind::AddrInUse;
    is_taken
        .then(|| format!("port {} is taken: stop who has it, or choose another with --bind 127.0.0.1:0", bind.port()))
}

/// The address as this machine reaches it.
fn base_url(addr: SocketAddr) -> String {
    let mut addr = addr;
    if addr.ip().is_unspecified() {
        addr.set_ip(if addr.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    format!("http://{addr}")
}

/// `server.json` for as long as we serve: other commands find us by it.
struct Announced(std::path::PathBuf);

impl Announced {
    fn write(data_dir: &Path, url: &str, token: Option<String>) -> anyhow::Result<Self> {
        let path = ServerFile::path(data_dir);
        let file = ServerFile {
            url: url.to_owned(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            token,
        };
        crate::edit::replace(&path, &serde_json::to_vec_pretty(&file)?)?;
        Ok(Self(path))
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        // A file left behind names a process that no longer answers, which readers notice.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// SIGINT and SIGTERM ask for an orderly end; a second one ends at once.
fn stop_on_signal(shutdown: CancellationToken) -> anyhow::Result<()> {
    #[cfg(unix)]
    let mut terminate = {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::terminate()).context("listen for SIGTERM")?
    };
    tokio::spawn(async move {
        loop {
            #[cfg(unix)]
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            #[cfg(not(unix))]
            let _ = tokio::signal::ctrl_c().await;
            if shutdown.is_cancelled() {
                std::process::exit(130);
            }
            tracing::info!("told to stop; calls in flight are finished first");
            shutdown.cancel();
        }
    });
    Ok(())
}

/// 256 bits nobody else knows.
fn random_token() -> anyhow::Result<String> {
    let mut bytes = [0u8; 32];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The public servers that we ship configurations for, as far as this machine can start them: the program is there, and
/// the variables they need are set. What the user configured under the same name comes first.
fn demo_upstreams(config: &Config) -> Vec<UpstreamSpec> {
    let (mut specs, mut left_out) = (Vec::new(), Vec::new());
    let folder = config.data_dir().join("demo");
    for known in toolscout_catalog::known::known_upstreams() {
        let Ok(id) = UpstreamId::new(&known.id) else { continue };
        if config.raw.iter().any(|raw| raw.id == id) {
            continue;
        }
        let args: Vec<String> = known.args.iter().map(|arg| arg.replace("{dir}", &folder.to_string_lossy())).collect();
        let is_unset = |name: &&String| std::env::var_os(name).is_none();
        let unset: Vec<&str> = known.env.iter().filter(is_unset).map(String::as_str).collect();
        let obstacle = match args.iter().find(|arg| arg.starts_with('{')) {
            _ if !is_program(&known.command) => Some(format!("no {}", known.command)),
            _ if !unset.is_empty() => Some(format!("needs {}", unset.join(", "))),
            Some(blank) => Some(format!("needs {blank}")),
            None => None,
        };
        match obstacle {
            Some(obstacle) => left_out.push(format!("{id} ({obstacle})")),
            None => {
                let mut spec = UpstreamSpec::stdio(id, &known.command, args);
                spec.tags.clone_from(&known.tags);
                specs.push(spec);
            }
        }
    }
    if specs.iter().any(|spec| spec.id.as_str() == "filesystem")
        && let Err(error) = std::fs::create_dir_all(&folder)
    {
        tracing::warn!(%error, folder = %folder.display(), "no folder for the demo's files");
    }
    if !left_out.is_empty() {
        screen::say(&format!("demo leaves out {}", left_out.join(", ")));
    }
    specs
}

/// Whether a program is found as the shell would find it.
pub(crate) fn is_program(name: &str) -> bool {
    if name.contains('/') {
        return Path::new(name).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}
