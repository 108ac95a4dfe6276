"""A stand-in for Windows: a folder for PYTHONPATH, whose `sitecustomize` changes what geoseg calls."""
