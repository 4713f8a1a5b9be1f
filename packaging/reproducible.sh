#!/usr/bin/env bash
# Builds the packages in two folders with different names and compares all but the command's. `make reproducible` runs it.
#
#   packaging/reproducible.sh WORKING-DIRECTORY
set -euo pipefail

work=$1
here=$(cd "$(dirname "$0")/.." && pwd)
for place in one another/and-longer; do
    rm -rf "${work:?}/$place"
    mkdir -p "$work/$place"
    tar -C "$here" -c --exclude-vcs --exclude=./target --exclude=./build . | tar -x -C "$work/$place"
    env -u CARGO_TARGET_DIR -u MAKEFLAGS -u MAKELEVEL make --silent -C "$work/$place" deb >"$work/log" 2>&1 ||
        { tail "$work/log" >&2; exit 1; }
    rm -rf "$work/$place/build/deb/target"
done
status=0
for deb in "$work"/one/build/deb/*.deb; do
    # In another folder the compiler numbers some local symbols of the command otherwise, so it has another build ID.
    case ${deb##*/} in otpgate_* | otpgate-dbgsym_*) continue ;; esac
    if cmp "$deb" "$work/another/and-longer/build/deb/${deb##*/}"; then
        echo "reproducible: the same twice: ${deb##*/}"
    else
        status=1
    fi
done
exit $status
