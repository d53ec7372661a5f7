"""Sessions of signed-in users, shared by two web processes."""
