#!/usr/bin/env bash
# `make test`: format check, clippy, then all tests, in one target folder. `test.sh check` stops before the tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
began=$SECONDS

step() { printf '\n== %s (at %ds)\n' "$1" $((SECONDS - began)); }

step "format"
cargo fmt --all --check
step "clippy"
cargo clippy --workspace --all-targets --quiet -- -D warnings
[ "${1:-}" != check ] || { echo "clean, in $((SECONDS - began)) s"; exit 0; }

step "third-party servers and tools"
# What is missing here fails the test that needs it, with how to fix it: nothing is skipped in silence.
tests/setup/setup.sh all || true

step "build"
cargo test --workspace --no-run --quiet
step "tests"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --workspace --no-fail-fast 2>&1 | tee "$log" || status=$?

# cargo prints one `test result:` line per binary; a reader wants their sum, and the names of what failed.
awk -v seconds=$((SECONDS - began)) -v status=$status '
    /^test result:/ { passed += $4; failed += $6; ignored += $8 }
    /^test .* \.\.\. FAILED$/ { names = names "\n  " $2 }
    END {
        if (names != "") print "\nfailed:" names
        printf "\n%s: %d passed, %d failed, %d ignored, in %d s\n", (status == 0 ? "all good" : "NOT good"), passed, failed, ignored, seconds
    }' "$log"
exit $status
