# Every target does its own set-up; a fresh machine needs Python 3.11 to 3.13 (and, for `make test`, Java 17 and Maven).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install wheel demo test lint types unit fuzz chaos parity gpu gpu-here bench bench-parity clean

install: $(VENV)/.installed

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[figures,lsst]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

# What a machine without a checkout installs: pip install 'dist/streamfilter-VERSION-py3-none-any.whl[EXTRAS]'.
wheel: $(VENV)/bin/python
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist/streamfilter-*.whl

demo: install
	$(BIN)/streamfilter demo

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

test: lint types unit

# Kafka comes once from Maven Central; STREAMFILTER_TEST_BOOTSTRAP names a broker to use instead.
unit: $(VENV)/.installed-dev
	$(BIN)/streamfilter engines fetch maximask
	$(BIN)/streamfilter engines fetch maxitrack
	$(BIN)/python -m pytest

# All that takes bytes from a stream, so long for each target; what breaks becomes a regression test.
FUZZ_SECONDS ?= 120
fuzz: $(VENV)/.installed-dev
	$(BIN)/python tests/fuzz/fuzz.py --seconds $(FUZZ_SECONDS)

# Everything that breaks at night, on a real Kafka, audited; writes the report. Takes half an hour.
chaos: $(VENV)/.installed-dev
	$(BIN)/python tests/chaos/chaos.py --report tests/chaos/REPORT.md

# The authors' own TensorFlow program, in an environment of its own (2.5 GB), on real frames.
$(VENV)-parity/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-parity
	$(VENV)-parity/bin/python -m pip install --quiet --disable-pip-version-check 'MaxiMask==1.4.1' --editable .
	touch $@

parity: $(VENV)-parity/.installed
	TF_CPP_MIN_LOG_LEVEL=3 $(VENV)-parity/bin/python tests/inference/parity.py

# TensorRT's runner on a real GPU: on a host with an NVIDIA GPU, its driver and CUDA's compiler (pycuda is
# compiled), in an environment of its own (5 GB). The report names GPU, driver and versions.
GPU_REPORT ?= gpu-report.md
$(VENV)-gpu/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-gpu
	$(VENV)-gpu/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,tensorrt]'
	touch $@

gpu-here:
	@nvidia-smi -L >/dev/null 2>&1 || { echo "make gpu: no NVIDIA GPU answers on this machine (nvidia-smi -L), so there is nothing to prove; run it on a host that has one" >&2; exit 1; }

gpu: gpu-here $(VENV)-gpu/.installed
	$(VENV)-gpu/bin/python tests/inference/prove_on_gpu.py --report $(GPU_REPORT)

# Normalisation and both networks beside the authors' own program, on one frame in one run; minutes.
bench-parity: $(VENV)-parity/.installed
	TF_CPP_MIN_LOG_LEVEL=3 $(VENV)-parity/bin/python tests/bench/bench_exposures.py

# Ratios first; the figures of tests/bench/README.md. Takes a quarter of an hour; needs real packets (STREAMFILTER_SAMPLES).
bench: $(VENV)/.installed-dev
	$(BIN)/python tests/bench/bench_decode.py
	$(BIN)/python tests/bench/bench_engine.py
	$(BIN)/python tests/bench/bench_stream.py
	$(BIN)/python tests/bench/bench_burst.py
	$(BIN)/python tests/bench/bench_delivery.py
	$(BIN)/python tests/bench/bench_rules.py
	$(BIN)/python tests/bench/bench_exposures.py
	$(BIN)/python tests/bench/bench_tracking.py

clean:
	rm -rf $(VENV) $(VENV)-parity $(VENV)-gpu .cache dist streamfilter-demo .mypy_cache .pytest_cache .ruff_cache
