//! Guessing what a call does from the words a tool is named and described with.

use toolscout_core::words::split_identifier;
use toolscout_core::{Param, SideEffect};

/// A guess, and whether a known verb stands behind it.
pub(crate) struct Guess {
    pub(crate) side_effect: SideEffect,
    pub(crate) is_sure: bool,
}

#[rustfmt::skip]
const READ: &[&str] = &[
    "analyse", "analyze", "assess", "autocomplete", "browse", "calculate", "can", "check", "compare", "count", "describe",
    "detect", "diagnose", "discover", "enumerate", "estimate", "examine", "explain", "explore", "fetch", "find", "geocode",
    "get", "grep", "has", "identify", "inspect", "introspect", "is", "list", "locate", "lookup", "peek", "ping", "predict",
    "query", "read", "recommend", "resolve", "retrieve", "return", "search", "show", "suggest", "summarise", "summarize",
    "translate", "validate", "verify", "view", "whoami",
];
/// Verbs of looking that are as often nouns or areas (`compute_vm_delete`): any other verb outweighs them.
#[rustfmt::skip]
const READ_WEAK: &[&str] = &[
    "ask", "audit", "compute", "convert", "crawl", "decode", "diff", "display", "download", "encode", "evaluate", "export",
    "extract", "filter", "forecast", "help", "info", "load", "measure", "monitor", "observe", "parse", "preview", "recall",
    "render", "scan", "scrape", "screenshot", "select", "snapshot", "solve", "status", "tail", "think", "wait",
];
#[rustfmt::skip]
const WRITE: &[&str] = &[
    "accept", "acknowledge", "activate", "add", "allow", "append", "apply", "approve", "assign", "attach", "authorize",
    "bulk", "change", "click", "clone", "commit", "configure", "connect", "copy", "create", "deactivate", "deploy",
    "disable", "disconnect", "drag", "draft", "duplicate", "edit", "enable", "enroll", "enqueue", "execute", "exec",
    "fill", "follow", "fork", "format", "forward", "generate", "grant", "hover", "import", "init", "initialize", "insert", "install",
    "invite", "invoke", "join", "launch", "leave", "login", "logout", "make", "manage", "mark", "merge", "migrate",
    "modify", "move", "mute", "navigate", "notify", "patch", "pause", "pin", "place", "press", "promote", "provision",
    "publish", "pull", "push", "put", "reboot", "refresh", "register", "rename", "reorder", "reply", "request", "resize",
    "restart", "restore", "resume", "rotate", "run", "save", "scale", "send", "set", "share", "sign", "snooze", "star",
    "start", "stage", "stop", "store", "submit", "subscribe", "swap", "switch", "sync", "tap", "toggle", "transfer",
    "trigger", "type", "unassign", "unfollow", "unlock", "unpin", "unstar", "unsubscribe", "update", "upload", "upsert",
    "use", "write",
];
#[rustfmt::skip]
const DESTRUCTIVE: &[&str] = &[
    "abort", "ban", "cancel", "clear", "delete", "deprovision", "deregister", "destroy", "discard", "drop", "empty",
    "erase", "evict", "expire", "flush", "kill", "overwrite", "prune", "purge", "remove", "replace", "reset", "revert",
    "revoke", "rollback", "shutdown", "terminate", "trash", "truncate", "undeploy", "uninstall", "unlink", "unpublish",
    "wipe",
];
/// Verbs that are as often nouns: they count only where a name begins.
#[rustfmt::skip]
const WRITE_FIRST: &[&str] = &[
    "archive", "block", "book", "branch", "build", "buy", "close", "comment", "complete", "compose", "delegate", "finish",
    "label", "link", "lock", "log", "message", "open", "order", "pay", "post", "record", "report", "resolve", "schedule",
    "tag", "test", "track", "tweet", "watch",
];
/// What makes running something dangerous: whoever may pass code may do anything.
const CODE: &[&str] = &[
    "bash",
    "cmd",
    "code",
    "command",
    "function",
    "javascript",
    "js",
    "powershell",
    "python",
    "script",
    "shell",
    "sql",
    "terminal",
];
const RUNNING: &[&str] = &["eval", "evaluate", "exec", "execute", "invoke", "run"];
/// Parameters that choose the verb.
const CHOOSERS: &[&str] = &["action", "cmd", "command", "method", "mode", "op", "operation", "verb"];

