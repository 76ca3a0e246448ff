"""Whether a link still holds: pure decisions on what was found at its URL, and what readers see of them.

`urls` says which links an article has, `reading` makes evidence of an answer, `judge` a state of evidence, `effects`
an entry of verdicts. Nothing here knows the net, a store or a clock.
"""
