#!/usr/bin/env bash
# Runs kubectl, the Python example and the Go example on kina's clusters, as far as their tools are installed, and
# reports those it skips. Each is also interrupted midway, after which nothing may be left.
#
#   examples/run-languages.sh [PROGRAM]    PROGRAM is cargo-kina, by default the one on PATH
#
# KUBECTL, PYTHON and GO name other programs than those on PATH.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
program=$(command -v "${1:-cargo-kina}" || true)
[[ -n $program ]] || { echo "there is no program ${1:-cargo-kina}: give its path" >&2; exit 2; }
program=$(realpath "$program")
failures=0

main() {
    local kubectl=${KUBECTL:-kubectl} python=${PYTHON:-python3} go=${GO:-go}
    if command -v "$kubectl" >/dev/null; then
        try kubectl . "$kubectl" get namespaces
        try_interrupted kubectl . "$kubectl" get namespaces --watch
    else
        skip kubectl "there is no $kubectl"
    fi
    if "$python" -c 'import kubernetes' 2>/dev/null; then
        try python python "$python" -B -m unittest test_shop
        try_interrupted python python "$python" -B -c "$python_that_watches"
    else
        skip python "there is no $python with the package kubernetes"
    fi
    if command -v "$go" >/dev/null && (cd go-controller && "$go" vet ./... >/dev/null 2>&1); then
        try go go-controller "$go" test -count=1 ./...
        try_interrupted go go-controller "$go" test -count=1 ./...
    else
        skip go "there is no $go that builds the example"
    fi
    exit "$((failures != 0))"
}

readonly python_that_watches='
from kubernetes import client, config, watch
config.load_kube_config()
for _ in watch.Watch().stream(client.CoreV1Api().list_namespace): pass'

# Arguments: a name, a directory, the command.
try() {
    local name=$1 directory=$2
    shift 2
    if (cd "$directory" && "$program" kina run -- "$@"); then
        echo "ok       $name"
    else
        echo "FAILED   $name"
        failures=$((failures + 1))
    fi
}

# The same, with Ctrl-C after a moment, sent to all processes of the job as a terminal does.
try_interrupted() {
    local name=$1 directory=$2 job mark=$$-$1
    shift 2
    if is_interrupt_ignored; then
        skip "$name interrupted" "Ctrl-C is ignored in this environment"
        return
    fi
    set -m
    (cd "$directory" && MARK_OF_THIS_RUN=$mark exec "$program" kina run -- "$@") </dev/null >/dev/null 2>&1 &
    job=$!
    set +m
    sleep 2
    kill -INT -- "-$job" 2>/dev/null || true
    wait "$job" || true
    # All its child processes have this in their environment.
    if grep -lsz "^MARK_OF_THIS_RUN=$mark\$" /proc/[0-9]*/environ || has_holder; then
        echo "FAILED   $name interrupted: something is left"
        failures=$((failures + 1))
    else
        echo "ok       $name interrupted, and nothing is left"
    fi
}

# A script's background jobs ignore Ctrl-C, and no child process can change that.
is_interrupt_ignored() {
    local mask
    mask=$(sed -n 's/^SigIgn:[[:space:]]*//p' /proc/self/status 2>/dev/null || true)
    ((0x${mask:-0} & 2))
}

# The engine learns of the end with a short delay.
has_holder() {
    local attempt
    for attempt in {1..20}; do
        "$program" kina status --format json | grep -q '"holder"' || return 1
        sleep 0.1
    done
}

skip() {
    echo "skipped  $1: $2"
}

main
