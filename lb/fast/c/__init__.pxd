"""The C library and our own C headers, as Cython sees them: no functions of our own but inline ones in C.

Prefixes: lb_
"""
