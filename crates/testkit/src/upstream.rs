//! A scripted MCP server to test against: good, slow, lying, huge, crashing, one [`Behave`] each.
//!
//! The server is the binary `scripted-upstream` of this crate, written by hand without any MCP library, so that a bug of
//! the library we use cannot hide in both ends. It speaks stdio, Streamable HTTP and legacy HTTP+SSE.
//! [`Scripted`] builds its command line; [`Scripted::serve`] starts it on a free port.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

macro_rules! behaviours {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// What the scripted server does. Several may be combined.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Behave {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Behave {
            /// Every behaviour there is.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The behaviour of a name.
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|behave| behave.name() == name)
            }
        }
    };
}

behaviours! {
    /// Both eras, three tools, everything in order.
    Good = "good",
    /// Reads nothing for `--delay-ms`, as `npx` does on a cold start.
    SlowStart = "slow-start",
    /// Ends when it sees `server/discover`.
    DiesOnProbe = "dies-on-probe",
    /// Never answers `server/discover`, but `initialize`.
    SilentOnProbe = "silent-on-probe",
    /// Answers nothing at all any more once it saw `server/discover`.
    WedgedByProbe = "wedged-by-probe",
    /// Answers `server/discover` after `--delay-ms`, and everything else in the meantime.
    LateProbeAnswer = "late-probe-answer",
    /// Refuses `server/discover` with -32601.
    LegacyOnly = "legacy-only",
    /// Refuses `initialize`.
    ModernOnly = "modern-only",
    /// Every page of its listing has a next one.
    Loops = "loops",
    /// Every page names the same next cursor.
    SameCursor = "same-cursor",
    /// Its second page has the empty string for a cursor.
    EmptyCursor = "empty-cursor",
    /// Its third page is an error.
    BrokenPage = "broken-page",
    /// Pages differ in `ttlMs` and `cacheScope`.
    Hints = "hints",
    /// Prints lines that are no JSON, and JSON that is no message, between its answers.
    Garbage = "garbage",
    /// One of its tools has a description of `--size` bytes.
    HugeTool = "huge-tool",
    /// Its listing is one line of `--size` bytes.
    HugeLine = "huge-line",
    /// Five of its tools are malformed, each in its way; three are good.
    Malformed = "malformed",
    /// Two of its tools share a name.
    Duplicates = "duplicates",
    /// It lists nothing but answers no listing.
    NeverLists = "never-lists",
    /// Ends in the middle of a call.
    CrashMidCall = "crash-mid-call",
    /// Never answers a call.
    NeverAnswers = "never-answers",
    /// Answers nothing at all any more once it saw a call.
    WedgedByCall = "wedged-by-call",
    /// Answers a call after five reports of progress, `--delay-ms` apart.
    SlowCall = "slow-call",
    /// After a call it has another tool, and says so.
    ChangesTools = "changes-tools",
    /// After a call, and it says so, a parameter of its tool `echo` holds an order in characters that nobody sees.
    TurnsInvisible = "turns-invisible",
    /// After a call, and it says so, the description of its tool `echo` gives the model an order, once plainly.
    TurnsInjected = "turns-injected",
    /// Another tool of its says what `echo` says, and louder; together with `ChangesTools` only after a call.
    Shouts = "shouts",
    /// After a call its `echo` tells the model to do something else, and it announces that its list changed.
    RugPull = "rug-pull",
    /// After a call its `echo` is gone and `echo_v2` is there, which says more, and it announces that its list changed.
    Renames = "renames",
    /// After a call its `echo` takes one more parameter, and it announces that its list changed.
    HarmlessChange = "harmless-change",
    /// Calls give `isError: true`.
    ErrorResults = "error-results",
    /// Calls give a JSON-RPC error whose message repeats the environment variable `SCRIPTED_SECRET`.
    RpcErrors = "rpc-errors",
    /// Has a child of its own that would outlive it; its process id is in the log.
    Grandchild = "grandchild",
    /// Ignores the end of its input and SIGTERM.
    Stubborn = "stubborn",
    /// HTTP: answers everything with 401 and a challenge.
    Unauthorized = "unauthorized",
    /// Ends after `--after` calls.
    ExitsAfter = "exits-after",
    /// A modern call asks for input first and echoes what it gets.
    NeedsInput = "needs-input",
    /// A tool with an `x-mcp-header` parameter that insists on the header, and one with an invalid annotation; together with
    /// `ChangesTools` the header has another name after a call.
    HeaderTool = "header-tool",
    /// Writes its environment's `SCRIPTED_SECRET` to standard error and ends at once.
    LeaksAndDies = "leaks-and-dies",
    /// SSE: the `endpoint` event leads to another origin.
    EvilEndpoint = "evil-endpoint",
    /// Its name, instructions and progress hold hidden characters.
    HiddenText = "hidden-text",
    /// HTTP, legacy: forgets its session after every call, and refuses what comes for it with 400.
    ForgetsSessions = "forgets-sessions",
    /// `server/discover` lacks its cache hints, `initialize` the server's identity.
    Sloppy = "sloppy",
}

/// Where the descriptions of servers that turn tell models to send things.
pub const EVIL: &str = "evil.example";

