# `make demo` and `make test` set themselves up: a fresh clone needs git, make and Python 3.11, and nothing else.

PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.installed

.PHONY: help demo test lint picture clean

help:
	@echo "make demo     make a scene, cut it into polygons, and say what to open"
	@echo "make test     run the tests"
	@echo "make lint     look at format, style and types"
	@echo "make picture  draw docs/picture.png from the demo"
	@echo "make clean    remove the environment and everything that was made"

demo: demo/scene.tif
	$(BIN)/geoseg tile demo/scene.tif --out demo/labels.gpkg --class-raster demo/classes.tif --overwrite
	@echo "Open demo/labels.gpkg in QGIS, with demo/scene.tif below it: the layer comes in the colours of its classes."

test: $(READY)
	$(BIN)/pytest

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

picture: demo
	$(BIN)/python examples/picture.py demo/scene.tif demo/labels.gpkg docs/picture.png

clean:
	rm -rf .venv demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find geoseg tests examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# geoseg never replaces a scene, so what is left of one that was broken off goes first.
demo/scene.tif: | $(READY)
	mkdir -p demo
	rm -f demo/truth.tif
	$(BIN)/geoseg synthetic demo/scene.tif --size 2048x2048 --seed 1 --truth demo/truth.tif

# torch first and by itself: which build it is, for CPUs or for CUDA, is settled before anything else asks for it.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install -c constraints.txt -e '.[dev]'
	touch $(READY)
