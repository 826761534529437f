//! A child process that speaks MCP on stdin and stdout, in a process group of its own.
//!
//! `npx`, `uvx` and `sh -c` leave the real server as a grandchild, which outlives a plain kill. So the whole group is ended:
//! on close (end of input, wait, SIGTERM, wait, SIGKILL), and at once when the connection is dropped in any other way.
//! What leaves the group by itself (`setsid`) is out of our reach.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use process_wrap::tokio::{ChildWrapper, CommandWrap, ProcessGroup};
use rmcp::RoleClient;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use toolscout_core::Secret;

use crate::Caps;
use crate::redact::Ring;
use crate::tap::Tap;

const SIGTERM: i32 = 15;
/// How often we look whether the child has ended. The end of its output says so at once, unless a grandchild has
/// inherited that.
const LOOK: Duration = Duration::from_millis(250);
/// How much of either end of an oversized line is looked at for the id it answers.
const ENDS: usize = 512;

/// A running child and its group. Dropping it kills the group.
pub(crate) struct Process {
    child: Mutex<Option<Group>>,
    /// Ends the patience of a `close` that is under way.
    now: CancellationToken,
    pub(crate) stderr: Arc<Ring>,
}

/// The child; its whole group is killed when this goes.
struct Group(Box<dyn ChildWrapper>);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.0.start_kill();
    }
}

impl Process {
    /// Kills the group now, without waiting.
    pub(crate) fn kill(&self) {
        self.now.cancel();
        drop(self.child.lock().take());
    }

