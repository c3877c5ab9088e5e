# Values that a configuration writes with variables in them. Included by types.pxd.

ctypedef struct Piece:      # a literal, or a variable
    uint16_t var            # Variable; 0: literal
    Str text                # the literal, or what follows a family's prefix ("foo" of $http_foo)

ctypedef struct Value:
    uint32_t n
    Piece* pieces
