"""Who may have an answer: nginx's access phase, and the passwords of auth_basic.

    request_handle -> auth_passes: allow and deny, auth_basic in turn, by `satisfy` -> request_admitted | 401, 403
        a password that was not checked lately: PH_ACCESS -> a thread: auth_work -> Inbox.passwords -> auth_take -> auth_run

phase.pyx       the phase: its steps, satisfy, auth_delay
basic.pyx       auth_basic: name and password, verdicts that are still good, jobs for the threads
passwords.pyx   what the threads do: files of passwords, their hashes
basic.pxd       Authorization: Basic, and lines of such files

Others call: auth_passes, auth_take, auth_forget, auth_over.

Prefixes: auth_
"""
