"""The tasks: thin, each calls one thing of the cache library."""
