#!/usr/bin/env bash
# `make demo`: the main job on real MCP servers, on this machine, in a fresh data folder.
# $TOOLSCOUT_BIN names a binary to use instead of building one; $TOOLSCOUT_DEMO the folder to work in.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD
demo=${TOOLSCOUT_DEMO:-$root/.tools/demo}

# Pleasant to read on a terminal, plain in a file.
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold="" plain=""; fi
step() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

bin=${TOOLSCOUT_BIN:-}
if [ -z "$bin" ]; then
    echo "Building the release binary (the first time takes some minutes) …" >&2
    cargo build --release --quiet -p toolscout --bin toolscout
    bin=${CARGO_TARGET_DIR:-$root/target}/release/toolscout
fi
echo "Setting up real MCP servers in .tools/ (pinned and checksummed) …" >&2
tests/setup/setup.sh servers || echo "Going on with what there is." >&2

rm -rf "$demo"
mkdir -p "$demo/files"
printf 'The launch code for the coffee machine is 0042.\n' >"$demo/files/notes.txt"
tests/setup/upstreams.sh "$root/.tools" "$demo/files" >"$demo/toolscout.toml"
export TOOLSCOUT_CONFIG=$demo/toolscout.toml TOOLSCOUT_DATA=$demo/data
if ! grep -q '^\[upstreams\.' "$demo/toolscout.toml"; then
    echo "Neither npm nor python3 could set up a server, so there is nothing to crawl. See the lines above." >&2
    exit 1
fi

step "1. Crawl: start every server, list its tools, index them"
# The table repeats what the progress lines say; its last line does not.
"$bin" crawl | tail -n 1

# The best tool, what was searched, and how the two best candidates came to their places; cut to the width of a page.
brief() {
    LC_ALL=C.UTF-8 sed -E -e '/^ *$/d' -e '/^─+$/d' -e '/^(tools|sure) /d' -e '/^and [0-9]+ more$/d' \
        -e '/^ *[3-9] +[a-z0-9-]+:/d' -e 's/^(.{117}).+$/\1…/'
}
step "2. Search: a task in words, the tool that fits best, and why"
for task in "read what is in a text file" "who changed what in this repository lately" "how late is it in Tokyo"; do
    printf '$ toolscout search "%s" --explain\n' "$task"
    "$bin" search "$task" --limit 1 --explain | brief
done

step "3. Call: through toolscout, on the server that owns the tool"
if grep -q '^\[upstreams\.filesystem\]' "$demo/toolscout.toml"; then
    set -- filesystem:read_text_file --arg "path=$demo/files/notes.txt"
else
    set -- time:get_current_time --arg timezone=Asia/Tokyo
fi
echo "\$ toolscout tools call $*"
"$bin" tools call "$@"

step "Next: give these tools to your agent"
cat <<NEXT
  claude mcp add toolscout -- $bin --config $demo/toolscout.toml --data $demo/data serve --stdio
Or add servers of your own:  toolscout upstreams add NAME -- npx -y PACKAGE   (README.md, "Connect your client")
NEXT
