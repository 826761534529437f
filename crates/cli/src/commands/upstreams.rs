//! `upstreams list|add|remove|import|check`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::json;
use toolscout_core::UpstreamId;
use toolscout_upstream::{CheckReport, CheckStatus, Pool, PoolOptions, UpstreamSpec};

use crate::args::{Add, AddScope, AddTransport};
use crate::config::dialect::{ClientContext, RawTransport, UpstreamDefaults, read_own};
use crate::config::mistake::{Reader, suggest};
use crate::config::node::parse_toml;
use crate::config::settings::Base;
use crate::config::{self, Config, Flags, Mistakes, Outside, RawUpstream};
use crate::fail::{Ended, Exit, told, usage};
use crate::{edit, mask, screen};

/// `upstreams add`: writes a section, and nothing else of the file.
pub(crate) fn add(args: &Add, flags: &Flags, outside: &Outside) -> Ended {
    let path = match args.scope {
        Some(_) if flags.config.is_some() => {
            return Err(usage("both --scope and --config are given", "give one of them"));
        }
        Some(AddScope::User) => config::user_file(outside).context("this user has no configuration folder")?,
        Some(AddScope::Local | AddScope::Project) => outside.cwd.join(config::FILE_NAME),
        None => file_to_write(flags, outside),
    };
    let mut document = edit::open(&path)?;
    let section = section_of(args)?;
    let is_taken = document.get("upstreams").and_then(|upstreams| upstreams.get(&args.name)).is_some();
    if is_taken && !args.force {
        let message = format!("`{}` is there already in {}", args.name, path.display());
        return Err(told(Exit::Usage, message, Some("choose another name, or replace it with --force".to_owned())));
    }
    let text = format!("[upstreams.{}]\n{section}", toml_edit::Key::new(&args.name).display_repr());
    let upstream = read_section(&text, &path)?;
    let mut found = Vec::new();
    upstream.resolve(&mut found, outside, &UpstreamDefaults::coded());
    // A variable may be set tomorrow. Anything else would make every later command refuse the file.
    let (unset, mut wrong): (Vec<_>, Vec<_>) = found.into_iter().partition(|mistake| mistake.is_unset);
    if !wrong.is_empty() {
        for mistake in &mut wrong {
            (mistake.place, mistake.line) = ("command line".to_owned(), None);
        }
        return Err(Mistakes(wrong).into());
    }
    edit::put(&mut document, &upstream);
    edit::save(&path, &document)?;
    let mut notes: Vec<String> = unset.into_iter().map(|mistake| mistake.what).collect();
    if has_bare_secret(&upstream) {
        notes.push("a secret now stands in that file in clear; ${VAR} instead keeps it in your environment".to_owned());
    }
    let way = mask::way(&upstream);
    if args.output.json {
        screen::json(&json!({ "added": upstream.id, "file": path, "how": way, "notes": notes }))?;
        return Ok(Exit::Done);
    }
    screen::line(&format!("added `{}` to {}: {way}", upstream.id, path.display()))?;
    say_notes(&notes);
    screen::say(&format!("next: toolscout upstreams check {}", upstream.id));
    Ok(Exit::Done)
}

fn say_notes(notes: &[String]) {
    for note in notes {
        screen::say(&format!("note: {note}"));
    }
}

fn has_bare_secret(upstream: &RawUpstream) -> bool {
    let (Some(RawTransport::Stdio { env: named, .. }) | Some(RawTransport::Http { headers: named, .. })) =
        &upstream.transport
    else {
        return false;
    };
    named.iter().any(|(name, text)| mask::is_bare_secret(name, text))
}

