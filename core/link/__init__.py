"""The connection: commands on their way to one server or many, and their replies."""
