"""Due links -> asked for -> judged -> noted: a run of link checks, polite to every host.

`run` holds the order of steps, `hosts` all that is owed to a host, `robots` what its robots.txt says. Publishes
nothing: verdicts that readers see are left in the store for `publish`.
"""
