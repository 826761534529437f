#!/usr/bin/env bash
# Prints the toolscout configuration of the servers in .tools/ that are there.
#   upstreams.sh TOOLS FILES     TOOLS: the .tools folder; FILES: a folder that the servers may work in
set -euo pipefail
tools=$1 files=$2
node=$tools/bin/node
bin=$tools/servers/node_modules/.bin

# NAME COMMAND ARG… ; environment in $environment.
upstream() {
    local name=$1 command=$2 separator=""
    shift 2
    printf '[upstreams.%s]\ncommand = "%s"\nargs = [' "$name" "$command"
    for argument in "$@"; do
        printf '%s"%s"' "$separator" "$argument"
        separator=", "
    done
    printf ']\n'
    [ -z "${environment:-}" ] || printf 'env = { %s }\n' "$environment"
    printf '\n'
}

if [ -x "$node" ]; then
    upstream filesystem "$node" "$bin/mcp-server-filesystem" "$files"
    environment="MEMORY_FILE_PATH = \"$files/memory.jsonl\"" \
        upstream memory "$node" "$bin/mcp-server-memory"
    upstream everything "$node" "$bin/mcp-server-everything"
    upstream sequential-thinking "$node" "$bin/mcp-server-sequential-thinking"
    upstream playwright "$node" "$bin/playwright-mcp" --headless "--caps=vision,pdf,devtools,testing,tracing,network,storage,config"
    # Its tools are listed without a look at the server; the address and the token lead nowhere.
    environment='GITLAB_PERSONAL_ACCESS_TOKEN = "none", GITLAB_API_URL = "http://127.0.0.1:9/api/v4"' \
        upstream gitlab "$node" "$bin/mcp-gitlab"
fi
if [ -x "$tools/python/bin/mcp-server-git" ]; then
    upstream git "$tools/python/bin/mcp-server-git"
    upstream time "$tools/python/bin/mcp-server-time" --local-timezone UTC
    upstream fetch "$tools/python/bin/mcp-server-fetch"
fi
