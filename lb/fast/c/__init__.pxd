"""The C library and our own C headers, as Cython sees them: no functions of our own but inline ones in C.

sys.pxd   the C library and the kernel      simd.pxd  byte classes and scans      stats.pxd  counters
hpack.pxd the tables of HPACK

Prefixes: lb_
"""
