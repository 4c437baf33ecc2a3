#!/bin/bash
# On a machine with a GPU, in the repository root after `. .gpu/enter.sh`: the benchmark, the long run, all tests, and compute-sanitizer over
# small cases where it is installed. Usage: bash scripts/gpu/check-all.sh FOLDER [DEMO.safetensors]
set -u
out=${1:?Expected a folder for the results}
demo=${2:-}
mkdir -p "$out"

# The device alone: what is timed.
node scripts/bench-gpu.mjs --out "$out/gpu.json"
node scripts/gpu/long-run.mjs --out "$out/gpu-long-run.json"

sanitize() { # tool, op
  local products=
  # cuBLASLt's kernels have hazards of their own under racecheck, which fails on them when it is told to leave them out.
  [ "$1" = racecheck ] && products=off
  KRAIT_CUBLASLT=$products compute-sanitizer --tool "$1" --log-file "$out/$1-$2.txt" \
    node scripts/test-gpu.mjs --only "$2" --small > "$out/$1-$2.log" 2>&1
  echo "$1 $2: $(tail -n 1 "$out/$1-$2.txt"); $(tail -n 1 "$out/$1-$2.log")" | tee -a "$out/gpu-sanitizers.txt"
}
if command -v compute-sanitizer > /dev/null; then
  for file in packages/runtime/dist/conformance/cases/*.js; do
    op=$(basename "$file" .js | tr - _)
    sanitize memcheck "$op" &
  done
  # The ops whose kernels share memory within a block.
  for op in attention gated_rms_norm power_spectrum selective_scan ssd_scan mamba3_scan; do sanitize racecheck "$op" & done
fi
node scripts/test-gpu.mjs --out "$out/gpu-tests.json" ${demo:+--demo "$demo"} > "$out/gpu-tests.log" 2>&1
status=$?
grep -A 3 FAIL "$out/gpu-tests.log"
tail -n 1 "$out/gpu-tests.log"
wait
exit $status
