"""Everything that talks to a model: clients, the wire, the embedded server, limits, caches, prices."""
