// Certificates for a TLS etcd of a lab: an authority, a server and a client certificate, made with openssl.
import type { Machine } from "./machine.ts";

/** Makes ca, server and client (`NAME.pem`, `NAME-key.pem`) in `directory` of the machine, valid for `address`. */
export async function makeCertificates(machine: Machine, directory: string, address: string): Promise<void> {
  const script = `
set -e
umask 077
mkdir -p "$1" && cd "$1"
[ ! -e client.pem ] || exit 0
new="openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256"
$new -x509 -days 2 -subj /CN=lab-ca -keyout ca-key.pem -out ca.pem -addext basicConstraints=critical,CA:TRUE
for name in server client; do
  $new -subj /CN=$name -keyout $name-key.pem -out $name.csr
  printf 'subjectAltName=IP:%s,IP:127.0.0.1,DNS:localhost\\nextendedKeyUsage=serverAuth,clientAuth\\n' "$2" >$name.ext
  openssl x509 -req -days 2 -sha256 -in $name.csr -extfile $name.ext -CA ca.pem -CAkey ca-key.pem \\
    -CAcreateserial -out $name.pem
done
`;
  await machine.exec("sh", ["-c", script, "certificates", directory, address]);
}
