#!/usr/bin/env bash
# The whole deployment on this machine alone, with TLS and node authentication: ./loopback.sh FOLDER NODES [flwr run flags]
# Everything is written into FOLDER, and everything that was started is stopped at the end.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd) nodes=$2 port=${PORT:-29000}
shift 2
export FLWR_HOME="$folder/flwr" FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1 OMP_NUM_THREADS=1
cd "$folder"

[ -e keys/ca.crt ] || "$here/certificates.sh" keys 127.0.0.1 "$nodes"
mkdir -p "$FLWR_HOME"
printf '[superlink.loopback]\naddress = "127.0.0.1:%s"\nroot-certificates = "%s"\n' "$port" "$folder/keys/ca.crt" \
  > "$FLWR_HOME/config.toml"

pids=
trap 'for pid in $pids; do kill "$pid" 2>/dev/null || :; done; wait' EXIT
trap 'exit 130' INT TERM

"$here/superlink.sh" keys 127.0.0.1 "$port" > superlink.log 2>&1 &
pids=$!
number=0
while [ "$number" -lt "$nodes" ]; do
  tries=0
  until flwr supernode register "keys/node-$number.pub" loopback > "register-$number.log" 2>&1 || [ $tries -ge 30 ]; do
    grep -qi "already" "register-$number.log" && break
    tries=$((tries + 1))
    sleep 1
  done
  data=
  [ ! -e "client-$number.safetensors" ] || data="$folder/client-$number.safetensors"
  "$here/supernode.sh" keys "127.0.0.1:$port" "$number" "$((port + 1 + number))" "$data" > "node-$number.log" 2>&1 &
  pids="$pids $!"
  number=$((number + 1))
done
flwr run "$here/.." loopback --stream -c "folder=\"$folder/run\" clients=$nodes" "$@"
