"""Carries events from whoever publishes to every gateway that has a listener; keeps live logs and presence."""
