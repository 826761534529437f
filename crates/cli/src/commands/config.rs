//! `config check`.

use crate::config::Config;
use crate::fail::{Ended, Exit};
use crate::screen;

/// `config check`: that it is valid is shown by getting here; says where it comes from.
pub(crate) fn check(config: &Config, is_json: bool) -> Ended {
    let file = config.file.as_ref().map(|file| file.display().to_string());
    let n_enabled = config.raw.iter().filter(|raw| raw.enabled).count();
    if is_json {
        screen::json(&serde_json::json!({
            "ok": true,
            "file": file,
            "data_dir": config.data_dir(),
            "upstreams": config.raw.len(),
            "enabled": n_enabled,
            "notes": config.notes,
        }))?;
        return Ok(Exit::Done);
    }
    screen::line(&format!("file       {}", file.as_deref().unwrap_or("none; defaults")))?;
    screen::line(&format!("data       {}", config.data_dir().display()))?;
    screen::line(&format!("upstreams  {n_enabled} of {} enabled", config.raw.len()))?;
    for note in &config.notes {
        screen::say(&format!("note: {note}"));
    }
    Ok(Exit::Done)
}
