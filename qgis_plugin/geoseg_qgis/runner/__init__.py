"""Run geoseg as a subprocess: nothing in this folder imports qgis, and nothing imports geoseg."""
