#!/usr/bin/env bash
# Owns the release folder: the static binary, its digest, completions, manual pages, and the licence notes that a
# static glibc asks for. Usage: dist.sh   (after `make build`); writes dist/bootstead-VERSION/
set -euo pipefail
cd "$(dirname "$0")/../.."
binary=target/x86_64-unknown-linux-gnu/release/bootstead
version=$("$binary" --version | cut -d' ' -f2)
out=.work/dist/bootstead-$version
rm -rf "$out"
mkdir -p "$out/man" "$out/completions"
install -m 755 "$binary" "$out/bootstead"
if ldd "$out/bootstead" 2>&1 | grep -qv 'statically linked\|not a dynamic'; then
  echo "dist: the binary is not static: $(ldd "$out/bootstead" | head -n 1)" >&2
  exit 1
fi
"$binary" man "$out/man"
for shell in bash zsh fish; do "$binary" completions $shell >"$out/completions/bootstead.$shell"; done
cp README.md CHANGELOG.md LICENSE "$out/"
cp -r docs "$out/docs"
cat >"$out/NOTICE" <<EON
bootstead $version, Apache-2.0.
It is linked statically with the GNU C Library (LGPL 2.1). To relink it with another version of that library, take
the source of this release and run: make build
Crates and their licences: see Cargo.lock; \`cargo deny check licenses\` lists what is allowed.
EON
(cd "$out" && sha256sum bootstead >bootstead.sha256)
tar -C .work/dist -czf ".work/dist/bootstead-$version-x86_64-linux.tar.gz" "bootstead-$version"
ls -l "$out" ".work/dist/bootstead-$version-x86_64-linux.tar.gz"
