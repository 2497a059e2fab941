#!/usr/bin/env bash
# Makes a report on kina's provider `apple`, which has never run on a Mac. To be run once by the owner of one.
#
#   docs/apple-report.sh [DIRECTORY]
#
# Writes DIRECTORY (kina-apple-report-<date> if not given) and DIRECTORY.tar.gz beside it:
#
#   answers.tsv       facts that only a Mac can tell: question, answer, consequence. Minutes after kina was built, before all
#                     other results
#   summary.tsv       each step: its name, exit code, seconds
#   probe.json        cargo kina apple-probe, which gave the answers
#   system.txt        macOS, processor, memory, kind of session, limit of open files
#   versions.txt      of `container` and its service, Rust, kina
#   doctor.json       cargo kina doctor
#   contract.json     cargo lab contract, the requirements of every provider
#   lifecycle.json    cargo lab bench lifecycle
#   acquire.json      cargo kina bench acquire
#   status.json       an engine with one cluster
#   *.stderr          their messages
#   logs/             of the engine, of clusters, and of the service
#
# If you have only ten minutes, end it with Ctrl-C once it says that the answers are there, and send answers.tsv.
#
# Names of the user and the machine, home directories, addresses and certificates are removed. Nothing is sent anywhere.
#
# Its own files are in one directory below the home directory, which it removes at the end. Binaries that had to be
# downloaded or built go into kina's usual cache, where tests need them anyway. Images that it loaded are removed, and
# containers that are not its own are never touched.
#
# KINA_REPORT_PROGRAM names a kina-lab that is already built; otherwise one is built. Needs only macOS (bash 3.2),
# Rust and `container`.

set -u
set -o pipefail
# Background jobs get a process group of their own, so that a step that takes too long can be ended with its children.
set -m

readonly build_seconds_max=3600
readonly look_seconds_max=60
readonly doctor_seconds_max=300
# The first start of the service downloads a kernel.
readonly probe_seconds_max=1800
# Binaries are downloaded, or built with Go if no download is possible.
readonly image_seconds_max=2400
readonly contract_seconds_max=1800
readonly bench_seconds_max=1200
readonly warm_seconds_max=600
readonly stop_seconds_max=180
# Time for a step to clean up after it is asked to end.
readonly end_seconds_max=120
readonly log_lines_max=3000
readonly log_files_max=60

container_program=${KINA_CONTAINER_CLI:-container}
report=
work=
program=${KINA_REPORT_PROGRAM:-}
running_step=

say() {
    printf 'apple-report: %s\n' "$*" >&2
}

fail() {
    say "$*"
    exit 2
}

# bounded SECONDS COMMAND...: runs a command with a time limit; 124 if it took longer.
bounded() {
    local seconds_max=$1 waited=0 code=0
    shift
    "$@" </dev/null &
    running_step=$!
    while kill -0 "$running_step" 2>/dev/null; do
        if [ "$waited" -ge "$seconds_max" ]; then
            end_running_step
            return 124
        fi
        sleep 1
        waited=$((waited + 1))
    done
    wait "$running_step" || code=$?
    running_step=
    return "$code"
}

# Asks the running step and its children to end, and kills them if they do not.
end_running_step() {
    local process=$running_step waited=0
    running_step=
    [ -n "$process" ] || return 0
    # Within a pipe there may be no process group.
    kill -TERM -- "-$process" 2>/dev/null || kill -TERM "$process" 2>/dev/null
    while kill -0 "$process" 2>/dev/null && [ "$waited" -lt "$end_seconds_max" ]; do
        sleep 1
        waited=$((waited + 1))
    done
    kill -KILL -- "-$process" 2>/dev/null || kill -KILL "$process" 2>/dev/null
    wait "$process" 2>/dev/null
    return 0
}