/// What the orders of [`Behave::TurnsInvisible`] and [`Behave::TurnsInjected`] say: nothing else holds this word.
pub const ORDER: &str = "zebracadabra";

/// A text in tag characters, which show nothing.
pub fn in_tags(text: &str) -> String {
    text.bytes().filter_map(|b| char::from_u32(0xE0000 + u32::from(b & 0x7F))).collect()
}

/// A command line of the scripted server under construction.
#[derive(Debug, Clone)]
pub struct Scripted {
    args: Vec<String>,
}

impl Scripted {
    /// A server with these behaviours.
    pub fn new(behaves: &[Behave]) -> Self {
        let names: Vec<&str> = behaves.iter().map(|behave| behave.name()).collect();
        Self { args: vec!["--behave".to_owned(), names.join(",")] }
    }

    /// How long it delays what its behaviours delay.
    #[must_use]
    pub fn delay_ms(self, ms: u64) -> Self {
        self.with("--delay-ms", &ms.to_string())
    }

    /// How large what is huge is, in bytes.
    #[must_use]
    pub fn size(self, bytes: usize) -> Self {
        self.with("--size", &bytes.to_string())
    }

    /// After how many calls it ends.
    #[must_use]
    pub fn after(self, calls: usize) -> Self {
        self.with("--after", &calls.to_string())
    }

    /// Plain tools beside those of its behaviours.
    #[must_use]
    pub fn tools(self, n: usize) -> Self {
        self.with("--tools", &n.to_string())
    }

    /// What its plain tools are called before their number. `tool` unless this says otherwise.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        self.with("--name", name)
    }

    /// A file that says how its tools do at the moment, read at each call: JSON, tool or `*` → `error`, `lie`, `hang`, `crash`
    /// or `wrong`. Others do well.
    #[must_use]
    pub fn moods(self, path: &Path) -> Self {
        self.with("--moods", &path.to_string_lossy())
    }

    /// Where it logs, a line each: `start PID`, `grandchild PID`, `got METHOD JSON`.
    #[must_use]
    pub fn log(self, path: &Path) -> Self {
        self.with("--log", &path.to_string_lossy())
    }

    fn with(mut self, option: &str, value: &str) -> Self {
        self.args.extend([option.to_owned(), value.to_owned()]);
        self
    }

    /// The program.
    pub fn command(&self) -> String {
        binary().to_string_lossy().into_owned()
    }

    /// Its arguments.
    pub fn args(&self) -> Vec<String> {
        self.args.clone()
    }

    /// Starts it as a server on a free port of the loopback address.
    pub fn serve(&self, face: Face) -> Serving {
        let flag = match face {
            Face::Streamable => "--http",
            Face::Sse => "--sse",
        };
        let mut child = Command::new(binary())
            .args(&self.args)
            .arg(flag)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the scripted server starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut url = String::new();
        BufReader::new(stdout).read_line(&mut url).expect("the scripted server prints its address");
        assert!(url.starts_with("http://"), "the scripted server printed {url:?}");
        Serving { url: url.trim().to_owned(), child }
    }
}

/// Which HTTP transport the scripted server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Face {
    /// Streamable HTTP, both eras.
    Streamable,
    /// HTTP+SSE of 2024-11-05.
    Sse,
}

/// A scripted server on a port. It ends when this is dropped.
#[derive(Debug)]
pub struct Serving {
    /// Where it listens.
    pub url: String,
    child: Child,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The scripted server's binary. Cargo builds binaries only for tests of their own package, so for others this looks
/// beside the running test and has cargo build it, once per test process, if it is missing or older than its source.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let exe = std::env::current_exe().expect("a test knows its own path");
        // target/<profile>/deps/test-hash, target/<profile>/examples/…, or target/<profile>/toolscout
        let mut folder = exe.parent().expect("an executable lies in a folder");
        if folder.ends_with("deps") || folder.ends_with("examples") {
            folder = folder.parent().expect("target/<profile>");
        }
        let path = folder.join(format!("scripted-upstream{}", std::env::consts::EXE_SUFFIX));
        let modified = |path: &Path| path.metadata().and_then(|meta| meta.modified()).ok();
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let sources = [here.join("upstream.rs"), here.join("bin").join("scripted_upstream.rs")];
        let newest = sources.iter().filter_map(|path| modified(path)).max();
        if path.exists() && modified(&path) >= newest {
            return path;
        }
        let mut build = Command::new("cargo");
        // `--workspace` unites features as the surrounding build did; with `-p` every dependency might be built anew.
        build.args(["build", "--quiet", "--workspace", "--bin", "scripted-upstream"]);
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        if let Some(target) = folder.parent() {
            build.arg("--target-dir").arg(target);
        }
        if folder.ends_with("release") {
            build.arg("--release");
        }
        let status = build.status().expect("cargo runs");
        assert!(status.success() && path.exists(), "cargo built no {}", path.display());
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaviours_parse_back_from_their_names() {
        for &behave in Behave::ALL {
            assert_eq!(Behave::parse(behave.name()), Some(behave));
        }
        assert_eq!(Behave::parse("kind"), None);
    }
}
