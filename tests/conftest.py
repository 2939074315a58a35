"""Fixtures for every test; each plugin keeps to one subject."""

pytest_plugins = ["tests.logs"]
