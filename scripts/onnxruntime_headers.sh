#!/usr/bin/env bash
# ONNX Runtime's C headers, which its Python wheels lack, into examples/cpp/include: Debian's package of them
# (85 kB, ONNX Runtime 1.21; newer libraries take programs that were built with it), unpacked and not installed.
#
#     scripts/onnxruntime_headers.sh
#
# It needs Debian and no rights. Elsewhere take the headers from ONNX Runtime's own release
# and name their folder in ORT_INCLUDE.
set -euo pipefail
cd "$(dirname "$0")/.."

out=examples/cpp/include
[[ ! -f $out/onnxruntime_c_api.h ]] || exit 0
keys=/usr/share/keyrings/debian-archive-keyring.gpg
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' 2>/dev/null | sed -n 1p) || true
if [[ -z $mirror || ! -f $keys ]]; then
    echo "$0: needs Debian, and one 'apt-get update' before; elsewhere see its head" >&2
    exit 1
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/lists/partial" "$folder/archives/partial"
# Debian 12 has no such package, and the headers fit any system: they come from 13 without its being a source here.
echo "deb [signed-by=$keys] $mirror trixie main" >"$folder/sources.list"
options=(-qq -o "Dir::Etc::sourcelist=$folder/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$folder/lists"
    -o "Dir::Cache=$folder" -o "APT::Sandbox::User=$(id -un)")
apt-get "${options[@]}" update
(cd "$folder" && apt-get "${options[@]}" download libonnxruntime-dev && dpkg -x libonnxruntime-dev_*.deb package)
mkdir -p "$out"
cp -r "$folder/package/usr/include/onnxruntime/." "$out"
