"""Messages on their way out, whatever their protocol: a head, pieces of a body, an end.

    message_begin -> enc.head, lines of fields, enc.head -> message_frame (enc.body, enc.end) -> message_send | message_send_copy

message.pyx   one send: what goes before the body's bytes, the bytes, what goes behind them
h1/           HTTP/1: heads and bodies in, parsed; its Encoder

Others call: message_*, and a connection's Encoder (Conn.enc). Structs: structs.pxd (Message, Encoder).

Prefixes: message_
"""