/// The fields of the section, as `claude mcp add`'s grammar means them.
fn section_of(args: &Add) -> anyhow::Result<toml_edit::Table> {
    let mut table = toml_edit::Table::new();
    let is_address = |text: &str| text.starts_with("http://") || text.starts_with("https://");
    // `-e A=1 B=2 -- npx …` and, as in a shell, `-- A=1 npx …`: no program has such a name.
    let (before, target) = args.target.split_at(args.target.iter().take_while(|word| is_assignment(word)).count());
    let (url, command) = match (&args.url, target) {
        (Some(_), [_, ..]) => return Err(usage("both --url and a target are given", "give one of them")),
        (Some(url), []) => (Some(url.clone()), &[][..]),
        (None, [url]) if is_address(url) && args.transport != Some(AddTransport::Stdio) => (Some(url.clone()), &[][..]),
        (None, []) if before.is_empty() => return known_section(args),
        (None, target) => (None, target),
    };
    if let Some(url) = url {
        match args.transport {
            None => {}
            Some(AddTransport::Http) => table["type"] = toml_edit::value("http"),
            Some(AddTransport::Sse) => table["type"] = toml_edit::value("sse"),
            Some(AddTransport::Stdio) => {
                return Err(usage(
                    "an address cannot be reached over stdio",
                    "leave --transport out, or give a command",
                ));
            }
        }
        if !args.env.is_empty() || !before.is_empty() {
            return Err(usage("--env is for a command", "an HTTP server takes --header"));
        }
        table["url"] = toml_edit::value(url);
    } else {
        let Some((program, rest)) = command.split_first() else {
            let hint = "write `add NAME -- COMMAND ARGS…` or `add NAME --url URL`";
            return Err(usage("neither a command nor an address is given", hint));
        };
        if matches!(args.transport, Some(AddTransport::Http | AddTransport::Sse)) {
            return Err(usage("an HTTP server needs an address that starts with http:// or https://", "see --help"));
        }
        if !args.header.is_empty() {
            return Err(usage("--header is for an HTTP server", "a command takes --env"));
        }
        table["command"] = toml_edit::value(program);
        if !rest.is_empty() {
            table["args"] = toml_edit::value(rest.iter().collect::<toml_edit::Array>());
        }
    }
    let split = |pair: &String, at: char, form: &str| match pair.split_once(at) {
        Some((name, text)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), text.trim().to_owned())),
        // The pair itself may hold a secret.
        _ => Err(usage(format!("a value is not of the form {form}"), "see --help")),
    };
    let put = |table: &mut toml_edit::Table, key: &str, pairs: Vec<(String, String)>| {
        if !pairs.is_empty() {
            table[key] = toml_edit::value(pairs.into_iter().collect::<toml_edit::InlineTable>());
        }
    };
    let env =
        args.env.iter().chain(before).map(|pair| split(pair, '=', "NAME=VALUE")).collect::<anyhow::Result<_>>()?;
    put(&mut table, "env", env);
    let headers = args.header.iter().map(|pair| split(pair, ':', "NAME: VALUE")).collect::<anyhow::Result<_>>()?;
    put(&mut table, "headers", headers);
    if !args.tag.is_empty() {
        table["tags"] = toml_edit::value(args.tag.iter().collect::<toml_edit::Array>());
    }
    Ok(table)
}

/// Whether a word is `NAME=value`, NAME as a variable may be called.
fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map_or("", |(name, _)| name);
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The section of a well-known public server, for `add time`. Its variables are taken from the environment.
fn known_section(args: &Add) -> anyhow::Result<toml_edit::Table> {
    let known = toolscout_catalog::known::known_upstreams();
    let hint = "write `add NAME -- COMMAND ARGS…` or `add NAME --url URL`";
    let Some(known) = known.into_iter().find(|known| known.id == args.name) else {
        return Err(usage("neither a command nor an address is given, and no server of that name is known", hint));
    };
    if let Some(blank) = known.args.iter().find(|arg| arg.starts_with('{')) {
        let command = format!("{} {}", known.command, known.args.join(" "));
        let hint = format!("write `add {} -- {command}` with yours", args.name);
        return Err(usage(format!("`{}` needs {blank}", args.name), &hint));
    }
    let mut table = toml_edit::Table::new();
    table["command"] = toml_edit::value(&known.command);
    table["args"] = toml_edit::value(known.args.iter().collect::<toml_edit::Array>());
    if !known.env.is_empty() {
        let pairs = known.env.iter().map(|name| (name.as_str(), format!("${{{name}}}")));
        table["env"] = toml_edit::value(pairs.collect::<toml_edit::InlineTable>());
    }
    let tags = known.tags.iter().chain(&args.tag);
    if !known.tags.is_empty() || !args.tag.is_empty() {
        table["tags"] = toml_edit::value(tags.collect::<toml_edit::Array>());
    }
    Ok(table)
}

