#!/usr/bin/env bash
# A client, started again whenever it ends: ./supernode.sh KEYS SERVER:PORT NUMBER OWN_PORT [DATA]
# A killed node counts as being there for another minute, and until then its successor is refused: hence the wait.
# Under systemd, instead: Restart=always, RestartSec=65, KillMode=control-group.
set -um
keys=$1 server=$2 number=$3 port=$4 data=${5:-}
config="partition-id=$number"
[ -z "$data" ] || config="$config data=\"$data\""

# With job control (set -m) a node and the processes that it starts are one group, and end together.
stop() { kill -TERM -- "-$job" 2>/dev/null && sleep 2; kill -KILL -- "-$job" 2>/dev/null; }
trap 'stop; exit 0' TERM INT
while :; do
  flower-supernode --superlink "$server" --root-certificates "$keys/ca.crt" \
    --auth-supernode-private-key "$keys/node-$number" --port "$port" --node-config "$config" &
  job=$!
  wait "$job"
  echo "node $number ended with code $?; it is started again in ${RESTART:-65} seconds" >&2
  stop
  sleep "${RESTART:-65}" &
  job=$!
  wait "$job"
done
