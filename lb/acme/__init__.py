"""Certificates from an ACME server (RFC 8555): the process "lb: acme", a child of the master.

    process.Process: what is due -> order.issue: account, challenges, certificate -> store: a file below state_path
                     challenges -> store -> the board in shared memory (lb/fast/acme) -> workers

store.py     state_path: files, the lock, the other machines that share it
account.py   keys, the account, requests to the server        order.py     one certificate, from the order to its chain
schedule.py  when to try, when to try again: pure             process.py   the process

The libraries `acme`, `josepy` and `cryptography` (an extra of the package) are imported here only, in that process.
"""
