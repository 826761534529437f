//! What the user wants: defaults, then `toolscout.toml`, then `TOOLSCOUT_…` variables, then flags.
//!
//! [`load`] finds the file, reads upstreams of it and of every client file it imports, and reports *all* mistakes at once.
//! It takes the world as a value ([`Outside`]), so every rule is tested without touching the process.
//! Reading order: [`node`] (two languages, one tree), [`settings`], [`dialect`] (upstreams), [`expand`] (variables).

pub(crate) mod clients;
pub(crate) mod dialect;
pub(crate) mod expand;
pub(crate) mod mistake;
pub(crate) mod node;
pub(crate) mod quality;
pub(crate) mod settings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toolscout_core::UpstreamId;
use toolscout_upstream::UpstreamSpec;

pub(crate) use dialect::RawUpstream;
pub(crate) use expand::Outside;
pub(crate) use mistake::{Mistake, Mistakes};
pub(crate) use settings::Settings;

use clients::{CLIENTS, files_of, is_path};
use dialect::{ClientContext, UpstreamDefaults, read_client_file, read_own};
use mistake::{Reader, suggest};
use settings::{Base, apply_env, apply_file, apply_flag, check_together};

/// The shipped example: every setting with its default, as comments explain it.
pub(crate) const EXAMPLE: &str = include_str!("../../toolscout.example.toml");

/// The name of the file in the current folder, and below `toolscout/` in the user's.
pub(crate) const FILE_NAME: &str = "toolscout.toml";

/// Files larger than this are no configuration. `~/.claude.json` holds histories and reaches megabytes.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// Everything a command needs to know of the user's wishes.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// All settings.
    pub(crate) settings: Settings,
    /// Upstreams, ours first, then the imported ones; ids differ.
    pub(crate) upstreams: Vec<UpstreamSpec>,
    /// The same before expansion, with the file each comes from.
    pub(crate) raw: Vec<RawUpstream>,
    /// The configuration file that was read.
    pub(crate) file: Option<PathBuf>,
    /// Where `upstreams add` writes.
    pub(crate) write_to: PathBuf,
    /// Things worth saying that are no mistakes.
    pub(crate) notes: Vec<String>,
}

impl Config {
    /// Where our state lies.
    pub(crate) fn data_dir(&self) -> &Path {
        self.settings.data_dir.as_deref().unwrap_or(Path::new(".toolscout"))
    }
}

/// What flags say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    /// `--config FILE`.
    pub(crate) config: Option<PathBuf>,
    /// Settings by key, as text.
    pub(crate) settings: Vec<(&'static str, String)>,
}

