"""Applications that show Stoker at work."""
