"""What a $name stands for, written where it is wanted: a field, a log line, a path.

    Value -> var_write_value -> var_write, by whose it is: request.pxd | upstream.pxd | client.pxd |
        tls.pxd | user.pyx

A new variable is an id in one of these, a line in its function, a name in compile/compiled.pyx and a text in
lb/config/variables.py.

Prefixes: var_
"""