# step NAME SECONDS OUTPUT COMMAND...: runs a command, and keeps its output, exit code and duration. Never fails.
step() {
    local name=$1 seconds_max=$2 output=$3 start code=0
    shift 3
    say "$name (at most $((seconds_max / 60)) min)"
    start=$SECONDS
    bounded "$seconds_max" "$@" >"$work/output/$output" 2>"$work/output/$name.stderr" || code=$?
    [ -s "$work/output/$name.stderr" ] || rm -f "$work/output/$name.stderr"
    printf '%s\t%s\t%s\n' "$name" "$code" "$((SECONDS - start))" >>"$work/output/summary.tsv"
    if [ "$code" -eq 124 ]; then
        say "$name took too long and was ended"
    elif [ "$code" -ne 0 ]; then
        say "$name ended with exit code $code: the report will help"
    fi
    return 0
}

# Collects output of commands in one file, also of those that fail.
collect() {
    local output=$1 line
    shift
    for line in "$@"; do
        printf '$ %s\n' "$line"
        bounded "$look_seconds_max" sh -c "$line" 2>&1 || printf '(exit code %s)\n' "$?"
        printf '\n'
    done >"$work/output/$output"
}

image_names() {
    bounded "$look_seconds_max" "$container_program" image list -q 2>/dev/null | grep '^kina\.local/cluster:' | sort
}

container_names() {
    bounded "$look_seconds_max" "$container_program" list -a -q 2>/dev/null | grep '^kina-' | sort
}

# Escapes a name for a pattern of sed.
quoted() {
    printf '%s' "$1" | sed 's/[][\.*^$/|+?(){}]/\\&/g'
}

# Writes the sed program that removes private data, which therefore never is an argument of a command.
write_redactions() {
    local name
    {
        # On one line, as in JSON, or on several.
        printf '%s\n' 's/-----BEGIN[^-]*-----[^-]*-----END[^-]*-----/CERTIFICATE-OR-KEY/g'
        printf '%s\n' '/-----BEGIN/,/-----END/s/.*/CERTIFICATE-OR-KEY/'
        # Private directories of this run and of the user.
        printf 's|%s|WORK|g\n' "$(quoted "$work")"
        printf 's|%s|HOME|g\n' "$(quoted "$HOME")"
        printf '%s\n' 's|/var/folders/[^ "]*/T|TMPDIR|g'
        printf '%s\n' 's#/(Users|home)/[^/ "]*#/\1/USER#g'
        for name in "$(id -un)" "$(id -F 2>/dev/null)" "$(hostname 2>/dev/null)" "$(hostname -s 2>/dev/null)" \
            "$(scutil --get ComputerName 2>/dev/null)" "$(scutil --get LocalHostName 2>/dev/null)"; do
            # Short names would tear words apart, and common ones reveal nothing.
            case $name in
            '' | ? | ?? | root | runner | admin | localhost) continue ;;
            esac
            # Twice, because adjacent names share the character between them.
            printf 's/(^|[^A-Za-z0-9])%s($|[^A-Za-z0-9])/\\1NAME\\2/g\n' "$(quoted "$name")"
            printf 's/(^|[^A-Za-z0-9])%s($|[^A-Za-z0-9])/\\1NAME\\2/g\n' "$(quoted "$name")"
        done
        # Addresses, except for those that reveal nothing.
        printf '%s\n' 's/127\.0\.0\.1/@LOOPBACK@/g' 's/0\.0\.0\.0/@ANY@/g'
        printf '%s\n' 's/([0-9]{1,3}\.){3}[0-9]{1,3}/ADDRESS/g'
        printf '%s\n' 's/([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}/ADDRESS/g'
        printf '%s\n' 's/([0-9a-fA-F]{1,4}:){2,7}(:[0-9a-fA-F]{1,4}){1,6}|([0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|f[cde][0-9a-f]{2}:[0-9a-f:]+/ADDRESS/g'
        printf '%s\n' 's/@LOOPBACK@/127.0.0.1/g' 's/@ANY@/0.0.0.0/g'
        # Long texts, which may be certificates, keys or tokens.
        printf '%s\n' 's#[A-Za-z0-9+/_=-]{120,}#LONG-TEXT#g'
    } >"$work/redactions.sed"
}

