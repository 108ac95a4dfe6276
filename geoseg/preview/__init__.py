"""Pictures of a window of a scene."""
