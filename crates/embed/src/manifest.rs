//! The slip of paper in a model folder: what is in it, and how it was made.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toolscout_core::ContentHash;

use crate::Error;

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// The one inside the binary.
    Builtin,
    /// A folder with `manifest.json` and the files it names.
    Dir(PathBuf),
}

/// The file `manifest.json`, format 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// 1.
    pub format: u32,
    /// The model's name.
    pub id: String,
    /// How many numbers a vector has.
    pub dimension: usize,
    /// Text beyond this many tokens is cut off.
    pub max_tokens: usize,
    /// How token vectors become one: `mean`.
    pub pooling: String,
    /// Whether the pooled vector is scaled to length 1: `true`.
    pub normalize: bool,
    /// The token that fills up a shorter text.
    pub pad_token: String,
    /// The model's output with a vector per token.
    pub output: String,
    /// The model's output with a short vector per token for late interaction, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<LateOutput>,
    /// The model's files.
    pub files: Files,
    /// The licence of the weights, as an SPDX expression.
    pub licence: String,
    /// Where the weights come from, for people.
    #[serde(default)]
    pub source: serde_json::Value,
    /// How the files were made from them, for people.
    #[serde(default)]
    pub how_made: String,
}

/// Short token vectors, made in the same pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateOutput {
    /// The output's name.
    pub output: String,
    /// How many numbers a vector has.
    pub dimension: usize,
}

/// The files beside the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    /// The ONNX graph with its weights.
    pub model: File,
    /// The tokenizer in the form of Hugging Face's `tokenizers`.
    pub tokenizer: File,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its name in the folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, 64 hex digits.
    pub sha256: String,
}

/// A model's files as the manifest promises them.
pub(crate) struct Checked {
    pub(crate) model: Cow<'static, [u8]>,
    pub(crate) tokenizer: Cow<'static, [u8]>,
}

impl Manifest {
    /// Reads a source's manifest and refuses what this program cannot do. Looks at no other file.
    pub fn read(source: &ModelSource) -> Result<Self, Error> {
        let path = source.path("manifest.json");
        let manifest: Self = serde_json::from_slice(&source.bytes("manifest.json")?)
            .map_err(|source| Error::Manifest { path: path.clone(), source })?;
        manifest.check(&path)?;
        Ok(manifest)
    }

    /// Checks every file of the model against its SHA-256.
    pub fn verify(&self, source: &ModelSource) -> Result<(), Error> {
        self.files(source).map(|_| ())
    }

    /// The fingerprint of everything that decides a vector: see [`crate::ModelInfo::sha256`].
    pub fn fingerprint(&self) -> String {
        let Self {
            format,
            id: _,
            dimension,
            max_tokens,
            pooling,
            normalize,
            pad_token,
            output,
            late,
            files,
            licence: _,
            source: _,
            how_made: _,
        } = self;
        let (model, tokenizer) = (&files.model.sha256, &files.tokenizer.sha256);
        let mut all = format!(
            "{format}\n{dimension}\n{max_tokens}\n{pooling}\n{normalize}\n{pad_token}\n{output}\n{model}\n{tokenizer}"
        );
        if let Some(LateOutput { output, dimension }) = late {
            all.push_str(&format!("\n{output}\n{dimension}"));
        }
        ContentHash::of(all.as_bytes()).to_string()
    }

    pub(crate) fn files(&self, source: &ModelSource) -> Result<Checked, Error> {
        self.files.checked(source)
    }

    fn check(&self, path: &Path) -> Result<(), Error> {
        let refuse = |key, found: String, supported| {
            Err(Error::Unsupported {
                path: path.to_owned(),
                key,
                found: toolscout_core::text::preview(&found),
                supported,
            })
        };
        if self.format != 1 {
            return refuse("format", self.format.to_string(), "1");
        }
        if self.pooling != "mean" {
            return refuse("pooling", self.pooling.clone(), "`mean`");
        }
        if !self.normalize {
            return refuse("normalize", "false".to_owned(), "`true`");
        }
        if !(1..=65_536).contains(&self.dimension) {
            return refuse("dimension", self.dimension.to_string(), "1 to 65536");
        }
        if let Some(late) = self.late.as_ref().filter(|late| !(1..=4_096).contains(&late.dimension)) {
            return refuse("late.dimension", late.dimension.to_string(), "1 to 4096");
        }
        // Two places go to the marks at both ends.
        if !(3..=65_536).contains(&self.max_tokens) {
            return refuse("max_tokens", self.max_tokens.to_string(), "3 to 65536");
        }
        if let Some(name) = self.files.stray() {
            return refuse("files", name.to_owned(), "a plain file name");
        }
        Ok(())
    }
}

impl Files {
    /// The content of both, each checked against its SHA-256.
    pub(crate) fn checked(&self, source: &ModelSource) -> Result<Checked, Error> {
        let checked = |file: &File| {
            let bytes = source.bytes(&file.name)?;
            let found = ContentHash::of(&bytes).to_string();
            if found == file.sha256 {
                return Ok(bytes);
            }
            Err(Error::Checksum { path: source.path(&file.name), expected: file.sha256.clone(), found })
        };
        Ok(Checked { model: checked(&self.model)?, tokenizer: checked(&self.tokenizer)? })
    }

    /// The name of a file that lies elsewhere than in the folder, if there is one.
    pub(crate) fn stray(&self) -> Option<&str> {
        let is_plain = |name: &str| Path::new(name).file_name().is_some_and(|plain| plain == name);
        [&self.model, &self.tokenizer].into_iter().map(|file| file.name.as_str()).find(|name| !is_plain(name))
    }
}

impl ModelSource {
    /// Where a file of the model is, for messages.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::Builtin => Path::new("<built in>").join(name),
            Self::Dir(folder) => folder.join(name),
        }
    }

    pub(crate) fn bytes(&self, name: &str) -> Result<Cow<'static, [u8]>, Error> {
        match self {
            Self::Builtin => builtin(name).map(Cow::Borrowed).ok_or(Error::NoBuiltin),
            Self::Dir(_) => {
                let path = self.path(name);
                std::fs::read(&path).map(Cow::Owned).map_err(|source| Error::Read { path, source })
            }
        }
    }
}

#[cfg(feature = "bundled-model")]
fn builtin(name: &str) -> Option<&'static [u8]> {
    match name {
        "manifest.json" => Some(include_bytes!("../../../models/minilm-tools-v1/manifest.json")),
        "model.onnx" => Some(include_bytes!("../../../models/minilm-tools-v1/model.onnx")),
        "tokenizer.json" => Some(include_bytes!("../../../models/minilm-tools-v1/tokenizer.json")),
        _ => None,
    }
}

#[cfg(not(feature = "bundled-model"))]
fn builtin(_name: &str) -> Option<&'static [u8]> {
    None
}
