//! Upstream definitions as `toolscout.toml` and client programs write them.
//!
//! [`read_client_file`] takes the dialects of Claude Desktop, Claude Code, Cursor, VS Code, Gemini, Codex and Windsurf;
//! [`read_own`] takes ours, where an unknown key is a mistake. Both yield [`RawUpstream`]: as written, nothing expanded,
//! so that `upstreams import` can copy a definition without copying a secret. [`RawUpstream::resolve`] expands.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toolscout_catalog::Trust;
use toolscout_core::{Secret, UpstreamId};
use toolscout_upstream::{HttpKind, ToolFilter, Transport, UpstreamSpec};

use super::expand::{Dollar, Outside, Scope, expand};
use super::mistake::{Mistake, Reader, suggest};
use super::node::{Data, Node, parse_json, parse_toml};

/// One upstream as a file describes it, before any variable is replaced.
#[derive(Debug, Clone)]
pub(crate) struct RawUpstream {
    /// Our id.
    pub(crate) id: UpstreamId,
    /// The name in the file.
    pub(crate) name: String,
    /// The file.
    pub(crate) place: String,
    /// Where it starts there.
    pub(crate) line: Option<usize>,
    /// The key there, dotted.
    pub(crate) key: String,
    /// What variables mean there.
    pub(crate) scope: Scope,
    /// How to reach it. `None` for an entry that only switches an imported one off.
    pub(crate) transport: Option<RawTransport>,
    /// Labels for filters.
    pub(crate) tags: Vec<String>,
    /// Whether it is used.
    pub(crate) enabled: bool,
    /// Deadlines of its own.
    pub(crate) timeouts: RawTimeouts,
    /// Globs of tools to take; empty = all.
    pub(crate) allow: Vec<String>,
    /// Globs of tools to leave.
    pub(crate) block: Vec<String>,
    /// How far its definitions are trusted; `None` = the general setting.
    pub(crate) trust: Option<Trust>,
}

/// Deadlines as written; `None` = the general setting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RawTimeouts {
    /// Start and handshake.
    pub(crate) connect: Option<Duration>,
    /// The whole listing.
    pub(crate) list: Option<Duration>,
    /// One call.
    pub(crate) call: Option<Duration>,
}

/// How to reach an upstream, unexpanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RawTransport {
    /// A program that speaks over its standard streams.
    Stdio {
        /// The program.
        command: String,
        /// Its arguments.
        args: Vec<String>,
        /// Variables added to its environment.
        env: BTreeMap<String, String>,
        /// A file with more of them.
        env_file: Option<String>,
        /// The folder it runs in.
        cwd: Option<String>,
    },
    /// A server at an address.
    Http {
        /// The address.
        url: String,
        /// Headers added to every request.
        headers: BTreeMap<String, String>,
        /// Which of the two HTTP transports.
        kind: HttpKind,
    },
}

/// Definitions out of one client file.
#[derive(Debug, Default)]
pub(crate) struct ClientFile {
    /// The upstreams in the file's order.
    pub(crate) upstreams: Vec<RawUpstream>,
    /// Entries left out on purpose, each with its reason (toolscout itself).
    pub(crate) notes: Vec<String>,
    /// Whether a place for servers was found at all.
    pub(crate) has_root: bool,
}

/// Keys of an `[upstreams.NAME]` section.
const OWN_KEYS: [&str; 16] = [
    "type",
    "command",
    "args",
    "env",
    "env_file",
    "cwd",
    "url",
    "headers",
    "tags",
    "enabled",
    "timeout",
    "connect_timeout",
    "list_timeout",
    "tools",
    "trust",
    "description",
];

