#!/usr/bin/env bash
# benchmarks/on_device.sh FOLDER [--smoke | DATA_DIR]: on a machine with a CUDA device, builds, times every op's twins
# and stacked training, runs the tests that need a device and, given data sets, audits them there; logs and results land
# in FOLDER. COMMIT names the commit of sources without their history. Each step ends after 400 s at most (with
# pytest-xdist the tests take two minutes on 16 cores: kernels compile). What fails is told at the end.
# --smoke: the same steps on a processor, tiny and interpreted, to try this script.
set -uo pipefail
cd "$(dirname "$0")/.."
folder=${1:?benchmarks/on_device.sh FOLDER [--smoke | DATA_DIR]}
mkdir -p "$folder"
python=${PYTHON:-python3}
export PYTHONPATH=$PWD
if [ "${2:-}" = --smoke ]; then
    tests=(tests/test_gpu.py -k 10-classes) bench=(--device cpu --smoke --rounds 1 --only phi-10 --only leave-one-out --only mlps)
    train=(--device cpu --smoke) data=
else
    tests=(tests/test_gpu.py tests/test_device_training.py tests/test_collect.py -m gpu)
    bench=(--device cuda --rounds 10 --out "$folder") train=(--device cuda --out "$folder") data=${2:-}
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
step train timeout 400 "$python" -m benchmarks train "${train[@]}" --only device-bfloat16
side_by_side=()
"$python" -c 'import xdist' 2>/dev/null && side_by_side=(-n "$(($(nproc) * 3 / 4 + 1))")
step tests timeout 400 "$python" -m pytest -q -p no:benchmark --import-mode=importlib "${side_by_side[@]}" "${tests[@]}"
[ -z "$data" ] || step audit timeout 400 "$python" -m benchmarks audit "${train[@]}" --data-dir "$data" --only device-purchase
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