/// Reads everything. Fails with all mistakes there are.
pub(crate) fn load(flags: &Flags, outside: &Outside) -> Result<Config, Mistakes> {
    let mut mistakes = Vec::new();
    let mut notes = Vec::new();
    let mut settings = Settings::default();
    let mut raw = Vec::new();
    let mut import_lines = BTreeMap::new();

    let file = find_file(flags, outside);
    let folder = file.as_ref().and_then(|file| file.parent()).unwrap_or(&outside.cwd).to_owned();
    if let Some(path) = &file
        && let Some(text) = read_file(path, &mut mistakes)
    {
        let mut reader = Reader { place: path.display().to_string(), mistakes: &mut mistakes };
        match node::parse_toml(&text) {
            Ok(root) => {
                let base = Base { folder: &folder, outside };
                apply_file(&mut settings, &mut reader, &root, &base);
                if let Some(node::Data::List(items)) = root.get("import").map(|node| &node.data) {
                    let line_of = |item: &node::Node| match &item.data {
                        node::Data::Text(text) => Some((text.clone(), item.line?)),
                        _ => None,
                    };
                    import_lines = items.iter().filter_map(line_of).collect();
                }
                if let Some(table) = root.get("upstreams") {
                    raw = read_own(&mut reader, table, &folder);
                }
            }
            Err(error) => reader.wrong(error.line, "", error.message, None),
        }
    }

    let here = Base { folder: &outside.cwd, outside };
    let mut reader = Reader { place: "environment".to_owned(), mistakes: &mut mistakes };
    let unknown = apply_env(&mut settings, &mut reader, &here);
    notes.extend(unknown.iter().map(|name| format!("the variable {name} is no setting of toolscout")));
    let mut reader = Reader { place: "command line".to_owned(), mistakes: &mut mistakes };
    for (key, value) in &flags.settings {
        apply_flag(&mut settings, &mut reader, key, value, &here);
    }
    let place = file.as_ref().map_or_else(|| "environment".to_owned(), |file| file.display().to_string());
    check_together(&settings, &mut Reader { place, mistakes: &mut mistakes });
    if settings.data_dir.is_none() {
        settings.data_dir.clone_from(&outside.data_dir);
    }

    let importing = Importing { folder: &folder, file: file.as_deref(), lines: &import_lines, outside };
    import_all(&settings, &mut raw, &mut mistakes, &mut notes, &importing);
    let defaults = UpstreamDefaults {
        connect: settings.crawl.connect_timeout,
        list: settings.crawl.list_timeout,
        call: settings.call.timeout,
    };
    let upstreams = raw.iter().filter_map(|raw| raw.resolve(&mut mistakes, outside, &defaults)).collect();
    if !mistakes.is_empty() {
        return Err(Mistakes(mistakes));
    }
    let write_to = file.clone().unwrap_or_else(|| match &flags.config {
        Some(path) => path.clone(),
        None => user_file(outside).unwrap_or_else(|| outside.cwd.join(FILE_NAME)),
    });
    Ok(Config { settings, upstreams, raw, file, write_to, notes })
}

/// The file to read: `--config` (or `TOOLSCOUT_CONFIG`), which must exist; else the one here; else the user's.
pub(crate) fn find_file(flags: &Flags, outside: &Outside) -> Option<PathBuf> {
    let named = flags.config.clone().or_else(|| outside.env.get("TOOLSCOUT_CONFIG").map(PathBuf::from));
    if let Some(path) = named {
        return Some(outside.cwd.join(path));
    }
    let here = outside.cwd.join(FILE_NAME);
    [Some(here), user_file(outside)].into_iter().flatten().find(|path| path.is_file())
}

/// `toolscout/toolscout.toml` in the user's configuration folder.
pub(crate) fn user_file(outside: &Outside) -> Option<PathBuf> {
    outside.config_dir.as_ref().map(|dir| dir.join("toolscout").join(FILE_NAME))
}

/// Reads the file or client that `what` names. Used for `import = […]` and by `upstreams import`.
pub(crate) fn import(
    what: &str,
    place: (&str, Option<usize>),
    base: &Base<'_>,
    context: &ClientContext<'_>,
    mistakes: &mut Vec<Mistake>,
    notes: &mut Vec<String>,
) -> Vec<RawUpstream> {
    let mut wrong = |text: String, hint: Option<String>| {
        Reader { place: place.0.to_owned(), mistakes }.wrong(place.1, "import", text, hint);
    };
    let (paths, is_named_file) = match files_of(what, base.outside) {
        Some(candidates) => {
            let found: Vec<PathBuf> = candidates.iter().filter(|path| path.is_file()).cloned().collect();
            if found.is_empty() {
                let looked: Vec<String> = candidates.iter().map(|path| path.display().to_string()).collect();
                wrong(format!("`{what}` has no file here"), Some(format!("looked at {}", looked.join(", "))));
                return Vec::new();
            }
            (found, false)
        }
        None if is_path(what) => (vec![base.outside.path(what, base.folder)], true),
        None => {
            let name = toolscout_core::text::preview(what);
            wrong(format!("`{name}` is neither a known client nor a path"), suggest(what, CLIENTS));
            return Vec::new();
        }
    };
    let mut upstreams = Vec::new();
    for path in paths {
        let Some(text) = read_file(&path, mistakes) else { continue };
        let read = read_client_file(mistakes, &path, &text, context);
        if !read.has_root && is_named_file {
            let hint = "expected `mcpServers`, `servers` or `mcp_servers`";
            Reader { place: path.display().to_string(), mistakes }.wrong(None, "", "holds no servers", hint);
        }
        notes.extend(read.notes);
        upstreams.extend(read.upstreams);
    }
    upstreams
}

