"""Names for regions: a supervised classification of finished polygons by samples, without the scene."""
