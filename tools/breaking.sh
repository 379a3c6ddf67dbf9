#!/usr/bin/env bash
# Compares the API with that of the last release: fails if a client of that release would break.
#
#   tools/breaking.sh BUF     in the project's root
set -euo pipefail
buf=$1
if ! tag=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null); then
  reason="there is no release yet"
  if [ "$(git rev-parse --is-shallow-repository)" = true ]; then
    reason="this clone lacks the history; run git fetch --unshallow --tags"
  fi
  echo "the API is not compared: $reason"
  exit 0
fi
released=$(mktemp --directory)
trap 'rm -rf "$released"' EXIT
git archive "$tag" proto buf.yaml | tar --extract --directory "$released"
"$buf" breaking --against "$released"
