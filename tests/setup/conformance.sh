#!/usr/bin/env bash
# The official MCP conformance suite against this gateway.
#
#   conformance.sh [A] [B] [C]     without arguments: all three legs
#
#   A  the gateway alone: what every server must do, in both eras
#   B  the suite's own requirement sets, through the gateway, from an upstream made for it
#   C  the suite's mock servers against our upstream client
#
# Known failures stand in tests/conformance/, each with its reason. An unlisted failure fails the run, and so does a
# listed one that passes. $TOOLSCOUT_BIN names the binary to test; without it the dev build is made and used.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD
legs=${*:-A B C}

tests/setup/setup.sh tools
node=$root/.tools/bin/node22
suite=$root/.tools/tools/node_modules/.bin/conformance

[ -n "${TOOLSCOUT_BIN:-}" ] || cargo build --workspace --bins --examples --quiet
target=${CARGO_TARGET_DIR:-$root/target}/debug
bin=${TOOLSCOUT_BIN:-$target/toolscout}

work=$(mktemp -d)
gateway=""
stop() {
    [ -z "$gateway" ] || { kill "$gateway" 2>/dev/null || true; wait "$gateway" 2>/dev/null || true; gateway=""; }
}
trap 'stop; rm -rf "$work"' EXIT

# Starts the gateway with configuration file $1 in a fresh data folder; sets $url.
start() {
    local note=$work/data/server.json
    stop
    rm -rf "$work/data"
    mkdir -p "$work/data" "$work/home"
    HOME=$work/home TOOLSCOUT_DATA=$work/data TOOLSCOUT_CONFIG=$1 TOOLSCOUT_SERVER_BIND=127.0.0.1:0 \
        "$bin" serve 2>"$work/gateway.log" &
    gateway=$!
    for _ in $(seq 600); do
        kill -0 "$gateway" 2>/dev/null || { cat "$work/gateway.log" >&2; echo "conformance: the gateway ended" >&2; exit 1; }
        address=$(sed -n "s/.*http:\/\/\(127\.0\.0\.1:[0-9]*\).*/\1/p" "$note" 2>/dev/null | head -n 1 || true)
        [ -z "$address" ] || break
        sleep 0.1
    done
    [ -n "$address" ] || { cat "$work/gateway.log" >&2; echo "conformance: no address after 60 s" >&2; exit 1; }
    url=http://$address/mcp
}

failed=""
# Runs the suite with the given arguments, which are also its name; keeps its report for a failure.
suite() {
    local began=$SECONDS log=$work/suite.log
    printf '   %-72s ' "$(echo "$*" | sed -E 's/ --(url|command|expected-failures) [^ ]+//g')"
    # The suite writes its results into the working directory.
    if (cd "$work" && "$node" "$suite" "$@" >"$log" 2>&1 </dev/null); then
        printf 'passed (%ds)\n' $((SECONDS - began))
    else
        printf 'FAILED\n'
        # The suite repeats a scenario's description with every check; what failed is enough here.
        grep -E '✗|FAILURE|Error:|[Uu]nexpected|[Ss]tale|no longer|^\[' "$log" | sort -u | head -n 60 || true
        failed="$failed\n   $*"
    fi
}

for leg in $legs; do
    case $leg in
    A)
        echo "leg A: the gateway alone"
        : >"$work/empty.toml"
        start "$work/empty.toml"
        for scenario in server-initialize ping tools-list dns-rebinding-protection server-sse-multiple-streams server-session-lifecycle; do
            suite server --url "$url" --spec-version 2025-11-25 --scenario $scenario
        done
        for scenario in tools-list dns-rebinding-protection server-sse-multiple-streams http-header-validation caching server-stateless; do
            suite server --url "$url" --spec-version 2026-07-28 --scenario $scenario \
                --expected-failures "$root/tests/conformance/bare-2026-07-28.yml"
        done
        ;;
    B)
        echo "leg B: through the gateway"
        cat >"$work/proxy.toml" <<CONFIG
[search]
expose = "transparent"
[upstreams.fixture]
command = "$target/examples/conformance_upstream"
CONFIG
        start "$work/proxy.toml"
        for revision in 2025-11-25 2026-07-28; do
            suite server --url "$url" --requirements $revision \
                --expected-failures "$root/tests/conformance/proxy-$revision.yml"
        done
        ;;
    C)
        echo "leg C: our upstream client"
        for revision in 2025-11-25 2026-07-28; do
            suite client --command "$target/examples/conformance_client" --requirements $revision \
                --expected-failures "$root/tests/conformance/client-$revision.yml"
        done
        ;;
    *) echo "conformance: no leg $leg" >&2; exit 2 ;;
    esac
done
stop
[ -z "$failed" ] || { printf 'conformance: FAILED\n%b\n' "$failed"; exit 1; }
echo "conformance: legs $legs passed, in $SECONDS s"
