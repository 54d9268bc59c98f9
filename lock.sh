#!/bin/sh
# Write constraints.txt, the versions of all that Taifish and its tests need, and locked/*.txt, the same with the
# hashes of their files, for each use. Versions in constraints.txt stay: --upgrade takes the newest of all,
# --upgrade-package NAME of one.
set -eu
cd "$(dirname "$0")"
compile() { .venv/tools/bin/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate "$@" locked/build.in; }
compile "$@" --all-extras pyproject.toml requirements-dev.txt --output-file constraints.txt
hashed() { output=locked/$1.txt; shift; compile --generate-hashes --constraint constraints.txt "$@" --output-file "$output"; }
hashed run pyproject.toml
hashed test pyproject.toml requirements-dev.txt
for extra in mysqlclient vault aws azure; do hashed "$extra" --extra "$extra" pyproject.toml; done