/// Reads the `upstreams` table of our own file.
pub(crate) fn read_own(reader: &mut Reader<'_>, table: &Node, folder: &Path) -> Vec<RawUpstream> {
    let scope = Scope { workspace: folder.to_owned(), dollar: Dollar::Braced };
    let mut upstreams = Vec::new();
    for (name, node) in table.entries() {
        let key = format!("upstreams.{name}");
        let id = match UpstreamId::new(name) {
            Ok(id) => Some(id),
            Err(error) => {
                let slug = UpstreamId::slug(name).ok();
                reader.wrong(node.line, &key, error.to_string(), slug.as_ref().map(|slug| format!("call it `{slug}`")));
                slug
            }
        };
        if !matches!(node.data, Data::Table(_)) {
            reader.wrong(node.line, &key, "must be a table", format!("write [upstreams.{name}]"));
            continue;
        }
        for (field, value) in node.entries() {
            if !OWN_KEYS.contains(&field.as_str()) {
                reader.wrong(value.line, &format!("{key}.{field}"), "is not a known key", suggest(field, OWN_KEYS));
            }
        }
        let entry = read_entry(reader, name, node, &key, &scope);
        // Ours alone: Gemini has a key of this name that means something else.
        let trust = node.get("trust").and_then(|value| read_trust(reader, value, &format!("{key}.trust")));
        upstreams.extend(id.zip(entry).map(|(id, entry)| RawUpstream { id, trust, ..entry }));
    }
    upstreams
}

/// Reads a client's file. `skip` names entries that our own file overrides; `own_url` is where we listen ourselves.
pub(crate) fn read_client_file(
    mistakes: &mut Vec<Mistake>,
    path: &Path,
    text: &str,
    context: &ClientContext<'_>,
) -> ClientFile {
    let mut reader = Reader { place: path.display().to_string(), mistakes };
    let is_toml = path.extension().is_some_and(|extension| extension == "toml");
    let root = match if is_toml { parse_toml(text) } else { parse_json(text) } {
        Ok(root) => root,
        Err(error) => {
            reader.wrong(error.line, "", error.message, None);
            return ClientFile { has_root: true, ..ClientFile::default() };
        }
    };
    // A path with `..` in it, or through a link, must not hide that a file lies in the home folder.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let workspace = workspace_of(&real);
    let is_gemini = path.components().any(|part| part.as_os_str() == ".gemini");
    let scope = Scope { workspace, dollar: if is_gemini { Dollar::Bare } else { Dollar::Braced } };
    let mut file = ClientFile::default();
    for key in ["mcpServers", "servers", "mcp_servers"] {
        if let Some(table) = root.get(key) {
            read_root(&mut reader, &mut file, table, key, &scope, context);
        }
    }
    for key in ["servers", "mcpServers"] {
        if let Some(table) = root.get("mcp").and_then(|mcp| mcp.get(key)) {
            read_root(&mut reader, &mut file, table, &format!("mcp.{key}"), &scope, context);
        }
    }
    // ~/.claude.json keeps servers of single projects too; they run in their project's folder.
    for (project, node) in root.get("projects").map(Node::entries).unwrap_or_default() {
        if let Some(table) = node.get("mcpServers") {
            let scope = Scope { workspace: PathBuf::from(project), ..scope.clone() };
            read_root(&mut reader, &mut file, table, &format!("projects.{project}.mcpServers"), &scope, context);
        }
    }
    file
}

/// What reading a client's file depends on besides its text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientContext<'a> {
    /// Ids that `toolscout.toml` defines itself: it overrides, so the client's entry is not even read.
    pub(crate) overridden: &'a [UpstreamId],
    /// The port we serve on, to recognise ourselves among a client's servers.
    pub(crate) own_port: u16,
    /// The user's home folder: a file directly below it belongs to no project.
    pub(crate) home: Option<&'a Path>,
}

