# Everything that is done in this repository is a target here; `make` alone lists them.
# Needs Python 3.11 or newer (PYTHON=python3.13 names another), GNU make, and the network the first time.

PYTHON ?= python3
BIN := .venv/bin
BASE := services/local/parley_local

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1|\2/' \
		| awk -F'|' '{ printf "%-28s%s\n", $$1, $$2 }'

.PHONY: prepare
prepare: ## set up .venv from the locked requirements (every other target does it when needed)
	@command -v $(PYTHON) >/dev/null || { echo "parley: $(PYTHON) is not there; Python 3.11 or newer is needed (PYTHON=... names it)" >&2; exit 1; }
	@$(PYTHON) $(BASE)/bootstrap.py

.PHONY: page
page: prepare ## build the web page (services/web/dist)
	@$(BIN)/python -m parley_local.node build services/web

.PHONY: run
run: page ## run all of Parley on this machine: http://localhost:3000/ (PORT, GATEWAYS; see README)
	@$(BIN)/python -m parley_local

.PHONY: lint
lint: prepare ## ruff, mypy and import-linter, and the checks of the web page
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m parley_local.node script services/web lint

.PHONY: format
format: prepare ## put the Python code into its format
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

.PHONY: test
test: lint page ## lint, then all tests that need no cluster
	$(BIN)/python -m parley_local.node script services/web test
	$(BIN)/python -m pytest $(PYTEST)

.PHONY: test-unit
test-unit: prepare ## the tests that need no other process
	$(BIN)/python -m pytest tests/unit $(PYTEST)

.PHONY: test-chart
test-chart: prepare ## the tests of the Helm chart (HELM names a Helm; without one, a Python package renders)
	$(BIN)/python -m pytest tests/chart $(PYTEST)

.PHONY: chaos
chaos: prepare ## minutes of random faults under real clients, checked (CHAOS="--minutes 20 --seed 7")
	$(BIN)/python -m tests.chaos $(CHAOS)

.PHONY: fuzz
fuzz: prepare ## noise at every door: nothing but clear refusals (FUZZ="--inputs 100000 --seed 7")
	$(BIN)/python -m tests.chaos.fuzz $(FUZZ)

.PHONY: bench
bench: prepare ## measure against the guide's servers (BENCH="--quick")
	$(BIN)/python -m tests.bench $(BENCH)

.PHONY: simulate
simulate: prepare ## a day of the operator on several load curves, compared with the HPA's formula
	@$(BIN)/python -m parley_operator.simulation

.PHONY: images
images: ## build the container images with Docker or Buildah (IMAGE_REGISTRY, IMAGE_TAG)
	docker/build

.PHONY: kind-up
kind-up: ## start a kind cluster with Traefik (KIND=minimum for the oldest Kubernetes)
	k8s/kind/up $(KIND)

.PHONY: kind-down
kind-down: ## remove that cluster
	kind delete cluster --name parley

.PHONY: e2e
e2e: prepare ## install and break Parley on the cluster that KUBECONFIG names (LOAD_IMAGE, INGRESS_URL, E2E_VALUES)
	$(BIN)/python -m parley_local.node install tests/harness/js
	tests/e2e/images
	$(BIN)/python -m pytest tests/e2e --override-ini faulthandler_timeout=1200 $(PYTEST)

.PHONY: release
release: ## push images and chart to IMAGE_REGISTRY
	helm/release

.PHONY: version
version: ## print the version of chart and images
	@sed -n 's/^version: *//p' helm/parley/Chart.yaml

.PHONY: conformance-server
conformance-server: prepare ## the server for the official Engine.IO and Socket.IO protocol suites (PORT)
	@$(BIN)/python -m parley_gateway.conformance

.PHONY: docs
docs: prepare ## write the tables of settings, errors and metrics into README.md
	$(BIN)/python -m tests.harness.readme

.PHONY: chart-docs
chart-docs: prepare ## write the table of values into the chart's README
	$(BIN)/python -m tests.chart.readme

.PHONY: lock
lock: prepare ## choose the versions anew (requirements/*.txt) from pyproject.toml
	@for group in gateway store operator dev; do \
		$(BIN)/uv pip compile pyproject.toml --extra $$group --output-file requirements/$$group.txt --quiet \
			--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
			$(LOCK) || exit 1; \
	done

.PHONY: clean
clean: ## remove what can be made again (.venv too), and the data of `make run`
	rm -rf .venv .run .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache services/web/dist
	find . -name node_modules -prune -exec rm -rf {} +
	find . -name __pycache__ -prune -exec rm -rf {} +
