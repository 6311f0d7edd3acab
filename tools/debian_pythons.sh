#!/usr/bin/env bash
# Unpacks CPython 3.14 and 3.15 of Debian's unstable suite into a folder, for tests on Pythons that
# this machine does not have. Needs apt and dpkg, a Debian archive, and no rights.
#
#     tools/debian_pythons.sh FOLDER
#
# They are started by the C library that they come with, so they run on an older Debian, too. It
# takes a minute. patchelf has to be on the path.
set -euo pipefail

folder=$(mkdir -p "$1" && cd "$1" && pwd)
versions="3.14 3.15"

mkdir -p "$folder"/apt/{lists/partial,cache/archives/partial,etc}
touch "$folder/apt/status"
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m 1 '/debian/*$' || true)
: "${mirror:?no Debian archive is set up for apt}"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keyring] $mirror unstable main" >"$folder/apt/etc/sources.list"
apt() {
  apt-get -qq \
    -o Dir::Etc::sourcelist="$folder/apt/etc/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::State::lists="$folder/apt/lists" \
    -o Dir::State::status="$folder/apt/status" -o Dir::Cache="$folder/apt/cache" \
    -o APT::Install-Recommends=false -o APT::Sandbox::User= -o Debug::NoLocking=true "$@"
}

apt update
packages=()
for version in $versions; do
  packages+=("python$version" "python$version-venv" "libpython$version-testsuite")
done
apt --yes --download-only install "${packages[@]}"
for package in "$folder"/apt/cache/archives/*.deb; do
  dpkg-deb --extract "$package" "$folder"
done
rm -rf "$folder/apt"

# The loader and the libraries that they are to use are written into the programs.
libraries=$(dirname "$(find "$folder/usr/lib" -name libc.so.6)")
loader=$(find "$libraries" -name 'ld-linux*.so.*')
for version in $versions; do
  python="$folder/usr/bin/python$version"
  patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$python"
  "$python" --version
done
