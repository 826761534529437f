//! One program, and all that it starts.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A program running in a session of its own. Process groups would not do: the program puts its own children into
/// groups of theirs, but a session is only left by a daemon.
#[derive(Debug)]
pub struct Session {
    child: Child,
    said: Arc<Mutex<String>>,
    collector: Option<std::thread::JoinHandle<()>>,
}

/// A live process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its process id.
    pub pid: u32,
    /// Its command line, arguments separated by spaces.
    pub command: String,
}

/// Most that is kept of a program's stderr, in bytes; what comes after is read and dropped.
const STDERR_KEPT: usize = 4 << 20;

impl Session {
    /// Starts `command` with piped stdin and stdout, and its stderr collected.
    #[track_caller]
    pub fn spawn(command: &Command) -> Session {
        let mut wrapped = Command::new("setsid");
        wrapped.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            wrapped.current_dir(folder);
        }
        wrapped.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = wrapped.spawn().unwrap_or_else(|error| panic!("start {command:?} under setsid: {error}"));
        let said = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().expect("stderr is piped");
        let keep = said.clone();
        let collector = Some(std::thread::spawn(move || collect(stderr, &keep)));
        Session { child, said, collector }
    }

    /// The program's process id, which is also the id of its session.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the program wrote to stderr so far.
    pub fn stderr(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All that the program wrote to stderr. Waits for the end of it: only when no process of the session is left.
    pub fn last_words(&mut self) -> String {
        if let Some(collector) = self.collector.take() {
            let _ = collector.join();
        }
        self.stderr()
    }

    /// The program's stdin and its stdout line by line, once.
    #[track_caller]
    pub fn pipes(&mut self) -> (ChildStdin, Receiver<String>) {
        let stdin = self.child.stdin.take().expect("pipes are taken once");
        let stdout = self.child.stdout.take().expect("pipes are taken once");
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        (stdin, lines)
    }

    /// All live processes of the session, the program itself included. Zombies do not count.
    pub fn members(&self) -> Vec<Member> {
        members_of(self.pid())
    }

    /// Whether the program has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for a child of ours")
    }

    /// Waits for the end of the program; panics with its stderr when it does not come.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let began = tokio::time::Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            let patient = began.elapsed() < super::PATIENCE;
            assert!(patient, "still running: {:?}\nstderr:\n{}", self.members(), self.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends SIGTERM to the program alone.
    pub fn terminate(&self) {
        signal(self.pid(), rustix::process::Signal::TERM);
    }

    /// Sends SIGKILL to the program alone and reaps it: a power cut for it, while its children find their pipes closed.
    pub fn kill(&mut self) {
        signal(self.pid(), rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }

    /// Waits until no process of the session is left; panics with those that are.
    #[track_caller]
    pub fn assert_empty(&self) {
        let began = tokio::time::Instant::now();
        loop {
            let left = self.members();
            if left.is_empty() {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "processes left behind: {left:?}");
            std::thread::sleep(Duration::from_millis(25));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A killed parent may have been about to start one more child, hence the second look.
        for _ in 0..2 {
            for member in self.members() {
                signal(member.pid, rustix::process::Signal::KILL);
            }
            let _ = self.child.wait();
        }
    }
}

fn signal(pid: u32, signal: rustix::process::Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn collect(stderr: impl Read, keep: &Mutex<String>) {
    let mut reader = BufReader::new(stderr);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        let mut kept = keep.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < STDERR_KEPT {
            kept.push_str(&String::from_utf8_lossy(&line));
        }
        line.clear();
    }
}

fn members_of(session: u32) -> Vec<Member> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc is there on Linux").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // `pid (name) state parent group session …`; the name may hold blanks and brackets.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((_, rest)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let alive = fields.first().is_some_and(|state| !matches!(*state, "Z" | "X"));
        let ours = fields.get(3).is_some_and(|id| *id == session.to_string());
        if alive && ours {
            let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ").trim().to_owned();
            found.push(Member { pid, command });
        }
    }
    found.sort_by_key(|member| member.pid);
    found
}
