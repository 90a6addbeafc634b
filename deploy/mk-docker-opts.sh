#!/bin/sh
# For units that name flannel's script: hands over to the command of the same name.
# FLANNELD_TS names the executable where it is neither in PATH nor installed as flanneld.
for daemon in "$FLANNELD_TS" "$(command -v flanneld-ts)" "$(command -v flanneld)" /usr/bin/flanneld \
	/opt/flanneld-ts/flanneld-ts; do
	if [ -n "$daemon" ] && [ -x "$daemon" ]; then
		exec "$daemon" mk-docker-opts "$@"
	fi
done
echo "$0: flanneld-ts is not in PATH; set FLANNELD_TS to its path" >&2
exit 1
