"""Access and error logs: lines are put together in memory and written once per turn of the loop, or per buffer.

log.pyx        files and buffers            error_log.pyx   messages with what they are about
access_log.pyx lines of requests            syslog.pyx      lines as datagrams
gzip.pyx       compressed files             names.pyx       files that requests name (open_log_file_cache)
debug.pyx      a connection's way, step by step

Others call: log_request, log_client, log_line, error_begin to error_end, access_log_write, log_flush_all; debug_on and debug_*.

Prefixes: access_log_ debug_ error_ log_ syslog_
"""