/// Where the `import` list stands.
struct Importing<'a> {
    folder: &'a Path,
    file: Option<&'a Path>,
    lines: &'a BTreeMap<String, usize>,
    outside: &'a Outside,
}

fn import_all(
    settings: &Settings,
    raw: &mut Vec<RawUpstream>,
    mistakes: &mut Vec<Mistake>,
    notes: &mut Vec<String>,
    importing: &Importing<'_>,
) {
    let outside = importing.outside;
    let overridden: Vec<UpstreamId> = raw.iter().map(|raw| raw.id.clone()).collect();
    let context =
        ClientContext { overridden: &overridden, own_port: settings.server.bind.port(), home: outside.home.as_deref() };
    let place = importing.file.map_or_else(|| "environment".to_owned(), |file| file.display().to_string());
    for what in &settings.import {
        let base = Base { folder: importing.folder, outside };
        let line = importing.lines.get(what).copied();
        let found = import(what, (&place, line), &base, &context, mistakes, notes);
        let label = if is_path(what) { "imported" } else { what.as_str() };
        for upstream in found {
            if let Some(note) = add_distinct(raw, upstream, label) {
                notes.push(note);
            }
        }
    }
}

/// Adds an imported upstream unless the very same is there already; a different one of the same name gets the client's
/// name behind its own, so that ids do not depend on which files happen to exist today more than they must.
pub(crate) fn add_distinct(raw: &mut Vec<RawUpstream>, mut upstream: RawUpstream, label: &str) -> Option<String> {
    let is_same = |other: &RawUpstream| {
        other.transport == upstream.transport && other.id.as_str().starts_with(upstream.id.as_str())
    };
    if raw.iter().any(is_same) {
        return None;
    }
    let wanted = upstream.id.clone();
    let candidates = std::iter::once(format!("{wanted}-{label}")).chain((2..).map(|n| format!("{wanted}-{label}-{n}")));
    let mut candidates = candidates.map(|name| {
        // The suffix tells two apart, so it is the name that is cut.
        let cut = name.len().saturating_sub(toolscout_core::id::MAX_UPSTREAM_ID);
        let (head, tail) = name.split_at(wanted.as_str().len());
        UpstreamId::slug(&format!("{}{tail}", &head[..head.len().saturating_sub(cut)]))
            .unwrap_or_else(|_| wanted.clone())
    });
    while raw.iter().any(|other| other.id == upstream.id) {
        upstream.id = candidates.next().unwrap_or_else(|| wanted.clone());
    }
    let is_renamed = upstream.id != wanted;
    let note = is_renamed.then(|| {
        format!("`{}` of {} becomes `{}`: another upstream has its name", upstream.name, upstream.place, upstream.id)
    });
    raw.push(upstream);
    note
}

fn read_file(path: &Path, mistakes: &mut Vec<Mistake>) -> Option<String> {
    let mut wrong = |what: String| {
        Reader { place: path.display().to_string(), mistakes }.wrong(None, "", what, None);
        None
    };
    match std::fs::metadata(path) {
        Ok(facts) if facts.len() > MAX_FILE_BYTES => return wrong("is too large for a configuration file".to_owned()),
        Ok(_) => {}
        Err(error) => return wrong(format!("cannot be read: {error}")),
    }
    match std::fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) => wrong(format!("cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests;
