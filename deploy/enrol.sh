#!/bin/sh
# Run by `docker compose up`, beside the server: makes the token of the workers and writes it to where they read it.
# One of an earlier run that is still good stays; one that the server does not know (its data are new) is replaced.
set -eu
kept=${SECRETS:-/app/secrets}/worker-token

known() {
    TOKEN=$1 python -c '
import os, sys, urllib.error, urllib.request
url = os.environ.get("BLOBFORGE_SERVER_URL", "http://localhost:8080") + "/api/auth/me"
try:
    urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": "Bearer " + os.environ["TOKEN"]}))
except urllib.error.HTTPError as error:
    sys.exit(1 if error.code == 401 else f"{url}: {error}")
'
}

if [ -s "$kept" ] && known "$(cat "$kept")"; then
    echo "The token of the workers is good."
    exit 0
fi
umask 077
blobforge --quiet tokens create compose-workers --scope work > "$kept.new"
mv "$kept.new" "$kept"
echo "The workers have a new token; \`blobforge tokens list\` shows it as compose-workers."