/// Reads a section back as the configuration would: whatever is wrong with it is said before anything is written.
fn read_section(text: &str, path: &Path) -> anyhow::Result<RawUpstream> {
    let mut mistakes = Vec::new();
    let root = parse_toml(text).map_err(|error| anyhow::anyhow!("{}", error.message))?;
    let mut reader = Reader { place: "command line".to_owned(), mistakes: &mut mistakes };
    let folder = path.parent().unwrap_or(Path::new("."));
    let upstreams = root.get("upstreams").map(|table| read_own(&mut reader, table, folder)).unwrap_or_default();
    if !mistakes.is_empty() {
        for mistake in &mut mistakes {
            mistake.line = None;
        }
        return Err(Mistakes(mistakes).into());
    }
    upstreams.into_iter().next().context("the new section is empty")
}

/// `upstreams remove`. Its tools leave the catalog with the next crawl.
pub(crate) fn remove(name: &str, is_json: bool, flags: &Flags, outside: &Outside) -> Ended {
    let path = file_to_write(flags, outside);
    let mut document = edit::open(&path)?;
    if !edit::remove(&mut document, name) {
        let known = document.get("upstreams").and_then(toml_edit::Item::as_table_like);
        let known: Vec<&str> = known.map(|table| table.iter().map(|(name, _)| name).collect()).unwrap_or_default();
        let hint = if known.is_empty() {
            "an imported upstream is switched off by `enabled = false` in a section of its name".to_owned()
        } else {
            suggest(name, known).unwrap_or_else(|| "`toolscout upstreams list` shows what there is".to_owned())
        };
        let name = toolscout_core::text::preview(name);
        return Err(told(Exit::Usage, format!("{} has no upstream `{name}`", path.display()), Some(hint)));
    }
    edit::save(&path, &document)?;
    if is_json {
        screen::json(&json!({ "removed": name, "file": path }))?;
        return Ok(Exit::Done);
    }
    screen::line(&format!("removed `{name}` from {}", path.display()))?;
    screen::say("note: its tools leave the catalog with the next crawl");
    Ok(Exit::Done)
}

/// `upstreams import`: copies definitions, unexpanded, from another program's file.
pub(crate) fn import(source: &str, is_dry: bool, is_json: bool, flags: &Flags, outside: &Outside) -> Ended {
    let path = file_to_write(flags, outside);
    let mut document = edit::open(&path)?;
    let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
    let mut mistakes = Vec::new();
    let mut there = Vec::new();
    if let Ok(root) = parse_toml(&document.to_string())
        && let Some(table) = root.get("upstreams")
    {
        let mut reader = Reader { place: path.display().to_string(), mistakes: &mut mistakes };
        there = read_own(&mut reader, table, &folder);
    }
    let settings = config::Settings::default();
    let own_port = settings.server.bind.port();
    // What our file only switches off is wanted from nobody.
    let off = there.iter().filter(|raw| raw.transport.is_none()).map(|raw| raw.id.clone()).collect::<Vec<_>>();
    let context = ClientContext { overridden: &off, own_port, home: outside.home.as_deref() };
    let mut notes = Vec::new();
    let base = Base { folder: &outside.cwd, outside };
    let found = config::import(source, ("command line", None), &base, &context, &mut mistakes, &mut notes);
    if !mistakes.is_empty() {
        return Err(Mistakes(mistakes).into());
    }

    let label = if config::clients::is_path(source) { "imported" } else { source };
    let mut new = toml_edit::DocumentMut::new();
    let mut table = screen::table(&["upstream", "how", ""]);
    let mut rows = Vec::new();
    let mut n_new = 0;
    for raw in found {
        let raw = settle(raw);
        let before = there.len();
        notes.extend(config::add_distinct(&mut there, raw.clone(), label));
        let of = there.get(before).unwrap_or(&raw);
        rows.push(json!({
            "id": of.id, "how": mask::way(of), "new": there.len() > before, "enabled": of.enabled,
        }));
        let Some(added) = there.get(before) else {
            table.add_row([raw.id.as_str(), &mask::way(&raw), "there already"]);
            continue;
        };
        n_new += 1;
        edit::put(&mut document, added);
        edit::put(&mut new, &mask::masked(added));
        table.add_row([added.id.as_str(), &mask::way(added), if added.enabled { "new" } else { "new, switched off" }]);
    }
    if !is_dry && n_new > 0 {
        edit::save(&path, &document)?;
    }
    let ended = if n_new == 0 && table.is_empty() { Exit::NoMatch } else { Exit::Done };
    if is_json {
        screen::json(&json!({ "file": path, "written": !is_dry && n_new > 0, "upstreams": rows, "notes": notes }))?;
        return Ok(ended);
    }
    if is_dry {
        screen::line(new.to_string().trim_end())?;
        screen::say(&format!("nothing written; {} would go to {}", screen::count(n_new, "upstream"), path.display()));
    } else {
        screen::print(&table, "nothing to import")?;
        screen::say(&format!("{} written to {}", screen::count(n_new, "upstream"), path.display()));
    }
    say_notes(&notes);
    Ok(ended)
}

