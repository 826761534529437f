//! Several clients over standard streams on one data folder.
//!
//! Each client program starts its own `serve --stdio`, but only one process can hold the store. That one also listens on a
//! socket in the data folder; the others pass their streams through it, byte for byte. Who may open the socket is who may
//! open the folder: its owner.

use std::path::{Path, PathBuf};

/// The socket's place in the data folder.
#[cfg(unix)]
fn place(data_dir: &Path) -> PathBuf {
    data_dir.join("mcp.sock")
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;
    use std::time::Duration;

    use anyhow::Context as _;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{UnixListener, UnixStream};
    use tokio_util::sync::CancellationToken;
    use toolscout_gateway::{Services, serve_pipe};

    use super::{Path, PathBuf, place};

    /// How long calls in flight get when a client closes its streams.
    const DRAIN: Duration = Duration::from_secs(5);

    /// Serves everyone who connects until `shutdown`. Returns the socket's path; the file goes with the last clone of the
    /// guard. None where there can be no socket (a folder whose name is too long): then further clients are refused.
    pub(crate) fn listen(data_dir: &Path, services: &Arc<Services>, shutdown: &CancellationToken) -> Option<Socket> {
        let path = place(data_dir);
        // Whoever left it is gone: we hold the store.
        let _ = std::fs::remove_file(&path);
        let bound = UnixListener::bind(&path).and_then(|listener| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
            Ok(listener)
        });
        let listener = match bound {
            Ok(listener) => listener,
            Err(error) => {
                tracing::debug!(%error, path = %path.display(), "no socket for further clients");
                return None;
            }
        };
        let (services, shutdown) = (Arc::clone(services), shutdown.clone());
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    () = shutdown.cancelled() => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((stream, _)) = accepted else {
                    // Out of file handles, mostly: waiting is all that helps.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let (input, output) = stream.into_split();
                let (services, shutdown) = (Arc::clone(&services), shutdown.clone());
                tokio::spawn(async move {
                    if let Err(error) = serve_pipe(services, input, output, DRAIN, shutdown).await {
                        tracing::debug!(error = crate::backend::chain(&error), "a client's streams ended");
                    }
                });
            }
        });
        Some(Socket(path))
    }

    /// The socket's file, removed on drop.
    pub(crate) struct Socket(PathBuf);

    impl Drop for Socket {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    /// Passes our standard streams to the server that holds the folder. False when it has no socket.
    pub(crate) async fn join(data_dir: &Path, shutdown: &CancellationToken) -> anyhow::Result<bool> {
        let Ok(stream) = UnixStream::connect(place(data_dir)).await else { return Ok(false) };
        let (mut from, mut to) = stream.into_split();
        // Reading standard input cannot be cancelled, so it has a task of its own that ends with the process.
        let sending = tokio::spawn(async move {
            let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut to).await;
            // The server answers what is in flight, then closes its side.
            let _ = to.shutdown().await;
        });
        let mut stdout = tokio::io::stdout();
        tokio::select! {
            () = shutdown.cancelled() => {}
            copied = tokio::io::copy(&mut from, &mut stdout) => { copied.context("pass on the server's answers")?; }
        }
        stdout.flush().await?;
        sending.abort();
        Ok(true)
    }
}

#[cfg(unix)]
pub(crate) use unix::{join, listen};
