"""HTTP/2 as bytes: frames, HPACK, and a request's fields as the lines that message/h1 parses. Pure: no system call, no loop.

    bytes -> frame: its head, padding -> hpack: fields -> lines: a head as HTTP/1 would have it -> head_parse_request -> Head
    answer's lines -> hpack_write -> frame_put

frame.pxd  frames (RFC 9113 section 4)    hpack.pxd  field blocks (RFC 7541)    huffman.pxd  its code
lines.pxd  pseudo-header fields, strict fields, cookies (RFC 9113 section 8)

What a connection does with them is h2/ (machine). The tables of HPACK are in c/hpack.h.

Others call: frame_*, hpack_*, lines_*.

Prefixes: frame_ hpack_ huffman_ lines_
"""
