"""The master process: reads the configuration, binds, forks and supervises. It never waits and has no thread.

arbiter    class Master: the loop and its verbs (signals, reap, manage, drain)
boot       from the command line to the loop: logs, sockets, daemon, pid file
reload     SIGHUP: read the file in a child, bind, hand over to a new generation
generation    one generation of workers: spawn, back-off, stop
generations   all of them: forks, takes over, ends
sockets    listening sockets, kept over reloads
inherit    listening sockets that were there before: an old binary's, systemd's
upgrade    SIGUSR2: another binary takes over
heartbeat  of workers: stuck workers are killed
systemd    what systemd is told (sd_notify)
handover   what workers have learned of their servers, for the next generation
reports    what the workers say about Consul's lists; the dump files
server_stats  what servers and upstreams have counted, and since when a server is what it is
worker_stats  counters of all workers, over deaths and reloads
child      what may wait, done in a child: reading a configuration
dump_writer   a child that writes dump files
"""
