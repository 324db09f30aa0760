#!/bin/sh
# What is left of cargo in the VM, where all is built: it starts the programs for the book's pages.
# (Not `check`, for all checks are a test of their own there.)
. /etc/settings
export ROOTFS="$workspace/rootfs"
case "$1 $2 $3 $4" in
"build "* | "workshop check "*) exit ;;
"run -q -p step0"*) shift 3 ;;
"workshop "*) ;;
*) echo "cargo $* is not for the VM" >&2 && exit 1 ;;
esac
program=$1
shift
[ "$1" != -- ] || shift
exec "$programs/$program" "$@"
