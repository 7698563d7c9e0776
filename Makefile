# Penstock. `make help` says what each target does.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := build/demo
MINUTES ?= 10
.DEFAULT_GOAL := help
.PHONY: help install dev demo stream emulators emulators-env bigquery-emulator test check bench dlp broker bigquery dataflow fuzz kill backfill soak growth docs model image image-test infra-check lock clean

help:  ## what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/installed: requirements.lock setup.py
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else "Penstock runs on Python 3.10 to 3.13, those of Beam 2.77 on which its tests run; this is %d.%d. Name another one: make PYTHON=python3.12 ..." % v)'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "This Python cannot make virtual environments (on Debian: apt-get install python3-venv)."; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev-installed: $(VENV)/installed requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

install: $(VENV)/installed  ## make .venv with all that runs

dev: $(VENV)/dev-installed  ## the same and what tests, checks and trains

demo: install  ## census events from files to tables, with three questions to the tables
	@rm -rf $(DEMO)
	@$(BIN)/penstock generate census --rows=12345 --seed=7 --output=$(DEMO)/events
	@$(BIN)/penstock batch --contract=census --input='$(DEMO)/events/*.ndjson' --output=$(DEMO)/tables
	@echo; echo "Stored rows, de-identified, with score, label, model version and lineage:"
	@$(BIN)/penstock query $(DEMO)/tables "select application_id, left(email, 12) || '...' as email, ssn, phone, left(note, 44) as note, round(score, 3) as score, label, model_version, contract_version, split_part(origin, '/', -1) as origin, d from events where note like '%[%' order by origin limit 5"
	@echo; echo "Refusals by stage and reason:"
	@$(BIN)/penstock query $(DEMO)/tables "select stage, reason, field, count(*) as rows from failures group by all order by rows desc, reason"
	@echo; echo "The ledger:"
	@$(BIN)/penstock query $(DEMO)/tables "select run, read, stored, repeated, refused, balanced, fingerprint, ended - started as took from runs"

stream: install  ## a Pub/Sub broker, a publisher, the stream job and a live view of its tables; ^C ends them in order
	@$(BIN)/python -m tests.live build/stream

emulators: install build/emulators/gcs/installed  ## Pub/Sub, Cloud Storage and BigQuery on this machine; ^C ends them
	@$(BIN)/python -m tests.emulators

emulators-env: build/emulators/gcs/installed  ## the emulators that tests use, each in an environment of its own

build/emulators/gcs/installed:
	@rm -rf build/emulators/gcs; $(PYTHON) -m venv build/emulators/gcs \
	  && build/emulators/gcs/bin/python -m pip install --quiet --disable-pip-version-check gcp-storage-emulator==2026.7.19 && touch $@ \
	  || { rm -rf build/emulators/gcs; echo "No emulator of Cloud Storage: the tests that need it will be skipped."; }

bigquery-emulator: build/emulators/bigquery/installed  ## bqemulator (590 MB, a minute), which our BigQuery is held against where it is there

build/emulators/bigquery/installed:
	@rm -rf build/emulators/bigquery; $(PYTHON) -m venv build/emulators/bigquery \
	  && build/emulators/bigquery/bin/python -m pip install --quiet --disable-pip-version-check bqemulator==1.4.0 duckdb==1.5.5 \
	    duckdb-extension-spatial==1.5.5 duckdb-extension-avro==1.5.5 duckdb-extensions numpy \
	  && HOME=$(CURDIR)/build/emulators/bigquery build/emulators/bigquery/bin/python -c "import duckdb_extensions as d; d.import_extension('spatial'); d.import_extension('avro')" \
	  && touch $@ || { rm -rf build/emulators/bigquery; echo "No bqemulator: the tests that need it will be skipped."; }

test: dev emulators-env  ## every test
	$(BIN)/python -m pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

