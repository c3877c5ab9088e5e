"""`python -m lb.demo [--consul]`: lb on a real configuration before three small backends, for a first look.

__main__   the order of things: ports, backends, Consul, lb, what to try, the end
children   child processes that end with us, however we end
backends   the three backends: HTTP by h11, and an echo for plain TCP
agent      a Consul agent in memory, with the backends registered
"""
