#!/usr/bin/env bash
# benchmarks/on_device.sh FOLDER [--smoke] [STEP ...]: builds, tests and measures on a machine with a CUDA device.
# Steps, in this order unless some are named: build (done if the extension is there), ops, train, tests, tests-slow,
# resnet9, audit, more-ops, audit-resnet9. Those from resnet9 on, but for more-ops, need CIFAR-10 in a form that miafast
# reads, in the folder DATA_DIR (its JPEG XL shards need imagecodecs). On 16 cores and an H100 build takes 50 s, tests
# 180, tests-slow 25, resnet9 43 and audit 75; ops, train, more-ops and audit-resnet9, by what their parts took, about
# 130, 80, 120 and 180. Each ends at its limit below at the latest.
# FOLDER gets log.txt and the results, which are saved after every case: a run that is cut short keeps what it has.
# COMMIT names the commit of sources without their history, PYTHON the interpreter. What fails is told at the end.
# --smoke: the same steps on a processor, tiny and interpreted, to try this script.
set -uo pipefail
cd "$(dirname "$0")/.."
folder=${1:?benchmarks/on_device.sh FOLDER [--smoke] [STEP ...]}
shift
mkdir -p "$folder"
python=${PYTHON:-python3}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
how=(--device cuda --out "$folder") rounds=(--rounds 6) tests=(-m gpu)
if [ "${1:-}" = --smoke ]; then
    shift
    how=(--device cpu --smoke) rounds=(--rounds 1) tests=(-k 10-classes)
fi
[ $# -gt 0 ] || set -- build ops train tests tests-slow resnet9 audit more-ops audit-resnet9
data=(${DATA_DIR:+--data-dir "$DATA_DIR"})

owed=(leave-one-out leave-one-out-balanced mlps head)
[ "${how[1]}" = cpu ] || owed+=(head-bfloat16) # the interpreter's products of bfloat16 are of their bits
owed+=(roc tpr-at rmia)
for classes in 10 100 1000; do owed+=("signals-$classes" "signals-$classes-bfloat16"); done
again=(leave-one-out-shrunken lira leave-one-out-medians lira-medians
    phi-10 phi-10-bfloat16 phi-100 phi-100-bfloat16 phi-1000 phi-1000-bfloat16)
side_by_side=()
"$python" -c 'import xdist' 2>/dev/null && side_by_side=(-n "$(($(nproc) * 3 / 4 + 1))")
on_gpu=(-q -p no:benchmark --import-mode=importlib --tb=short tests/test_gpu.py tests/test_device_training.py tests/test_collect.py)

bench() { timeout "$1" "$python" -m benchmarks "$2" "${how[@]}" "${@:3}"; }
ops() {
    local cases=("${@:2}")
    bench "$1" ops "${rounds[@]}" "${cases[@]/#/--only=}"
}
run() {
    case $1 in
    build)
        "$python" -c 'import miafast._native' || "$python" setup.py -q build_ext --inplace
        "$python" -c 'import miafast; print(miafast.backends())'
        ;;
    ops) ops 240 "${owed[@]}" ;;
    train) bench 120 train --only device-bfloat16 ;;
    tests) timeout 240 "$python" -m pytest "${on_gpu[@]}" "${side_by_side[@]}" "${tests[@]/%gpu/gpu and not slow}" ;;
    tests-slow) timeout 120 "$python" -m pytest "${on_gpu[@]}" "${tests[@]/%gpu/gpu and slow}" ;;
    resnet9) bench 180 train --only resnet9 "${data[@]}" ;;
    audit) bench 420 audit --only device-cifar10 "${data[@]}" ;;
    more-ops) ops 150 "${again[@]}" ;;
    audit-resnet9) bench 540 audit --only device-cifar10-resnet9 "${data[@]}" ;;
    *) echo "$1 is no step" && return 2 ;;
    esac
}

failed=()
for step in "$@"; do
    began=$SECONDS
    run "$step" >"$folder/step.txt" 2>&1 || failed+=("$step")
    { echo "== $((SECONDS - began)) s: $step" && cat "$folder/step.txt"; } >>"$folder/log.txt"
    echo "== $((SECONDS - began)) s: $step" && tail -n 3 "$folder/step.txt"
done
rm -f "$folder/step.txt"
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}" | tee -a "$folder/log.txt"; exit 1; }
