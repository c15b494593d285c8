# Every target makes its own .venv when absent, and installs again only when what is installed changed.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test test-deploy fuzz zoo check format figure screenshots docs clean
help: ## Show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/installed ## Compare six methods on handwritten digits (about a minute, no download)
	$(BIN)/fedma demo

test: .venv/dev ## Run the tests, on up to four cores (ARGS="-k name" for some of them)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

test-deploy: .venv/dev ## Train over TLS on loopback, with SuperLink and SuperNodes (about a minute)
	FEDMA_DEPLOY=1 $(BIN)/python -m pytest tests/engines/test_flower_deploy.py

fuzz: .venv/dev ## Try 50,000 random programs on the unit graphs (hours; goes on where it stopped)
	@mkdir -p runs
	PYTHONPATH=tests $(BIN)/python -m units.fuzz 0 50000 --keep --resume runs/fuzz.json

zoo: .venv-zoo/installed ## Unit graphs of 200 public models, each in a process of its own (goes on where it stopped)
	.venv-zoo/bin/python benchmarks/units/zoo/run.py $(ARGS)

check: .venv/dev ## Lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/dev ## Mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

figure: .venv/installed ## Make the README's figure again
	rm -rf runs/figure
	$(BIN)/fedma demo --out runs/figure
	cp runs/figure/figures/accuracy_vs_megabytes.png docs/images/demo.png
	cp runs/figure/run.json runs/figure/results.jsonl benchmarks/results/demo/

screenshots: .venv/installed ## Make the README's pictures of the report and the terminal (needs Chromium)
	$(BIN)/python docs/screenshots.py

docs: .venv/docs ## Build the documentation into site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

clean: ## Remove the virtual environment and caches
	rm -rf .venv .venv-zoo site .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/installed: pyproject.toml constraints.txt
	@echo "Setting up .venv (once; some minutes, as PyTorch is large) ..."
	$(PYTHON) -m venv .venv
	$(PIP) -e '.[cli]'
	@touch $@

.venv/dev: .venv/installed
	@echo "Adding what tests and checks need ..."
	$(PIP) -e '.[dev]'
	@touch $@

.venv/docs: .venv/installed
	@echo "Adding what the documentation needs ..."
	$(PIP) -e '.[docs]'
	@touch $@

.venv-zoo/installed: pyproject.toml constraints.txt benchmarks/units/zoo/requirements.txt
	@echo "Setting up .venv-zoo (once; some minutes) ..."
	$(PYTHON) -m venv .venv-zoo
	.venv-zoo/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e . -r benchmarks/units/zoo/requirements.txt
	@touch $@
