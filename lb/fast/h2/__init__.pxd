"""HTTP/2 with clients: a connection's frames, and its streams, each a Conn without a descriptor, served by http/ as any client.

    client_refuse (the preface), ALPN -> h2_begin: K_H2 -> h2_event -> h2_read -> a frame's h2_on_* -> h2_request -> request_begin
    request_body_up, conn_recv <- h2_stream_recv <- DATA           Encoder h2_encoder, conn_send -> h2_stream_send -> DATA
        all frames of a turn -> one buffer -> h2_flush_all: one send

connection.pyx  its life, its ends               receive.pyx   bytes to frames
settings.pyx    SETTINGS, PING, GOAWAY, windows  request.pyx   a field block becomes a head
stream.pyx      the transport of a stream        stream_end.pyx  how it ends
encode.pyx      h2_encoder                       output.pyx    frames out, and the turn's one send
flood.pyx       what a client may not do too often   scheduling.pyx  whose bytes go first

Bytes and their grammar are message/h2/ (pure). A stream's exchange ends as any does, by conn_close of its Conn: h2_stream_close
says the rest to the client (RST_STREAM). A connection never ends below its own event: h2_settle looks at it behind each.

Others call: h2_begin, h2_preface, h2_flush_all, h2_drain_all, h2_connection_of. Structs: structs.pxd (H2, H2Stream).

Prefixes: h2_
"""
