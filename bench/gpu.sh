#!/usr/bin/env bash
# Runs the GPU tests and the GPU benchmark from what bench/pack.sh packed; see --help.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: gpu-wheels/bench/gpu.sh [options] [OUTPUT] [-- ARGUMENTS OF bench.gpu]

Runs on a machine with an NVIDIA GPU and PyTorch built with CUDA, without a network, from the folder
that bench/pack.sh packed: makes an environment on top of this machine's PyTorch, installs the
wheels, runs the tests that need a GPU, then the benchmark. Logs and gpu.json go to OUTPUT, by
default bench/results/NAME OF THE GPU. A failed test does not keep the benchmark from running; the
exit code then is 1.

options:
    --dry-run        everything that needs no GPU: environment, wheels, imports, the plan
    --venv FOLDER    of the environment (default .venv-gpu, beside bench/); made if it is not there
    --skip-tests     no tests
    --skip-bench     no benchmark
    --help           this text

environment:
    PYTHON           the Python that has PyTorch (default python3)

Arguments after -- go to `python -m bench.gpu`: --quick is a run of minutes, --workloads, --graphs
and --deadline cut a long one.
TEXT
}

fail() {
    echo "gpu.sh: $*" >&2
    exit 2
}

say() {
    echo "gpu.sh: $*"
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3} output="" venv=$root/.venv-gpu dry_run=0 with_tests=1 with_bench=1
arguments=()
while (($#)); do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --dry-run) dry_run=1 ;;
        --venv) venv=$(realpath -m "${2:?--venv: expected a folder}"); shift ;;
        --skip-tests) with_tests=0 ;;
        --skip-bench) with_bench=0 ;;
        --) shift; arguments=("$@"); break ;;
        -*) fail "unknown option $1; see --help" ;;
        *) [[ -z $output ]] || fail "expected one folder, got $output and $1"; output=$1 ;;
    esac
    shift
done

# What this machine has.
gpu=""
if command -v nvidia-smi >/dev/null; then
    gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1 || true)
fi
[[ -n $gpu ]] || ((dry_run)) || fail "needs a GPU: nvidia-smi finds none; --dry-run does what needs none"
[[ -d $root/wheels ]] || fail "$root/wheels: no such folder; run this script from what bench/pack.sh packed"
torch_folder=$("$python" -c 'import pathlib, torch; print(pathlib.Path(torch.__file__).parent.parent)') \
    || fail "$python has no PyTorch; set PYTHON to one that has"

name=$(tr -cs '[:alnum:]' '-' <<<"${gpu:-no-gpu}" | sed 's/-*$//')
output=$(realpath -m "${output:-$root/bench/results/${name,,}}")
mkdir -p "$output"
cd "$root"

# The environment. pip comes from its wheel, so that the machine's Python needs no ensurepip.
if [[ ! -x $venv/bin/python ]]; then
    say "environment in $venv"
    "$python" -m venv --system-site-packages --without-pip "$venv"
