"""Entries: their stored form, and the tiers that keep them."""
