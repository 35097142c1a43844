# Owns what demo, boot tests and e2e share: a site in a work folder, Bootstead serving it inside the lab, evidence on
# failure. To be sourced from the repository's root, after which `scene NAME` begins.
#
#   scene NAME            work folder .work/NAME with tests/lab/NAME.site.toml as its site; images are kept between runs
#   bootstead ...         the program, for that site
#   scene_serve           the lab's network and the server on it;   scene_kill: kill -9 of it;   scene_server: again
#   scene_events NODE WHAT   how many facts of this kind (`answers-served`) the node's timeline has
#   scene_phase NODE      the node's phase (`installed` means: with both proofs);   scene_is NODE PHASE
#   scene_fail TEXT NODE...   says what went wrong, keeps each node's timeline beside its console and packets, exits 1

. tests/lab/lib.sh
binary=$PWD/target/x86_64-unknown-linux-gnu/release/bootstead

scene() {
  [ "$(id -u)" = 0 ] || { echo "$1: it makes a network namespace and machines: run it as root" >&2; exit 3; }
  [ -x "$binary" ] || { echo "$1: $binary is missing; run: make build" >&2; exit 3; }
  scene_name=$1
  work=$PWD/.work/$1
  LAB_DIR=$work/lab
  # A short path: a UNIX socket's name may have 107 bytes.
  images=${BOOTSTEAD_TEST_IMAGES:-$PWD/.work/images}
  mkdir -p "$work/site/.bootstead" "$LAB_DIR" "$images"
  find "$work/site/.bootstead" -mindepth 1 -maxdepth 1 -exec rm -rf {} +
  rm -f "$LAB_DIR"/*
  ln -s "$images" "$work/site/.bootstead/images"
  cp "tests/lab/$1.site.toml" "$work/site/site.toml"
  scene_tree=()
  [ ! -d "tests/lab/$1.tree" ] || scene_tree=(--tree "$PWD/tests/lab/$1.tree")
}

bootstead() { "$binary" --site "$work/site/site.toml" "${scene_tree[@]}" "$@"; }

scene_serve() {
  lab_up "bs-$scene_name" 10.77.0.1/24
  : >"$work/serve.log"
  scene_server
}

scene_server() {
  # What a killed server left behind is no sign of a new one.
  rm -f "$work/site/.bootstead/control.sock"
  in_lab "$binary" --site "$work/site/site.toml" "${scene_tree[@]}" serve >>"$work/serve.log" 2>&1 &
  server=$!
  wait_for 20 "the server answers" test -S "$work/site/.bootstead/control.sock" >/dev/null ||
    { cat "$work/serve.log" >&2; exit 1; }
}

scene_kill() {
  local pid
  # The program itself, not the shell that waits for it.
  for pid in $(ip netns pids "$LAB_NS"); do
    [ "$(readlink "/proc/$pid/exe")" != "$binary" ] || kill -9 "$pid"
  done
  wait "$server" 2>/dev/null || true
}

scene_stop() {
  kill -TERM "$server" 2>/dev/null
  wait "$server" || true
}

scene_query() {
  bootstead status --json | python3 -c "
import json, sys
for n in json.load(sys.stdin)['nodes']:
    if '$1' in (n['name'], n['mac']):
        $2"
}
scene_phase() { scene_query "$1" "print(n['phase'])"; }
scene_events() { bootstead events --node "$1" --json | grep -c "\"$2\"" || true; }
scene_is() { [ "$(scene_phase "$1")" = "$2" ]; }

scene_fail() {
  echo "not ok - $1"
  shift
  local node
  for node in "$@"; do
    bootstead events --node "$node" >"$LAB_DIR/$node.timeline" 2>&1
    echo "# timeline of $node (whole: $LAB_DIR/$node.timeline):"
    tail -n 25 "$LAB_DIR/$node.timeline" | sed 's/^/#   /'
  done
  echo "# consoles, packets and timelines: $LAB_DIR; the server's log: $work/serve.log"
  tail -n 5 "$work/serve.log" | sed 's/^/#   /'
  LAB_KEEP_DISKS=1
  exit 1
}
