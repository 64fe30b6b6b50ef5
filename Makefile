# Every target first makes .venv with the pinned dependencies; a later run finds it and starts at once.
PYTHON ?= python3
TEST_WORKERS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-gpu-schedules test-mace lint bench bench-models clean

demo: .venv/.installed
	$(BIN)/tvm-equi demo

test: .venv/.installed
	$(BIN)/python -m pytest -n $(TEST_WORKERS)

# Proofs about schedules for GPUs that need no GPU: ptxas, OpenCL on the CPU (PoCL), Oclgrind. On Debian:
# apt-get install pocl-opencl-icd ocl-icd-libopencl1 oclgrind
test-gpu-schedules: .venv/.installed
	TVM_EQUI_REQUIRE_OPENCL=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) -m gpu_schedules tests/gpu_schedules

# MACE, against mace-torch in an environment of its own: it pins e3nn 0.4.4.
test-mace: .venv-mace/.installed
	.venv-mace/bin/python -m pytest -n $(TEST_WORKERS) tests/models/mace

lint: .venv/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.installed
	$(BIN)/python -m bench.tensor_product
	$(BIN)/python -m bench.convolution
	$(BIN)/python -m bench.tuned

bench-models: .venv-mace/.installed
	.venv-mace/bin/python -m bench.models.mace

# torch comes first and alone: the exact pin lets a wheel on this machine (a CPU build, say) be chosen over the index.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: the pinned versions need Python 3.11 or newer, got $$($(PYTHON) --version); set PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@echo "Installing the pinned dependencies into .venv (a few minutes, once)"
	$(PIP) torch==2.13.0 --constraint constraints.txt
	$(PIP) --editable '.[dev]' --constraint constraints.txt
	touch $@

# The packages of .venv serve here too: torch and tvm are not installed twice.
.venv-mace/.installed: .venv/.installed tests/models/mace/requirements.txt
	$(PYTHON) -m venv .venv-mace
	echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" \
		> "$$(.venv-mace/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/of_venv.pth"
	.venv-mace/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--requirement tests/models/mace/requirements.txt
	touch $@

clean:
	rm -rf .venv .venv-mace .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
