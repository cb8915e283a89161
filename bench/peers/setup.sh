#!/bin/sh
# bench/peers/setup.sh [DIR]: fetch the systems we compare with into DIR (default build/peers).
# llama.cpp comes as the npm package node-llama-cpp: prebuilt libraries, and its sources as a git bundle for
# the headers.  Then: cmake -S . -B build -DSTRATA_LLAMA_DIR=DIR && cmake --build build --target peer_llama
set -eu
dir=${1:-build/peers}
package=node-llama-cpp@3.22.1 # llama.cpp v0.5.0
for tool in npm git; do
    command -v $tool >/dev/null 2>&1 || { echo "setup.sh: $tool is not installed: no comparison with llama.cpp" >&2; exit 0; }
done
mkdir -p "$dir"
cd "$dir"
[ -f package.json ] || echo '{"private": true}' >package.json
npm install --ignore-scripts --no-audit --no-fund "$package"
if [ ! -d src/llama.cpp ]; then
    mkdir -p src
    git clone -q node_modules/node-llama-cpp/llama/gitRelease.bundle src/llama.cpp
fi
echo "ready: -DSTRATA_LLAMA_DIR=$PWD"