check: dev  ## style, types, imports
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: dev emulators-env  ## speed and memory: the batch job, streams, DLP's calls and bytes, detectors, operators
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.stream
	$(BIN)/python -m benchmarks.dlp
	$(BIN)/python -m benchmarks.detectors
	$(BIN)/python -m benchmarks.operators
	$(BIN)/python -m benchmarks.gcs
	$(BIN)/python -m benchmarks.backfill
	$(BIN)/python -m benchmarks.sinks
	$(BIN)/python -m benchmarks.plan

dlp: install  ## a DLP server on this machine, localhost:8085, to try --engine=dlp against; ^C stops it
	$(BIN)/python -m tests.dlp_server --port=8085 --keys=.penstock/keys

broker: install  ## a Pub/Sub broker on this machine, localhost:8086, for PUBSUB_EMULATOR_HOST; ^C stops it
	$(BIN)/python -m tests.pubsub_server --port=8086

bigquery: install  ## a BigQuery on this machine, http://localhost:9050 and localhost:9060, with the datasets bq://project.dataset and bq://project.restricted; ^C stops it
	$(BIN)/python -m tests.bigquery_server --port=9050 --storage_port=9060 --dataset=project.dataset

dataflow: install  ## a Dataflow on this machine, http://localhost:9070, to try penstock launch against; ^C stops it
	$(BIN)/python -m tests.dataflow_server --port=9070

fuzz: dev  ## 100,000 mutated rows and files
	$(BIN)/python -m tests.fuzz --items=100000

kill: dev  ## kill the stream 200 times: nothing lost, nothing twice, every window right
	$(BIN)/python -m tests.kills --kills=200 --suspects
	$(BIN)/python -m tests.kills --kills=80 --bigquery

backfill: dev emulators-env  ## a backfill of 30 days of 10,000 rows on the emulators, killed three times: each day as if undisturbed
	$(BIN)/python -m tests.cloud_backfill --days=30 --rows=10000 --kills=3

soak: dev  ## 10 minutes of the stream at 1,000 messages a second: nothing may grow; make soak MINUTES=30
	$(BIN)/python -m tests.soak --minutes=$(MINUTES) --rate=1000

growth: dev  ## commit, open and query times of a stream's tables after 500 and after 5,000 commits
	$(BIN)/python -m benchmarks.growth

docs: install  ## write the generated parts of README and docs anew
	$(BIN)/python -m pipelines.tools.docs

model: dev  ## train the shipped models from the data that is shipped
	$(BIN)/python schemas/census/train.py
	$(BIN)/python schemas/telemetry/train.py
	$(BIN)/python schemas/contact_center/train.py

image:  ## the image of a job, with docker, podman or buildah; make image JOB=batch IMAGE=REGION-docker.pkg.dev/P/R/penstock PUSH=1
	@JOB='$(JOB)' IMAGE='$(IMAGE)' PUSH='$(PUSH)' templates/image.sh $(BUILD_ARGS)

image-test: dev  ## build the image on stand-ins of its bases, launch from inside it, and use it as a worker (needs buildah, mmdebstrap, go)
	$(BIN)/python -m tests.image_run

build/checkov/installed:
	@rm -rf build/checkov; $(PYTHON) -m venv build/checkov && build/checkov/bin/python -m pip install --quiet --disable-pip-version-check checkov==3.3.30 && touch $@

infra-check: dev build/checkov/installed  ## infra/: our policies, a plan by terraform on stand-ins of the providers (needs go), checkov (290 MB, on its own)
	$(BIN)/python -m pytest tests/test_infra.py
	$(BIN)/python -m tests.infra_plan
	@BC_SKIP_MAPPING=TRUE build/checkov/bin/checkov --directory infra --framework terraform --compact --quiet --skip-download

lock: dev  ## lock the dependencies anew (needs uv)
	uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-header requirements.in -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-emit-index-url --no-header requirements-dev.in -o requirements-dev.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header templates/sbom.in -o templates/sbom.lock

clean:  ## remove what was built
	rm -rf build .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
