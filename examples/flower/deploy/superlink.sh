#!/bin/sh
# The server: ./superlink.sh KEYS HOST PORT
# Its database keeps runs and registered nodes, so that it can be killed and started again.
set -eu
keys=$1 host=$2 port=$3
exec flower-superlink --host "$host" --port "$port" --database superlink.db \
  --ssl-ca-certfile "$keys/ca.crt" --ssl-certfile "$keys/server.pem" --ssl-keyfile "$keys/server.key" \
  --enable-supernode-auth --disable-runtime-dependency-installation
