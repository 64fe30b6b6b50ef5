# Every target first makes .venv with the pinned dependencies; a later run finds it and starts at once.
PYTHON ?= python3
TEST_WORKERS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-all test-gpu-schedules test-mace test-nequip test-models-all test-deploy fuzz fuzz-cpp lint bench bench-models clean

demo: .venv/.installed
	$(BIN)/tvm-equi demo

test: .venv/.installed
	$(BIN)/python -m pytest -n $(TEST_WORKERS)

# With the slow ones, here and in the code bases' environments, on inputs of their own each time.
test-all: export TVM_EQUI_TEST_SEED ?= $(shell date +%s)
test-all: .venv/.installed
	$(BIN)/python -m pytest -n $(TEST_WORKERS) -m "not deploy"
	$(MAKE) test-models-all

# Proofs about schedules for GPUs that need no GPU: ptxas, OpenCL on the CPU (PoCL), Oclgrind. On Debian:
# apt-get install pocl-opencl-icd ocl-icd-libopencl1 oclgrind
test-gpu-schedules: .venv/.installed
	TVM_EQUI_REQUIRE_OPENCL=1 $(BIN)/python -m pytest -n $(TEST_WORKERS) -m "gpu_schedules and not slow" tests/gpu_schedules

# Adapters against the code bases that they serve, in environments of their own: mace-torch pins e3nn 0.4.4.
test-mace: .venv-mace/.installed
	.venv-mace/bin/python -m pytest -n $(TEST_WORKERS) -m "not slow" tests/models/mace

test-nequip: .venv-nequip/.installed
	.venv-nequip/bin/python -m pytest -n $(TEST_WORKERS) -m "not slow" tests/models/nequip

# What runs compiled models elsewhere: C++ with and without libtorch, Python without torch, JAX. Needs g++.
# Files are taken in order, so that no worker waits for the operators in C++, which another one is building.
test-deploy: .venv/.installed .venv-jax/.installed
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder -m deploy tests/deploy tests/deploy_runtimes
	.venv-jax/bin/python -m pytest -n $(TEST_WORKERS) -m deploy tests/jax

# With all cases of the code bases' own tests, nequip-compile among them, and what concerns models with e3nn 0.4.4.
test-models-all: .venv-mace/.installed .venv-nequip/.installed
	TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 .venv-mace/bin/python -m pytest -n $(TEST_WORKERS) tests/models/test_*.py tests/dynamo tests/nn tests/frontend
	.venv-mace/bin/python -m pytest -n $(TEST_WORKERS) -m "" tests/models/mace
	PATH="$(CURDIR)/.venv-nequip/bin:$$PATH" .venv-nequip/bin/python -m pytest -n $(TEST_WORKERS) -m "" tests/models/nequip

# Wrong model files for an hour; each that is neither refused nor right is kept in fuzz-findings/.
FUZZ_SECONDS ?= 3600
fuzz: .venv/.installed
	$(BIN)/python -m tests.deploy.fuzz --seconds $(FUZZ_SECONDS)

# The same for the reader in C++, under the sanitizers.
fuzz-cpp: .venv/.installed
	TVM_EQUI_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest -m deploy tests/deploy_runtimes/test_cpp_reader.py -k crash

lint: .venv/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.installed .venv-mace/.installed .venv-runtime/.installed
	$(BIN)/python -m bench.tensor_product
	$(BIN)/python -m bench.convolution
	$(BIN)/python -m bench.tuned
	$(BIN)/python -m bench.deploy

# Energies, forces and training steps of whole models, with and without acceleration.
bench-models: .venv-mace/.installed .venv-nequip/.installed
	.venv-mace/bin/python -m bench.models.mace
	.venv-nequip/bin/python -m bench.models.nequip

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
.venv-%/.installed: .venv/.installed tests/models/%/requirements.txt
	$(PYTHON) -m venv $(@D)
	echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" \
		> "$$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/of_venv.pth"
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--requirement tests/models/$*/requirements.txt
	touch $@

.venv-jax/.installed: .venv/.installed tests/deploy_runtimes/jax_requirements.txt
	$(PYTHON) -m venv $(@D)
	echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" \
		> "$$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/of_venv.pth"
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		--requirement tests/deploy_runtimes/jax_requirements.txt
	touch $@

# What compiled models need from PyPI to run, and nothing else.
.venv-runtime/.installed: constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check numpy apache-tvm-ffi --constraint constraints.txt
	touch $@

clean:
	rm -rf .venv .venv-* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
