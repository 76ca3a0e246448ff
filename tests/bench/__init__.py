"""Benchmarks of feedd as a real process, beside Hugo doing the same job; run by ./bench, not collected by pytest.

Linux only: memory is read from /proc, writes are seen through inotify. Absolute figures are those of the machine;
what is meant to be read are the ratios of one run.
"""
