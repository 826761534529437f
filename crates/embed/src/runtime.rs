//! Which ONNX Runtime runs the models, and where it comes from.

use std::path::PathBuf;

use serde::Serialize;

/// Where to look for ONNX Runtime. The first that is given wins: `library`, the environment's `ORT_DYLIB_PATH`, the copy
/// inside the binary, the system's own library.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeOptions {
    /// A shared library to load instead of any other.
    pub library: Option<PathBuf>,
    /// A folder of ours where the built-in library may be unpacked for a moment, if it cannot be loaded from memory.
    /// The system's temporary folder by default.
    pub unpack_dir: Option<PathBuf>,
}

/// What runs a model. `toolscout doctor` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuntimeInfo {
    /// `ONNX Runtime`; test doubles have names of their own.
    pub name: String,
    /// Its version, `1.31.1`.
    pub version: String,
    /// Where it was loaded from: `built in (memory)`, or a path.
    pub source: String,
}
