"""`lb inspect PID | CORE`: the connections and requests of a live worker, or of a core, with flags and states by name.

memory.py   bytes of a process or a core by their address
engine.py   the engine's structs in them
show.py     as text

The engine tells by itself where its fields lie (lb/fast/compile/layout.pyx): no debugging symbols are needed, and a
core of another build of lb is read as well.
"""
