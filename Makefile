# `make demo` and `make test` install what they need: a fresh clone needs git, make and Python 3.11, and nothing else.

PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.installed

# Two processes share the tests; each computes on one thread. A third one shares the slow tests, which wait for QGIS, a
# browser and worker processes. Without stored bytecode each process that a test starts would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE
TESTS := OMP_NUM_THREADS=1 $(BIN)/pytest --dist loadgroup

.PHONY: help demo test test-slow lint picture gallery docs reference qgis-plugin qgis-pictures clean

help:
	@echo "make demo       write a synthetic scene and segment it"
	@echo "make test       run the tests, without the slow ones"
	@echo "make test-slow  run the slow tests"
	@echo "make lint       check format, style and types"
	@echo "make docs       build the documentation site: build/site/index.html"
	@echo "make picture    draw docs/picture.png from a NAIP image"
	@echo "make gallery    write docs/gallery.md, and draw its pictures and those of the tutorial"
	@echo "make reference  write docs/cli.md, docs/configuration.md and the options of the QGIS plugin"
	@echo "make qgis-plugin  pack the QGIS plugin: dist/geoseg_qgis-VERSION.zip"
	@echo "make qgis-pictures  draw the dialog and a result with QGIS: demo/qgis/"
	@echo "make clean      remove the environment and all generated files"

demo: demo/scene.tif
	$(BIN)/geoseg tile demo/scene.tif --out demo/labels.gpkg --class-raster demo/classes.tif --overwrite
	@echo "Open demo/labels.gpkg in QGIS, with demo/scene.tif below it; the layer is styled by class."

test: $(READY)
	$(TESTS) --numprocesses 2 -m "not slow"

test-slow: $(READY)
	$(TESTS) --numprocesses 3 -m slow

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	cd qgis_plugin && ../$(BIN)/mypy --config-file ../pyproject.toml --python-version 3.10 -p geoseg_qgis.runner

docs: $(READY)
	$(BIN)/python docs/build_site.py

picture: $(READY)
	mkdir -p demo
	$(BIN)/geoseg tile docs/data/naip_2020.tif --classes 8 --out demo/naip.gpkg --overwrite
	$(BIN)/python examples/picture.py docs/data/naip_2020.tif demo/naip.gpkg docs/picture.png

# The pictures of the tutorial need QGIS and xvfb.
gallery: $(READY)
	$(BIN)/python docs/gallery.py
	$(BIN)/python docs/tutorial_pictures.py docs/pictures

reference: $(READY)
	$(BIN)/python -m geoseg.cli.reference > docs/cli.md
	$(BIN)/python -m geoseg.cli.config_reference > docs/configuration.md
	$(BIN)/python -m geoseg.cli.reference_json > qgis_plugin/geoseg_qgis/commands.json

qgis-plugin:
	$(PYTHON) qgis_plugin/package.py dist

# The pictures of docs/qgis.md are those of a NAIP image.
qgis-pictures: demo/scene.tif
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PYTHON) qgis_plugin/pictures.py demo/scene.tif demo/qgis

clean:
	rm -rf .venv demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find geoseg tests examples benchmarks qgis_plugin -name __pycache__ -type d -prune -exec rm -rf {} +

# `geoseg synthetic` replaces no file, so the rest of an interrupted one is removed first.
demo/scene.tif: | $(READY)
	mkdir -p demo
	rm -f demo/truth.tif
	$(BIN)/geoseg synthetic demo/scene.tif --size 2048x2048 --seed 1 --truth demo/truth.tif

# torch first and alone, so that its build, for CPUs or for CUDA, is chosen before another package requires it. Of all
# packages, only the modules that are imported are compiled: most are not, and pip would compile for a minute.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --no-compile -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install --no-compile -c constraints.txt -e '.[dev]'
	$(BIN)/python -c 'import distributed, geopandas, geoseg.pipeline, matplotlib.figure, sklearn.ensemble, torch'
	touch $(READY)