fn read_root(
    reader: &mut Reader<'_>,
    file: &mut ClientFile,
    table: &Node,
    root: &str,
    scope: &Scope,
    context: &ClientContext<'_>,
) {
    if !matches!(table.data, Data::Table(_)) {
        reader.wrong(table.line, root, format!("must be a table of servers, not {}", table.kind()), None);
        return;
    }
    file.has_root = true;
    for (name, node) in table.entries() {
        let key = format!("{root}.{name}");
        if !matches!(node.data, Data::Table(_)) {
            reader.wrong(node.line, &key, format!("must be a table, not {}", node.kind()), None);
            continue;
        }
        let id = match UpstreamId::slug(name) {
            Ok(id) => id,
            Err(error) => {
                reader.wrong(node.line, &key, error.to_string(), "rename the server");
                continue;
            }
        };
        if context.overridden.contains(&id) {
            continue;
        }
        if is_ourselves(node, context.own_port) {
            file.notes.push(format!("{}: `{key}` is toolscout itself and is left out", reader.place));
            continue;
        }
        let Some(mut entry) = read_entry(reader, name, node, &key, scope) else { continue };
        let home = context.home.map(|home| home.canonicalize().unwrap_or_else(|_| home.to_owned()));
        let is_project = Some(&scope.workspace) != home.as_ref() && has_project(&reader.place, root);
        if let Some(RawTransport::Stdio { cwd: cwd @ None, .. }) = &mut entry.transport
            && is_project
        {
            *cwd = Some(scope.workspace.to_string_lossy().into_owned());
        }
        file.upstreams.push(RawUpstream { id, ..entry });
    }
}

/// Whether a file's servers belong to a project, whose folder they then run in.
fn has_project(place: &str, root: &str) -> bool {
    let path = Path::new(place);
    let in_dot_folder = path
        .parent()
        .and_then(Path::file_name)
        .is_some_and(|name| [".cursor", ".vscode", ".gemini", ".codex"].iter().any(|folder| name == *folder));
    root.starts_with("projects.") || path.file_name().is_some_and(|name| name == ".mcp.json") || in_dot_folder
}

/// The folder of the project a client's file belongs to.
fn workspace_of(path: &Path) -> PathBuf {
    let folder = path.parent().unwrap_or(Path::new(""));
    let is_dot_folder = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    match folder.parent() {
        Some(parent) if is_dot_folder => parent.to_owned(),
        _ => folder.to_owned(),
    }
}

/// Clients list toolscout among their servers once it is set up there; crawling ourselves would never end.
fn is_ourselves(node: &Node, own_port: u16) -> bool {
    let text = |key: &str| match node.get(key).map(|node| &node.data) {
        Some(Data::Text(text)) => text.as_str(),
        _ => "",
    };
    let stem = Path::new(text("command")).file_stem().unwrap_or_default();
    let is_url = ["url", "serverUrl", "httpUrl"].iter().any(|key| {
        ["127.0.0.1", "localhost", "[::1]"].iter().any(|host| text(key) == format!("http://{host}:{own_port}/mcp"))
    });
    stem == "toolscout" || is_url
}

