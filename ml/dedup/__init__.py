"""Near copies: what a picture looks like in short, which pairs to compare, how they compare, what groups they form.

One module a step, each replaceable without the others: `fingerprints` (picture -> 1,152 bytes), `descriptors` (of views
of fingerprints), `candidates` (-> pairs worth comparing), `alignment` (pairs -> what agrees), `chance` (-> P(same
picture)), `groups` (pairs -> groups), `transforms` (what turned one into the other). `scan` runs them in order.
"""
