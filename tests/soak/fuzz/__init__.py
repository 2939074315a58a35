"""Inputs that are wrong, and the steps that must stand them."""