/// Makes a definition independent of the file it stood in: what refers to its folder is written out, and Gemini's `$VAR`
/// gets its braces.
fn settle(mut raw: RawUpstream) -> RawUpstream {
    let scope = raw.scope.clone();
    let fix = |text: &mut String| *text = crate::config::expand::settle(text, &scope);
    match &mut raw.transport {
        Some(RawTransport::Stdio { command, args, env, env_file, cwd }) => {
            if command.starts_with("./") || command.starts_with("../") {
                *command = scope.workspace.join(&*command).to_string_lossy().into_owned();
            }
            fix(command);
            args.iter_mut().chain(env.values_mut()).for_each(fix);
            for path in env_file.iter_mut().chain(cwd.iter_mut()) {
                fix(path);
                let is_relative = !path.starts_with(['/', '~', '$']);
                if is_relative {
                    *path = scope.workspace.join(&*path).to_string_lossy().into_owned();
                }
            }
        }
        Some(RawTransport::Http { url, headers, .. }) => {
            fix(url);
            headers.values_mut().for_each(fix);
        }
        None => {}
    }
    raw
}

/// The file that `add`, `remove` and `import` change: the one that would be read, else the user's.
fn file_to_write(flags: &Flags, outside: &Outside) -> std::path::PathBuf {
    let found = config::find_file(flags, outside);
    found.or_else(|| config::user_file(outside)).unwrap_or_else(|| outside.cwd.join(config::FILE_NAME))
}

/// One row of `upstreams list`.
#[derive(Debug, Serialize)]
struct Row {
    id: UpstreamId,
    transport: &'static str,
    /// Command line or address, without secrets.
    target: String,
    enabled: bool,
    tags: Vec<String>,
    /// The file that defines it.
    file: String,
    /// As the catalog knows it; absent before the first crawl.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n_tools: Option<usize>,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    /// Tools that are found less well since a crawl of the running server.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    found_less_well: Vec<String>,
}

/// What is known of an upstream besides its definition.
#[derive(Default)]
pub(crate) struct KnownUpstream {
    state: String,
    n_tools: usize,
    reason: String,
    /// Only a running server knows.
    found_less_well: Vec<String>,
}

/// What is known of upstreams, by id.
pub(crate) type Known = BTreeMap<String, KnownUpstream>;

/// What the catalog, here or at the running server, knows of the upstreams. Opens the store alone: a list needs no model.
/// Nothing known is no error.
pub(crate) async fn known(config: &Config) -> Known {
    let dir = crate::app::store_dir(config.data_dir());
    if !dir.exists() {
        return Known::default();
    }
    match toolscout_store::Store::open(&dir) {
        Ok(opened) => {
            // Not the catalog itself: without the configured cards it would make another generation.
            let Ok(rows) = toolscout_catalog::Catalog::upstreams(&opened.store) else { return Known::default() };
            let known = |row: toolscout_catalog::UpstreamRow| {
                let (state, n_tools, reason) = (row.state.as_str().to_owned(), row.n_tools, row.reason);
                (row.id.to_string(), KnownUpstream { state, n_tools, reason, ..KnownUpstream::default() })
            };
            rows.into_iter().map(known).collect()
        }
        Err(toolscout_store::Error::Busy { .. }) => {
            let Ok(server) = crate::backend::Server::find(config).await else { return Known::default() };
            let Ok(list) = crate::backend::Backend::Server(server).upstreams().await else { return Known::default() };
            let rows = list.upstreams.into_iter();
            let known = |row: toolscout_gateway::wire::UpstreamStatus| KnownUpstream {
                state: row.state,
                n_tools: row.n_tools,
                reason: row.reason,
                found_less_well: row.found_less_well,
            };
            rows.map(|row| (row.id.clone(), known(row))).collect()
        }
        Err(error) => {
            tracing::warn!(%error, "the catalog cannot be read");
            Known::default()
        }
    }
}

