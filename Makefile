# Every target does its own set-up; a fresh machine needs Python 3.11 to 3.13 (and, for `make test`, Java 17 and Maven).
#
# Tests come in tiers; each target runs its own, `unit` those of `check` as well:
#   make check         lint, types, tests that need nothing but Python     (3 minutes on two idle cores)
#   make unit          + weights, runtimes, demos, wheel, command line     (7 minutes)
#   make stream        Kafka and integration, on one node                  (8 minutes)
#   make deploy-check  containers, compose, chart, Prometheus, dashboards
#   make test          all of these and a bounded chaos                    (20 minutes with installation)
#   make night         the whole chaos suite, long fuzzing, benches, all plans (over an hour)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCKS := deploy/locks

# Tests that share nothing run side by side. Where they wait for brokers and workers most of the time, three
# of them keep two cores busy.
WORKERS ?= 2
WAITING_WORKERS ?= 3
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal
# A test that waits for other programs may be late once: up to three of a run are tried again, and what they said the
# first time is printed. What counts messages is never tried again: one that is lost once is lost.
COUNTED := chaos integration/test_exactly_once.py integration/test_exposures_exactly_once.py kafka/test_transactions.py
AGAIN := --reruns 1 --max-suite-reruns 3 --rerun-show-tracebacks $(COUNTED:%=--rerun-exclude-path tests/%)
PYTEST_WAITING := $(BIN)/python -m pytest --numprocesses $(WAITING_WORKERS) --dist loadgroup $(AGAIN)
# Real packets (tests/SAMPLES.md): without them tests are skipped, so that the floor of coverage says nothing.
SAMPLES := $(or $(STREAMFILTER_SAMPLES),../shared/samples)
ENGINES := $(patsubst engines/%/engine.toml,%,$(wildcard engines/*/engine.toml))
# Set for `check` where `unit` asks for it: together they are what the floor of pyproject.toml is for.
COVERAGE :=

.PHONY: install lock wheel demo test check unit stream deploy-check bounded-chaos with-services night weights lint types
.PHONY: fuzz chaos parity train train-export gpu gpu-here bench bench-parity clean

# What a lock file names, with its hashes. uv takes seconds where pip takes a minute; pip knows mirrors of its own.
define locked
$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(LOCKS)/uv.txt
VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes --requirement $(LOCKS)/$(1).txt \
	|| $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(LOCKS)/$(1).txt
$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
endef

install: $(VENV)/.installed

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml $(LOCKS)/install.txt
	$(call locked,install)
	touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml $(LOCKS)/dev.txt
	$(call locked,dev)
	touch $@ $(VENV)/.installed

# Versions stay as they are where pyproject.toml lets them; UPGRADE=--upgrade takes the newest.
UPGRADE :=
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-annotate $(UPGRADE)
lock: $(VENV)/.installed-dev
	$(COMPILE) pyproject.toml --extra dev --output-file $(LOCKS)/dev.txt
	printf 'hatchling\neditables\n' | $(COMPILE) pyproject.toml - --extra console --extra figures --extra lsst \
		--constraint $(LOCKS)/dev.txt --output-file $(LOCKS)/install.txt
	echo uv | $(COMPILE) - --constraint $(LOCKS)/dev.txt --output-file $(LOCKS)/uv.txt

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

# Where nothing is to be had that a test forgot to ask for: no network, no cache, no Java.
check: lint types
	$(BIN)/python tests/alone.py $(PYTEST) -m check $(COVERAGE)

weights: $(VENV)/.installed-dev
	set -e; for engine in $(ENGINES); do $(BIN)/streamfilter engines fetch $$engine; done

unit: COVERAGE := --cov --cov-report= --cov-fail-under=0
unit: check weights
	$(PYTEST) $(AGAIN) -m unit --cov --cov-append --cov-report=term:skip-covered $(if $(wildcard $(SAMPLES)),,--cov-fail-under=0)

# Kafka comes once from Maven Central; STREAMFILTER_TEST_BOOTSTRAP names a broker to use instead.
stream: weights
	$(PYTEST_WAITING) -m stream

# Programs are built or unpacked once, into ~/.cache/streamfilter-tests.
deploy-check: weights
	$(PYTEST_WAITING) -m deploy

bounded-chaos: weights
	$(PYTEST_WAITING) -m bounded_chaos

# The three above in one run: what waits in one is used by another.
with-services: weights
	$(PYTEST_WAITING) -m "stream or deploy or bounded_chaos"

# Helm is built beside what needs none of it; the services are tried although a test before them failed.
test:
	@mkdir -p .cache; nice -n 5 $(PYTHON) tests/fetch_tools.py > .cache/fetch_tools.log 2>&1 & fetching=$$!; \
	trap "kill $$fetching 2> .cache/kill.log || true" EXIT; \
	$(MAKE) --no-print-directory --keep-going unit with-services

# Benches need real packets: where there are none, nothing is timed.
night: weights
	$(PYTEST) -m night
	$(MAKE) --no-print-directory chaos fuzz $(if $(wildcard $(SAMPLES)),bench)

# All that takes bytes from a stream, so long for each target; what breaks becomes a regression test.
FUZZ_SECONDS ?= 120
fuzz: $(VENV)/.installed-dev
	$(BIN)/python tests/fuzz/fuzz.py --seconds $(FUZZ_SECONDS)

# Everything that breaks at night, on a real Kafka, audited; writes the report. Takes 30 to 40 minutes.
chaos: $(VENV)/.installed-dev
	$(BIN)/python tests/chaos/chaos.py --report tests/chaos/REPORT.md

# The authors' own TensorFlow program, in an environment of its own (2.5 GB), on real frames.
$(VENV)-parity/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-parity
	$(VENV)-parity/bin/python -m pip install --quiet --disable-pip-version-check 'MaxiMask==1.4.1' --editable .
	touch $@

parity: $(VENV)-parity/.installed
	TF_CPP_MIN_LOG_LEVEL=3 $(VENV)-parity/bin/python tests/inference/parity.py
	TF_CPP_MIN_LOG_LEVEL=3 $(VENV)-parity/bin/python tests/inference/parity_programs.py

# stampmask from real alerts (engines/README.md): the framework is only in this environment (1 GB). A run
# that was ended goes on from its checkpoint in TRAINED; `make train-export` puts the weights into the engine.
TRAINED ?= .cache/stampmask
STEPS ?= 30720
TRAIN = PYTHONPATH=engines STREAMFILTER_SAMPLES=$(SAMPLES) $(VENV)-train/bin/python -m
$(VENV)-train/.installed: pyproject.toml engines/training/requirements.txt
	$(PYTHON) -m venv $(VENV)-train
	$(VENV)-train/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[figures,lsst]' \
		--requirement engines/training/requirements.txt
	touch $@

train: $(VENV)-train/.installed
	$(TRAIN) training.train --out $(TRAINED) --steps $(STEPS)

train-export: $(VENV)-train/.installed
	$(TRAIN) training.export $(TRAINED)
	$(TRAIN) training.sides

# TensorRT's runner on a real GPU: on a host with an NVIDIA GPU, its driver and CUDA's compiler (pycuda is
# compiled), in an environment of its own (5 GB). The report names GPU, driver and versions.
GPU_REPORT ?= gpu-report.md
$(VENV)-gpu/.installed: pyproject.toml | gpu-here
	$(PYTHON) -m venv $(VENV)-gpu
	$(VENV)-gpu/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,tensorrt]'
	touch $@

gpu-here:
	@nvidia-smi -L >/dev/null 2>&1 || { echo "make gpu: no NVIDIA GPU answers on this machine (nvidia-smi -L), so there is nothing to prove; run it on a host that has one" >&2; exit 1; }

gpu: $(VENV)-gpu/.installed
	$(VENV)-gpu/bin/python tests/inference/prove_on_gpu.py --report $(GPU_REPORT)

# Normalisation and both networks beside the authors' own program, on one frame in one run; minutes.
bench-parity: $(VENV)-parity/.installed
	TF_CPP_MIN_LOG_LEVEL=3 $(VENV)-parity/bin/python tests/bench/bench_exposures.py

# Astro-SCRAPPY, beside which cosmic rays are measured: only here, and nothing else needs it.
BENCHED := .cache/bench
$(BENCHED)/.installed: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(BENCHED) 'astroscrappy>=1.2,<2' scipy
	touch $@

# Ratios first; the figures of tests/bench/README.md. Takes a quarter of an hour; needs real packets (STREAMFILTER_SAMPLES).
bench: $(VENV)/.installed-dev $(BENCHED)/.installed
	$(BIN)/python tests/bench/bench_decode.py
	$(BIN)/python tests/bench/bench_parts.py
	$(BIN)/python tests/bench/bench_engine.py
	$(BIN)/python tests/bench/bench_stream.py
	$(BIN)/python tests/bench/bench_burst.py
	$(BIN)/python tests/bench/bench_delivery.py
	$(BIN)/python tests/bench/bench_console.py
	$(BIN)/python tests/bench/bench_archive.py
	$(BIN)/python tests/bench/bench_tune.py
	$(BIN)/python tests/bench/bench_rules.py
	PYTHONPATH=$(BENCHED) OMP_NUM_THREADS=1 $(BIN)/python tests/bench/bench_stamps.py
	PYTHONPATH=$(BENCHED) OMP_NUM_THREADS=1 $(BIN)/python tests/bench/bench_frames.py
	$(BIN)/python tests/bench/bench_exposures.py
	$(BIN)/python tests/bench/bench_tracking.py
	$(BIN)/python tests/bench/bench_background.py
	$(BIN)/python tests/bench/bench_probability.py

clean:
	rm -rf $(VENV) $(VENV)-parity $(VENV)-train $(VENV)-gpu .cache dist streamfilter-demo .mypy_cache .pytest_cache .ruff_cache .coverage
