"""A worker process: the engine in the main thread, Python threads around it for what may wait.

main       from the fork to the exit
control    the thread that talks with the master
temp       directories of temporary files
"""
