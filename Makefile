# make demo: the whole experiment in miniature.  make test: everything that must hold.  make figures: the paper's.
# Each installs what it needs.
RUN ?= out/tiny
RECIPE ?= configs/tiny.yaml
CONFIG ?= configs/snakmodel-7b.yaml
PYTHON ?= python3
VENV = .venv
INSTALLED = $(VENV)/.installed
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: demo test check figures run-figures bench gguf status prefetch clean

demo: $(INSTALLED)
	bash runs/tiny.sh $(RECIPE)

test: $(INSTALLED)
	pytest -n 2 --no-loadscope-reorder

check: $(INSTALLED)
	ruff format --check .
	ruff check .
	mypy

# what the published numbers allow: no run, no torch, seconds
figures: .venv-plot/.installed
	.venv-plot/bin/python plot/published.py --config configs/published.yaml
	.venv-plot/bin/python plot/replication.py --config configs/published.yaml

run-figures: $(INSTALLED)
	for name in training throughput corpus scores divergence embeddings answers forgetting leakage contamination compare; do python plot/$$name.py --config $(RECIPE) || exit; done

bench: $(INSTALLED)
	python benchmarks/train_loop.py

gguf: $(INSTALLED) .venv-gguf/.installed
	pytest tests/test_llama_cpp.py

status: $(INSTALLED)
	@python -m snakmodel.status $(RUN)

prefetch: $(INSTALLED)
	env -u HF_HUB_OFFLINE python pretrain/prefetch.py --config $(CONFIG)

.venv-plot/.installed: requirements-plot.txt pyproject.toml
	$(PYTHON) -m venv .venv-plot
	.venv-plot/bin/pip install --quiet -r requirements-plot.txt
	touch $@

# llama.cpp, to read what release.py writes; it is compiled, in five minutes on two cores
.venv-gguf/.installed:
	$(PYTHON) -m venv .venv-gguf
	.venv-gguf/bin/pip install --quiet llama-cpp-python==0.3.36
	touch $@

clean:
	rm -rf out/tiny out/tiny-base

$(INSTALLED): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -r requirements.txt
	touch $@

# ScandEval and EuroEval, each where its pins can have their own way; torch is the CPU build where that was installed first
.PHONY: scandeval euroeval euroeval-gpu

scandeval: .venv-scandeval/.installed

euroeval: .venv-euroeval/.installed

euroeval-gpu: .venv-euroeval-gpu/.installed

.venv-scandeval/.installed: evaluate/requirements-scandeval.txt
	$(PYTHON) -m venv .venv-scandeval
	.venv-scandeval/bin/pip install --quiet -r evaluate/requirements-scandeval.txt
	.venv-scandeval/bin/python -c 'import pathlib, sysconfig; folder = pathlib.Path(sysconfig.get_path("purelib"), "pyairports"); folder.mkdir(exist_ok=True); (folder / "airports.py").write_text("AIRPORT_LIST = []\n")'
	.venv-scandeval/bin/scandeval --help > /dev/null
	touch $@

.venv-euroeval/.installed: evaluate/requirements-euroeval.txt
	$(PYTHON) -m venv .venv-euroeval
	.venv-euroeval/bin/pip install --quiet -r evaluate/requirements-euroeval.txt
	.venv-euroeval/bin/euroeval --help > /dev/null
	touch $@

# pins for vLLM are of one Python; PYTHON=... of the command line goes before this
.venv-euroeval-gpu/.installed: PYTHON = python3.12
.venv-euroeval-gpu/.installed: evaluate/requirements-euroeval-gpu.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' 2> /dev/null || { echo "Python 3.12 is needed, which $(PYTHON) is not; name one: make euroeval-gpu PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv-euroeval-gpu
	.venv-euroeval-gpu/bin/pip install --quiet -r evaluate/requirements-euroeval-gpu.txt
	.venv-euroeval-gpu/bin/euroeval --help > /dev/null
	touch $@
