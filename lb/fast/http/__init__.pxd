"""HTTP exchanges: a client's requests, one after the other, and what becomes of each.

    client: heads in -> request -> route/ -> proxy_begin -> request_buffering -> upstream/ -> proxy_send -> response_*
                                   -> reply (made here), static/                             -> request_done -> client
client.pyx             connections of clients          client_head.pyx         their heads, read and refused
request.pyx            an exchange and its memory
request_body.pyx       the body to the server          request_buffering.pyx   the body whole before a server is chosen
proxy.pyx              the connection to the server    response.pyx            its answer
response_buffering.pyx  an answer that waits           temp_file.pyx           what waits on disk
local_reply.pyx        answers that lb makes           lenient.pyx             what proxy_lenient takes
body_filter.pyx        the chain of body filters       gzip.pyx                the first of them
internal_redirect.pyx  error_page and the like         x_accel.pyx             X-Accel-Redirect and its brothers
upgrade.pyx            101 and 103                     lingering_close.pyx     the end of a connection
header_filter.pxd      fields hidden, added, expires   proxy_redirect.pxd      Location, Refresh and cookies rewritten

Where an exchange stands is Request.phase (structs.pxd); request_phase alone changes it.

Others call: client_*, request_memory, request_phase, reply, reply_status, proxy_begin, proxy_send, client_break_off, request_log.

Prefixes: accel_ client_ cookie_ filter_ gzip_ header_ lingering_ proxy_ redirect_ reply_ request_ response_ temp_file_ upgrade_
"""
