"""A complete mail server in one Twisted process.

`transfer` moves mail, `access` lets people read it, both over one `store`.
Start reading at `docs/flow.md`; `docs/rfc.md` says which module implements which RFC.
"""

__version__ = "0.1.0"
