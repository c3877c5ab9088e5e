"""lb held against the real nginx: the same configuration, the same bytes, the same answers.

`runner.py` starts both.  `case.py` says what a case is.  The tables are in tests/test_oracle_*.py.
"""
