"""lb: a multiprocess pre-fork TCP and HTTP load balancer with a Cython hot path."""

__version__ = "0.1.0"
