# Two commands on a fresh machine: `make demo` and `make test` (see README.md).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
LOCK := .ci/requirements.txt
LOCK_DEV := .ci/requirements-dev.txt
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
DEBIAN := mosquitto mosquitto-clients socat gpsd-tools python3-gps strace gcc libc6-dev chromium fonts-dejavu-core

.PHONY: demo test check bench bench-peers reliability risk-eval risk-train nightly clean lock zones debian-parts
.PHONY: demo test check bench bench-peers bench-pages screens reliability risk-eval nightly clean lock zones debian-parts

# The lock files carry a hash of every package; nothing else is installed.
$(READY): $(LOCK) pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r $(LOCK)
	$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(READY_DEV): $(READY) $(LOCK_DEV)
	$(PIP) install --require-hashes -r $(LOCK_DEV)
	@touch $@

demo: $(READY)
	$(BIN)/borderlane demo $(ARGS)

# Debian's parts are installed only where that needs no question: as root, with apt.
debian-parts:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	  for part in $(DEBIAN); do \
	    dpkg -s $$part >/dev/null 2>&1 || missing="$$missing $$part"; done; \
	  if [ -n "$$missing" ]; then apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi; fi

test: $(READY_DEV) debian-parts
	$(BIN)/python -m pytest -m "not nightly" $(ARGS)

# Coverage without tests/system: measuring slows real processes that have deadlines to keep.
check: $(READY_DEV) debian-parts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -m "not nightly" --ignore tests/system
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=85

# Measures and writes docs/benchmarks.md; `borderlane bench --json` only measures.
bench: DEBIAN := gpsd-clients
bench: $(READY_DEV) debian-parts
	$(BIN)/python -m benchmarks.report $(ARGS)

# Node-RED from npm with a turf function node and with its geofence node, through the same broker.
bench-peers: $(READY)
	@command -v npm >/dev/null 2>&1 || { echo "bench-peers needs node and npm" >&2; exit 3; }
	cd benchmarks/peers && npm ci --omit=dev
	$(BIN)/python -m benchmarks.peers $(ARGS)

# The control room's page with 20,000 vehicles, and what 20 pages cost the server; needs chromium.
bench-pages: $(READY_DEV) debian-parts
	$(BIN)/python -m benchmarks.pages $(ARGS)

# Pictures of the pages, of a running demo; needs chromium.
screens: $(READY_DEV) debian-parts
	$(BIN)/python -m benchmarks.screens

# Both models on labelled declarations, scored on a later period; DATA is a folder with train.csv.gz and valid.csv.gz.
DATA ?= ../shared/data/risk
risk-eval: $(READY)
	$(BIN)/borderlane rules eval --train $(DATA)/train.csv.gz --test $(DATA)/valid.csv.gz --model default $(ARGS)
	$(BIN)/borderlane rules eval --train $(DATA)/train.csv.gz --test $(DATA)/valid.csv.gz --model boosted $(ARGS)

# The shipped models anew, from the same data: parties get other numbers first, lorries carry the later period.
RISK_MODELS := simulator/customs/models
risk-train: $(READY)
	$(BIN)/borderlane rules rename $(DATA)/train.csv.gz --out $(RISK_MODELS)/.train.csv.gz
	$(BIN)/borderlane rules rename $(DATA)/valid.csv.gz --out $(RISK_MODELS)/declarations.csv.gz
	for model in default boosted; do \
	  $(BIN)/borderlane rules train --train $(RISK_MODELS)/.train.csv.gz --model $$model --chf-of-price 0.0006 \
	    --out $(RISK_MODELS) || exit; done
	rm $(RISK_MODELS)/.train.csv.gz

# Kills, power cuts and damaged files by enumeration; writes docs/reliability.md. `ARGS=--full`: as far as nightly goes.
reliability: $(READY_DEV) debian-parts
	$(BIN)/python -m benchmarks.reliability $(ARGS)

nightly: $(READY_DEV) debian-parts
	BORDERLANE_REQUIRE_ALL=1 $(BIN)/python -m pytest $(ARGS)

zones: $(READY)
	$(BIN)/borderlane zones build --out zones/data/border_zones.geojson

# Maintainers: after a change of the dependencies in pyproject.toml.
lock:
	$(PIP) install uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-package borderlane pyproject.toml --extra ml --group build -o $(LOCK)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-package borderlane pyproject.toml --extra ml --group build --group dev -c $(LOCK) -o $(LOCK_DEV)

clean:
	rm -rf $(VENV) .coverage* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
