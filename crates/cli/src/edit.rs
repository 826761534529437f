//! Changing `toolscout.toml` without losing a comment.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, value};
use toolscout_upstream::HttpKind;

use crate::config::RawUpstream;
use crate::config::dialect::RawTransport;

/// The file as a document; empty when there is none yet.
pub(crate) fn open(path: &Path) -> anyhow::Result<DocumentMut> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    text.parse().with_context(|| format!("read {}", path.display()))
}

/// Writes the document in one step: a kill leaves the old file or the new one. A new file is for its owner's eyes only,
/// because definitions may hold secrets.
pub(crate) fn save(path: &Path, document: &DocumentMut) -> anyhow::Result<()> {
    replace(path, document.to_string().as_bytes())
}

/// Writes a file in one step. A new one is for its owner's eyes only.
pub(crate) fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    // A link to a file kept elsewhere (dotfiles) stays a link.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = path.parent().unwrap_or(Path::new("."));
    let context = || format!("write {}", path.display());
    std::fs::create_dir_all(folder).with_context(context)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = folder.join(format!(".{name}.{}.new", std::process::id()));
    let written = write_new(&new, content).and_then(|()| {
        if let Ok(facts) = std::fs::metadata(&path) {
            std::fs::set_permissions(&new, facts.permissions())?;
        }
        std::fs::rename(&new, &path)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written.with_context(context)
}

fn write_new(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Puts an upstream into the document, replacing one of the same id.
pub(crate) fn put(document: &mut DocumentMut, upstream: &RawUpstream) {
    let upstreams = document.entry("upstreams").or_insert_with(|| {
        let mut table = Table::new();
        // No `[upstreams]` header of its own above `[upstreams.NAME]`.
        table.set_implicit(true);
        Item::Table(table)
    });
    // Someone may have written `upstreams = { … }`; a header below that would be an error.
    if let Some(inline) = upstreams.as_inline_table() {
        *upstreams = Item::Table(inline.clone().into_table());
    }
    upstreams[upstream.id.as_str()] = Item::Table(table_of(upstream));
}

/// Takes an upstream out; false when there is none of that name.
pub(crate) fn remove(document: &mut DocumentMut, name: &str) -> bool {
    let upstreams = document.get_mut("upstreams").and_then(Item::as_table_like_mut);
    upstreams.is_some_and(|upstreams| upstreams.remove(name).is_some())
}

/// An upstream as an `[upstreams.NAME]` section.
pub(crate) fn table_of(upstream: &RawUpstream) -> Table {
    let mut table = Table::new();
    let list = |items: &[String]| value(items.iter().collect::<Array>());
    let map = |map: &std::collections::BTreeMap<String, String>| {
        value(map.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect::<InlineTable>())
    };
    match &upstream.transport {
        Some(RawTransport::Stdio { command, args, env, env_file, cwd }) => {
            table["command"] = value(command);
            if !args.is_empty() {
                table["args"] = list(args);
            }
            if !env.is_empty() {
                table["env"] = map(env);
            }
            if let Some(file) = env_file {
                table["env_file"] = value(file);
            }
            if let Some(cwd) = cwd {
                table["cwd"] = value(cwd);
            }
        }
        Some(RawTransport::Http { url, headers, kind }) => {
            table["url"] = value(url);
            match kind {
                HttpKind::Auto => {}
                HttpKind::Streamable => table["type"] = value("http"),
                HttpKind::Sse => table["type"] = value("sse"),
            }
            if !headers.is_empty() {
                table["headers"] = map(headers);
            }
        }
        None => {}
    }
    if !upstream.tags.is_empty() {
        table["tags"] = list(&upstream.tags);
    }
    if let Some(trust) = upstream.trust {
        table["trust"] = value(trust.as_str());
    }
    if !upstream.enabled {
        table["enabled"] = value(false);
    }
    let times = [
        ("timeout", upstream.timeouts.call),
        ("connect_timeout", upstream.timeouts.connect),
        ("list_timeout", upstream.timeouts.list),
    ];
    for (key, time) in times {
        if let Some(time) = time {
            table[key] = value(format!("{}ms", time.as_millis()));
        }
    }
    if !(upstream.allow.is_empty() && upstream.block.is_empty()) {
        let mut tools = InlineTable::new();
        for (key, globs) in [("allow", &upstream.allow), ("block", &upstream.block)] {
            if !globs.is_empty() {
                tools.insert(key, globs.iter().collect::<Array>().into());
            }
        }
        table["tools"] = value(tools);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::dialect::read_own;
    use crate::config::mistake::Reader;
    use crate::config::node::parse_toml;

    fn read(text: &str) -> Vec<RawUpstream> {
        let mut mistakes = Vec::new();
        let mut reader = Reader { place: "t".to_owned(), mistakes: &mut mistakes };
        let root = parse_toml(text).unwrap();
        let upstreams = read_own(&mut reader, root.get("upstreams").unwrap(), Path::new("/w"));
        assert_eq!(mistakes, []);
        upstreams
    }

    const SECTION: &str = r#"[upstreams.a]
command = "npx"
args = ["-y", "a b"]
env = { KEY = "${KEY}" }
tags = ["x"]
enabled = false
timeout = "1500ms"
tools = { allow = ["r*"], block = ["w"] }
"#;

    #[test]
    fn comments_and_order_stay() {
        let mut document: DocumentMut = "# mine\n[crawl] # every hour\nttl = \"1h\"\n".parse().unwrap();
        put(&mut document, &read(SECTION)[0]);
        let text = document.to_string();
        assert_eq!(text, format!("# mine\n[crawl] # every hour\nttl = \"1h\"\n\n{SECTION}"));
        assert!(remove(&mut document, "a"));
        assert!(!remove(&mut document, "a"));
        assert_eq!(document.to_string(), "# mine\n[crawl] # every hour\nttl = \"1h\"\n");
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let before = &read(SECTION)[0];
        let mut document = DocumentMut::new();
        put(&mut document, before);
        let after = &read(&document.to_string())[0];
        assert_eq!(format!("{before:?}"), format!("{after:?}"));
    }

    #[test]
    fn a_kill_leaves_a_whole_file_and_a_new_one_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/toolscout.toml");
        let mut document = open(&path).unwrap();
        put(&mut document, &read(SECTION)[0]);
        save(&path, &document).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), SECTION);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
        }
    }
}
