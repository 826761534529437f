"""Fetches ONNX Runtime's shared library for build.rs, with nothing but Python's own pip.

    python3 fetch_runtime.py VERSION PLATFORM SHA256 MEMBER CACHE_FOLDER OUT NOTICES

Takes the PyPI wheel of that version and platform from CACHE_FOLDER, or from the file that TOOLSCOUT_ONNXRUNTIME_WHEEL names,
or through `pip download`; checks its SHA-256; writes the library MEMBER in it to OUT,
and its licence with the notices of third parties, which go wherever the library goes, to NOTICES.
Standard library only, Python 3.8 or newer. pip honours its usual settings (mirror, proxy), as the hash is checked anyway.
"""

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile


def is_right(path, sha256):
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def pip(folder):
    """The system's pip; where there is none (Debian's bare python3), that of a throw-away environment."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode == 0:
        return [sys.executable, "-m", "pip"]
    done = subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"python3 has neither pip nor venv (Debian: apt-get install python3-pip): {done.stderr[-500:]}")
    return [str(folder / "venv/bin/python"), "-m", "pip"]


def fetch(version, platform, sha256, cache):
    given = os.environ.get("TOOLSCOUT_ONNXRUNTIME_WHEEL")
    if given:
        if not is_right(pathlib.Path(given), sha256):
            sys.exit(f"TOOLSCOUT_ONNXRUNTIME_WHEEL={given} is not the wheel with sha256 {sha256}")
        return pathlib.Path(given)
    wheel = cache / f"onnxruntime-{version}-cp311-cp311-{platform}.whl"
    if is_right(wheel, sha256):
        return wheel
    cache.mkdir(parents=True, exist_ok=True)
    # Two builds may fetch at once: each into a folder of its own, then one rename.
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        wanted = pathlib.Path(folder, "wanted.txt")
        wanted.write_text(f"onnxruntime=={version} --hash=sha256:{sha256}\n")
        command = pip(pathlib.Path(folder)) + ["download", "--quiet", "--disable-pip-version-check", "--retries", "10", "--no-deps"]
        command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11", "--abi", "cp311"]
        command += ["--platform", platform, "--require-hashes", "--dest", folder, "--requirement", str(wanted)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        fetched = list(pathlib.Path(folder).glob("*.whl"))
        if done.returncode != 0 or len(fetched) != 1:
            sys.exit(f"`{' '.join(command)}` failed:\n{done.stdout[-2000:]}")
        os.replace(fetched[0], wheel)
    if not is_right(wheel, sha256):
        sys.exit(f"{wheel} does not have sha256 {sha256}")
    return wheel


def write(path, content):
    partial = pathlib.Path(path + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)


def main():
    version, platform, sha256, member, cache, out, notices = sys.argv[1:]
    wheel = fetch(version, platform, sha256, pathlib.Path(cache))
    with zipfile.ZipFile(wheel) as files:
        texts = [files.read(f"onnxruntime/{name}") for name in ("LICENSE", "ThirdPartyNotices.txt")]
        # Whatever the texts are written in, what is made of them is UTF-8.
        write(notices, "\n\n".join(text.decode("utf-8", "replace") for text in texts).encode())
        write(out, files.read(member))


if __name__ == "__main__":
    main()