/// Fields that all dialects share, and those only one has. The id is a placeholder for the caller to fill.
fn read_entry(reader: &mut Reader<'_>, name: &str, node: &Node, key: &str, scope: &Scope) -> Option<RawUpstream> {
    let at = |field: &str| format!("{key}.{field}");
    let field = |names: &[&'static str]| names.iter().find_map(|name| node.get(name).map(|value| (*name, value)));
    macro_rules! take {
        ($read:ident, $($name:literal),+) => {
            match field(&[$($name),+]) {
                Some((name, value)) if value.data != Data::Null => reader.$read(value, &at(name)),
                _ => None,
            }
        };
    }

    let disabled = take!(flag, "disabled").unwrap_or(false);
    let enabled = take!(flag, "enabled").unwrap_or(true) && !disabled;
    let kind = match take!(text, "type", "transport") {
        Some(word) => read_kind(reader, node.line, &at("type"), &word)?,
        None => Kind::Unsaid,
    };
    let command = take!(text, "command");
    let http_url = take!(text, "httpUrl");
    let is_streamable = http_url.is_some();
    let url = http_url.or(take!(text, "url", "serverUrl"));
    let mut env = take!(text_map, "env").unwrap_or_default();
    // Codex names variables to hand through, and variables that hold header values.
    for variable in take!(texts, "env_vars").unwrap_or_default() {
        env.entry(variable.clone()).or_insert(format!("${{{variable}}}"));
    }
    let mut headers = take!(text_map, "headers", "http_headers").unwrap_or_default();
    for (header, variable) in take!(text_map, "env_http_headers").unwrap_or_default() {
        headers.insert(header, format!("${{{variable}}}"));
    }
    if let Some(variable) = take!(text, "bearer_token_env_var") {
        headers.insert("Authorization".to_owned(), format!("Bearer ${{{variable}}}"));
    }
    if enabled && node.get("headersHelper").is_some() {
        let hint = "write the header in [upstreams.…] of toolscout.toml, its value as ${VAR}";
        reader.wrong(node.line, &at("headersHelper"), "a program that makes headers is not supported", hint);
    }
    let stdio = |command: String, reader: &mut Reader<'_>| RawTransport::Stdio {
        command,
        args: field(&["args"]).and_then(|(name, value)| reader.texts(value, &at(name))).unwrap_or_default(),
        env: env.clone(),
        env_file: field(&["envFile", "env_file"]).and_then(|(name, value)| reader.text(value, &at(name))),
        cwd: field(&["cwd"]).and_then(|(name, value)| reader.text(value, &at(name))),
    };
    let http = |url, kind| RawTransport::Http { url, headers: headers.clone(), kind };
    let transport = match (kind, command, url) {
        (Kind::Stdio, Some(command), _) | (Kind::Unsaid, Some(command), None) => Some(stdio(command, reader)),
        (Kind::Http(kind), _, Some(url)) => Some(http(url, kind)),
        (Kind::Unsaid, None, Some(url)) => {
            Some(http(url, if is_streamable { HttpKind::Streamable } else { HttpKind::Auto }))
        }
        _ if !enabled => None,
        (Kind::Stdio, None, _) => {
            reader.wrong(node.line, &at("command"), "is missing", "a stdio server needs a command");
            None
        }
        (Kind::Http(_), _, None) => {
            reader.wrong(node.line, &at("url"), "is missing", "an HTTP server needs a url");
            None
        }
        (Kind::Unsaid, Some(command), Some(url)) => {
            reader.wrong(node.line, key, "has both a command and a url", "keep one, or say which by `type`");
            // Whichever is meant, what goes with it is looked at.
            Some(if headers.is_empty() { stdio(command, reader) } else { http(url, HttpKind::Auto) })
        }
        (Kind::Unsaid, None, None) => {
            reader.wrong(node.line, key, "has neither a command nor a url", "give it `command` or `url`");
            None
        }
    };

    let timeouts = read_timeouts(reader, node, key);
    let (allow, block) = read_filter(reader, node, key);
    // An entry with another mistake goes on: its variables are looked at too, so that all there is to mend is said at once.
    if transport.is_none() && enabled {
        return None;
    }
    Some(RawUpstream {
        id: UpstreamId::slug("placeholder").expect("a plain word is an id"),
        name: name.to_owned(),
        place: reader.place.clone(),
        line: node.line,
        key: key.to_owned(),
        scope: scope.clone(),
        transport,
        tags: match field(&["tags"]) {
            Some((name, value)) => reader.texts(value, &at(name)).unwrap_or_default(),
            None => Vec::new(),
        },
        enabled,
        timeouts,
        allow,
        block,
        trust: None,
    })
}

