#!/bin/sh
# One script for the three types of jobs of this chain; `blobforge work` tells it which one it is, and where everything is.
set -e
case "$BLOBFORGE_JOB_TYPE" in
split) pdfseparate "$BLOBFORGE_SOURCE" "$BLOBFORGE_OUTPUTS/page-%03d.pdf" ;;
page) pdftotext -layout "$BLOBFORGE_SOURCE" "$BLOBFORGE_OUTPUT" ;;
book) cat "$BLOBFORGE_INPUTS"/*/* >"$BLOBFORGE_OUTPUT" ;; # by name, so that page-002 comes before page-010
esac
