#!/usr/bin/env bash
# npm test: set-up, then every tier; with --kubernetes those on a real Kubernetes too. Ends with one line "N passed, N failed".
cd "$(dirname "$0")/.." || exit 1
if ! bash scripts/setup.sh test; then
  echo "0 passed, 1 failed"
  exit 1
fi
export PATH="$PWD/node_modules/.bin:$PATH:/usr/sbin:/sbin"
exec node scripts/test.ts "$@"
