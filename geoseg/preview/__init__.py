"""Previews: pictures of the stages on one window of a scene."""
