"""HTTP/1 as bytes: heads and bodies in, parsed; heads out, written anew. Pure: state, pointer and length in; done, more or
bad out.

    bytes -> head: request line, fields -> framing: what they mean together -> Head        body bytes -> chunk -> data
    Head, Request -> write: lines of a head; encode: Encoder, their order and framing

head.pxd   heads               fields.pxd   field lines             framing.pxd  length, chunks, connection (RFC 9112)
chunk.pxd  chunked bodies      uri.pxd      paths                   host.pxd     authorities
rules.pxd  why a message is refused, by rule (ruleids.pxd)          write.pxd    lines of heads that leave
encode.pyx HTTP/1 as one row of Encoder: all text of it that leaves

Others call: head_parse_request, head_parse_response, chunk_decode, uri_*, field_id, rule_*, h1_*.

Prefixes: chunk_ field_ framing_ h1_ head_ host_ rule_ uri_
"""
