#!/bin/sh
# Is the exercise step02-join solved? Run from the top folder of the repository.
name=step02-join
wrong() { echo "$name: $1"; exit 1; }
run() { cargo run -q -p step02-uts -- run "$@"; }
cargo build -q -p step02-uts || wrong "it does not build"

# The first container says its pid, and lives as long as its standard input is open: until we end.
said=$(mktemp) && hold=$(mktemp -u) && mkfifo "$hold" || wrong "no place for two files"
trap 'exec 3>&-; rm -f "$said" "$hold"' EXIT
run --hostname first sh -c 'echo $$; hostname; cat >/dev/null; hostname' <"$hold" >"$said" 2>/dev/null &
first=$!
exec 3>"$hold"
for _ in 1 2 3 4 5 6 7 8 9 10; do
    sleep 1
    [ "$(wc -l <"$said")" -lt 2 ] || break
done
uts=/proc/$(head -n 1 "$said")/ns/uts

second=$(run --uts "$uts" hostname 2>&1 3>&-) ||
    wrong "run --uts $uts ends with $?: $(echo "$second" | head -n 1)"
[ "$(echo "$second" | tail -n 1)" = first ] || wrong "the second container is not called first"
run --uts "$uts" hostname both 2>/dev/null 3>&-
exec 3>&-
wait "$first"
[ "$(tail -n 1 "$said")" = both ] || wrong "the second container renames itself, but not the first"
run --uts /proc/self/no-such-file true 2>/dev/null
[ $? -eq 125 ] || wrong "where there is no such file, end with 125"
[ "$(run --hostname third hostname 2>/dev/null)" = third ] || wrong "without --uts it is broken"
echo "$name: well done"