# redact FILE TARGET: copies a file without private data.
redact() {
    LC_ALL=C sed -E -f "$work/redactions.sed" "$1" >"$2"
}

redact_into_report() {
    local file
    (cd "$work/output" && find . -type f) | while IFS= read -r file; do
        mkdir -p "$report/$(dirname "$file")"
        redact "$work/output/$file" "$report/$file" || return 1
    done
}

# Asks what only a Mac can tell, before anything that takes longer, so that the answers exist even if nothing else will.
ask_first() {
    : >"$work/answers.tsv"
    step probe "$probe_seconds_max" probe.json "$program" apple-probe --format json --answers "$work/answers.tsv"
    publish_answers || fail "the answers could not be written to $report"
    say "the answers are in $report/answers.tsv; all that follows takes longer"
}

# Whole, or not at all: they may be waited for.
publish_answers() {
    redact "$work/answers.tsv" "$report/answers.tsv.partial" && mv "$report/answers.tsv.partial" "$report/answers.tsv"
}

collect_logs() {
    local file name
    mkdir -p "$work/output/logs"
    find "$work/cache/logs" -type f -name '*.log' 2>/dev/null | sort | tail -n "$log_files_max" | while IFS= read -r file; do
        name=$(printf '%s' "${file#"$work/cache/logs/"}" | tr '/' '_')
        tail -n "$log_lines_max" "$file" >"$work/output/logs/$name"
    done
    if [ "$(uname -s)" = Darwin ]; then
        bounded "$look_seconds_max" "$container_program" system logs --last 30m 2>&1 | tail -n "$log_lines_max" \
            >"$work/output/logs/container-service.log"
    fi
}

remove_own_images() {
    local name
    image_names >"$work/images.after"
    comm -13 "$work/images.before" "$work/images.after" | while IFS= read -r name; do
        bounded "$look_seconds_max" "$container_program" image delete "$name" >/dev/null 2>&1 ||
            say "the image $name could not be removed: $container_program image delete $name"
    done
}

tell_leftovers() {
    container_names >"$work/containers.after"
    comm -13 "$work/containers.before" "$work/containers.after" >"$work/output/left-behind.txt"
    if [ -s "$work/output/left-behind.txt" ]; then
        # They may belong to an engine that was started meanwhile, so this script does not delete them.
        say "containers that were not there before: $(tr '\n' ' ' <"$work/output/left-behind.txt")"
        say "unless you run kina at the same time, this is a bug in kina; remove them with: $container_program delete --force"
    fi
}

# Ends everything that still runs, and leaves nothing but the report, in any case.
# shellcheck disable=SC2317 # A trap calls it.
finish() {
    local code=$?
    trap - EXIT INT TERM
    end_running_step
    if [ -n "$work" ] && [ -d "$work" ]; then
        # Those that an interrupted probe has found.
        [ ! -s "$work/answers.tsv" ] || [ -e "$report/answers.tsv" ] || publish_answers
        if [ -n "$program" ] && [ -x "$program" ]; then
            bounded "$stop_seconds_max" "$program" stop >/dev/null 2>&1
        fi
        rm -rf "$work"
    fi
    exit "$code"
}

check_prerequisites() {
    command -v "$container_program" >/dev/null 2>&1 ||
        fail "there is no program \`$container_program\`: install Apple's container, see docs/apple.md"
    if [ "$(uname -s)" != Darwin ]; then
        # Without a Mac, this script is only of use to test itself.
        bounded "$look_seconds_max" "$container_program" --version 2>/dev/null | grep -qi emulator ||
            fail "this is not a Mac, and \`$container_program\` is not an emulator: there is nothing to report"
        say "this is not a Mac: the report will be about an emulator, and marked as such"
    fi
}

