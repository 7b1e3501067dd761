#!/bin/sh
# A stand-in for a language model: the first line that is not empty, and how many words there are.
set -e
grep --max-count=1 '[^[:space:]]' "$1" | sed 's/^[[:space:]]*//' >"$2"
echo "$(wc -w <"$1") words" >>"$2"