/// `upstreams list`: what is configured, and what the catalog or the running server knows of it.
pub(crate) fn list(config: &Config, known: &Known, is_json: bool) -> Ended {
    let rows: Vec<Row> = config
        .raw
        .iter()
        .map(|raw| {
            let state = known.get(raw.id.as_str());
            Row {
                id: raw.id.clone(),
                transport: match raw.transport {
                    Some(RawTransport::Stdio { .. }) => "stdio",
                    Some(RawTransport::Http { kind: toolscout_upstream::HttpKind::Sse, .. }) => "sse",
                    Some(RawTransport::Http { .. }) => "http",
                    None => "none",
                },
                target: mask::way(raw),
                enabled: raw.enabled,
                tags: raw.tags.clone(),
                file: raw.place.clone(),
                state: state.map(|known| known.state.clone()),
                n_tools: state.map(|known| known.n_tools),
                reason: state.map(|known| known.reason.clone()).unwrap_or_default(),
                found_less_well: state.map(|known| known.found_less_well.clone()).unwrap_or_default(),
            }
        })
        .collect();
    if is_json {
        screen::json(&json!({ "upstreams": rows }))?;
        return Ok(Exit::Done);
    }
    let mut table = screen::table(&["upstream", "state", "tools", "how", "tags", "from"]);
    for row in &rows {
        let state = match &row.state {
            _ if !row.enabled => "off".to_owned(),
            Some(state) if row.reason.is_empty() => state.clone(),
            Some(state) => format!("{state}: {}", screen::clip(&row.reason, 80)),
            None => "not crawled yet".to_owned(),
        };
        let n_tools = row.n_tools.map(|n| n.to_string()).unwrap_or_default();
        table.add_row([row.id.as_str(), &state, &n_tools, &row.target, &row.tags.join(", "), &row.file]);
    }
    screen::print(&table, "no upstream is configured; `toolscout upstreams add NAME -- COMMAND` adds one")?;
    for row in rows.iter().filter(|row| !row.found_less_well.is_empty()) {
        let n_tools = screen::count(row.found_less_well.len(), "tool");
        let named = screen::clip(&row.found_less_well.join(", "), 200);
        screen::say(&format!(
            "note: {n_tools} found less well since a crawl of `{0}`: {named}; `toolscout lint {0}` says why",
            row.id
        ));
    }
    Ok(Exit::Done)
}

/// `upstreams check`: connects to each at once and shows what came of it.
pub(crate) async fn check(config: &Config, which: &[String], is_json: bool) -> Ended {
    let specs = chosen(config, which)?;
    let concurrency = usize::try_from(config.settings.crawl.concurrency).unwrap_or(4);
    let pool = Pool::new(PoolOptions { max_starts: concurrency.max(1), ..PoolOptions::default() });
    pool.configure(specs.clone());
    let bar = crate::progress::Steps::new(specs.len(), "checking");
    let mut tasks = tokio::task::JoinSet::new();
    for spec in &specs {
        let (pool, id) = (Arc::clone(&pool), spec.id.clone());
        tasks.spawn(async move { pool.check(&id).await });
    }
    let mut reports: Vec<Checked> = Vec::new();
    while let Some(report) = tasks.join_next().await {
        let report = report.context("a check ended early")?;
        bar.done(report.upstream.as_str());
        reports.push(Checked::new(report, &config.settings.scan));
    }
    bar.end();
    pool.shutdown().await;
    reports.sort_by(|a, b| a.report.upstream.cmp(&b.report.upstream));
    let is_healthy = |checked: &Checked| matches!(checked.report.status, CheckStatus::Ok | CheckStatus::Disabled);
    let all_healthy = reports.iter().all(is_healthy);
    if is_json {
        screen::json(&json!({ "healthy": all_healthy, "upstreams": reports }))?;
    } else {
        print_check(&reports)?;
    }
    Ok(if all_healthy { Exit::Done } else { Exit::Upstream })
}

/// The upstreams named, or all. An unknown name is wrong usage.
pub(crate) fn chosen(config: &Config, which: &[String]) -> anyhow::Result<Vec<UpstreamSpec>> {
    if which.is_empty() {
        return Ok(config.upstreams.clone());
    }
    let find = |name: &String| {
        let found = config.upstreams.iter().find(|spec| spec.id.as_str() == name);
        found.cloned().ok_or_else(|| {
            let known = config.upstreams.iter().map(|spec| spec.id.as_str());
            let hint = suggest(name, known).unwrap_or_else(|| "`toolscout upstreams list` shows them all".to_owned());
            usage(format!("no upstream `{}` is configured", toolscout_core::text::preview(name)), &hint)
        })
    };
    which.iter().map(find).collect()
}

