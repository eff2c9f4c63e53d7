#!/bin/sh
# Makes the certificates of the TLS tests anew: a root, a server certificate signed by it, and one that signed itself.
# They are valid for 100 years, for localhost and 127.0.0.1, and protect nothing.
set -eu
cd "$(dirname "$0")"
key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }
names='subjectAltName=DNS:localhost,IP:127.0.0.1'
key root.key.pem
openssl req -x509 -new -key root.key.pem -days 36500 -subj '/CN=Larder test root' -out root.pem \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
key signed.key.pem
openssl req -new -key signed.key.pem -subj /CN=localhost -out signed.csr
openssl x509 -req -in signed.csr -CA root.pem -CAkey root.key.pem -days 36500 -out signed.pem -extfile /dev/stdin <<END
$names
basicConstraints=CA:FALSE
END
key alone.key.pem
openssl req -x509 -new -key alone.key.pem -days 36500 -subj /CN=localhost -addext "$names" -out alone.pem \
    -addext basicConstraints=critical,CA:FALSE
rm root.key.pem signed.csr
