"""The status port: a small read-only HTTP server in the master's loop, beside the traffic and never in its way.

server     listening sockets and connections (h11), all non-blocking and bounded
pages      what is answered: a pure function of a View of the master
state      /status.json
metrics    /metrics; families: what is in it
servers    the servers of an upstream, from the list and from what workers count
"""
