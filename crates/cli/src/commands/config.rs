//! `config check`.

use serde_json::json;

use crate::config::{Config, Mistakes};
use crate::fail::{Ended, Exit};
use crate::screen;

/// `config check`: whether it is valid, and where it comes from.
pub(crate) fn check(read: Result<Config, Mistakes>, is_json: bool) -> Ended {
    let config = match read {
        Ok(config) => config,
        Err(mistakes) if is_json => {
            let mistake = |mistake: &crate::config::Mistake| {
                json!({
                    "file": mistake.place, "line": mistake.line, "key": mistake.key, "what": mistake.what,
                    "hint": mistake.hint,
                })
            };
            let mistakes: Vec<_> = mistakes.0.iter().map(mistake).collect();
            screen::json(&json!({ "ok": false, "mistakes": mistakes }))?;
            return Ok(Exit::Usage);
        }
        Err(mistakes) => return Err(mistakes.into()),
    };
    let file = config.file.as_ref().map(|file| file.display().to_string());
    let n_enabled = config.raw.iter().filter(|raw| raw.enabled).count();
    if is_json {
        screen::json(&json!({
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
