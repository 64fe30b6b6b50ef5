#!/usr/bin/env bash
# Packs everything that the GPU benchmark needs, but torch, into one file; see --help.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: bench/pack.sh [options] [FOLDER]

Packs what bench/gpu.sh needs on a GPU machine that has PyTorch and no network. Run it where pip has
a package index. FOLDER (default dist/gpu-wheels) is made anew; it gets

    wheels/     this package and everything it needs at the versions of constraints.txt, but torch
    peers/      OpenEquivariance and cuEquivariance; one that can not be had is reported, and left out
    bench/  tests/  pyproject.toml

and FOLDER.tar holds all of it. There: tar xf gpu-wheels.tar && gpu-wheels/bench/gpu.sh

options:
    --python X.Y     Python of the GPU machine (default: that of this one)
    --machine NAME   its architecture (default x86_64)
    --no-peers       leave out the peers
    --no-nvcc        leave out NVIDIA's compiler, where the GPU machine has CUDA's toolkit
    --split MIB      also cut FOLDER.tar into FOLDER.tar.00, .01, ... of so many MiB each;
                     there: cat gpu-wheels.tar.[0-9][0-9] | tar xf -
    --help           this text

environment:
    PYTHON           runs pip here (default .venv/bin/python, else python3)
TEXT
}

fail() {
    echo "pack.sh: $*" >&2
    exit 2
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder="" python_version="" machine=x86_64 with_peers=1 with_nvcc=1 split=""
while (($#)); do
    case $1 in
        --help | -h) usage; exit 0 ;;
        --python) python_version=${2:?--python: expected X.Y}; shift ;;
        --machine) machine=${2:?--machine: expected a name}; shift ;;
        --split) split=${2:?--split: expected a number of MiB}; shift ;;
        --no-peers) with_peers=0 ;;
        --no-nvcc) with_nvcc=0 ;;
        -*) fail "unknown option $1; see --help" ;;
        *) [[ -z $folder ]] || fail "expected one folder, got $folder and $1"; folder=$1 ;;
    esac
    shift
done
[[ -z $split || $split =~ ^[1-9][0-9]*$ ]] || fail "--split: expected a number of MiB, got $split"
[[ -z $python_version || $python_version =~ ^3\.[0-9]+$ ]] || fail "--python: expected X.Y, got $python_version"
folder=$(realpath -m "${folder:-$root/dist/gpu-wheels}")

python=${PYTHON:-$root/.venv/bin/python}
[[ -x $python || -n ${PYTHON:-} ]] || python=python3
if [[ -z $python_version ]]; then
    python_version=$("$python" -c 'import sys; print("{}.{}".format(*sys.version_info))')
fi

platforms=(--implementation cp --python-version "$python_version" --only-binary=:all:
    --abi "cp${python_version/./}" --abi abi3 --abi none)
for minor in 39 35 34 31 28 27 26 24 17 12 5; do
    platforms+=(--platform "manylinux_2_${minor}_$machine")
done
platforms+=(--platform "manylinux2014_$machine" --platform "manylinux2010_$machine"
    --platform "manylinux1_$machine" --platform "linux_$machine" --platform any)
pip=("$python" -m pip --disable-pip-version-check)

# name==version of a package, from constraints.txt
pinned() {
    local line
    line=$(grep -i -m1 -E "^${1//[-_]/[-_]}==" "$root/constraints.txt") || fail "constraints.txt: no version of $1"
    echo "$line"
}

download() { # folder, requirements...
    local target=$1
    shift
    "${pip[@]}" --quiet download --no-deps --dest "$target" "${platforms[@]}" "$@"
}

# The runtime, what the graphs of the benchmark are made with, and what the tests need.
packages=(
    apache-tvm apache-tvm-ffi ml_dtypes e3nn opt-einsum-fx opt_einsum sympy mpmath numpy scipy
    filelock networkx platformdirs typing_extensions packaging
    rich markdown-it-py mdurl Pygments typer click shellingham annotated-doc
    ase matscipy matplotlib contourpy cycler fonttools kiwisolver pillow pyparsing python-dateutil
    pytest pytest-xdist execnet iniconfig pluggy hypothesis sortedcontainers
    cuda-bindings cuda-pathfinder
)
compiler=(nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-nvfatbin)
cue=(cuequivariance==0.13.0 cuequivariance-torch==0.13.0
    cuequivariance-ops-torch-cu13==0.13.0 cuequivariance-ops-cu13==0.13.0 nvidia-ml-py tqdm)
oeq_needs=(jinja2 MarkupSafe ninja pybind11 setuptools)

[[ ! -e $folder || -f $folder/bench/pack.sh ]] || fail "$folder: expected a new folder, or one of this script's"
rm -rf "$folder" "$folder".tar "$folder".tar.[0-9][0-9]
mkdir -p "$folder"/wheels "$folder"/peers

echo "pack.sh: the wheel of tvm_equi"
"${pip[@]}" --quiet wheel --no-deps --wheel-dir "$folder/wheels" "$root"

echo "pack.sh: wheels for Python $python_version on $machine"
((with_nvcc)) && packages+=("${compiler[@]}")
wanted=()
for package in "${packages[@]}"; do
    wanted+=("$(pinned "$package")")
done
download "$folder/wheels" "${wanted[@]}" pip # pip itself: the GPU machine's venv may have none

missing=()
if ((with_peers)); then
    echo "pack.sh: peers"
    mkdir -p "$folder"/peers/{cue,oeq}
    download "$folder/peers/cue" "${cue[@]}" || {
        missing+=(cuequivariance)
        rm -rf "$folder/peers/cue"
    }
    # A source archive: its Python is used as it comes, its C++ is compiled there when first imported.
    if ! download "$folder/peers/oeq" "${oeq_needs[@]}" \
        || ! "${pip[@]}" --quiet download --no-deps --no-binary=:all: --dest "$folder/peers/oeq" openequivariance==0.7.0; then
        missing+=(openequivariance)
        rm -rf "$folder/peers/oeq"
    fi
fi

(cd "$root" && tar cf - --exclude=__pycache__ --exclude=bench/results bench tests pyproject.toml) \
    | tar xf - -C "$folder"
tar cf "$folder.tar" -C "$(dirname "$folder")" "$(basename "$folder")"
echo "pack.sh: $(find "$folder" -name '*.whl' | wc -l) wheels, $(du -m "$folder.tar" | cut -f1) MiB in $folder.tar"
if [[ -n $split ]]; then
    split --bytes "${split}M" --numeric-suffixes "$folder.tar" "$folder.tar."
    echo "pack.sh: parts: $(find "$(dirname "$folder")" -name "$(basename "$folder").tar.[0-9][0-9]" | sort | xargs -n1 basename | xargs)"
fi
for peer in ${missing[@]+"${missing[@]}"}; do
    echo "pack.sh: could not be downloaded, and is left out: $peer" >&2
done
