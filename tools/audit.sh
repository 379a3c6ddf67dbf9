#!/usr/bin/env bash
# Looks up known vulnerabilities of the packages of a requirements file.
#
#   tools/audit.sh PIP_AUDIT REQUIREMENTS     exit code 0: none is known
#                                                       1: the vulnerable packages are listed
#                                                      69: the advisories cannot be reached
set -u
pip_audit=$1 requirements=$2
known=$(mktemp)
trap 'rm "$known"' EXIT

# A package with a vulnerability that every index with advisories knows.
echo pip==24.0 >"$known"
if ! "$pip_audit" --disable-pip --no-deps --requirement "$known" 2>&1 | grep --quiet -E 'CVE-|GHSA-|PYSEC-'; then
  echo "not audited: the package index gives no advisories, or cannot be reached" >&2
  exit 69 # EX_UNAVAILABLE of sysexits.h
fi
"$pip_audit" --strict --disable-pip --requirement "$requirements" || exit 1
