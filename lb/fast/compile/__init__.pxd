"""From the model (lb/model) to the structs that the rooms read, and the engine's Python face. With the GIL, before the loop.

engine.pyx  class Engine       routes.pyx  servers, locations, rewriting, maps     proxy.pyx   proxied locations
logs.pyx    logs               files.pyx   static files                            access.pyx  who may come in
compiled.pyx  the whole, shared by all workers    arena.pyx  its memory          tls.pyx     TLS, and its keys
sticky.pyx  sticky sessions    check.pyx  active checks    layout.pyx  where the fields of the structs lie, for `lb inspect`

Prefixes: compile_
"""
