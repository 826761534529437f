//! Puts ONNX Runtime where `runtime.rs` can include it (feature `bundled-runtime`).
//!
//! Neither the runtime's own download host nor a C++ toolchain is needed: the library comes out of its PyPI wheel, pinned by
//! version and SHA-256. The wheel stays in `.tools/` at the workspace's root; git ignores that.

use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = "1.31.1";

/// A platform for which the runtime can be built in: target, wheel platform, SHA-256 of the wheel, library inside.
const PLATFORMS: [(&str, &str, &str, &str, &str); 3] = [
    (
        "linux",
        "x86_64",
        "manylinux_2_28_x86_64",
        "5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f",
        "onnxruntime/capi/libonnxruntime.so.1.31.1",
    ),
    (
        "linux",
        "aarch64",
        "manylinux_2_28_aarch64",
        "da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3",
        "onnxruntime/capi/libonnxruntime.so.1.31.1",
    ),
    (
        "macos",
        "aarch64",
        "macosx_14_0_arm64",
        "60b6b69bfe580eab576cacc5d132a0e9cf2a37fcfd18d46dd191042b1d1ed0d7",
        "onnxruntime/capi/libonnxruntime.1.31.1.dylib",
    ),
];

const HOW_ELSE: &str = "Without it: build with `--no-default-features --features bundled-model` and set ORT_DYLIB_PATH to a \
libonnxruntime of version 1.24 or newer at run time. Offline: set TOOLSCOUT_ONNXRUNTIME_WHEEL to the wheel.";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=fetch_runtime.py");
    println!("cargo::rerun-if-env-changed=TOOLSCOUT_ONNXRUNTIME_WHEEL");
    println!("cargo::rustc-check-cfg=cfg(runtime_inside)");
    println!("cargo::rustc-env=TOOLSCOUT_ORT_VERSION={VERSION}");
    if std::env::var_os("CARGO_FEATURE_BUNDLED_RUNTIME").is_none() {
        return;
    }
    let (os, arch) = (variable("CARGO_CFG_TARGET_OS"), variable("CARGO_CFG_TARGET_ARCH"));
    let musl = variable("CARGO_CFG_TARGET_ENV") == "musl";
    let platform = PLATFORMS.iter().find(|platform| platform.0 == os && platform.1 == arch && !musl);
    let Some((_, _, platform, sha256, member)) = platform else {
        println!("cargo::warning=no ONNX Runtime to build in for {os} {arch}: set ORT_DYLIB_PATH at run time");
        return;
    };
    let library = PathBuf::from(variable("OUT_DIR")).join(format!("onnxruntime-{VERSION}-{platform}.bin"));
    let notices = library.with_extension("txt");
    if !(library.exists() && notices.exists())
        && let Err(reason) = fetch(platform, sha256, member, &library, &notices)
    {
        for line in reason.lines().chain([HOW_ELSE]) {
            println!("cargo::error={line}");
        }
        std::process::exit(1);
    }
    println!("cargo::rustc-env=TOOLSCOUT_ORT_LIBRARY={}", library.display());
    println!("cargo::rustc-env=TOOLSCOUT_ORT_NOTICES={}", notices.display());
    println!("cargo::rustc-cfg=runtime_inside");
}

fn fetch(platform: &str, sha256: &str, member: &str, library: &Path, notices: &Path) -> Result<(), String> {
    let script = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("fetch_runtime.py");
    let mut reasons = format!("cannot get ONNX Runtime {VERSION} for {platform} from PyPI");
    for python in ["python3", "python"] {
        let run = Command::new(python)
            .arg(&script)
            .args([VERSION, platform, sha256, member])
            .args([cache_dir().as_path(), library, notices])
            .output();
        match run {
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) => reasons += &format!("\n{python}: {}", String::from_utf8_lossy(&output.stderr).trim()),
            Err(error) => reasons += &format!("\n{python}: {error}"),
        }
    }
    Err(reasons)
}

/// `.tools/` of the workspace, which outlives `cargo clean`; beside the output when this crate is built alone.
fn cache_dir() -> PathBuf {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")).join("../..");
    let in_workspace = root.join("Cargo.lock").exists();
    if in_workspace { root.join(".tools/onnxruntime") } else { PathBuf::from(variable("OUT_DIR")) }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}
