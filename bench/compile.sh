#!/usr/bin/env bash
# What a file that uses Tether takes to compile, as a ratio of what its dependencies take in like use, all
# in the same run: processor time, the least of some rounds. With a budget, compiles only what that names,
# and fails where a ratio is over it by more than its slack.
#
#   bench/compile.sh [--rounds N] [--budget FILE]
#
# The environment: CXX (g++), CXXFLAGS (-O2), and INCLUDES, where the dependencies are not in the compiler's
# own path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rounds=3
budget=
while [ $# -gt 0 ]; do
    case $1 in
        --rounds) rounds=$2 ;;
        --budget) budget=$2 ;;
        *) echo "usage: bench/compile.sh [--rounds N] [--budget FILE]" && exit 2 ;;
    esac
    shift 2
done

compiler=${CXX:-g++}
read -ra flags <<<"-std=c++20 ${CXXFLAGS:--O2} -DASIO_STANDALONE -Iinclude ${INCLUDES:-}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# NAME SOURCE FLAG...
cases=(
    "dependencies bench/compile/dependencies.cpp"
    "json bench/compile/json.cpp"
    "unused bench/compile/unused.cpp"
    "hello examples/hello/hello.cpp"
    "two_protocols bench/compile/two_protocols.cpp"
    "worker bench/compile/worker.cpp"
    "unused_compiled bench/compile/unused.cpp -DTETHER_SEPARATE_COMPILATION"
    "hello_compiled examples/hello/hello.cpp -DTETHER_SEPARATE_COMPILATION"
    "two_protocols_compiled bench/compile/two_protocols.cpp -DTETHER_SEPARATE_COMPILATION"
    "worker_compiled bench/compile/worker.cpp -DTETHER_SEPARATE_COMPILATION"
    "src cmake/tether.cpp -DTETHER_SEPARATE_COMPILATION"
)

if [ -n "$budget" ]; then
    named=()
    for case in "${cases[@]}"; do
        grep -v '^#' "$budget" | grep -qw "${case%% *}" && named+=("$case")
    done
    cases=("${named[@]}")
fi

declare -A time size
TIMEFORMAT='%U %S'
for ((round = 0; round < rounds; ++round)); do
    for case in "${cases[@]}"; do
        read -ra words <<<"$case"
        name=${words[0]}
        taken=$({ time "$compiler" "${flags[@]}" "${words[@]:2}" -c "${words[1]}" -o "$work/$name.o"; } 2>&1)
        taken=$(awk '{ printf "%.2f", $1 + $2 }' <<<"$taken")
        time[$name]=$(awk -v old="${time[$name]:-999}" -v new="$taken" 'BEGIN { print (new < old) ? new : old }')
        size[$name]=$(($(stat -c %s "$work/$name.o") / 1024))
    done
done

# ratio OF BY [LESS]: (OF - LESS) / BY
ratio() {
    awk -v of="${time[$1]}" -v by="${time[$2]}" -v less="${time[${3:-none}]:-0}" \
        'BEGIN { printf "%.2f", (of - less) / by }'
}

printf '%-24s %9s %10s %8s\n' "file" "seconds" "object KiB" "ratio"
for case in "${cases[@]}"; do
    name=${case%% *}
    by=dependencies
    case $name in worker*) by=json ;; esac
    printf '%-24s %9s %10s %8s  of %s\n' "$name" "${time[$name]}" "${size[$name]}" "$(ratio "$name" $by)" $by
done
if [ -z "$budget" ]; then
    printf '%-24s %9s %10s %8s  of %s\n' "second protocol" "" "" "$(ratio two_protocols dependencies hello)" dependencies
    printf '%-24s %9s %10s %8s  of %s\n' "  compiled" "" "" \
        "$(ratio two_protocols_compiled dependencies hello_compiled)" dependencies
    exit 0
fi
failed=0
while read -r name by most slack; do
    case $name in '' | '#'*) continue ;; esac
    is=$(ratio "$name" "$by")
    if awk -v is="$is" -v most="$most" -v slack="$slack" 'BEGIN { exit !(is > most * (1 + slack / 100)) }'; then
        echo "$name takes $is of $by; the budget is $most, with $slack % of slack"
        failed=1
    fi
done <"$budget"
exit $failed