/// How far definitions are trusted.
pub(crate) fn read_trust(reader: &mut Reader<'_>, node: &Node, key: &str) -> Option<Trust> {
    let text = reader.text(node, key)?;
    match text.as_str() {
        "first-use" => Some(Trust::FirstUse),
        "approve" => Some(Trust::Approve),
        "always" => Some(Trust::Always),
        other => {
            let hint = suggest(other, ["first-use", "approve", "always"]);
            reader.wrong(node.line, key, "is not a way to trust definitions", hint);
            None
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unsaid,
    Stdio,
    Http(HttpKind),
}

fn read_kind(reader: &mut Reader<'_>, line: Option<usize>, key: &str, word: &str) -> Option<Kind> {
    match word {
        "stdio" | "local" => Some(Kind::Stdio),
        "http" | "streamable-http" | "streamable_http" | "streamableHttp" => Some(Kind::Http(HttpKind::Streamable)),
        "sse" => Some(Kind::Http(HttpKind::Sse)),
        "remote" => Some(Kind::Http(HttpKind::Auto)),
        "ws" | "websocket" => {
            reader.wrong(
                line,
                key,
                "WebSocket is no MCP transport and is not supported",
                "use the server's http address",
            );
            None
        }
        other => {
            let what = format!("`{}` is not a transport", toolscout_core::text::preview(other));
            reader.wrong(line, key, what, suggest(other, ["stdio", "http", "streamable-http", "sse"]));
            None
        }
    }
}

fn read_timeouts(reader: &mut Reader<'_>, node: &Node, key: &str) -> RawTimeouts {
    let mut read = |name: &str| {
        let value = node.get(name)?;
        // Gemini counts its `timeout` in milliseconds, everyone else in seconds; nobody means a quarter of an hour.
        let millis = match value.data {
            Data::Number(number) if number >= 1000.0 => {
                Node { data: Data::Text(format!("{number}ms")), ..value.clone() }
            }
            _ => value.clone(),
        };
        reader.duration(&millis, &format!("{key}.{name}"))
    };
    RawTimeouts {
        connect: read("connect_timeout").or_else(|| read("startup_timeout_sec")),
        list: read("list_timeout"),
        call: read("timeout").or_else(|| read("tool_timeout_sec")),
    }
}

fn read_filter(reader: &mut Reader<'_>, node: &Node, key: &str) -> (Vec<String>, Vec<String>) {
    let mut lists = |names: &[&str]| {
        let found = names.iter().find_map(|name| node.get(name).map(|value| (*name, value)));
        found.and_then(|(name, value)| reader.texts(value, &format!("{key}.{name}"))).unwrap_or_default()
    };
    let mut allow = lists(&["enabled_tools", "includeTools"]);
    let mut block = lists(&["disabled_tools", "excludeTools", "disabledTools"]);
    if let Some(tools) = node.get("tools") {
        let key = format!("{key}.tools");
        match &tools.data {
            Data::List(_) => allow = reader.texts(tools, &key).unwrap_or_default(),
            Data::Table(entries) => {
                for (name, value) in entries {
                    let key = format!("{key}.{name}");
                    match name.as_str() {
                        "allow" => allow = reader.texts(value, &key).unwrap_or_default(),
                        "block" => block = reader.texts(value, &key).unwrap_or_default(),
                        _ => reader.wrong(value.line, &key, "is not a known key", suggest(name, ["allow", "block"])),
                    }
                }
            }
            Data::Null => {}
            Data::Bool(_) | Data::Number(_) | Data::Text(_) => {
                reader.wrong(tools.line, &key, "must be a table", "write tools = { allow = [\"…\"] }");
            }
        }
    }
    (allow, block)
}

impl RawUpstream {
    /// Replaces variables and checks what only then can be checked. Mistakes name the upstream and the field, never a value.
    /// An upstream that is switched off is not expanded: its variables may be unset.
    pub(crate) fn resolve(
        &self,
        mistakes: &mut Vec<Mistake>,
        outside: &Outside,
        base: &UpstreamDefaults,
    ) -> Option<UpstreamSpec> {
        let mut reader = Reader { place: self.place.clone(), mistakes };
        let n_before = reader.mistakes.len();
        let mut value = |field: &str, text: &str| -> String {
            if !self.enabled {
                return text.to_owned();
            }
            expand(text, &self.scope, outside).unwrap_or_else(|error| {
                reader.unexpandable(self.line, &format!("{}.{field}", self.key), &error);
                String::new()
            })
        };
        let transport = match self.transport.as_ref()? {
            RawTransport::Stdio { command, args, env, env_file, cwd } => {
                let command = value("command", command);
                let args = args.iter().enumerate().map(|(i, arg)| value(&format!("args[{i}]"), arg)).collect();
                let cwd = cwd.as_ref().map(|cwd| outside.path(&value("cwd", cwd), &self.scope.workspace));
                let env_file = env_file.as_ref().map(|file| value("env_file", file));
                let mut secrets: BTreeMap<String, Secret> = BTreeMap::new();
                for (name, text) in env {
                    secrets.insert(name.clone(), Secret::new(value(&format!("env.{name}"), text)));
                }
                if let Some(file) = env_file.filter(|_| self.enabled) {
                    let path = outside.path(&file, &self.scope.workspace);
                    match std::fs::read_to_string(&path) {
                        Ok(text) => {
                            for (name, secret) in parse_env_file(&text) {
                                secrets.entry(name).or_insert(secret);
                            }
                        }
                        Err(error) => {
                            let what = format!("cannot read {}: {error}", path.display());
                            reader.wrong(self.line, &format!("{}.env_file", self.key), what, None);
                        }
                    }
                }
                // A relative program with a folder in it is meant from the project's folder, as a shell there would.
                let is_relative_path = command.starts_with("./") || command.starts_with("../");
                let command = match is_relative_path {
                    true => self.scope.workspace.join(command).to_string_lossy().into_owned(),
                    false => command,
                };
                if command.trim().is_empty() && reader.mistakes.len() == n_before {
                    reader.wrong(self.line, &format!("{}.command", self.key), "is empty", None);
                }
                Transport::Stdio { command, args, env: secrets, cwd }
            }
            RawTransport::Http { url, headers, kind } => {
                let url = value("url", url);
                let headers = headers
                    .iter()
                    .map(|(name, text)| (name.clone(), Secret::new(value(&format!("headers.{name}"), text))));
                let headers = headers.collect();
                let is_web = url.starts_with("http://") || url.starts_with("https://");
                if !is_web && self.enabled && reader.mistakes.len() == n_before {
                    reader.wrong(self.line, &format!("{}.url", self.key), "must start with http:// or https://", None);
                }
                Transport::Http { url, headers, kind: *kind }
            }
        };
        if reader.mistakes.len() > n_before {
            return None;
        }
        let mut spec = UpstreamSpec::new(self.id.clone(), transport);
        spec.tags = self.tags.clone();
        spec.enabled = self.enabled;
        spec.tools = ToolFilter { allow: self.allow.clone(), block: self.block.clone() };
        spec.timeouts.start = self.timeouts.connect.unwrap_or(base.connect);
        spec.timeouts.list = self.timeouts.list.unwrap_or(base.list);
        spec.timeouts.call = self.timeouts.call.unwrap_or(base.call);
        Some(spec)
    }
}

/// Deadlines of upstreams that set none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UpstreamDefaults {
    /// Start and handshake.
    pub(crate) connect: Duration,
    /// The whole listing.
    pub(crate) list: Duration,
    /// One call.
    pub(crate) call: Duration,
}

impl UpstreamDefaults {
    /// As coded, for definitions looked at by themselves.
    pub(crate) fn coded() -> Self {
        let timeouts = toolscout_upstream::Timeouts::default();
        Self { connect: timeouts.start, list: timeouts.list, call: timeouts.call }
    }
}

/// `NAME=value` lines, as dotenv files have them: comments, `export`, one pair of quotes around a value.
fn parse_env_file(text: &str) -> Vec<(String, Secret)> {
    let parse = |line: &str| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
        let value = value.trim();
        let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        Some((name.trim().to_owned(), Secret::new(quoted.unwrap_or(value))))
    };
    text.lines().filter_map(parse).collect()
}
