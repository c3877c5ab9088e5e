#!/bin/bash
# A process with ONE thread is told by Python (3.12 and later) that it is multi-threaded and must not fork, once setproctitle has
# given it a title with a space in it.
#
# A good guess: os.fork() counts threads, so a process that never made one is left alone, whatever it is called.
# Seen (Python 3.12.1 and 3.13.0, setproctitle 1.3.8, Linux): after setproctitle("app: master process") os.fork() gives
# DeprecationWarning "... is multi-threaded, use of fork() may lead to deadlocks in the child", while /proc/self/task lists one
# thread; with the title "app" there is none. setproctitle also sets the kernel's comm, which /proc/self/stat shows in parentheses
# as its second word; CPython takes the 20th word of that line for the number of threads, and each space in comm moves what
# it reads by one place: with two spaces it is the scheduling priority, 20. Under -W error the fork raises.
# What to do: give comm a word without spaces after the title is set (prctl(PR_SET_NAME), or write /proc/self/comm).
#
# Exit 0: as described. Needs a Python of 3.12 or later (PATH, or pyenv's), and PyPI.
set -euo pipefail
python=
for one in python3.14 python3.13 python3.12 python3 "$HOME"/.pyenv/versions/3.1[2-9]*/bin/python3; do
    command -v "$one" >/dev/null || continue
    if "$one" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then python=$one; break; fi
done
[ -n "$python" ] || { echo "no Python of 3.12 or later here: nothing shown" >&2; exit 1; }
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
"$python" -m venv "$here/v"
"$here/v/bin/pip" -q --disable-pip-version-check install setproctitle==1.3.8 2>/dev/null
cat >"$here/show.py" <<'P'
import os, sys, warnings
import setproctitle

def warned():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    return any("multi-threaded" in str(one.message) for one in seen)

assert len(os.listdir("/proc/self/task")) == 1
setproctitle.setproctitle(sys.argv[1])
if sys.argv[2:]:
    with open("/proc/self/comm", "w") as comm:
        comm.write(sys.argv[2])
print("warned" if warned() else "quiet", len(os.listdir("/proc/self/task")))
P
run() { "$here/v/bin/python" "$here/show.py" "$@"; }
"$here/v/bin/python" -V
[ "$(run 'app: master process')" = "warned 1" ]
[ "$(run 'app')" = "quiet 1" ]
[ "$(run 'app: master process' app)" = "quiet 1" ]
echo "as described: warned with spaces in the title, quiet without and with a plain comm; one thread each time"
