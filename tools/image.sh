#!/usr/bin/env bash
# Builds and runs the images for real where no Docker engine runs: buildah with chroot isolation, on
# a Debian base that debootstrap makes. Needs root, npm, and Debian's packages buildah and debootstrap.
#
#   tools/image.sh build TAG [OPTION...]   in the project's root; options as of `buildah build`
#   tools/image.sh run TAG [--OPTION=...]... [COMMAND...]
#                                           COMMAND, or the image's own, on the host's network
#   tools/image.sh size TAG                bytes of the image, unpacked, and of its base
set -euo pipefail
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot
base=localhost/python-base:bookworm

make_base() {
  if buildah images --quiet "$base" >/dev/null 2>&1; then return; fi
  local root container
  root=$(mktemp --directory)
  debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$root" >"$root.log" 2>&1 ||
    { tail -5 "$root.log"; exit 1; }
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$root" / >/dev/null
  buildah commit --quiet "$container" "$base" >/dev/null
  buildah rm "$container" >/dev/null
  rm -rf "$root" "$root.log"
}

bytes() { buildah images --json "$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["size"])'; }

verb=${1:-} tag=${2:-}
case "$verb" in
  build)
    shift 2
    make_base
    # No image with npm can be had here.
    make page
    # The format of OCI has no health check.
    # Certificates and the index of packages are the host's.
    buildah build --format docker --pull-never --network host --volume /etc/ssl/certs:/etc/ssl/certs:ro \
      --build-arg "BASE_IMAGE=$base" --build-arg "NODE_IMAGE=$base" --tag "$tag" "$@" .
    ;;
  run)
    shift 2
    options=()
    while [[ ${1:-} == --* ]]; do options+=("$1"); shift; done
    container=$(buildah from --pull-never "$tag")
    trap 'buildah rm "$container" >/dev/null' EXIT
    if [ $# -eq 0 ]; then
      format='{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}{{range .OCIv1.Config.Cmd}}{{println .}}{{end}}'
      mapfile -t words < <(buildah inspect --format "$format" "$container" | sed '/^$/d')
      set -- "${words[@]}"
    fi
    buildah run --network host "${options[@]}" "$container" -- "$@"
    ;;
  size) bytes "$tag"; bytes "$base" ;;
  *) sed -n '2,9p' "$0"; exit 2 ;;
esac
