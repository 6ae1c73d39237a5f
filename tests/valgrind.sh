#!/usr/bin/env bash
# Valgrind over a host that starts, calls and stops workers: no error, nothing lost, no descriptor left but the three
# that the background thread polls with. Valgrind 3.19 knows no pidfd, so this is the way of systems without one.
#
#   tests/valgrind.sh [BUILD_DIR]        default: build/portable
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

host=$(realpath "${1:-build/portable}/tests/process/hosts/host")
[ -x "$host" ] || { echo "$host is missing: build the target tether_hosts first"; exit 1; }
command -v valgrind >/dev/null || { echo "valgrind is missing"; exit 1; }
scene=$(mktemp -d)
trap 'rm -rf "$scene"' EXIT
export TETHER_TEST_EVENTS="$scene/events" TMPDIR="$scene"
failed=0

# check NAME EXIT_CODE COMMANDS [OPTION...]: the worker's program is given by path, since /proc/self/exe is Valgrind's here.
check() {
    local name=$1 expected=$2 commands=$3 result=0 log="$scene/$1.log" own sockets
    shift 3
    : >"$TETHER_TEST_EVENTS"
    # The others are of the shell that started this.
    printf "$commands" | timeout 120 valgrind --quiet --trace-children=no --leak-check=full \
        --errors-for-leak-kinds=definite,indirect,possible --track-fds=yes --error-exitcode=99 \
        --log-file="$log" "$host" program="$host" "$@" >/dev/null || result=$?
    own=$(awk '/Open (file descriptor|AF_|tcp|unix)/ { open++ } /<inherited from parent>/ { open-- }
               END { print open + 0 }' "$log")
    sockets=$(grep -c 'Open AF_' "$log" || true)
    if [ "$result" != "$expected" ] || [ "$own" -gt 3 ] || [ "$sockets" != 0 ]; then
        echo "FAILED $name: exit code $result instead of $expected, $own descriptors of its own, $sockets sockets"
        cat "$log" "$TETHER_TEST_EVENTS"
        failed=1
    else
        echo "ok $name: $own descriptors of its own"
    fi
}

for transport in unix_abstract unix_path tcp socket_pair; do
    check "stop-$transport" 7 'call echo x\nstop\nend return\n' transport=$transport
done
check never-called 7 'stop\nend return\n'
check destroyed 7 'call echo x\nend return\n'
check cycles 7 'call echo x\nstop\ncycles 5\nend return\n'
check killed 7 'call echo x\nkill\ncall echo y\nstop\nend exit\n'
check async 7 'async echo x\ncall echo y\nstop\nend return\n'
check no-such-program 7 'call echo x\nstop\nend return\n' program=/nonexistent
exit $failed
