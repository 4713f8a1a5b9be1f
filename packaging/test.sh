#!/usr/bin/env bash
# Installs the packages into a clean Debian, follows docs/quickstart.md to the letter, logs in on both servers, has fail2ban
# ban a guesser, upgrades under load, removes and purges. `make test-packages` runs it.
#
#   packaging/test.sh SUITE DIRECTORY-WITH-DEBS WORKING-DIRECTORY
#
# Debian's archive, apt's settings and the certificates are those of this machine. The servers run in namespaces of their
# own without a network and end with them.
set -euo pipefail

suite=$1 debs=$2 work=$3
here=$(cd "$(dirname "$0")" && pwd)
begun=$SECONDS
say() { echo "packages: $*"; }
[ "$(id -u)" = 0 ] || { echo 'packages: only root can change into another Debian' >&2; exit 1; }

uris() {
    { cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null || true; } |
        sed -n -e 's/^URIs: *//p' -e 's/^deb \(\[.*\] \)\{0,1\}\([^ ]*\).*/\2/p' | sort -u
}
mirror=$(uris | { grep -v security || true; } | head -n 1)
security=$(uris | { grep security || true; } | head -n 1)
: "${mirror:=http://deb.debian.org/debian}"

# ---- A clean Debian with the servers, kept for the next time -----------------------------------------------

base=$work/$suite.base
if [ ! -e "$base/ready" ]; then
    rm -rf "$base"
    mkdir -p "$base"
    say "debootstrap $suite"
    debootstrap --variant=minbase "$suite" "$base" "$mirror" >"$work/$suite.debootstrap.log"
    # Not what removes files behind apt's back.
    grep -L -E 'Post-Invoke|packagekit|appstream' /etc/apt/apt.conf.d/* | xargs -I{} cp {} "$base/etc/apt/apt.conf.d/"
    echo 'APT::Get::Assume-Yes "true"; APT::Install-Recommends "false";' >"$base/etc/apt/apt.conf.d/zz-test"
    cp -L /etc/resolv.conf "$base/etc/resolv.conf"
    mkdir -p "$base/etc/ssl/certs"
    cp -L /etc/ssl/certs/ca-certificates.crt "$base/etc/ssl/certs/"
    {
        echo "deb $mirror $suite main"
        echo "deb $mirror $suite-updates main"
        [ -z "$security" ] || echo "deb $security $suite-security main"
    } >"$base/etc/apt/sources.list"
    printf '#!/bin/sh\nexit 101\n' >"$base/usr/sbin/policy-rc.d"
    chmod 755 "$base/usr/sbin/policy-rc.d"
    chroot "$base" apt-get -qq update
    DEBIAN_FRONTEND=noninteractive chroot "$base" apt-get -qq install \
        apache2 nginx curl oathtool procps python3 </dev/null >"$work/$suite.apt.log" 2>&1
    # Installed in the middle of the test, when there is no network.
    chroot "$base" apt-get -qq install --download-only fail2ban </dev/null >>"$work/$suite.apt.log" 2>&1
    touch "$base/ready"
fi

# ---- The packages, and a newer version of them -----------------------------------------------------------

root=$work/$suite
rm -rf "$root"
cp -a "$base" "$root"
mkdir -p "$root/test/now" "$root/test/newer"
for deb in "$debs"/*.deb; do
    case $deb in *-dbgsym_*) continue ;; esac
    cp "$deb" "$root/test/now/"
    again=$work/again
    rm -rf "$again"
    dpkg-deb -R "$deb" "$again"
    version=$(dpkg-deb -f "$deb" Version)
    sed -i -E "s/^(Version: .*)/\1+next/; s/\(= $version\)/(= $version+next)/g" "$again/DEBIAN/control"
    dpkg-deb --root-owner-group -b "$again" "$root/test/newer/" >/dev/null
done
rm -rf "$again"
cp "$here/test-inside.sh" "$here/../docs/quickstart.md" "$here/../docs/recipes/fail2ban.md" "$root/test/"

# ---- Inside ----------------------------------------------------------------------------------------------

say "in Debian $(cat "$root/etc/debian_version")"
# shellcheck disable=SC2016
timeout 600 unshare --net --pid --mount --fork --kill-child sh -c '
    ip link set lo up
    mount -t proc proc "$1/proc"
    mount --bind /dev "$1/dev"
    cd "$1/test/now" && exec chroot "$1" bash -c "cd /test/now && exec bash /test/test-inside.sh"
' sh "$root" </dev/null
[ -z "$(command -v zbarimg)" ] || [ "$(zbarimg --quiet --raw "$root/test/alice.png")" = "$(cat "$root/test/address")" ] ||
    { echo 'packages: the QR code is another address' >&2; exit 1; }
rm -rf "$root"
say "$suite passed after $((SECONDS - begun)) s"