/// What a check found, with what its tools say.
#[derive(Debug, Serialize)]
struct Checked {
    #[serde(flatten)]
    report: CheckReport,
    /// Tools that would be withheld for hostile text.
    hostile: usize,
    /// Tools that would be shown although a scan found something in their texts.
    suspicious: usize,
}

impl Checked {
    fn new(report: CheckReport, scan: &toolscout_scan::ScanOptions) -> Self {
        let definitions = report.tools.iter().map(toolscout_core::Untrusted::raw);
        let screen = toolscout_scan::Screen::of_definitions(&report.upstream, definitions, scan);
        let (hostile, suspicious) = screen.counts(&report.upstream);
        Self { report, hostile, suspicious }
    }
}

fn print_check(reports: &[Checked]) -> std::io::Result<()> {
    let mut table = screen::table(&["upstream", "status", "server", "protocol", "tools", "time"]);
    for Checked { report, .. } in reports {
        let word = |value: &dyn erased::Word| value.word();
        let server = match (&report.server_name, &report.server_version) {
            (Some(name), Some(version)) => format!("{} {}", screen::clip(name, 40), screen::clip(version, 20)),
            (Some(name), None) => screen::clip(name, 40),
            (None, _) => String::new(),
        };
        let protocol = match (&report.protocol_version, report.era) {
            (Some(version), Some(era)) => format!("{version} ({})", word(&era)),
            (Some(version), None) => version.clone(),
            (None, _) => String::new(),
        };
        let tools = match report.skipped.len() {
            _ if !report.error.is_empty() => String::new(),
            0 => report.n_tools.to_string(),
            n => format!("{} (+{n} unusable)", report.n_tools),
        };
        let time = format!("{:.1} s", std::time::Duration::from_millis(report.elapsed_ms).as_secs_f64());
        table.add_row([report.upstream.as_str(), &word(&report.status), &server, &protocol, &tools, &time]);
    }
    screen::print(&table, "no upstream is configured; `toolscout upstreams add NAME -- COMMAND` adds one")?;
    for report in reports {
        print_trouble(report)?;
    }
    Ok(())
}

/// What is wrong with one upstream, below the table: error and causes, standard error's last lines, and the way out.
fn print_trouble(checked: &Checked) -> std::io::Result<()> {
    let Checked { report, hostile, suspicious } = checked;
    let mut lines = Vec::new();
    for (i, cause) in report.error.iter().enumerate() {
        lines.push(format!("  {} {cause}", if i == 0 { "error:" } else { "caused by:" }));
    }
    lines.extend(report.truncated.iter().map(|why| format!("  listing not whole: {why}")));
    let skipped = report.skipped.iter().take(5);
    lines.extend(skipped.map(|skipped| {
        let name =
            skipped.name.as_deref().map_or(format!("number {}", skipped.position + 1), |name| format!("`{name}`"));
        format!("  tool {name} unusable: {}", skipped.reason)
    }));
    if let Some(stderr) = report.stderr.as_deref().filter(|stderr| !stderr.trim().is_empty()) {
        let tail: Vec<&str> = stderr.trim().lines().rev().take(6).collect();
        lines.extend(tail.iter().rev().map(|text| format!("  | {}", screen::clip(text, 200))));
    }
    if *hostile > 0 {
        lines.push(format!("  {} withheld for hostile text", screen::count(*hostile, "tool")));
    }
    if *suspicious > 0 {
        lines.push(format!("  {} with suspicious text", screen::count(*suspicious, "tool")));
    }
    lines.extend(report.hint.iter().map(|hint| format!("  hint: {hint}")));
    if !lines.is_empty() {
        screen::line(&format!("\n{}:\n{}", report.upstream, lines.join("\n")))?;
    }
    Ok(())
}

/// The word that a serialisable enum has in JSON.
mod erased {
    pub(super) trait Word {
        fn word(&self) -> String;
    }

    impl<T: serde::Serialize> Word for T {
        fn word(&self) -> String {
            match serde_json::to_value(self) {
                Ok(serde_json::Value::String(word)) => word,
                _ => String::new(),
            }
        }
    }
}
