"""The shell script that fetches the results of a batch. Pure: texts.

Every word of a stranger stands in it between single quotes: a name, a URL. It runs in any `sh` with `curl`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from shlex import quote

from web.api.wire_batches import BatchResult

SIDE_BY_SIDE = 8

_HEAD = r"""#!/bin/sh
# The results of batch @BATCH@ of BlobForge at @SERVER@
#
#   sh THIS-SCRIPT [FOLDER]
#
# fetches them into FOLDER (results-of-batch-@BATCH@), @SIDE@ side by side, each where its source stood.
# What is there already with the same SHA-256 is not fetched again: run it again where something failed. Where another
# file has a result's name, the result has its job's id in its name. Nothing that is there is written over, but what
# this script has named so.
#
# The URLs in it are good until @UNTIL@ (UTC).@MORE@
# `blobforge results download --batch @BATCH@ --to FOLDER` does the same, and keeps account of what it has fetched.
set -u
server=@QUOTED@
to=${1:-results-of-batch-@BATCH@}
case $to in /*) ;; *) to=./$to ;; esac # to cd, "-" and what CDPATH has are other folders

stop() { printf '%s\n' "$*" >&2; exit 1; }
if command -v sha256sum > /dev/null; then sum() { sha256sum < "$1" | cut -c1-64; }
elif command -v shasum > /dev/null; then sum() { shasum -a 256 < "$1" | cut -c1-64; }
else sum() { echo unknown; }; fi
command -v curl > /dev/null || stop 'It needs curl.'
mkdir -p "$to" && cd "$to" || exit 1
parts=.blobforge-$$
mkdir "$parts" || exit 1
trap 'rm -rf "$parts"' EXIT
begun=0 had=0 lacking=0 kind='Bearer' fetching=
trap 'kill $fetching 2> /dev/null; wait; exit 130' INT TERM HUP

# Whether the file has the size and the SHA-256, as far as they are known.
sound() {
  [ "$2" = - ] || [ "$(($(wc -c < "$1")))" -eq "$2" ] || return 1
  [ "$3" = - ] || case $(sum "$1") in "$3" | unknown) true ;; *) false ;; esac
}
# Whether it is there, beyond doubt.
there() { [ -f "$1" ] && [ "$3" != - ] && [ "$(($(wc -c < "$1")))" -eq "$2" ] && [ "$(sum "$1")" = "$3" ]; }
# name, its name where another file has that, size, SHA-256, URL, where it is until it is whole
fetch() {
  curl -fsSg --retry 3 --connect-timeout 30 -o "$6" -- "$5" &
  trap "kill $!; exit" TERM # what is in the background hears no Ctrl-C
  if wait "$!" && sound "$6" "$3" "$4" && mkdir -p -- "${1%/*}"; then
    if (set -C; : > "$1") 2> /dev/null; then mv -f -- "$6" "$1" && printf '%s\n' "$1" && return
    elif [ -f "$1" ] && cmp -s "$6" "$1"; then return
    elif [ ! -d "$2" ] && mv -f -- "$6" "$2"; then printf '%s\n' "$2"; return; fi
  fi
  printf 'not fetched: %s\n' "$1" >&2
  echo >> "$parts/failed"
}
get() {
  if [ "$3" != - ] && { there "$1" "$3" "$4" || there "$2" "$3" "$4"; }; then had=$((had + 1)); return; fi
  begun=$((begun + 1))
  fetch "$@" "$parts/$begun" &
  fetching="$fetching $!"
  [ $((begun % @SIDE@)) -ne 0 ] || { wait; fetching=; }
}
missing() { printf 'job %s: the server has no result to fetch now\n' "$1" >&2; lacking=$((lacking + 1)); }
more() {
  [ -n "${BLOBFORGE_API_TOKEN:-}" ] || stop "$1 Set BLOBFORGE_API_TOKEN, to ask the server for further URLs."
  while [ -n "$next" ]; do
    url="$server/api/batches/@BATCH@/results.sh?part=true&cursor=$next"
    lines=$(printf 'Authorization: %s %s\n' "$kind" "$BLOBFORGE_API_TOKEN" | curl -fsSg --retry 3 -H @- -- "$url") ||
      stop 'The server gave no further URLs.'
    next=cut
    eval "$lines"
    wait
    fetching=
    [ "$next" != cut ] || stop 'The answer of the server was cut off. Run this again.'
  done
}

if [ "$(date +%s)" -lt @ENDS@ ]; then
next=cut
"""
_FOOT = r"""wait
[ "$next" != cut ] || stop 'This script was cut off: download it again.'
[ -z "$next" ] || more 'That was the first part.'
else
next=0
more 'The URLs in this script are no longer good: download it again.'
fi
wait
failed=0
[ ! -f "$parts/failed" ] || failed=$(($(wc -l < "$parts/failed")))
printf '%s fetched, %s were there, %s failed\n' $((begun - failed)) "$had" $((failed + lacking)) >&2
[ $((failed + lacking)) -eq 0 ]
"""
_MORE = """
# For the rest of the batch, and afterwards, it asks the server for others: set BLOBFORGE_API_TOKEN, to a token that
# may read."""
_NO_MORE = """ Afterwards it asks the server for others, where
# BLOBFORGE_API_TOKEN is set, to a token that may read."""


def head(server: str, batch_id: int, *, ends: int, whole: bool) -> str:
    """All up to the first command. `ends`: until when its URLs are good, in seconds since the epoch. `whole`: it has
    all of them."""
    said = {
        "@BATCH@": str(batch_id), "@SERVER@": quote(server), "@QUOTED@": quote(server), "@SIDE@": str(SIDE_BY_SIDE),
        "@ENDS@": str(ends), "@UNTIL@": f"{datetime.fromtimestamp(ends, UTC):%Y-%m-%d %H:%M:%S}",
        "@MORE@": _NO_MORE if whole else _MORE,
    }  # fmt: skip
    text = _HEAD
    for name, value in said.items():
        text = text.replace(name, value)
    return text


def line(result: BatchResult) -> str:
    """The command for one file."""
    if result.url is None or result.name is None or result.apart is None:
        return f"missing {result.job_id}\n"
    size = "-" if result.size is None else str(result.size)
    words = (f"./{result.name}", f"./{result.apart}", size, result.sha256 or "-", result.url)
    return f"get {' '.join(map(quote, words))}\n"


def following(job_id: int | None) -> str:
    """Says that nothing was cut off, and where to go on."""
    return f"next={'' if job_id is None else job_id}\n"


def foot() -> str:
    return _FOOT
