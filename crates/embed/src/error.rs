//! What can go wrong between a text and its vector.

use std::path::PathBuf;

use toolscout_core::{Fault, Retry};

/// Why there is no vector. All but [`Error::Busy`] and [`Error::Loading`] mean: go on with the lexical index alone, and say so.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the model folder cannot be read: point the configuration at a model folder.
    #[error("read model file `{}`", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The manifest is no manifest of ours: mend it or take a folder that `models/` made.
    #[error("model manifest `{}` is not valid", path.display())]
    Manifest {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// The manifest is readable but asks for something this program does not do.
    #[error("model manifest `{}` has `{key}` = `{found}`, but only {supported} works", path.display())]
    Unsupported {
        /// Which file.
        path: PathBuf,
        /// Which entry.
        key: &'static str,
        /// What it says.
        found: String,
        /// What it may say.
        supported: &'static str,
    },
    /// A file is not the one the manifest was written for: fetch or make the model again.
    #[error("model file `{}` has sha256 {found}, but its manifest says {expected}", path.display())]
    Checksum {
        /// Which file.
        path: PathBuf,
        /// What the manifest says.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// This build carries no model: name a model folder, or build with the feature `bundled-model`.
    #[error("this build has no built-in model")]
    NoBuiltin,
    /// ONNX Runtime cannot be used; [`Error::hint`] tells what to do.
    #[error("load ONNX Runtime from {origin}: {reason}")]
    Runtime {
        /// Where it was looked for.
        origin: String,
        /// Why it did not load.
        reason: String,
    },
    /// The runtime or the tokenizer refuses the model.
    #[error("open model `{model}`")]
    Open {
        /// Which model.
        model: String,
        /// What the runtime said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The model gives vectors of another shape than its manifest says.
    #[error("model `{model}` gives output of shape {found:?}, but its manifest says dimension {expected}")]
    Dimension {
        /// Which model.
        model: String,
        /// What the manifest says.
        expected: usize,
        /// What came out.
        found: Vec<usize>,
    },
    /// A forward pass failed.
    #[error("run model `{model}`")]
    Inference {
        /// Which model.
        model: String,
        /// What the runtime said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The model is on its way: try again in a moment, or answer without the vector.
    #[error("the embedding model still loads")]
    Loading,
    /// Too many queries wait already: try again in a moment, or answer without the vector.
    #[error("{waiting} queries already wait for the embedding model")]
    Busy {
        /// How many.
        waiting: usize,
    },
}

impl Error {
    /// Nobody outside can cause or mend these.
    pub fn fault(&self) -> Fault {
        Fault::Ours
    }

    /// Whether waiting can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Loading | Self::Busy { .. } => Retry::Later,
            Self::Read { .. }
            | Self::Manifest { .. }
            | Self::Unsupported { .. }
            | Self::Checksum { .. }
            | Self::NoBuiltin
            | Self::Runtime { .. }
            | Self::Open { .. }
            | Self::Dimension { .. }
            | Self::Inference { .. } => Retry::Never,
        }
    }

    /// What the person at the machine can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Read { .. } => Some("name a folder with manifest.json, model.onnx and tokenizer.json"),
            Self::Manifest { .. } | Self::Unsupported { .. } | Self::Dimension { .. } => {
                Some("make the model folder again with the script in it")
            }
            Self::Checksum { .. } => Some("the file is damaged or another version: fetch the model folder again"),
            Self::NoBuiltin => Some("name a model folder, or build with the feature `bundled-model`"),
            Self::Runtime { .. } => Some("set ORT_DYLIB_PATH to a libonnxruntime of version 1.24 or newer"),
            Self::Open { .. } | Self::Inference { .. } => {
                Some("check that the model folder and ONNX Runtime fit together")
            }
            Self::Loading | Self::Busy { .. } => None,
        }
    }
}
