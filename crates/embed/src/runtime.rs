//! Which ONNX Runtime runs the models, and where it comes from.
//!
//! A process has one. Whoever asks first decides which; everybody later gets the same, and [`RuntimeInfo`] says so.

use std::path::{Path, PathBuf};

use ort::environment::Environment;
use ort::logging::LogLevel;
use parking_lot::Mutex;
use serde::Serialize;
use tracing::{debug, warn};

use crate::Error;

/// Where to look for ONNX Runtime. The first that is given wins: `library`, the environment's `ORT_DYLIB_PATH`, the copy
/// inside the binary, the system's own library. What is given must work: nothing else is tried in its stead.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeOptions {
    /// A shared library to load instead of any other.
    pub library: Option<PathBuf>,
    /// How the copy inside the binary gets to the system's loader, which takes files only.
    pub unpack: Unpack,
}

/// Where the built-in library is a file for the moment of loading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Unpack {
    /// In memory (Linux); the system's temporary folder where there is no such thing or it is forbidden.
    #[default]
    Memory,
    /// In this folder, made if missing, which must allow execution. The file is gone after loading.
    Folder(PathBuf),
}

/// What runs a model. `toolscout doctor` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuntimeInfo {
    /// `ONNX Runtime`; test doubles have names of their own.
    pub name: String,
    /// Its version, `1.31.1`.
    pub version: String,
    /// Where it was loaded from: `built in (memory)`, `built in (unpacked)`, or a path.
    pub source: String,
}

/// The licence of the ONNX Runtime inside the binary and the notices of what it is made of; `None` where none is inside.
pub fn notices() -> Option<&'static str> {
    #[cfg(runtime_inside)]
    return Some(inside::NOTICES);
    #[cfg(not(runtime_inside))]
    None
}

/// The runtime as the whole process shares it.
#[derive(Clone)]
pub(crate) struct Runtime {
    pub(crate) environment: Environment,
    pub(crate) info: RuntimeInfo,
}

static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);

/// The process's runtime, loaded now if nobody has yet. A failed attempt leaves the door open for another.
pub(crate) fn runtime(options: &RuntimeOptions) -> Result<Runtime, Error> {
    let mut shared = RUNTIME.lock();
    if let Some(runtime) = &*shared {
        return Ok(runtime.clone());
    }
    let runtime = load(options)?;
    debug!(version = %runtime.info.version, source = %runtime.info.source, "onnx runtime loaded");
    *shared = Some(runtime.clone());
    Ok(runtime)
}

fn load(options: &RuntimeOptions) -> Result<Runtime, Error> {
    return_big_blocks();
    let from_environment = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(library) = options.library.clone().or(from_environment) {
        return open(&library, library.display().to_string(), None);
    }
    #[cfg(runtime_inside)]
    return inside::load(options);
    #[cfg(not(runtime_inside))]
    {
        let name = format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        open(Path::new(&name), format!("the system ({name})"), None)
    }
}

/// Makes glibc give big blocks back to the system when they are freed.
///
/// By default it learns from the first freed block of a model's size to keep all such blocks: a process that has opened and
/// dropped document lanes was measured at 261 MB, with this at 139 MB. The whole process gets the setting; half a megabyte is
/// above what searches and inferences allocate and below what models are made of.
fn return_big_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[expect(unsafe_code, reason = "glibc has no safe way to be told")]
    // SAFETY: takes two integers and stores one under malloc's own lock; no memory of ours is involved.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 512 * 1024);
    }
}

/// Loads a library whose version is known, or can be guessed at.
fn open(library: &Path, source: String, known: Option<&str>) -> Result<Runtime, Error> {
    // The loader's message repeats the path; its cause is worth more than a second source link.
    let failed = |reason: String| Error::Runtime { origin: source.clone(), reason };
    let builder = ort::init_from(library).map_err(|error| failed(error.to_string()))?;
    let environment = builder
        .with_name("toolscout")
        .with_telemetry(false)
        .with_logger(std::sync::Arc::new(log))
        .build()
        .map_err(|error| failed(error.to_string()))?;
    // Below warnings there are hundreds of lines per model.
    environment.set_log_level(LogLevel::Warning);
    let version = known.map_or_else(|| guess_version(ort::info(), library), str::to_owned);
    let info = RuntimeInfo { name: "ONNX Runtime".to_owned(), version, source };
    Ok(Runtime { environment, info })
}

fn log(level: LogLevel, category: &str, _id: &str, location: &str, message: &str) {
    match level {
        LogLevel::Fatal | LogLevel::Error => warn!(category, location, message, "onnx runtime"),
        LogLevel::Warning | LogLevel::Info | LogLevel::Verbose => debug!(category, location, message, "onnx runtime"),
    }
}

