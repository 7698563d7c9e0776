#!/usr/bin/env bash
# Builds the image with docker, podman or buildah, whichever is there and works, and prints its digest.
#   JOB=stream IMAGE=REGION-docker.pkg.dev/P/R/penstock PUSH=1 templates/image.sh [build arguments, such as --build-arg=BEAM_IMAGE=...@sha256:...]
# ENGINE=docker|podman|buildah chooses; PIP_CONF=FILE is a pip.conf for a mirror of one's own.
set -euo pipefail
cd "$(dirname "$0")/.."
image=${IMAGE:-penstock}
job=${JOB:-stream}
case $job in  # a misspelt one would be found by the launcher, minutes into a launch
  batch | stream | replay | reidentify) ;;
  *) echo "JOB=$job is no job: batch, stream, replay or reidentify." >&2; exit 2 ;;
esac
case ${image##*/} in
  *[:@]*) echo "IMAGE=$image holds a tag or a digest: give HOST/PATH alone, the tag is made of version and job." >&2; exit 2 ;;
esac
case $image in
  */*) ;;
  *) [ -z "${PUSH:-}" ] || { echo "PUSH needs IMAGE=HOST/PATH, such as REGION-docker.pkg.dev/P/R/penstock: $image names no registry." >&2; exit 2; } ;;
esac
version=$(sed -n 's/^ *version="\(.*\)",/\1/p' setup.py)
tag=$image:$version-$job
out=build/image
mkdir -p "$out"

works() { command -v "$1" > /dev/null && "$1" info > /dev/null 2>&1; }  # docker may be a client without an engine

engine=${ENGINE:-}
case $engine in
  "" | docker | podman | buildah) ;;
  *) echo "ENGINE=$engine is none of docker, podman, buildah." >&2; exit 2 ;;
esac
for candidate in docker podman buildah; do
  if [ -z "$engine" ] && works "$candidate"; then engine=$candidate; fi
done
[ -n "$engine" ] || { echo "No docker, podman or buildah that works here (on Debian: apt-get install buildah)." >&2; exit 2; }

said=(--file templates/Dockerfile --tag "$tag" --build-arg "JOB=$job" --build-arg "VERSION=$version"
      --build-arg "REVISION=$(git describe --always --abbrev=40 --exclude='*' --dirty 2> /dev/null || echo unknown)"
      --build-arg "CREATED=$(git log -1 --format=%cI 2> /dev/null || echo 1970-01-01T00:00:00Z)")  # the commit's, so that a second build is the same
said+=(--build-arg "LOCK=$(sha256sum requirements.lock | sed 's/ .*//')")  # penstock check holds it against the lock file of a launch
if [ -n "${PIP_CONF:-}" ]; then said+=(--secret "id=pip,src=$PIP_CONF"); fi

case $engine in
  docker) DOCKER_BUILDKIT=1 docker build "${said[@]}" "$@" . ;;
  podman) podman build --format docker "${said[@]}" "$@" . ;;
  buildah) buildah build --layers --force-rm --format docker --isolation "${ISOLATION:-chroot}" "${said[@]}" "$@" . ;;
esac

# The bill of materials comes out of the image itself, so that it is the image's.
if [ "$engine" = buildah ]; then
  box=$(buildah from "$tag")
  buildah run --isolation chroot "$box" -- cat /opt/penstock/sbom.cdx.json > "$out/$job.sbom.json"
  buildah rm "$box" > /dev/null
else
  "$engine" run --rm --entrypoint cat "$tag" /opt/penstock/sbom.cdx.json > "$out/$job.sbom.json"
fi
echo "bill of materials: $out/$job.sbom.json"

# A launch names the digest that the registry answers; before a push there is only the digest of the image's configuration.
if [ -n "${PUSH:-}" ]; then
  case $engine in
    docker) docker push --quiet "$tag" > /dev/null
            digest=$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$tag" | sed -n "s#^$image@##p" | head -n 1) ;;
    *) "$engine" push --digestfile "$out/digest" "$tag" && digest=$(cat "$out/digest") ;;
  esac
  [ -n "$digest" ] || { echo "The registry's digest of $tag is not known to $engine: look there, a launch names the image by it." >&2; exit 1; }
  echo "image: $image@$digest"
elif [ "$engine" = buildah ]; then
  echo "image: $tag (not pushed; configuration sha256:$(buildah inspect --type image --format '{{.FromImageID}}' "$tag"))"
else
  echo "image: $tag (not pushed; configuration $("$engine" image inspect --format '{{.Id}}' "$tag"))"
fi