fi
run=$venv/bin/python
site=$("$run" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
if ! "$run" -c 'import torch' 2>/dev/null; then
    echo "$torch_folder" >"$site/machine_torch.pth" # $python is itself in an environment
fi
pip_wheel=$(find "$root/wheels" -name 'pip-*.whl' | head -n 1)
[[ -n $pip_wheel ]] || fail "$root/wheels: no wheel of pip"

install() { # arguments of pip install, without an index
    PIP_CONFIG_FILE=/dev/null "$run" "$pip_wheel/pip" --isolated --disable-pip-version-check \
        install --quiet --no-index "$@"
}

{
    extra=""
    compgen -G "$root/wheels/nvidia_cuda_nvrtc-*.whl" >/dev/null && extra="[cuda]"
    say "installing tvm_equi$extra and what tests and benchmark need"
    install --find-links "$root/wheels" --force-reinstall --no-deps tvm_equi
    install --find-links "$root/wheels" "tvm_equi$extra" ase matscipy pytest pytest-xdist hypothesis cuda-bindings
    if compgen -G "$root/peers/cue/*.whl" >/dev/null; then
        say "installing cuEquivariance"
        install --no-deps "$root"/peers/cue/*.whl || say "cuEquivariance can not be installed; left out"
    fi
    if compgen -G "$root/peers/oeq/openequivariance-*.tar.gz" >/dev/null; then
        say "installing OpenEquivariance"
        # Its build wants to download libtorch. Its Python works as it is, and compiles its extension
        # when first imported, which needs g++ and CUDA's headers.
        if install --no-deps "$root"/peers/oeq/*.whl; then
            tar xzf "$root"/peers/oeq/openequivariance-*.tar.gz -C "$site" --strip-components=1 \
                --wildcards '*/openequivariance/*'
            info=$site/openequivariance-0.7.0.dist-info
            mkdir -p "$info"
            tar xzf "$root"/peers/oeq/openequivariance-*.tar.gz -O --wildcards 'openequivariance-*/PKG-INFO' >"$info/METADATA"
            echo tar >"$info/INSTALLER"
        else
            say "OpenEquivariance can not be installed; left out"
        fi
    fi
} 2>&1 | tee "$output/install.log"

export TVM_EQUI_CACHE_DIR=${TVM_EQUI_CACHE_DIR:-$venv/cache}
export TORCH_EXTENSIONS_DIR=${TORCH_EXTENSIONS_DIR:-$venv/torch_extensions}
export PYTORCH_CUDA_ALLOC_CONF=${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}
export PATH=$venv/bin:$PATH # ninja
# cuEquivariance's library looks for NVRTC and cuBLAS: those that came with PyTorch, else the toolkit's.
for folder in "$torch_folder"/nvidia/*/lib "${CUDA_HOME:-/usr/local/cuda}/lib64"; do
    [[ ! -d $folder ]] || LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
done
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}
export PYTHONPATH=$root PYTHONDONTWRITEBYTECODE=1

{
    if [[ -n $gpu ]]; then
        nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit --format=csv || true
    fi
    if command -v nvcc >/dev/null; then nvcc --version | tail -n 2; fi
    "$run" - <<'PYTHON'
import importlib
import sys
from importlib.metadata import distributions

import torch

print("python", sys.version.split()[0], "torch", torch.__version__, "CUDA", torch.version.cuda)
wanted = ("e3nn", "tvm", "cuequivariance", "nvidia", "cuda-", "numpy", "triton", "openequi")
names = {d.metadata["Name"]: d.version for d in reversed(list(distributions()))}
for name in sorted(names, key=str.lower):
    if name.lower().replace("_", "-").startswith(wanted) or "tvm" in name:
        print(f"{name}=={names[name]}")
for name in ("tvm_equi", "tvm", "e3nn", "ase", "matscipy"):
    importlib.import_module(name)
    print("imports:", name)
peers = ("cuequivariance_torch", "cuequivariance_ops_torch", "openequivariance")
for name in peers:
    try:
        importlib.import_module(name)
        print("imports:", name)
    except Exception as error:
        print(f"does not import: {name}: {type(error).__name__}: {str(error)[:300]}")
PYTHON
} 2>&1 | tee "$output/versions.log"

if ((dry_run)); then
    "$run" -m bench.gpu --plan-only ${arguments[@]+"${arguments[@]}"} 2>&1 | tee "$output/plan.log"
    say "dry run: done; next come steps that need the GPU: pytest -m gpu, and python -m bench.gpu"
    exit 0
fi

status=0
tests=tests/runtime/test_gpu_device.py
if ((with_tests)) && [[ -f $tests ]]; then
    say "tests"
    "$run" -m pytest -m gpu "$tests" --junitxml "$output/tests.xml" 2>&1 | tee "$output/tests.log" || status=1
elif ((with_tests)); then
    say "$tests: no such file; no tests"
    status=1
fi
if ((with_bench)); then
    say "benchmark"
    "$run" -m bench.gpu --json "$output/gpu.json" ${arguments[@]+"${arguments[@]}"} 2>&1 | tee "$output/gpu.log" || status=1
fi
say "results in $output"
exit "$status"
