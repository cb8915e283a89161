#!/bin/sh
# Which CUDA plugin is taken, and why none is: with stubs of the driver and of plugins (stub_driver.c, stub_plugin.c).
# usage: registry_test.sh PATH/TO/strata FOLDER/OF/STUBS
set -eu
strata=$1 stubs=$2
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT
n=0 failed=0

# says DRIVER PLUGINS "TEXT": the line of CUDA in `strata devices`.  Exit status of --device cuda: 1, with the same reason, unless TEXT is a device's.
says() {
    n=$((n + 1)) rc=0
    LD_LIBRARY_PATH=$stubs/$1 STRATA_PLUGINS=$2 "$strata" devices >"$dir/out" 2>"$dir/err" || rc=$?
    if [ $rc != 0 ] || ! grep '^cuda' "$dir/out" | grep -qF -- "$3"; then
        failed=$((failed + 1))
        echo "FAILED: driver $1, plugins $2: no \"$3\" in:"
        cat "$dir/out" "$dir/err"
    fi
    case $3 in stub*) want=0 ;; *) want=1 ;; esac
    rc=0
    LD_LIBRARY_PATH=$stubs/$1 STRATA_PLUGINS=$2 "$strata" devices --device cuda >"$dir/out" 2>"$dir/err" || rc=$?
    if [ $rc != $want ] || { [ $rc = 1 ] && ! grep -qF -- "$3" "$dir/err"; }; then
        failed=$((failed + 1))
        echo "FAILED: driver $1, plugins $2: --device cuda ended with $rc:"
        cat "$dir/out" "$dir/err"
    fi
}

mkdir "$dir/both" "$dir/twelve" "$dir/other" "$dir/broken"
cp "$stubs/plugin13.so" "$dir/both/libstrata-cuda13.so"
cp "$stubs/plugin12.so" "$dir/both/libstrata-cuda12.so"
cp "$stubs/plugin12.so" "$dir/twelve/libstrata-cuda12.so"
cp "$stubs/other13.so" "$dir/other/libstrata-cuda13.so"
echo no library >"$dir/broken/libstrata-cuda13.so"
says cuda13 "$dir/both" "stub for CUDA 13 (sm_75)"
says cuda12 "$dir/both" "stub for CUDA 12 (sm_75)"
says cuda13 "$dir/twelve" "stub for CUDA 12 (sm_75)"
says cuda11 "$dir/both" "the NVIDIA driver is too old: it knows CUDA 11.4, this build needs 13.0 (driver R580 or newer)"
says cuda11 "$dir/twelve" "it knows CUDA 11.4, this build needs 12.0 (driver R525 or newer)"
says cuda13 "$dir/other" "libstrata-cuda13.so is of another build: interface"
says cuda13 "$dir/broken" "libstrata-cuda13.so: "
says cuda13 "$dir" "there is no $dir/libstrata-cuda13.so"
says none "$dir/both" "the NVIDIA driver finds no GPU"
says mixed "$dir/both" "the NVIDIA driver does not start (error 803: its library is of another version)"
says old "$dir/both" "the GPU is too old: compute capability 7.0; 7.5 or newer is needed"
echo "registry: $((n - failed)) passed, $failed failed"
[ $failed = 0 ]
