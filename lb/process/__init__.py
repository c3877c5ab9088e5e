"""What master and worker share: who a process is, what it is called, signals, log files, a loop, a channel.

identity   the user and group that workers become      title      what `ps` shows
signals    signalfd: what arrived and who sent it      logfiles   the log files that they write to
loop       selectors and deadlines                     channel    frames and descriptors between two processes
source     where the configuration comes from, made absolute
"""
