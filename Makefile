# Thin: the program is the command `auterity`. Every target works in a fresh clone.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv

.PHONY: run test lint bench evidence docs lock clean

run: .venv/runtime.stamp
	@$(BIN)/auterity serve

test: .venv/dev.stamp
	@scripts/debian-packages redis-server
	@$(BIN)/python -m pytest -q -n auto --dist loadfile

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: .venv/dev.stamp
	@scripts/debian-packages nginx-light wrk
	@$(BIN)/python -m benchmarks.gateway

evidence: .venv/dev.stamp
	@$(BIN)/python -m benchmarks.evidence $(if $(ID),--id $(ID))

docs: .venv/dev.stamp
	@$(BIN)/python -m scripts.reference

lock: .venv/uv.stamp
	$(UV) pip compile --quiet --upgrade --generate-hashes --no-emit-index-url --no-annotate pyproject.toml -o requirements/runtime.txt
	$(UV) pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate pyproject.toml --group dev -c requirements/runtime.txt -o requirements/dev.txt

clean:
	rm -rf .venv dist build

.venv/uv.stamp:
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check "uv>=0.9,<1"
	@touch $@

.venv/runtime.stamp: .venv/uv.stamp requirements/runtime.txt pyproject.toml
	@echo "Installing Auterity into .venv (a minute or two, once) …"
	@$(UV) pip install --quiet --require-hashes -r requirements/runtime.txt
	@$(UV) pip install --quiet --no-deps --editable .
	@touch $@

.venv/dev.stamp: .venv/runtime.stamp requirements/dev.txt
	@$(UV) pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@
