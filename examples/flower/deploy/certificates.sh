#!/bin/sh
# Make what encrypts the traffic and lets machines know each other: ./certificates.sh FOLDER ADDRESS NODES
#   FOLDER/ca.crt              for every machine: the authority that signed the server's certificate
#   FOLDER/server.{pem,key}    for the server alone; ADDRESS is the IP address or name by which the nodes reach it
#   FOLDER/node-N, node-N.pub  a key pair for each node; the private one stays with its node
set -eu
folder=$1 address=$2 nodes=$3
mkdir -p "$folder" && cd "$folder"
umask 077
case $address in *[!0-9.]*) name=DNS:$address ;; *) name=IP:$address ;; esac

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
  -keyout ca.key -out ca.crt -subj "/CN=fedma authority" \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
  -keyout server.key -out server.csr -subj "/CN=$address" 2>/dev/null
printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$name" > server.ext
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 \
  -extfile server.ext -out server.pem 2>/dev/null
rm server.csr server.ext

number=0
while [ "$number" -lt "$nodes" ]; do
  ssh-keygen -q -t ecdsa -b 384 -N "" -C "node $number" -f "node-$number"
  number=$((number + 1))
done
