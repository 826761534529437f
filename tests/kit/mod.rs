//! What the end-to-end tests share: a scratch folder with its own configuration, the binary in it, and third-party tools.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;

use serde_json::{Value, json};
use tempfile::TempDir;
use toolscout_testkit::e2e::{Client, Era, Reply, Session, eventually, request};

/// The top of the work tree.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The binary under test.
pub(crate) fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_toolscout"))
}

/// A home, a data folder and a configuration that nothing else uses. All go when it is dropped.
pub(crate) struct Scratch {
    dir: TempDir,
}

impl Scratch {
    /// With `config` as its `toolscout.toml`.
    pub(crate) fn new(config: &str) -> Scratch {
        let scratch = Scratch { dir: TempDir::new().expect("a temporary folder") };
        for folder in ["home", "data", "files"] {
            std::fs::create_dir(scratch.path(folder)).expect("a folder in the temporary folder");
        }
        scratch.configure(config);
        scratch
    }

    /// Replaces the configuration.
    pub(crate) fn configure(&self, config: &str) {
        std::fs::write(self.path("toolscout.toml"), config).expect("write the configuration");
    }

    /// A path below the scratch folder.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// `toolscout ARGS` in this folder, with nothing of the caller's environment but what programs need to start.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(args);
        self.surround(&mut command);
        command
    }

    /// Gives any command this folder as its world.
    pub(crate) fn surround(&self, command: &mut Command) {
        command
            .current_dir(self.dir.path())
            .env("HOME", self.path("home"))
            .env("TOOLSCOUT_DATA", self.path("data"))
            .env("TOOLSCOUT_CONFIG", self.path("toolscout.toml"))
            .env("TOOLSCOUT_SERVER_BIND", "127.0.0.1:0")
            .env("RUST_BACKTRACE", "1")
            .env("COLUMNS", "120")
            .env("NO_COLOR", "1")
            .env("MCP_INSPECTOR_SECRET_STORE", "memory");
        for (name, _) in std::env::vars() {
            let ours = name.starts_with("TOOLSCOUT_") || name.starts_with("XDG_");
            let already = ["TOOLSCOUT_DATA", "TOOLSCOUT_CONFIG", "TOOLSCOUT_SERVER_BIND"].contains(&name.as_str());
            if ours && !already {
                command.env_remove(name);
            }
        }
    }

    /// Runs `toolscout ARGS` to its end.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        run(&self.command(args))
    }

    /// As [`Scratch::run`], for what must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert!(ran.status.success(), "toolscout {args:?}: {ran}");
        ran
    }

    /// As [`Scratch::ok`], with standard output read as JSON.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let ran = self.ok(args);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("toolscout {args:?}: no JSON ({error}): {ran}"))
    }

    /// Starts the gateway on a free port, and waits until it answers.
    #[track_caller]
    pub(crate) fn serve(&self) -> Gateway {
        let mut session = Session::spawn(&self.command(&["serve"]));
        let note = self.path("data").join("server.json");
        let pid = session.pid();
        let addr = eventually("the gateway's server.json", || {
            let ended = session.ended();
            assert!(ended.is_none(), "serve ended with {ended:?}: {}", session.stderr());
            let note: Value = serde_json::from_slice(&std::fs::read(&note).ok()?).ok()?;
            // One left behind by a killed server names another process.
            if note["pid"] != json!(pid) {
                return None;
            }
            address_in(&note)
        });
        Gateway { session, addr }
    }
}

/// Where `server.json` says that the server is.
fn address_in(note: &Value) -> Option<SocketAddr> {
    let text = note["address"].as_str().or(note["addr"].as_str()).or(note["url"].as_str())?;
    text.trim_start_matches("http://").trim_end_matches('/').parse().ok()
}

/// A running gateway; it and all it started go when this is dropped.
pub(crate) struct Gateway {
    pub(crate) session: Session,
    pub(crate) addr: SocketAddr,
}

impl Gateway {
    /// An MCP client over HTTP.
    #[track_caller]
    pub(crate) fn client(&self, era: Era) -> Client {
        Client::http(self.addr, era)
    }

    /// `GET path`.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Reply {
        request(self.addr, "GET", path, &[], b"")
    }

    /// Stops it as a service manager would; it must end well, say nothing of a panic and leave no process.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.session.terminate();
        let status = self.session.wait();
        let said = self.session.stderr();
        assert!(status.success(), "serve ended with {status}: {said}");
        assert!(!said.contains("panicked at"), "{said}");
        self.session.assert_empty();
    }
}

/// What a finished program left.
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n--- stdout\n{}\n--- stderr\n{}", self.status, self.stdout, self.stderr)
    }
}

/// Runs a command to its end, without input. It must not panic, nor leave a process behind.
#[track_caller]
pub(crate) fn run(command: &Command) -> Ran {
    let mut session = Session::spawn(command);
    let (stdin, lines) = session.pipes();
    drop(stdin);
    let mut stdout = String::new();
    while let Ok(line) = lines.recv_timeout(toolscout_testkit::e2e::PATIENCE) {
        stdout.push_str(&line);
        stdout.push('\n');
    }
    let status = session.wait();
    session.assert_empty();
    let ran = Ran { status, stdout, stderr: session.last_words() };
    assert!(!ran.stderr.contains("panicked at"), "{command:?}: {ran}");
    ran
}

/// What a tool call's result says: its text blocks, joined.
pub(crate) fn text_of(result: &Value) -> String {
    let blocks = result["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    blocks.iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n")
}

/// What `search_tools` and `call_tool` answer, as data: `structuredContent`.
#[track_caller]
pub(crate) fn structured(result: &Value) -> &Value {
    result.get("structuredContent").unwrap_or_else(|| panic!("no structuredContent in {result}"))
}

/// The ids in an answer of `search_tools`, best first.
#[track_caller]
pub(crate) fn ids(answer: &Value) -> Vec<String> {
    let tools = answer["tools"].as_array().unwrap_or_else(|| panic!("no tools in {answer}"));
    tools.iter().filter_map(|tool| tool["id"].as_str()).map(str::to_owned).collect()
}

/// The folder of third-party programs, set up once. Fails, with what to do, when a part is missing.
#[track_caller]
pub(crate) fn third_party() -> PathBuf {
    static READY: OnceLock<Result<(), String>> = OnceLock::new();
    let ready = READY.get_or_init(|| {
        let script = root().join("tests/setup/setup.sh");
        let out = Command::new("bash").arg(script).arg("all").output().map_err(|error| error.to_string())?;
        if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).into_owned()) }
    });
    if let Err(why) = ready {
        panic!("third-party programs are missing. Run `make setup` and see what it says:\n{why}");
    }
    root().join(".tools").canonicalize().expect(".tools was just set up")
}

/// The configuration of nine real servers from npm and PyPI: 242 tools, none of which needs a network to be listed.
#[track_caller]
pub(crate) fn real_servers(scratch: &Scratch) -> String {
    let tools = third_party();
    let files = scratch.path("files");
    let script = root().join("tests/setup/upstreams.sh");
    let out = Command::new("bash").arg(script).arg(tools).arg(files).output().expect("bash runs");
    assert!(out.status.success(), "upstreams.sh: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("a configuration is text")
}
