//! `models list|verify`.

use std::sync::Arc;

use anyhow::Context as _;
use toolscout_embed::manifest::Manifest;
use toolscout_embed::{Embed, Embedder, ModelSource, Want};

use crate::config::Config;
use crate::fail::{Ended, Exit};
use crate::{model, screen};

/// `models list`: the built-in model, and the configured folder if there is one.
pub(crate) fn list(config: &Config, is_json: bool) -> Ended {
    let configured = model::source(&config.settings);
    let mut sources = vec![ModelSource::Builtin];
    sources.extend(configured.clone().filter(|source| *source != ModelSource::Builtin));
    let mut rows = Vec::new();
    let mut table = screen::table(&["model", "from", "dimension", "tokens", "size", "licence", "used"]);
    for source in &sources {
        let from = place(source);
        let is_used = configured.as_ref() == Some(source);
        match Manifest::read(source) {
            Ok(manifest) => {
                let bytes = manifest.files.model.bytes + manifest.files.tokenizer.bytes;
                let used = if is_used { "yes" } else { "" };
                let (dimension, tokens) = (manifest.dimension.to_string(), manifest.max_tokens.to_string());
                let size = screen::bytes(bytes);
                table.add_row([&manifest.id, &from, &dimension, &tokens, &size, &manifest.licence, used]);
                rows.push(serde_json::json!({
                    "id": manifest.id, "from": from, "dimension": manifest.dimension, "max_tokens": manifest.max_tokens,
                    "bytes": bytes, "licence": manifest.licence, "sha256": manifest.fingerprint(), "used": is_used,
                }));
            }
            Err(error) => {
                table.add_row(["", &from, "", "", "", "", &format!("not usable: {}", crate::backend::chain(&error))]);
                rows.push(serde_json::json!({ "from": from, "used": is_used, "error": crate::backend::chain(&error) }));
            }
        }
    }
    if is_json {
        screen::json(&serde_json::json!({ "models": rows }))?;
    } else {
        screen::print(&table, "no model")?;
    }
    Ok(Exit::Done)
}

/// Two sentences that mean nearly the same in other words, and one of something else.
const TRIAL: [&str; 3] =
    ["send an email to a colleague", "write a mail message to a coworker", "boil an egg for breakfast"];
/// By how much the first two must be nearer to each other, in cosine.
const MARGIN: f32 = 0.2;

/// `models verify`: checks every file against its manifest, loads the model and tries it.
pub(crate) async fn verify(config: &Config, is_json: bool) -> Ended {
    let Some(source) = model::source(&config.settings) else {
        match is_json {
            true => screen::json(&serde_json::json!({ "ok": true, "from": null, "model": null }))?,
            false => screen::line("embedding is switched off")?,
        }
        return Ok(Exit::Done);
    };
    let (from, options) = (place(&source), model::options(&config.settings));
    let load = move || {
        let embedder = Arc::new(Embedder::load(&source, &options)?);
        let embeddings = embedder.embed(&TRIAL, Want::Pooled)?;
        anyhow::Ok((embedder, embeddings))
    };
    let (embedder, embeddings) = tokio::task::spawn_blocking(load).await.context("loading ended early")??;
    let vectors: Vec<&[f32]> = embeddings.iter().map(|embedding| embedding.pooled.as_slice()).collect();
    let (near, far) = match vectors.as_slice() {
        [mail, letter, egg] => (toolscout_embed::dot(mail, letter), toolscout_embed::dot(mail, egg)),
        _ => anyhow::bail!("the model gave {} vectors for three texts", vectors.len()),
    };
    // A file can be the one it claims to be and still be useless; related texts must be clearly nearer than unrelated ones.
    anyhow::ensure!(
        near > far + MARGIN,
        "the model works, but its vectors mean nothing: related {near:.2}, unrelated {far:.2}"
    );
    let model = embedder.model();
    if is_json {
        let check = serde_json::json!({ "related": near, "unrelated": far });
        screen::json(&serde_json::json!({ "ok": true, "from": from, "model": model, "cosine": check }))?;
    } else {
        screen::line(&format!("{} from {from}: files match their checksums", model.id))?;
        screen::line(&format!("sha256 {}", model.sha256))?;
        let runtime = &model.runtime;
        screen::line(&format!("{} {} from {}", runtime.name, runtime.version, runtime.source))?;
        screen::line(&format!("related texts {near:.2}, unrelated {far:.2}"))?;
    }
    Ok(Exit::Done)
}

/// Where a model lies, for people.
pub(crate) fn place(source: &ModelSource) -> String {
    match source {
        ModelSource::Builtin => "the binary".to_owned(),
        ModelSource::Dir(dir) => dir.display().to_string(),
    }
}
