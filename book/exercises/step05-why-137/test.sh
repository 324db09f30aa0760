#!/bin/sh
# Does `run` say "out of memory" if that was it, and only then?

name=step05-why-137
fail() {
    echo "$name: $1"
    exit 1
}
run() { cargo run -q -p step05-cgroups -- run "$@" 2>&1; }

cargo build -q -p step05-cgroups || fail "it does not compile"
said=$(run --memory 64m tail /dev/zero)
code=$?
case $said in *"out of memory"*) ;; *) fail "it ends with $code and does not say why" ;; esac
[ $code = 137 ] || fail "the exit code is to stay 137, not $code"

said=$(run --memory 64m sh -c 'kill -9 $$')
case $said in *"out of memory"*) fail "it says out of memory of a process that was killed" ;; esac
said=$(run true)
case $said in *"out of memory"*) fail "it says out of memory of a process that ended" ;; esac
echo "$name: well done"
