"""Active health checks: a process of its own, on this engine, asks the servers; workers read a word.

    checker (a worker without listeners): table_swap -> check_follow -> a Check for each server of an upstream with `check`
        check_timer -> check_start -> connect or the kept connection -> its type's `send` -> bytes -> its type's `judge`
        -> check_done -> health_verdict -> the word of the server's Health, in memory of all processes
    a worker: publish -> health_give -> Peer.health; each choice: peer_usable -> health_out

word.pxd       the word, and how a worker reads it        table.pyx   the memory: who has which place
changes.pyx    what a worker does when it changes
verdict.pyx    rise and fall                              checker.pyx  when a server is asked, and its connection
types.pyx      the table of types                         http.pyx, protocols.pyx, services.pyx  what they send, how they judge
expect.pyx     what an answer must have in it             secure.pyx    the handshake of checks over TLS
grpc.pxd, databases.pxd   answers, read: pure  agent.pyx, agent_words.pxd   what an agent says
served.pxd     what a worker says of a server             read.pyx      what the status port shows
status.pyx     check_status, the module's page

Others call: health_give, health_out, health_away, health_served, health_bind, check_follow, check_forget, check_gather.

Prefixes: health_ check_ agent_ grpc_ redis_ postgres_ database_
"""
