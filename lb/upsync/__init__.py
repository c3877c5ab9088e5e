"""Servers from Consul, one room: what an answer means, in which order, what is shown, what is kept, who fetches it.

Pure (no I/O, no clock):   address  text -> socket address        values   value of a key -> weight, max_fails, ...
                           entries  Consul's answer -> servers    merge    old and new list -> the list to use
                           incremental  entries of the next answer    kv_decode  the body of an answer -> entries
                           show     list -> /upstream_show        report   what a worker tells the master
                           backoff  when the next query may start
Files:                     dump     the list on disk (the master writes it, a fresh worker reads it)
Sources:                   source   the interface                 consul_kv  Consul's KV store by py-consul
                           consul_http  the HTTP client under py-consul: one deadline, ends at once
                           stop     a flag that a poll() can wait for
Threads:                   upstream_sync  one upstream's list     puller   asks a source, tells each UpstreamSync
Start:                     start    the list a worker begins with, and how long it waits for the first answer

What the module (nginx-upsync-module) does is copied where its users see it, and bettered where it loses, stalls or
lies.
"""