provide_program() {
    if [ -n "$program" ]; then
        [ -x "$program" ] || fail "KINA_REPORT_PROGRAM names $program, which is not a program"
        return
    fi
    command -v cargo >/dev/null 2>&1 || fail "there is no cargo: install Rust with rustup"
    local repository
    repository=$(cd "$(dirname "$0")/.." && pwd) || fail "the repository cannot be found"
    step build "$build_seconds_max" build.txt \
        cargo build --release --manifest-path "$repository/Cargo.toml" -p kina-lab
    program=${CARGO_TARGET_DIR:-$repository/target}/release/kina-lab
    [ -x "$program" ] || { cat "$work/output/build.stderr" >&2; fail "kina could not be built"; }
}

# Makes separate directories, so that no engine of the user's is used and none of their tests appears in a log.
prepare_directories() {
    local user_cache=${KINA_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/kina}
    work=$(mktemp -d "$HOME/.kina-report.XXXXXX") || fail "no directory can be made in $HOME"
    mkdir -p "$work/output" "$work/cache" "$user_cache/assets" || fail "directories cannot be made"
    mkdir -m 700 "$work/run" || fail "directories cannot be made"
    # Binaries take minutes to download or build.
    ln -s "$user_cache/assets" "$work/cache/assets"
    export KINA_CACHE_DIR=$work/cache KINA_RUNTIME_DIR=$work/run KINA_PROVIDER=apple
    printf 'step\texit_code\tseconds\n' >"$work/output/summary.tsv"
}

main() {
    [ $# -le 1 ] || fail "usage: docs/apple-report.sh [DIRECTORY]"
    case ${1:-} in
    -*) fail "usage: docs/apple-report.sh [DIRECTORY]" ;;
    esac
    local given=${1:-kina-apple-report-$(date +%Y%m%d-%H%M%S)}
    [ ! -e "$given" ] || fail "$given exists: name another directory"
    check_prerequisites
    prepare_directories
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    mkdir -p "$given" || fail "$given cannot be made"
    report=$(cd "$given" && pwd)
    write_redactions
    provide_program
    ask_first

    collect system.txt 'sw_vers' 'uname -s -r -m' 'sysctl -n machdep.cpu.brand_string hw.ncpu hw.memsize kern.hv_vmm_present' \
        'launchctl managername' 'launchctl limit maxfiles' 'ulimit -n' 'df -h /'
    image_names >"$work/images.before"
    container_names >"$work/containers.before"

    step doctor "$doctor_seconds_max" doctor.json "$program" doctor --provider apple --format json
    collect versions.txt "'$container_program' --version" "'$container_program' system version --format json" \
        "'$container_program' system status --format json" "'$container_program' system df --format json" \
        'rustc -vV' "'$program' --version"
    step image "$image_seconds_max" image.json "$program" image build --format json
    step contract "$contract_seconds_max" contract.json "$program" contract --provider apple --format json
    step lifecycle "$bench_seconds_max" lifecycle.json "$program" bench lifecycle --provider apple --format json
    step acquire "$bench_seconds_max" acquire.json "$program" bench acquire --provider apple --format json
    # The steps above have engines of their own; this one leaves its logs where they can be collected.
    step warm "$warm_seconds_max" warm.txt "$program" warm 1 --provider apple
    step status "$look_seconds_max" status.json "$program" status --provider apple --format json
    step stop "$stop_seconds_max" stop.txt "$program" stop
    step doctor-after "$doctor_seconds_max" doctor-after.json "$program" doctor --provider apple --format json

    collect_logs
    tell_leftovers
    remove_own_images
    redact_into_report || fail "the report could not be written to $report"
    (cd "$(dirname "$report")" && tar -czf "$(basename "$report").tar.gz" "$(basename "$report")") ||
        fail "the archive could not be made; the report itself is in $report"
    cat "$report/summary.tsv"
    say "the report is in $report"
    say "read it, and if you agree with what is in it, send $report.tar.gz"
    # Here, so that the shell reads no more of the script, which may have been edited meanwhile.
    exit 0
}

main "$@"
