#!/usr/bin/env bash
# `make deny`: licences, bans and sources of all dependencies against deny.toml, with cargo-deny where it is installed.
# Building cargo-deny takes minutes, so without it a short script checks the same rules on what `cargo metadata` says.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if cargo deny --version >/dev/null 2>&1; then
    exec cargo deny --workspace check licenses bans sources
fi
echo "cargo-deny is not installed (cargo install --locked cargo-deny); checking what crates declare of themselves." >&2
exec python3 tests/setup/deny.py
