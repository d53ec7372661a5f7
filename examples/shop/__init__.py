"""A small web shop over SQLite that reads through Stoker, and a client that replays traffic against it."""
