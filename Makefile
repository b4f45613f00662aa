# make demo: the whole experiment in miniature.  make test: everything that must hold.  Both install what they need.
RUN ?= out/tiny
RECIPE ?= configs/tiny.yaml
CONFIG ?= configs/snakmodel-7b.yaml
PYTHON ?= python3
VENV = .venv
INSTALLED = $(VENV)/.installed
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: demo test check figures bench gguf status prefetch clean

demo: $(INSTALLED)
	bash runs/tiny.sh $(RECIPE)

test: $(INSTALLED)
	pytest -n 2 --no-loadscope-reorder

check: $(INSTALLED)
	ruff format --check .
	ruff check .
	mypy

figures: $(INSTALLED)
	for name in training corpus scores divergence answers; do python plot/$$name.py --config $(RECIPE) || exit; done

bench: $(INSTALLED)
	python benchmarks/train_loop.py

gguf: $(INSTALLED) .venv-gguf/.installed
	pytest tests/test_llama_cpp.py

status: $(INSTALLED)
	@python -m snakmodel.status $(RUN)

prefetch: $(INSTALLED)
	env -u HF_HUB_OFFLINE python pretrain/prefetch.py --config $(CONFIG)

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
