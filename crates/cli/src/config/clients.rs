//! Where client programs keep their servers.

use std::path::{Path, PathBuf};

use super::expand::Outside;

/// The clients we know by name, as `import = ["cursor"]` and `upstreams import cursor` write them.
pub(crate) const CLIENTS: [&str; 7] =
    ["claude-desktop", "claude-code", "cursor", "vscode", "gemini", "codex", "windsurf"];

/// The files a client may have, nearest first; `None` for a name that is no client's.
pub(crate) fn files_of(client: &str, outside: &Outside) -> Option<Vec<PathBuf>> {
    let home = |path: &str| outside.home.as_ref().map(|home| home.join(path));
    let config = |path: &str| outside.config_dir.as_ref().map(|dir| dir.join(path));
    let here = |path: &str| Some(outside.cwd.join(path));
    let candidates = match client {
        "claude-desktop" => vec![config("Claude/claude_desktop_config.json")],
        "claude-code" => vec![here(".mcp.json"), home(".claude.json")],
        "cursor" => vec![here(".cursor/mcp.json"), home(".cursor/mcp.json")],
        "vscode" => vec![here(".vscode/mcp.json"), config("Code/User/mcp.json"), config("Code/User/settings.json")],
        "gemini" => vec![here(".gemini/settings.json"), home(".gemini/settings.json")],
        "codex" => {
            let codex_home = outside.env.get("CODEX_HOME").map(PathBuf::from);
            vec![here(".codex/config.toml"), codex_home.or(home(".codex")).map(|dir| dir.join("config.toml"))]
        }
        "windsurf" => vec![home(".codeium/windsurf/mcp_config.json")],
        _ => return None,
    };
    let mut files: Vec<PathBuf> = candidates.into_iter().flatten().collect();
    files.dedup();
    Some(files)
}

/// Whether a text from `import` means a file rather than a client.
pub(crate) fn is_path(text: &str) -> bool {
    text.contains(['/', '\\']) || text.starts_with('~') || Path::new(text).extension().is_some()
}