/// What a sentence asks to be done, read off its first plain verb of action: `read` of "list my issues", `destructive` of
/// "get rid of … delete". `None` without such a verb; nouns that look like verbs are left alone.
pub fn intent(text: &str) -> Option<SideEffect> {
    let class = |word: &str| {
        [(READ, SideEffect::Read), (WRITE, SideEffect::Write), (DESTRUCTIVE, SideEffect::Destructive)]
            .into_iter()
            .find(|(verbs, _)| verbs.contains(&word))
            .map(|(_, class)| class)
    };
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty() && word.len() < 24).take(64);
    words.filter(|word| !NOT_ACTIONS.contains(word)).find_map(|word| class(&word.to_ascii_lowercase()))
}

/// Words of the lists that in a sentence seldom name what is asked for.
const NOT_ACTIONS: &[&str] = &["can", "has", "is", "use", "make", "set", "type", "request", "place", "return", "like"];

/// Reads the side effect off the name's verb, the first word of the purpose and the schema. Without any sign: a write,
/// because calling a stranger's tool a reader needs a reason.
pub(crate) fn guess(words: &[String], purpose: &str, params: &[Param]) -> Guess {
    let named = verb_of(words);
    let spoken = || split_identifier(purpose).into_iter().take(3).find_map(|word| strong(&stem(&word)));
    let hinted = || words.iter().any(|word| READ_WEAK.contains(&word.as_str())).then_some(SideEffect::Read);
    let verb = named.or_else(spoken).or_else(hinted);
    let mut side_effect = verb.unwrap_or(SideEffect::Write);
    let runs = words.iter().any(|word| RUNNING.contains(&word.as_str()));
    let is_code = |word: &str| CODE.contains(&word);
    let takes_code = params.iter().any(|param| split_identifier(&param.name).iter().any(|word| is_code(word)));
    if runs && (takes_code || words.iter().any(|word| is_code(word))) {
        side_effect = SideEffect::Destructive;
    }
    for param in params.iter().filter(|param| CHOOSERS.contains(&param.name.to_lowercase().as_str())) {
        for value in &param.enum_values {
            let chosen = split_identifier(value).first().and_then(|word| strong(word));
            side_effect = side_effect.max(chosen.unwrap_or(SideEffect::Read));
        }
    }
    Guess { side_effect, is_sure: verb.is_some() }
}

fn verb_of(words: &[String]) -> Option<SideEffect> {
    let first = words.first().map(String::as_str);
    let leads = first.filter(|word| WRITE_FIRST.contains(word) && words.len() > 1).map(|_| SideEffect::Write);
    let verb = leads.or_else(|| words.iter().find_map(|word| strong(word)));
    // `file_share_delete`: where things come first, the last word is the verb.
    let last = words.last().and_then(|word| strong(word));
    let deletes = last == Some(SideEffect::Destructive) && verb != Some(SideEffect::Read);
    if deletes { last } else { verb }
}

fn strong(word: &str) -> Option<SideEffect> {
    let known = |list: &[&str]| list.contains(&word);
    if known(DESTRUCTIVE) {
        Some(SideEffect::Destructive)
    } else if known(WRITE) {
        Some(SideEffect::Write)
    } else if known(READ) {
        Some(SideEffect::Read)
    } else {
        None
    }
}

/// `Retrieves`, `Searches`, `Queries` as their verbs.
fn stem(word: &str) -> String {
    let known = |stem: &str| strong(stem).is_some();
    let candidates = [
        word.to_owned(),
        word.strip_suffix('s').unwrap_or(word).to_owned(),
        word.strip_suffix("es").unwrap_or(word).to_owned(),
        word.strip_suffix("ies").map(|stem| format!("{stem}y")).unwrap_or_default(),
    ];
    candidates.into_iter().find(|stem| known(stem)).unwrap_or_default()
}
