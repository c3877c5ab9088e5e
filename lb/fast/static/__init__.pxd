"""Files: which file a path stands for (path.pyx), and how it is sent (file.pyx).

Others call: file_serve, path_try_files, path_var.

Prefixes: file_ path_
"""