/// The version out of `ORT Build Info: git-branch=rel-1.31.1, git-commit-id=…` (many builds say `HEAD`) or out of a name like
/// `libonnxruntime.so.1.24.4`. The library's own `GetVersionString` is out of reach without unsafe code.
fn guess_version(build_info: &str, library: &Path) -> String {
    let is_version = |text: &&str| !text.is_empty() && text.split('.').all(|part| part.parse::<u32>().is_ok());
    let branch = build_info.split("git-branch=rel-").nth(1).and_then(|rest| rest.split([',', ' ']).next());
    if let Some(version) = branch.filter(is_version) {
        return version.to_owned();
    }
    let real = library.canonicalize().unwrap_or_else(|_| library.to_owned());
    let name = real.file_name().unwrap_or_default().to_string_lossy();
    let version = name.split(".so.").nth(1).filter(is_version);
    version.map_or_else(|| format!("1.{} or newer", ort::MINOR_VERSION), str::to_owned)
}

#[cfg(runtime_inside)]
mod inside {
    //! The library inside our own binary. The system only loads libraries from files, so it gets one: in memory where there
    //! is such a thing, else for a moment on disk.

    use std::fs;
    use std::io::Write;

    use super::{Error, Path, PathBuf, Runtime, RuntimeOptions, Unpack, debug, open};

    const VERSION: Option<&str> = Some(env!("TOOLSCOUT_ORT_VERSION"));
    pub(super) static NOTICES: &str = include_str!(env!("TOOLSCOUT_ORT_NOTICES"));
    static LIBRARY: &[u8] = include_bytes!(env!("TOOLSCOUT_ORT_LIBRARY"));

    pub(super) fn load(options: &RuntimeOptions) -> Result<Runtime, Error> {
        if let Unpack::Folder(folder) = &options.unpack {
            return from_folder(folder);
        }
        #[cfg(target_os = "linux")]
        match from_memory() {
            Ok(runtime) => return Ok(runtime),
            Err(reason) => debug!(reason, "onnx runtime cannot be loaded from memory, unpacking it"),
        }
        from_folder(&std::env::temp_dir())
    }

    #[cfg(target_os = "linux")]
    fn from_memory() -> Result<Runtime, String> {
        use std::os::fd::AsRawFd;

        let memory = memfd::MemfdOptions::default().create("libonnxruntime").map_err(|error| error.to_string())?;
        memory.as_file().write_all(LIBRARY).map_err(|error| error.to_string())?;
        let path = format!("/proc/self/fd/{}", memory.as_file().as_raw_fd());
        let runtime =
            open(Path::new(&path), "built in (memory)".to_owned(), VERSION).map_err(|error| error.to_string())?;
        // The loader knows the library by this path: another library behind the same number would be taken for it.
        std::mem::forget(memory);
        Ok(runtime)
    }

    /// Writes the library to a folder that only we can read, loads it and removes it: what is mapped stays, and nobody can
    /// swap the file between two starts.
    fn from_folder(folder: &Path) -> Result<Runtime, Error> {
        let failed = |error: std::io::Error| Error::Runtime {
            origin: "the built-in copy".to_owned(),
            reason: format!("unpack to {}: {error}", folder.display()),
        };
        let private = private_folder(folder).map_err(failed)?;
        let library =
            private.join(format!("{}onnxruntime{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX));
        let opened = fs::write(&library, LIBRARY)
            .map_err(failed)
            .and_then(|()| open(&library, "built in (unpacked)".to_owned(), VERSION));
        if let Err(error) = fs::remove_dir_all(&private) {
            debug!(folder = %private.display(), %error, "unpacked onnx runtime stays behind");
        }
        opened
    }

    fn private_folder(parent: &Path) -> std::io::Result<PathBuf> {
        fs::create_dir_all(parent)?;
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        let mut attempt = 0_u32;
        loop {
            let folder = parent.join(format!("toolscout-runtime-{}-{attempt}", std::process::id()));
            match builder.create(&folder) {
                Ok(()) => return Ok(folder),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && attempt < 100 => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_off_the_build_info_or_the_name() {
        let check = |info, library: &str, expect: &str| assert_eq!(guess_version(info, Path::new(library)), expect);
        check("ORT Build Info: git-branch=rel-1.31.1, git-commit-id=26250ae", "x.so", "1.31.1");
        check(
            "ORT Build Info: git-branch=HEAD, git-commit-id=6af1a93, build type=Release",
            "/none/libonnxruntime.so.1.24.4",
            "1.24.4",
        );
        check("ORT Build Info: git-branch=, ", "/lib/libonnxruntime.so", "1.24 or newer");
        check("", "", "1.24 or newer");
    }
}
