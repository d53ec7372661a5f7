"""Warming: which keys are hot, and loading them before they expire."""
