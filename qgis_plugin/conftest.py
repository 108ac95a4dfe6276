"""Only the modules in `geoseg_qgis/runner` can be imported without QGIS; tests/test_qgis_plugin.py tests the others."""

collect_ignore_glob = ["*.py", "geoseg_qgis/*.py"]
