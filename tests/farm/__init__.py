"""A link farm: a process that plays hundreds of hosts on loopback addresses, each with one way to behave, and logs
every request; beside it the verdict that the policy gives for each of its URLs, and a count of what a checker did
wrong.

Independent of feedd: nothing here imports it. `python -m tests.farm --log FILE` starts it by hand, `process.running`
from tests and benchmarks.
"""
