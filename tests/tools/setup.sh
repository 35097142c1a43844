#!/usr/bin/env bash
# Owns what has to be installed before a make target can run: Debian packages by group, and the Rust toolchain.
# Usage: setup.sh GROUP...   groups: build lab cluster clients validators fuzz bench
set -euo pipefail

packages() {
  case $1 in
    build) echo gcc libc6-dev make curl ca-certificates git ;;
    lab) echo qemu-system-x86 qemu-utils ovmf seabios ipxe-qemu iproute2 iputils-arping mmdebstrap e2fsprogs fdisk mtools dosfstools \
      grub-pc-bin grub-efi-amd64-bin grub-common zstd xz-utils cpio gpgv kmod util-linux debian-archive-keyring tcpdump procps \
      python3-minimal ;;
    cluster) echo systemd-container mmdebstrap apt-utils debian-archive-keyring iproute2 iputils-ping util-linux procps \
      python3 rsync keepalived haproxy busybox cpio ;;
    clients) echo iproute2 udhcpc busybox isc-dhcp-client isc-dhcp-relay dnsmasq-base kea-admin atftp curl nftables \
      xorriso tcpdump procps python3-minimal ;;
    validators) echo python3 python3-venv python3-jsonschema ignition debconf shellcheck xorriso systemd haproxy keepalived \
      mariadb-server-core apache2-bin libapache2-mod-wsgi-py3 ;;
    fuzz) echo g++ ;;
    bench) echo iproute2 dnsmasq-base kea-dhcp4-server kea-admin tftpd-hpa nginx-light wrk tcpdump procps ansible-core ;;
    *) echo "setup.sh: unknown group $1" >&2; exit 2 ;;
  esac
}

want=()
for group in "$@"; do
  read -r -a some <<<"$(packages "$group" | tr '\n' ' ')"
  want+=("${some[@]}")
done

missing() {
  local p
  for p in "${want[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null | cut -c1-2)" = ii ] || echo "$p"
  done
}
# Twice: apt takes a package of backports away if it does not fit what is installed (qemu-utils beside the release's
# qemu-system-x86), and then its own release's can be had.
for round in 1 2 3; do
  mapfile -t missing < <(missing)
  [ ${#missing[@]} -gt 0 ] || break
  if [ $round = 3 ]; then
    echo "setup: apt-get installed all, and yet these are missing: ${missing[*]}; do they fit what else is installed?" >&2
    exit 3
  fi
  if [ "$(id -u)" != 0 ]; then
    echo "setup: these packages are missing, and only root can install them:" >&2
    echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 3
  fi
  echo "setup: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # Services must not start on the machine that builds: they would answer on its network.
  policy=/usr/sbin/policy-rc.d
  made_policy=
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    made_policy=1
  fi
  status=0
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; } || status=$?
  [ -z "$made_policy" ] || rm -f $policy
  [ $status = 0 ] || { echo "setup: apt-get failed; is the package mirror reachable?" >&2; exit 3; }
done

case " $* " in
  *" build "*)
    if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
      echo "setup: cargo is in $HOME/.cargo/bin"
    elif ! command -v cargo >/dev/null; then
      version=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$(dirname "$0")/../../rust-toolchain.toml")
      echo "setup: no Rust toolchain found; getting Rust $version with rustup"
      init=$(mktemp)
      curl -fsSL --retry 3 -o "$init" \
        https://static.rust-lang.org/rustup/archive/1.28.2/x86_64-unknown-linux-gnu/rustup-init
      echo "20a06e644b0d9bd2fbdbfd52d42540bdde820ea7df86e92e533c073da0cdd43c  $init" | sha256sum --check --quiet
      chmod 755 "$init"
      "$init" -y -q --profile minimal --default-toolchain "$version" -c clippy -c rustfmt --no-modify-path
      rm -f "$init"
    fi
    ;;
esac
