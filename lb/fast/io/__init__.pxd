"""The worker's loop, its connections, and bytes in and out.

    accept -> Conn -> loop: wait, events, posted work, timers -> the kind's room -> conn_recv, conn_send, conn_flush -> conn_close
                                                             long bodies: splice through a pooled pipe

loop.pyx     one turn after the other        conn.pyx    sockets in a slab; the one function that changes a state
accept.pyx   clients come in                 splice.pyx  bytes that do not pass through this process
drain.pyx    leaving                         sched.pyx   how the kernel runs the loop's thread
plain.pyx    plain sockets, the first transport   cutting.pyx   a transport for tests
handshake.pyx  from socket to protocol            kinds.pyx     what each kind of connection does
timer.pxd    a wheel of deadlines            buf.pxd     blocks of memory by size
writer.pxd   text into a bounded place       sockaddr.pxd  addresses as text
clients.pxd  who a client is

Others call: conn_*, loop_post, timer_set and timer_clear, buf_*, out_*, sockaddr_*, splice_allowed and splice_move, temp
files' clocks. Structs: structs.pxd (Buf, Timer, Out, Conn), worker.pxd (Listener, Loop).

Prefixes: accept_ buf_ conn_ cutting_ drain_ loop_ out_ plain_ sched_ sockaddr_ splice_ timer_
"""
