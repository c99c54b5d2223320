"""Near copies: hash every picture, find candidate pairs, verify them on pixels, group what holds.

The four steps are one module each, and each can be replaced without the others: `hashes` (pictures -> bits), `search`
(bits -> candidate pairs), `verify` (pairs of pictures -> score and P(same picture)), `groups` (pairs -> groups).
"""