    /// Returns when the child itself has ended, whoever of its group still holds the pipes.
    async fn ended(&self) {
        loop {
            {
                let mut child = self.child.lock();
                let Some(group) = child.as_mut() else { return };
                if !matches!(group.0.inner_mut().try_wait(), Ok(None)) {
                    return;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn close(&self, grace: Duration) {
        let Some(mut group) = self.child.lock().take() else { return };
        tokio::select! {
            () = group.end(grace) => {}
            () = self.now.cancelled() => {}
        }
        let _ = group.0.start_kill();
        // Reaps the leader.
        let _ = tokio::time::timeout(grace, group.0.inner_mut().wait()).await;
    }
}

impl Group {
    /// Gives everybody in the group the time to end in order.
    async fn end(&mut self, grace: Duration) {
        let exited = tokio::time::timeout(grace, self.0.inner_mut().wait()).await.is_ok();
        let someone_left = self.0.signal(SIGTERM).is_ok();
        if !exited {
            let _ = tokio::time::timeout(grace, self.0.inner_mut().wait()).await;
        } else if someone_left {
            // Grandchildren of a leader that is gone: nobody can wait for them, so they get a moment.
            tokio::time::sleep(Duration::from_millis(200).min(grace)).await;
        }
    }
}

/// The transport that rmcp drives.
pub(crate) struct StdioTransport {
    tap: Arc<Tap>,
    stdin: Arc<tokio::sync::Mutex<Option<ChildStdin>>>,
    messages: mpsc::Receiver<ServerJsonRpcMessage>,
    process: Arc<Process>,
    readers: Vec<JoinHandle<()>>,
    grace: Duration,
}

/// Starts a child. `env` is added to our own environment and never shown.
pub(crate) fn spawn(
    command: &str,
    args: &[String],
    env: &BTreeMap<String, Secret>,
    cwd: Option<&PathBuf>,
    caps: &Caps,
    grace: Duration,
    tap: Arc<Tap>,
) -> io::Result<(StdioTransport, Arc<Process>)> {
    let mut wrapped = CommandWrap::with_new(command, |c| {
        c.args(args).envs(env.iter().map(|(name, value)| (name, value.expose())));
        c.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(cwd) = cwd {
            c.current_dir(cwd);
        }
    });
    wrapped.wrap(ProcessGroup::leader());
    let mut child = wrapped.spawn()?;
    let pipes = (child.stdin().take(), child.stdout().take(), child.stderr().take());
    let process = Arc::new(Process {
        child: Mutex::new(Some(Group(child))),
        now: CancellationToken::new(),
        stderr: Arc::new(Ring::new(caps.stderr_bytes)),
    });
    let (Some(stdin), Some(stdout), Some(mut stderr)) = pipes else {
        return Err(io::Error::other("the child has no pipes"));
    };
    let (sender, messages) = mpsc::channel(64);
    let ring = process.stderr.clone();
    let heard = CancellationToken::new();
    let all_heard = heard.clone();
    let errors = tokio::spawn(async move {
        let _at_the_end = all_heard.drop_guard();
        let mut chunk = [0; 4096];
        while let Ok(n) = stderr.read(&mut chunk).await {
            if n == 0 {
                break;
            }
            ring.push(&chunk[..n]);
        }
    });
    let lines = tokio::spawn({
        // Held until the end, so that nobody takes the connection for closed before the last words are in.
        let last = sender.clone();
        let reading = read_lines(stdout, caps.message_bytes, tap.clone(), sender, process.stderr.clone());
        let (process, tap) = (process.clone(), tap.clone());
        async move {
            let orphaned = async {
                process.ended().await;
                // What it wrote before it ended is still in the pipe.
                tokio::time::sleep(LOOK).await;
            };
            tokio::select! {
                () = reading => {}
                () = orphaned => {}
            }
            let _ = tokio::time::timeout(LOOK, heard.cancelled()).await;
            tap.gone.cancel();
            drop(last);
        }
    });
    let transport = StdioTransport {
        tap,
        stdin: Arc::new(tokio::sync::Mutex::new(Some(stdin))),
        messages,
        process: process.clone(),
        readers: vec![errors, lines],
        grace,
    };
    Ok((transport, process))
}

impl Drop for StdioTransport {
    fn drop(&mut self) {
        self.tap.gone.cancel();
        for reader in &self.readers {
            reader.abort();
        }
    }
}

impl Transport<RoleClient> for StdioTransport {
    type Error = io::Error;

    fn send(&mut self, item: ClientJsonRpcMessage) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let ticket = self.tap.outgoing(&item);
        let stdin = self.stdin.clone();
        async move {
            let mut line = serde_json::to_vec(&item).map_err(io::Error::other)?;
            line.push(b'\n');
            let mut stdin = stdin.lock().await;
            let pipe = stdin.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))?;
            if let Some(ticket) = &ticket {
                ticket.mark_sent(true);
            }
            let written = async {
                pipe.write_all(&line).await?;
                pipe.flush().await
            };
            let written = written.await;
            if let (Err(_), Some(ticket)) = (&written, &ticket) {
                // The newline never went out, so no server can have taken this for a request.
                ticket.mark_sent(false);
            }
            written
        }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        self.messages.recv().await
    }

    async fn close(&mut self) -> io::Result<()> {
        // A writer stuck in a full pipe holds the lock; the group's end frees it.
        if let Ok(mut stdin) = self.stdin.try_lock() {
            stdin.take();
        }
        self.process.close(self.grace).await;
        Ok(())
    }
}

/// Reads lines until the end. A line over the cap is dropped as it comes, so memory stays bounded.
async fn read_lines(
    stdout: ChildStdout,
    cap: usize,
    tap: Arc<Tap>,
    sender: mpsc::Sender<ServerJsonRpcMessage>,
    notes: Arc<Ring>,
) {
    let mut reader = BufReader::with_capacity(64 << 10, stdout);
    let mut line: Vec<u8> = Vec::new();
    // The last bytes of a line that went over the cap.
    let mut over: Option<Vec<u8>> = None;
    'reading: while let Ok(chunk) = reader.fill_buf().await {
        if chunk.is_empty() {
            break;
        }
        let newline = chunk.iter().position(|&b| b == b'\n');
        let part = &chunk[..newline.unwrap_or(chunk.len())];
        match &mut over {
            Some(tail) => {
                tail.extend_from_slice(&part[part.len().saturating_sub(ENDS)..]);
                tail.drain(..tail.len().saturating_sub(ENDS));
            }
            None if line.len() + part.len() > cap => {
                line.extend_from_slice(&part[..part.len().min(ENDS)]);
                line.truncate(ENDS);
                line.shrink_to_fit();
                over = Some(part[part.len().saturating_sub(ENDS)..].to_vec());
            }
            None => line.extend_from_slice(part),
        }
        let used = part.len() + usize::from(newline.is_some());
        reader.consume(used);
        if newline.is_none() {
            continue;
        }
        if let Some(tail) = over.take() {
            tap.too_large(&line, &tail);
        } else if !line.iter().all(u8::is_ascii_whitespace) {
            match tap.incoming(&line) {
                Ok(messages) => {
                    for message in messages {
                        if sender.send(message).await.is_err() {
                            break 'reading;
                        }
                    }
                }
                // Many servers greet on stdout; some say there why they fail. Kept with standard error.
                Err(_) => {
                    notes.push(b"[stdout] ");
                    notes.push(&line[..line.len().min(400)]);
                    notes.push(b"\n");
                }
            }
        }
        line.clear();
    }
}
