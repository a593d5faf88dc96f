# Visage: `make run` sets everything up and serves the live avatar; `make test` checks it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
PY := $(VENV)/bin/python
ARGS ?=
WEB_SOURCES := $(shell find web/src web/public web/index.html web/voices.html web/package.json web/vite.config.ts -type f 2>/dev/null)
say = @printf '\033[1m==> %s\033[0m\n' "$(1)"

.PHONY: help run setup system python web weights listening chat musetalk stepaudio platform test-setup test lint bench bench-voice docs clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

run: setup listening ## Set everything up and serve the avatar on http://localhost:8010 (ARGS="--listenport 9000" for options)
	@exec $(PY) app.py $(ARGS)

setup: system python web weights ## Install what the server needs; safe to repeat

system:
	@tools/system_packages.sh espeak-ng

python: $(VENV)/.installed

$(VENV)/.installed: requirements.lock
	$(call say,Python packages)
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed: Visage needs Python 3.11 (make PYTHON=/path/to/python3.11)"; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --disable-pip-version-check --progress-bar on -q --require-hashes -r requirements.lock
	@touch $@

web: web/dist/index.html

web/node_modules/.installed: web/package-lock.json
	$(call say,Page packages)
	@command -v npm >/dev/null || { echo "npm is not installed: the page is built with Node 20 or newer"; exit 1; }
	@cd web && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

web/dist/index.html: web/node_modules/.installed $(WEB_SOURCES)
	$(call say,Page)
	@cd web && npm run --silent build
	@touch $@

weights: python
	@$(PY) app.py weights pull

listening: $(VENV)/.installed-listening ## Install what hears visitors: speech recognition, 190 MB, and its weights, 160 MB
	@$(PY) app.py weights pull whisper-base listening

$(VENV)/.installed-listening: requirements-listening.lock $(VENV)/.installed
	$(call say,Speech recognition)
	@$(PY) -m pip install --disable-pip-version-check --progress-bar on -q --no-deps --require-hashes -r $<
	@touch $@

chat: $(VENV)/.installed-chat ## Install the language model that answers without any server: 1.1 GB
	@$(PY) app.py weights pull qwen

$(VENV)/.installed-chat: requirements-chat.lock $(VENV)/.installed
	$(call say,Local language model)
	@$(PY) -m pip install --disable-pip-version-check --progress-bar on -q --no-deps --require-hashes -r $<
	@touch $@

musetalk: $(VENV)/.installed-musetalk ## Install what `--model musetalk` runs on: PyTorch, 1 GB on a CPU and 5 GB with CUDA

$(VENV)/.installed-musetalk: requirements-musetalk.lock $(VENV)/.installed
	$(call say,PyTorch and MuseTalk packages)
	@$(PY) -m pip install --disable-pip-version-check --progress-bar on -q "$$(grep -o 'torch==[0-9.]*' pyproject.toml | head -1)"
	@$(PY) -m pip install --disable-pip-version-check --progress-bar on -q --no-deps --require-hashes -r $<
	@touch $@

stepaudio: $(VENV)/.installed-stepaudio ## Install what Step-Audio's models run on: PyTorch, 1 GB on a CPU and 5 GB with CUDA

$(VENV)/.installed-stepaudio: requirements-stepaudio.lock $(VENV)/.installed
	$(call say,PyTorch and Step-Audio packages)
	@$(PY) -m pip install --disable-pip-version-check --progress-bar on -q "$$(grep -o 'torch==[0-9.]*' pyproject.toml | head -1)"
	@$(PY) -m pip install --disable-pip-version-check --progress-bar on -q --no-deps --require-hashes -r $<
	@touch $@

platform: $(VENV)/.installed-platform ## Install what a server among servers needs: PostgreSQL, Redis, S3, Sentry: 30 MB

$(VENV)/.installed-platform: requirements-platform.lock $(VENV)/.installed
	$(call say,PostgreSQL, Redis, S3, Sentry)
	@$(PY) -m pip install --disable-pip-version-check --progress-bar on -q --no-deps --require-hashes -r $<
	@touch $@

test-setup: setup listening musetalk stepaudio platform $(VENV)/.installed-dev
	@$(PY) app.py weights pull whisper
	@tools/system_packages.sh chromium fonts-noto-cjk nginx-light coturn

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(call say,Test packages)
	@$(PY) -m pip install --disable-pip-version-check -q --require-hashes -r requirements-dev.lock
	@touch $@

test: test-setup lint ## Run every check: lint, types, unit, WebRTC, real browser, page
	$(call say,Page tests)
	@cd web && npm test --silent
	$(call say,Tests)
	@$(PY) -m pytest

lint: $(VENV)/.installed-dev web/node_modules/.installed ## Style and types of Python and TypeScript
	$(call say,Style and types)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy .
	@cd web && npm run --silent lint

bench: test-setup ## Measure the figures of docs/measurements.md on this machine
	@$(PY) -m benchmarks $(ARGS)

bench-voice: test-setup listening ## Measure conversations: voice to voice, speaking over her (6 minutes; talk to nobody meanwhile)
	@$(PY) -m benchmarks --out benchmarks/results/voice talk bargein $(ARGS)

docs: python ## Write docs/api.md, docs/settings.md and config.example.yaml from the code
	@$(PY) app.py openapi --markdown > docs/api.md
	@$(PY) app.py config --markdown > docs/settings.md
	@$(PY) app.py config --example > config.example.yaml

COMPILE = uv pip compile -q pyproject.toml --python-version 3.11 --no-annotate --no-header --generate-hashes
lock: ## Renew the locks from pyproject.toml (needs uv)
	@$(COMPILE) -o requirements.lock
	@$(COMPILE) --extra listening -c requirements.lock -o requirements-listening.lock
	@$(COMPILE) --extra chat -c requirements.lock -o requirements-chat.lock
	@$(COMPILE) --extra platform -c requirements.lock -o requirements-platform.lock
	@# torch and its CUDA are left out: pip chooses that build for the machine, after everything else is there.
	@$(COMPILE) --extra musetalk -c requirements.lock -c requirements-listening.lock \
		| awk '/^[a-z]/ {keep = $$0 !~ /^(torch|triton|nvidia-|cuda-)/} keep' > requirements-musetalk.lock
	@$(COMPILE) --extra stepaudio -c requirements.lock -c requirements-musetalk.lock \
		| awk '/^[a-z]/ {keep = $$0 !~ /^(torch|triton|nvidia-|cuda-)/} keep' > requirements-stepaudio.lock
	@$(COMPILE) --group dev -c requirements.lock -c requirements-listening.lock \
		-c requirements-musetalk.lock -c requirements-stepaudio.lock -c requirements-platform.lock -o requirements-dev.lock

clean: ## Remove what setup and tests made
	@rm -rf $(VENV) web/node_modules web/dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
