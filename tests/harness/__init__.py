"""What tests start: the real lb, real backends, a real Consul, a proxy that breaks things; and the checks at the end.

wait.py      deadlines and free loopback ports
client.py    a raw HTTP or TCP client that shows exactly what came back
backend.py   backends: HTTP by h11, and raw ones that follow a script for each connection
faults.py    a TCP proxy that resets, stalls, cuts and spoils on demand
consul.py    a Consul agent with its own data directory
lb.py        one lb process tree: start, signals, log, file descriptors
browser.py   a Chromium without a window, for the status page
pair.py      nginx beside lb, with the same configuration and requests
world.py     everything that one test started, and the order in which it is ended and checked
"""
