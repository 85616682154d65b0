#!/usr/bin/env bash
# benchmarks/on_device.sh FOLDER [--smoke]: on a machine with a CUDA device, builds, runs the tests that need one, then
# times every op's twins; logs and results land in FOLDER. A few minutes on one H100. What fails is told at the end.
# --smoke: the same steps on a processor, tiny and interpreted, to try this script.
set -uo pipefail
cd "$(dirname "$0")/.."
folder=${1:?benchmarks/on_device.sh FOLDER [--smoke]}
mkdir -p "$folder"
python=${PYTHON:-python3}
export PYTHONPATH=$PWD
if [ "${2:-}" = --smoke ]; then
    tests=(tests/test_gpu.py -k 10-classes) bench=(--device cpu --smoke --rounds 1 --only phi-10 --only leave-one-out --only mlps)
else
    tests=(tests/test_gpu.py -m gpu) bench=(--device cuda --rounds 10 --out "$folder")
fi

failed=()
step() {
    local name=$1 began=$SECONDS
    shift
    "$@" >"$folder/$name.log" 2>&1 || failed+=("$name")
    echo "== $((SECONDS - began)) s: $name"
    tail -n 3 "$folder/$name.log"
}

step build "$python" setup.py -q build_ext --inplace
step backends "$python" -c 'import miafast; print(miafast.backends())'
step ops timeout 400 "$python" -m benchmarks ops "${bench[@]}"
step tests timeout 400 "$python" -m pytest -q -p no:benchmark --import-mode=importlib "${tests[@]}"
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
